//! The state that a server hands to its client between two rounds of one request, sealed (S13).
//!
//! MCP 2026-07-28 lets a server answer a request with questions and an opaque `requestState`, which the client brings back
//! with the answers. To the server that text is whatever a hostile client makes of it. So it leaves in an envelope:
//!
//! ```text
//! rg1. base64url( expiry, 8 bytes | tag, 32 bytes | state )
//! tag = HMAC-SHA-256( key, label | holder | digest of method, target and arguments | expiry | state )
//! ```
//!
//! It is authenticated and not encrypted: without a guard the client reads the state as well, and an AEAD would be seven
//! crates for what MCP does not promise. What it is bound to is not in the envelope, so that one that does not open
//! tells nobody why. It opens as often as it is brought back before it expires: a client whose connection broke must
//! be able to try again, and a replica must not have to know what another one has seen. A tool for which a second time
//! matters keeps that in its own books.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;

use std::fmt;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::clock::UnixSeconds;
use crate::encoding::{base64url, base64url_decode};
use crate::enforce::Owner;
use crate::identity::key::KeyGenerationError;
use crate::policy::DenyReason;

/// Bytes of a `requestState` that an inner server may hand out: a cursor or a handle, with room for a filled-in form.
/// It travels twice in each round.
pub const MAX_REQUEST_STATE_BYTES: usize = 64 * 1024;

/// How long a `requestState` can be brought back: as long as a person may take to answer a form or to sign in elsewhere.
pub const DEFAULT_REQUEST_STATE_LIFETIME: Duration = Duration::from_secs(900);

/// The longest lifetime of a `requestState` that can be configured.
pub const MAX_REQUEST_STATE_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Keys at once: the one in use, the one before, and the one to come.
pub const MAX_REQUEST_STATE_KEYS: usize = 4;

const PREFIX: &str = "rg1.";
const LABEL: &[u8] = b"rmcp-guard request state 1\0";
const EXPIRY_BYTES: usize = 8;
const TAG_BYTES: usize = 32;

/// Longest envelope: what does not come from here is not decoded.
const MAX_SEALED_BYTES: usize = PREFIX.len() + (EXPIRY_BYTES + TAG_BYTES + MAX_REQUEST_STATE_BYTES).div_ceil(3) * 4;

/// A key that seals `requestState`s; wiped when dropped, and never shown.
///
/// Every replica behind one balancer needs the same ([`request_state_key`]); a single process makes its own.
///
/// [`request_state_key`]: crate::enforce::GuardConfigBuilder::request_state_key
#[derive(Clone)]
pub struct RequestStateKey(Zeroizing<[u8; 32]>);

impl RequestStateKey {
    /// A key from 32 bytes, which have to be random and secret: a text that a person made up is neither.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// [`KeyGenerationError`] when there is none to be had.
    pub fn generate() -> Result<Self, KeyGenerationError> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut_slice()).map_err(|_| KeyGenerationError)?;
        Ok(Self(key))
    }

    fn mac(&self) -> Hmac<Sha256> {
        // HMAC pads a short key with zeros to the block length; done here, the length is right by type
        let mut block = Zeroizing::new([0_u8; 64]);
        for (to, from) in block.iter_mut().zip(self.0.iter()) {
            *to = *from;
        }
        Hmac::new((&*block).into())
    }
}

impl fmt::Debug for RequestStateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestStateKey").finish_non_exhaustive()
    }
}

