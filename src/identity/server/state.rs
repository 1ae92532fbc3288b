//! The words of the answer: state, error code, result.

use std::fmt;

use crate::identity::did::Did;
use crate::identity::server::DisclosureError;
use crate::identity::trust_level::TrustLevel;

/// How far a server's identity is established (CapiscIO RFC-007 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC-007 defines exactly these three; callers must break if it grows")]
pub enum ServerState {
    /// A trusted badge vouches for the DID and, unless relaxed by name, the server proved that it holds the key.
    VerifiedPrincipal,
    /// The server names a DID that is not, or not fully, established.
    DeclaredPrincipal,
    /// The server names no DID that could be one.
    UnverifiedOrigin,
}

impl ServerState {
    /// capiscio-mcp's spelling, such as `verified_principal`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VerifiedPrincipal => "verified_principal",
            Self::DeclaredPrincipal => "declared_principal",
            Self::UnverifiedOrigin => "unverified_origin",
        }
    }

    /// The spelling of RFC-007, such as `VERIFIED_PRINCIPAL`.
    #[must_use]
    pub const fn rfc_text(self) -> &'static str {
        match self {
            Self::VerifiedPrincipal => "VERIFIED_PRINCIPAL",
            Self::DeclaredPrincipal => "DECLARED_PRINCIPAL",
            Self::UnverifiedOrigin => "UNVERIFIED_ORIGIN",
        }
    }

    /// The number in `capiscio.v1`'s `MCPServerState`.
    #[must_use]
    pub const fn proto(self) -> i32 {
        match self {
            Self::VerifiedPrincipal => 1,
            Self::DeclaredPrincipal => 2,
            Self::UnverifiedOrigin => 3,
        }
    }
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! error_codes {
    ($($(#[$doc:meta])+ $variant:ident = $code:literal, $rfc:literal, $proto:literal;)+) => {
        /// Why a server's identity is not established (CapiscIO RFC-007 §7 and the codes its implementations added).
        ///
        /// Codes of ours that RFC-007 has no name for borrow the nearest of its texts and stay distinct in [`code`](Self::code).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ServerErrorCode { $($(#[$doc])+ $variant,)+ }

        impl ServerErrorCode {
            /// Every code, for tables and tests.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable code in lower snake case, capiscio-mcp's where it has one.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The spelling of RFC-007 and its reference implementation.
            #[must_use]
            pub const fn rfc_text(self) -> &'static str {
                match self { $(Self::$variant => $rfc,)+ }
            }

            /// The number in `capiscio.v1`'s `MCPServerErrorCode`, the nearest where it has none of its own.
            ///
            /// 0 means "no error" there, and stands only for what was left out: a server without a badge or a proof is
            /// merely declared. What was presented and failed has another number, or its reader would take it for good.
            #[must_use]
            pub const fn proto(self) -> i32 {
                match self { $(Self::$variant => $proto,)+ }
            }
        }
    };
}

error_codes! {
    /// The server disclosed no DID.
    IdentityMissing = "identity_missing", "SERVER_IDENTITY_MISSING", 1;
    /// The disclosure is not text, is repeated, or is too long.
    DisclosureMalformed = "disclosure_malformed", "SERVER_DID_RESOLUTION_FAILED", 1;
    /// The DID is malformed or its method is not supported.
    DidInvalid = "did_invalid", "SERVER_DID_RESOLUTION_FAILED", 1;
    /// The server disclosed a DID and no badge.
    BadgeMissing = "badge_missing", "SERVER_BADGE_MISSING", 0;
    /// The badge does not verify.
    BadgeInvalid = "badge_invalid", "SERVER_BADGE_INVALID", 2;
    /// The badge has expired.
    BadgeExpired = "badge_expired", "SERVER_BADGE_INVALID", 3;
    /// The badge is revoked, or its subject is disabled.
    BadgeRevoked = "badge_revoked", "SERVER_BADGE_REVOKED", 4;
    /// Revocation or status could not be established.
    RevocationCheckFailed = "revocation_check_failed", "SERVER_BADGE_INVALID", 2;
    /// The badge's trust level is below the required one.
    TrustInsufficient = "trust_insufficient", "SERVER_TRUST_INSUFFICIENT", 5;
    /// The server's origin is not the one its DID names.
    OriginMismatch = "origin_mismatch", "SERVER_DOMAIN_MISMATCH", 6;
    /// The endpoint's path is not at or below the one the DID names.
    PathMismatch = "path_mismatch", "SERVER_PATH_MISMATCH", 7;
    /// Nothing ties the DID to this connection and the client pins no exact DID.
    OriginUnbound = "origin_unbound", "SERVER_DOMAIN_MISMATCH", 6;
    /// The badge's issuer is not trusted.
    IssuerUntrusted = "issuer_untrusted", "SERVER_ISSUER_UNTRUSTED", 8;
    /// Two disclosures, or DID and badge, name different servers.
    DidMismatch = "did_mismatch", "SERVER_DID_MISMATCH", 2;
    /// The DID is not one that the client expects.
    DidUnexpected = "did_unexpected", "SERVER_DID_MISMATCH", 2;
    /// The server sent no proof of possession that counts on this connection.
    PopMissing = "pop_missing", "SERVER_POP_FAILED", 0;
    /// The proof of possession does not verify.
    PopFailed = "pop_failed", "SERVER_POP_FAILED", 2;
    /// The proof of possession came too late.
    PopExpired = "pop_expired", "SERVER_POP_EXPIRED", 2;
    /// A key needed for verification could not be obtained; trying again later can help.
    KeyFetchFailed = "key_fetch_failed", "SERVER_KEY_FETCH_FAILED", 2;
    /// The answer of a source is not at hand and the verification must not wait for it.
    WouldWait = "would_wait", "SERVER_KEY_FETCH_FAILED", 2;
}

impl fmt::Display for ServerErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What a verification established, fact by fact.
///
/// Decide by [`state`](Self::state) alone: a result without an error code can still be less than verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyResult {
    /// How far the identity is established.
    pub state: ServerState,
    /// The verified badge's trust level.
    pub trust_level: Option<TrustLevel>,
    /// The DID that the server disclosed; verified only as far as `state` says.
    pub server_did: Option<Did>,
    /// The verified badge's `jti`.
    pub badge_jti: Option<String>,
    /// The first check that failed.
    pub error_code: Option<ServerErrorCode>,
    /// One fixed sentence about that check, without anything the server sent.
    pub error_detail: Option<&'static str>,
    /// Every disclosed badge verified and names `server_did`.
    pub badge_verified: bool,
    /// The server proved that it holds the key of `server_did`.
    pub pop_verified: bool,
    /// The DID names the origin that was dialled.
    pub origin_bound: bool,
}

