//! Receipts: where in which log a record stands.

use super::merkle::Hash;

/// Where a record stands: enough to ask for its proof later. Not a proof itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The log.
    pub origin: std::sync::Arc<str>,
    /// The record's `id`.
    pub id: String,
    /// Its index in the log.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Hash,
    /// Whether it was on stable storage, under a signed note, when the receipt was given. Until then index and leaf are
    /// a promise that a power cut can break.
    pub durable: bool,
}
