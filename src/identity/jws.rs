//! Compact JWS with `EdDSA` over Ed25519, and nothing else (RFC 7515 §7.1, RFC 8037 §3.1).
//!
//! In scope: the form, the protected header, the signature. Out of scope: what the payload means, which key is the
//! right one, whether `typ` is the right one; the caller decides these. JSON serializations, other algorithms,
//! `crit` and unencoded payloads are refused: each has been a way to make two verifiers read one token differently.

use serde_json::{Map, Value};

use crate::encoding::{base64url, base64url_decode, parse_unique_json};
use crate::identity::key::{PublicKey, SignatureError, SigningKey};

/// The text is not a compact `EdDSA` JWS. The message names the rule that it breaks, not the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a compact EdDSA JWS: {0}")]
#[non_exhaustive]
pub struct JwsError(&'static str);

impl JwsError {
    /// The rule that the text breaks.
    pub(crate) const fn detail(&self) -> &'static str {
        self.0
    }
}

/// A compact JWS that was parsed and not verified: header and payload are claims of whoever wrote them.
#[derive(Clone)]
pub struct CompactJws<'a> {
    signing_input: &'a str,
    typ: Option<String>,
    kid: Option<String>,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

// The derived form would print a token that still works.
impl std::fmt::Debug for CompactJws<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompactJws").field("typ", &self.typ).field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl<'a> CompactJws<'a> {
    /// Parses `text` of at most `max_bytes` bytes, a limit that is applied before anything is decoded.
    ///
    /// Three non-empty segments of strict base64url; a header that is a JSON object with unique member names, `alg`
    /// `EdDSA`, neither `crit` nor `b64`, and strings for `typ` and `kid` where present.
    ///
    /// # Errors
    /// [`JwsError`] naming the first rule that is broken.
    pub fn parse(text: &'a str, max_bytes: usize) -> Result<Self, JwsError> {
        if text.len() > max_bytes {
            return Err(JwsError("too long"));
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or(JwsError("not three segments"))?;
        let (header, payload) = signing_input.split_once('.').ok_or(JwsError("not three segments"))?;
        // A fourth segment would leave a dot in the payload, which is not base64url.
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(JwsError("a segment is empty"));
        }
        let decode = |segment| base64url_decode(segment).map_err(|_| JwsError("a segment is not base64url"));
        let (header, payload, signature) = (decode(header)?, decode(payload)?, decode(signature)?);
        let (typ, kid) = parse_header(&header)?;
        Ok(Self { signing_input, typ, kid, payload, signature })
    }

    /// The `typ` of the header.
    #[must_use]
    pub fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    /// The `kid` of the header.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The decoded payload, unverified.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Verifies the signature over the exact bytes of the first two segments.
    ///
    /// # Errors
    /// [`SignatureError`] when it does not verify under `key`, for a signature of another length too.
    pub fn verify(&self, key: &PublicKey) -> Result<(), SignatureError> {
        key.verify(self.signing_input.as_bytes(), &self.signature)
    }
}

fn parse_header(bytes: &[u8]) -> Result<(Option<String>, Option<String>), JwsError> {
    let header = parse_unique_json(bytes).map_err(|_| JwsError("the header is not JSON with unique member names"))?;
    let Value::Object(mut header) = header else { return Err(JwsError("the header is not a JSON object")) };
    if header.get("alg").and_then(Value::as_str) != Some("EdDSA") {
        return Err(JwsError("the algorithm is not EdDSA"));
    }
    if header.contains_key("crit") || header.contains_key("b64") {
        return Err(JwsError("the header asks for an extension"));
    }
    Ok((take_string(&mut header, "typ")?, take_string(&mut header, "kid")?))
}

fn take_string(header: &mut Map<String, Value>, name: &str) -> Result<Option<String>, JwsError> {
    match header.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(JwsError("`typ` or `kid` is not a string")),
    }
}

/// Signs `payload` as a compact JWS. The header holds `alg`, `kid` and `typ` in this order without spaces.
#[must_use]
pub fn sign(key: &SigningKey, typ: Option<&str>, kid: Option<&str>, payload: &[u8]) -> String {
    let mut header = Map::new();
    header.insert("alg".to_owned(), "EdDSA".into());
    if let Some(kid) = kid {
        header.insert("kid".to_owned(), kid.into());
    }
    if let Some(typ) = typ {
        header.insert("typ".to_owned(), typ.into());
    }
    let header = Value::Object(header).to_string();
    let signing_input = format!("{}.{}", base64url(header.as_bytes()), base64url(payload));
    let signature = base64url(&key.sign(signing_input.as_bytes()));
    format!("{signing_input}.{signature}")
}

#[cfg(test)]
mod tests;
