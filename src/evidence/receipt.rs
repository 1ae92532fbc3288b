//! Receipts: where in which log a record stands.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::checkpoint::VerifiedCheckpoint;
use super::merkle::{HASH_BYTES, Hash};
use super::note::VerifierKey;
use super::verify::{TlogProof, TlogProofError, Verifier};
use super::{Entry, EvidenceId};
use crate::encoding::{base64url, base64url_decode, exact_count, parse_unique_json};

/// Bytes of a log's origin that a receipt can hold, the instance and the number of the log included. One of up to 104
/// bytes leaves the receipt's JSON within 256.
pub const MAX_RECEIPT_ORIGIN_BYTES: usize = 300;

/// Where a record stands: enough to ask for its proof later. Not a proof itself.
///
/// The one who is given a receipt keeps it, and later holds the log to it: with a [`TlogProof`] and the log's key,
/// which must come from elsewhere than the server ([`verify`](Self::verify)), and with the entry itself
/// ([`check_entry`](Self::check_entry)), since only the entry says *what* was recorded there.
///
/// ```
/// use rmcp_guard::evidence::{Receipt, ReceiptError};
/// use serde_json::json;
///
/// let sent = json!({
///     "origin": "files.example.com/evidence/main/1",
///     "id": "019a9c3e-4f7e-7c53-8a1b-0d9be2b0a6f1",
///     "index": 4711,
///     "leaf": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
///     "durable": true,
/// });
/// let receipt = Receipt::from_json(&sent)?;
/// assert_eq!(receipt.index, 4711);
/// assert_eq!(receipt.to_json(), sent);
/// assert_eq!(Receipt::from_json(&json!({"index": -1})), Err(ReceiptError::Malformed));
/// # Ok::<(), ReceiptError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The log.
    pub origin: Arc<str>,
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

/// A receipt is not one, or the log does not honour it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// The value is not a receipt.
    #[error("not a receipt")]
    Malformed,
    /// None of the given keys is of the log that the receipt names.
    #[error("the receipt is of a log whose key is not known")]
    UnknownLog,
    /// The proof is of another entry, or of another log.
    #[error("the proof is not of the entry that the receipt names")]
    OtherEntry,
    /// The proof does not hold.
    #[error("the proof does not hold")]
    Proof(#[from] TlogProofError),
    /// The entry is not the one that the receipt names.
    #[error("the entry is not the one that the receipt names")]
    Entry,
}

impl Receipt {
    /// The member of a result's `_meta`, and of a denial's `data`, that holds a receipt.
    pub const META_KEY: &'static str = "rmcp-guard/evidence";

