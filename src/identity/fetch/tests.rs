//! The fetcher against real servers on this machine.
