//! The thread that makes records durable: takes what queued up, chains, hashes, signs, writes, syncs, then tells.
