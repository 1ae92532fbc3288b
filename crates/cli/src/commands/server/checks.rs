//! Which checks of a server's verification passed, which one failed, and which were not reached.

use rmcp_guard::identity::server::{ServerErrorCode, ServerVerifyError};
use serde_json::{Value, json};

use crate::output::{Mark, Text};

/// The checks in the order in which they are made. The first that fails ends the verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Check {
    Disclosure,
    Did,
    ExpectedDid,
    BadgeDisclosed,
    BadgeSubject,
    Binding,
    BadgeIssuer,
    IssuerKeys,
    BadgeSignature,
    BadgeExpiry,
    Revocation,
    TrustLevel,
    ProofOfPossession,
}

impl Check {
    const ALL: [Self; 13] = [
        Self::Disclosure,
        Self::Did,
        Self::ExpectedDid,
        Self::BadgeDisclosed,
        Self::BadgeSubject,
        Self::Binding,
        Self::BadgeIssuer,
        Self::IssuerKeys,
        Self::BadgeSignature,
        Self::BadgeExpiry,
        Self::Revocation,
        Self::TrustLevel,
        Self::ProofOfPossession,
    ];

    /// In JSON and for people alike.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Disclosure => "disclosure",
            Self::Did => "did",
            Self::ExpectedDid => "expected_did",
            Self::BadgeDisclosed => "badge_disclosed",
            Self::BadgeSubject => "badge_subject",
            Self::Binding => "binding",
            Self::BadgeIssuer => "badge_issuer",
            Self::IssuerKeys => "issuer_keys",
            Self::BadgeSignature => "badge_signature",
            Self::BadgeExpiry => "badge_expiry",
            Self::Revocation => "revocation",
            Self::TrustLevel => "trust_level",
            Self::ProofOfPossession => "proof_of_possession",
        }
    }

    /// The check that a code comes from; `None` for a code that is not known here.
    fn of(error: &ServerVerifyError) -> Option<Self> {
        let facts = error.result();
        Some(match error.code() {
            ServerErrorCode::IdentityMissing | ServerErrorCode::DisclosureMalformed => Self::Disclosure,
            ServerErrorCode::DidInvalid => Self::Did,
            ServerErrorCode::DidUnexpected => Self::ExpectedDid,
            ServerErrorCode::BadgeMissing => Self::BadgeDisclosed,
            // Headers and `_meta` that name two servers end it before there is one DID.
            ServerErrorCode::DidMismatch if facts.server_did.is_none() => Self::Disclosure,
            ServerErrorCode::DidMismatch => Self::BadgeSubject,
            ServerErrorCode::OriginMismatch | ServerErrorCode::PathMismatch | ServerErrorCode::OriginUnbound => {
                Self::Binding
            }
            ServerErrorCode::IssuerUntrusted => Self::BadgeIssuer,
            ServerErrorCode::KeyFetchFailed if !facts.badge_verified => Self::IssuerKeys,
            ServerErrorCode::BadgeInvalid => Self::BadgeSignature,
            ServerErrorCode::BadgeExpired => Self::BadgeExpiry,
            ServerErrorCode::BadgeRevoked | ServerErrorCode::RevocationCheckFailed => Self::Revocation,
            ServerErrorCode::TrustInsufficient => Self::TrustLevel,
            ServerErrorCode::PopMissing
            | ServerErrorCode::PopFailed
            | ServerErrorCode::PopExpired
            | ServerErrorCode::KeyFetchFailed => Self::ProofOfPossession,
            ServerErrorCode::WouldWait | _ => return None,
        })
    }
}

/// What was asked for, so that a check that nobody asked for does not count as passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) expected_did: bool,
    pub(super) level: bool,
    pub(super) revocation: bool,
}

impl Asked {
    const fn for_check(self, check: Check) -> bool {
        match check {
            Check::ExpectedDid => self.expected_did,
            Check::TrustLevel => self.level,
            Check::Revocation => self.revocation,
            Check::Disclosure
            | Check::Did
            | Check::BadgeDisclosed
            | Check::BadgeSubject
            | Check::Binding
            | Check::BadgeIssuer
            | Check::IssuerKeys
            | Check::BadgeSignature
            | Check::BadgeExpiry
            | Check::ProofOfPossession => true,
        }
    }
}

/// How each check came out, with a word on those that did not pass.
#[derive(Debug)]
pub(super) struct Outcomes(Vec<(Check, Mark, &'static str)>);

impl Outcomes {
    /// `error` is the first check that failed; `None` when all passed.
    pub(super) fn of(error: Option<&ServerVerifyError>, asked: Asked) -> Self {
        let failed = error.and_then(Check::of);
        let outcome = |check: Check| match (error, failed) {
            (Some(error), Some(at)) if check == at => (Mark::Failed, error.detail()),
            (Some(_), Some(at)) if check > at => (Mark::Skipped, "not reached"),
            // What is wrong with the badge as such may show before its issuer is looked at.
            (Some(_), Some(Check::BadgeSignature)) if check >= Check::BadgeIssuer => (Mark::Skipped, "not established"),
            (Some(_), None) => (Mark::Skipped, "not established"),
            _ if !asked.for_check(check) => (Mark::Skipped, "not asked for"),
            _ => (Mark::Passed, ""),
        };
        Self(
            Check::ALL
                .into_iter()
                .map(|check| (check, outcome(check)))
                .map(|(check, (mark, word))| (check, mark, word))
                .collect(),
        )
    }

    pub(super) fn to_json(&self) -> Value {
        let row = |(check, mark, word): &(Check, Mark, &'static str)| {
            let detail = if word.is_empty() { Value::Null } else { (*word).into() };
            json!({ "check": check.as_str(), "outcome": mark.as_str(), "detail": detail })
        };
        self.0.iter().map(row).collect()
    }

    pub(super) fn add_to(&self, text: Text) -> Text {
        self.0.iter().fold(text, |text, (check, mark, word)| text.check(*mark, check.as_str(), word))
    }
}