/// The server's identity is not established to the configured degree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerVerifyError {
    code: ServerErrorCode,
    detail: &'static str,
    result: Box<VerifyResult>,
}

/// A failed check: its code and one fixed sentence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure(pub(super) ServerErrorCode, pub(super) &'static str);

impl VerifyResult {
    /// Where every verification begins.
    pub(super) const fn unverified() -> Self {
        Self {
            state: ServerState::UnverifiedOrigin,
            trust_level: None,
            server_did: None,
            badge_jti: None,
            error_code: None,
            error_detail: None,
            badge_verified: false,
            pop_verified: false,
            origin_bound: false,
        }
    }
}

impl ServerVerifyError {
    pub(super) fn new(failure: Failure, facts: VerifyResult) -> Self {
        let Failure(code, detail) = failure;
        let result = VerifyResult { error_code: Some(code), error_detail: Some(detail), ..facts };
        Self { code, detail, result: Box::new(result) }
    }

    pub(super) fn into_result(self) -> VerifyResult {
        *self.result
    }

    /// The first check that failed.
    #[must_use]
    pub const fn code(&self) -> ServerErrorCode {
        self.code
    }

    /// One fixed sentence about that check, without anything the server sent.
    #[must_use]
    pub const fn detail(&self) -> &'static str {
        self.detail
    }

    /// Everything that was established before the failure; its state is never `VerifiedPrincipal`.
    #[must_use]
    pub const fn result(&self) -> &VerifyResult {
        &self.result
    }
}

