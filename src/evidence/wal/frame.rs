//! Frames: `length u32 | kind u8 | check [8] | body`, little endian.
//!
//! The check is the start of SHA-256(seed || kind || length || digest of the body), where the digest of an entry is its
//! leaf hash: the hash that the tree needs anyway. A CRC would be one more dependency and one more pass over the bytes.
