//! The thread behind it: reads the write-ahead log, writes tiles, publishes checkpoints, moves the high-water mark.