    /// The JSON form: `origin`, `id`, `index`, `leaf` (base64url without padding, as `prev` of the next entry has it)
    /// and `durable`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "origin": &*self.origin,
            "id": self.id,
            "index": self.index,
            "leaf": base64url(self.leaf.as_bytes()),
            "durable": self.durable,
        })
    }

    /// Reads the JSON form strictly. Members that this version does not know are ignored.
    ///
    /// # Errors
    /// [`ReceiptError::Malformed`].
    pub fn from_json(value: &Value) -> Result<Self, ReceiptError> {
        value.as_object().and_then(Self::from_members).ok_or(ReceiptError::Malformed)
    }

    fn from_members(members: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        // what a note's key can be called (c2sp.org/signed-note), in ASCII: this text goes to terminals
        let origin = text("origin").filter(|origin| {
            (1..=MAX_RECEIPT_ORIGIN_BYTES).contains(&origin.len())
                && origin.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'+')
        })?;
        let leaf = text("leaf").filter(|leaf| leaf.len() <= HASH_BYTES.saturating_mul(2))?;
        let leaf: [u8; HASH_BYTES] = base64url_decode(leaf).ok()?.try_into().ok()?;
        Some(Self {
            origin: Arc::from(origin),
            id: text("id")?.parse::<EvidenceId>().ok()?.to_string(),
            index: exact_count(members.get("index")?)?,
            leaf: Hash::new(leaf),
            durable: members.get("durable")?.as_bool()?,
        })
    }

    /// Checks that the log has an entry with this leaf hash at this index, and returns the checkpoint that covers it.
    ///
    /// `keys` are those of the logs that the caller trusts, from its configuration: a key that the server itself hands
    /// out proves only that the server agrees with itself.
    ///
    /// # Errors
    /// [`ReceiptError`]: no key is of the receipt's log, the proof is of another entry, or it does not hold.
    pub fn verify(&self, proof: &TlogProof, keys: &[VerifierKey]) -> Result<VerifiedCheckpoint, ReceiptError> {
        if proof.index != self.index {
            return Err(ReceiptError::OtherEntry);
        }
        let of_log: Vec<VerifierKey> = keys.iter().filter(|key| key.name() == &*self.origin).cloned().collect();
        if of_log.is_empty() {
            return Err(ReceiptError::UnknownLog);
        }
        let checkpoint = Verifier::new(of_log).verify_proof(proof, &self.leaf)?;
        if checkpoint.checkpoint().origin != *self.origin {
            return Err(ReceiptError::OtherEntry);
        }
        Ok(checkpoint)
    }

    /// Checks that `entry` is the one that the receipt names, by its hash and by the `id` and `seq` in it, and returns
    /// its record. What the record says about the call is for the caller to compare.
    ///
    /// # Errors
    /// [`ReceiptError::Entry`].
    pub fn check_entry(&self, entry: &[u8]) -> Result<Value, ReceiptError> {
        if Hash::of_leaf(entry) != self.leaf {
            return Err(ReceiptError::Entry);
        }
        let parsed = Entry::parse(entry).filter(|parsed| parsed.seq == self.index).ok_or(ReceiptError::Entry)?;
        let event = parse_unique_json(parsed.event).map_err(|_| ReceiptError::Entry)?;
        let is_named = event.get("id").and_then(Value::as_str) == Some(&*self.id);
        if is_named { Ok(event) } else { Err(ReceiptError::Entry) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::MAX_EXACT_INTEGER;

    const ID: &str = "019a9c3e-4f7e-7c53-8a1b-0d9be2b0a6f1";

    fn receipt(origin: &str, index: u64) -> Receipt {
        Receipt { origin: Arc::from(origin), id: ID.to_owned(), index, leaf: Hash::new([0xff; 32]), durable: false }
    }

    #[test]
    fn a_receipt_is_short_and_reads_back() {
        let origins = [
            "a".to_owned(),
            format!("rmcp-guard.invalid/{}/main/1", "0123456789abcdef".repeat(2)),
            format!("{}/main/12345678", "o".repeat(90)),
        ];
        for origin in origins {
            assert!(origin.len() <= 104);
            let largest = receipt(&origin, MAX_EXACT_INTEGER);
            let json = largest.to_json();
            let length = json.to_string().len();
            assert!(length <= 256, "{length}: {json}");
            assert_eq!(Receipt::from_json(&json), Ok(largest));
        }
    }

    #[test]
    fn what_is_not_a_receipt_is_refused() {
        let good = receipt("log.example/main/1", 7).to_json();
        assert!(Receipt::from_json(&good).is_ok());
        let wrong = [
            ("origin", json!("")),
            ("origin", json!("a b")),
            ("origin", json!("a+b")),
            ("origin", json!("a\u{1b}[2J")),
            ("origin", json!("ä")),
            ("origin", json!("o".repeat(MAX_RECEIPT_ORIGIN_BYTES + 1))),
            ("origin", json!(1)),
            ("id", json!("x")),
            ("id", json!(format!("{{{ID}}}"))),
            ("index", json!(-1)),
            ("index", json!(1.5)),
            ("index", json!("7")),
            ("index", json!(MAX_EXACT_INTEGER + 1)),
            ("leaf", json!("AAAA")),
            ("leaf", json!("A".repeat(1_000_000))),
            ("leaf", json!(format!("{}B", "A".repeat(42)))), // spare bits
            ("leaf", json!(format!("{}=", "A".repeat(43)))),
            ("durable", json!("true")),
        ];
        for (name, value) in wrong {
            let mut changed = good.clone();
            changed[name] = value;
            assert_eq!(Receipt::from_json(&changed), Err(ReceiptError::Malformed), "{name}: {:.80}", changed[name]);
            changed.as_object_mut().unwrap().remove(name);
            assert_eq!(Receipt::from_json(&changed), Err(ReceiptError::Malformed), "without {name}");
        }
        for value in [json!(null), json!([]), json!("x")] {
            assert_eq!(Receipt::from_json(&value), Err(ReceiptError::Malformed));
        }
        let mut newer = good.clone();
        newer["size"] = json!(8);
        assert_eq!(Receipt::from_json(&newer).unwrap().to_json(), good, "unknown members are ignored");
    }
}
