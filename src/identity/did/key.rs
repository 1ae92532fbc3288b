//! The multibase form of an Ed25519 key, as in `did:key` (W3C CCG did:key method, multicodec `ed25519-pub`).

use crate::identity::did::DidParseError;
use crate::identity::key::PublicKey;

/// Varint multicodec prefix of an Ed25519 public key.
const ED25519_PUB: [u8; 2] = [0xed, 0x01];

/// Longest text worth decoding: 34 bytes make at most 47 base58 characters, after the `z`. Base58 decoding takes
/// quadratic time, so the bound comes first.
const MAX_MULTIBASE_BYTES: usize = 48;

/// Reads `z` + base58btc of the prefixed key.
pub(super) fn parse_multibase(text: &str) -> Result<PublicKey, DidParseError> {
    let base58 = text.strip_prefix('z').ok_or(DidParseError("the key is not in multibase base58btc"))?;
    if text.len() > MAX_MULTIBASE_BYTES {
        return Err(DidParseError("the key is not 32 bytes"));
    }
    let bytes = bs58::decode(base58).into_vec().map_err(|_| DidParseError("the key is not in multibase base58btc"))?;
    let key = bytes.strip_prefix(&ED25519_PUB).ok_or(DidParseError("the key is not an Ed25519 key"))?;
    PublicKey::from_bytes(key).map_err(|_| DidParseError("the key is not a usable Ed25519 key"))
}

/// Writes `z` + base58btc of the prefixed key.
pub(super) fn to_multibase(key: &PublicKey) -> String {
    let mut bytes = Vec::from(ED25519_PUB);
    bytes.extend_from_slice(key.as_bytes());
    format!("z{}", bs58::encode(bytes).into_string())
}