/// Who may bring a state back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Holder<'a> {
    /// An authenticated principal, over any connection (S14).
    Owner(&'a Owner),
    /// Whoever is anonymous in this session.
    Session(&'a [u8]),
    /// Any anonymous caller without a session: nothing tells two of them apart.
    Anybody,
}

/// What of a request a retry has to repeat: method, target and arguments, and not the answers that it brings.
///
/// Arguments are the same if a tool cannot tell them apart: the order of members does not count, and 1 and 1.0 differ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestDigest([u8; 32]);

impl RequestDigest {
    pub(crate) fn of(method: &str, target: &str, arguments: Option<&Map<String, Value>>) -> Self {
        let mut hash = Sha256::new();
        write_text(&mut hash, method);
        write_text(&mut hash, target);
        match arguments {
            None => hash.update(b"-"),
            Some(members) => write_object(&mut hash, members),
        }
        Self(hash.finalize().into())
    }
}

// Each value is written so that none is the beginning of another: a letter for its type, and a length before what varies.

fn write_length(hash: &mut Sha256, kind: u8, length: usize) {
    hash.update([kind]);
    hash.update(u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
}

fn write_text(hash: &mut Sha256, text: &str) {
    write_length(hash, b's', text.len());
    hash.update(text);
}

fn write_object(hash: &mut Sha256, members: &Map<String, Value>) {
    write_length(hash, b'{', members.len());
    let mut write = |(name, value): (&String, &Value)| {
        write_text(hash, name);
        write_value(hash, value);
    };
    // In order, unless the application turns on `serde_json/preserve_order`.
    if members.keys().is_sorted() {
        members.iter().for_each(&mut write);
    } else {
        let mut sorted: Vec<_> = members.iter().collect();
        sorted.sort_unstable_by_key(|(name, _)| *name);
        sorted.into_iter().for_each(&mut write);
    }
}

fn write_value(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Null => hash.update(b"n"),
        Value::Bool(false) => hash.update(b"f"),
        Value::Bool(true) => hash.update(b"t"),
        Value::Number(number) => {
            if let Some(integer) = number.as_i64() {
                hash.update(b"i");
                hash.update(integer.to_be_bytes());
            } else if let Some(integer) = number.as_u64() {
                hash.update(b"u");
                hash.update(integer.to_be_bytes());
            } else {
                hash.update(b"d");
                // always there: a number that is neither is a double
                hash.update(number.as_f64().unwrap_or(f64::NAN).to_bits().to_be_bytes());
            }
        }
        Value::String(text) => write_text(hash, text),
        Value::Array(items) => {
            write_length(hash, b'[', items.len());
            for item in items {
                write_value(hash, item);
            }
        }
        Value::Object(members) => write_object(hash, members),
    }
}

/// Seals and opens; one for a configuration, so that all services made from it open each other's.
#[derive(Debug)]
pub(crate) struct RequestStates {
    /// The first one seals, and every one opens; never empty.
    keys: Vec<RequestStateKey>,
    lifetime: Duration,
}

impl RequestStates {
    /// `None` without a key.
    pub(crate) fn new(keys: Vec<RequestStateKey>, lifetime: Duration) -> Option<Self> {
        (!keys.is_empty()).then_some(Self { keys, lifetime })
    }

    /// The envelope of `state`; `None` if that is longer than [`MAX_REQUEST_STATE_BYTES`].
    pub(crate) fn seal(
        &self,
        state: &str,
        holder: Holder<'_>,
        request: &RequestDigest,
        now: UnixSeconds,
    ) -> Option<String> {
        let key = self.keys.first().filter(|_| state.len() <= MAX_REQUEST_STATE_BYTES)?;
        let expires = now.saturating_add(self.lifetime).as_i64().to_be_bytes();
        let tag = input(key, holder, request, expires, state.as_bytes()).finalize().into_bytes();
        let mut envelope = Vec::with_capacity(MAX_SEALED_BYTES.min(state.len().saturating_add(64)));
        envelope.extend_from_slice(&expires);
        envelope.extend_from_slice(&tag);
        envelope.extend_from_slice(state.as_bytes());
        Some(format!("{PREFIX}{}", base64url(&envelope)))
    }

    /// The state in an envelope of [`seal`](Self::seal).
    ///
    /// # Errors
    /// The reason to deny the request with, and a sentence: `request_state_expired` for one of ours that comes from the right
    /// caller with the right request, too late, and `request_state_invalid` for everything else.
    pub(crate) fn open(
        &self,
        sealed: &str,
        holder: Holder<'_>,
        request: &RequestDigest,
        now: UnixSeconds,
    ) -> Result<String, (DenyReason, &'static str)> {
        let (expires, state) = self.authentic(sealed, holder, request).ok_or((
            DenyReason::RequestStateInvalid,
            "the request state was not given to this caller for this request; call again without it",
        ))?;
        if now < expires {
            Ok(state)
        } else {
            Err((DenyReason::RequestStateExpired, "the request state has expired; call again without it"))
        }
    }

    fn authentic(&self, sealed: &str, holder: Holder<'_>, request: &RequestDigest) -> Option<(UnixSeconds, String)> {
        let encoded = sealed.strip_prefix(PREFIX).filter(|_| sealed.len() <= MAX_SEALED_BYTES)?;
        let mut envelope = base64url_decode(encoded).ok()?;
        let state =
            (envelope.len() >= EXPIRY_BYTES + TAG_BYTES).then(|| envelope.split_off(EXPIRY_BYTES + TAG_BYTES))?;
        let (expires, tag) = envelope.split_first_chunk::<EXPIRY_BYTES>()?;
        // Each comparison takes constant time.
        let ours = |key| input(key, holder, request, *expires, &state).verify_slice(tag).is_ok();
        if !self.keys.iter().any(ours) {
            return None;
        }
        Some((UnixSeconds::new(i64::from_be_bytes(*expires)), String::from_utf8(state).ok()?))
    }
}

/// What the tag is over. The state comes last and everything before it says how long it is.
fn input(
    key: &RequestStateKey,
    holder: Holder<'_>,
    request: &RequestDigest,
    expires: [u8; EXPIRY_BYTES],
    state: &[u8],
) -> Hmac<Sha256> {
    let field = |mac: Hmac<Sha256>, bytes: &[u8]| {
        mac.chain_update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes()).chain_update(bytes)
    };
    let mac = key.mac().chain_update(LABEL);
    let mac = match holder {
        Holder::Owner(Owner::Badge { issuer, subject }) => {
            field(field(mac.chain_update(b"b"), issuer.as_bytes()), subject.as_bytes())
        }
        Holder::Owner(Owner::ApiKey { name }) => field(mac.chain_update(b"k"), name.as_bytes()),
        Holder::Session(session) => field(mac.chain_update(b"s"), session),
        Holder::Anybody => mac.chain_update(b"a"),
    };
    mac.chain_update(request.0).chain_update(expires).chain_update(state)
}

#[cfg(test)]
mod tests;