impl fmt::Display for ServerVerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server identity is not verified (`{}`): {}", self.code, self.detail)
    }
}

impl std::error::Error for ServerVerifyError {}

/// A disclosure that cannot be read is a server that is not verified.
impl From<DisclosureError> for ServerVerifyError {
    fn from(error: DisclosureError) -> Self {
        let failure = match error {
            DisclosureError::Conflict => {
                Failure(ServerErrorCode::DidMismatch, "headers and `_meta` name different servers")
            }
            DisclosureError::Repeated => {
                Failure(ServerErrorCode::DisclosureMalformed, "an identity header comes twice")
            }
            DisclosureError::NotText => {
                Failure(ServerErrorCode::DisclosureMalformed, "a disclosed identity is not text")
            }
            DisclosureError::TooLong => {
                Failure(ServerErrorCode::DisclosureMalformed, "a disclosed identity is too long")
            }
        };
        Self::new(failure, VerifyResult::unverified())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_distinct_and_numbers_are_the_peers() {
        let codes: HashSet<_> = ServerErrorCode::ALL.iter().map(|code| code.code()).collect();
        assert_eq!(codes.len(), ServerErrorCode::ALL.len());
        let numbered = [
            (1, ServerErrorCode::DidInvalid, "did_invalid", "SERVER_DID_RESOLUTION_FAILED"),
            (2, ServerErrorCode::BadgeInvalid, "badge_invalid", "SERVER_BADGE_INVALID"),
            (3, ServerErrorCode::BadgeExpired, "badge_expired", "SERVER_BADGE_INVALID"),
            (4, ServerErrorCode::BadgeRevoked, "badge_revoked", "SERVER_BADGE_REVOKED"),
            (5, ServerErrorCode::TrustInsufficient, "trust_insufficient", "SERVER_TRUST_INSUFFICIENT"),
            (6, ServerErrorCode::OriginMismatch, "origin_mismatch", "SERVER_DOMAIN_MISMATCH"),
            (7, ServerErrorCode::PathMismatch, "path_mismatch", "SERVER_PATH_MISMATCH"),
            (8, ServerErrorCode::IssuerUntrusted, "issuer_untrusted", "SERVER_ISSUER_UNTRUSTED"),
        ];
        for (number, code, seed, rfc) in numbered {
            assert_eq!((code.proto(), code.code(), code.rfc_text()), (number, seed, rfc));
        }
    }

    /// The peer sent "no error" for another server's badge and for a forged proof, and its clients went on.
    #[test]
    fn only_what_was_left_out_is_no_error_to_the_peer() {
        let none: Vec<_> = ServerErrorCode::ALL.iter().filter(|code| code.proto() == 0).collect();
        assert_eq!(none, [&ServerErrorCode::BadgeMissing, &ServerErrorCode::PopMissing]);
    }

    #[test]
    fn states_have_the_spellings_of_seed_and_rfc() {
        let want = [
            (ServerState::VerifiedPrincipal, 1, "verified_principal", "VERIFIED_PRINCIPAL"),
            (ServerState::DeclaredPrincipal, 2, "declared_principal", "DECLARED_PRINCIPAL"),
            (ServerState::UnverifiedOrigin, 3, "unverified_origin", "UNVERIFIED_ORIGIN"),
        ];
        for (state, number, seed, rfc) in want {
            assert_eq!((state.proto(), state.as_str(), state.rfc_text()), (number, seed, rfc));
        }
    }
}
