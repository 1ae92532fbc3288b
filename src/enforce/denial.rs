//! A denied call, as a value and as two audiences may read it.

use std::fmt::Write as _;

use serde_json::{Value, json};

#[cfg(feature = "layer")]
use crate::enforce::Permit;
use crate::enforce::Principal;
use crate::evidence::{EvidenceId, Receipt, escape_for_display};
use crate::identity::trust_level::TrustLevel;
use crate::policy::{AuthLevel, DenyReason};

/// Member of a result's `_meta` that holds a denial in machine-readable form ([`Denial::to_json`]).
pub const META_DENIAL: &str = "rmcp-guard/denial";

/// Longest part of a tool's name that a denial repeats, in bytes; real names are below 128 (MCP 2025-11-25).
const MAX_TARGET_BYTES: usize = 128;

/// The peer's numbers of the two classes that hold more than one reason.
const BADGE_INVALID: u8 = 2;
const ISSUER_UNTRUSTED: u8 = 7;

/// Whether the reason would tell a stranger that a tool exists, or what it asks for.
const fn hides_a_rule(reason: DenyReason) -> bool {
    matches!(
        reason,
        DenyReason::TrustInsufficient
            | DenyReason::ToolNotAllowed
            | DenyReason::MethodNotAllowed
            | DenyReason::RequirementUnreadable
    )
}

/// A denied call: a value, not an error.
///
/// Wrap it in [`GuardError`] where `?` is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub(crate) reason: DenyReason,
    pub(crate) detail: &'static str,
    pub(crate) target: String,
    pub(crate) auth_level: AuthLevel,
    /// The authenticated caller; `None` for anonymous callers and credentials that failed.
    pub(crate) principal: Option<Box<Principal>>,
    pub(crate) required: Option<TrustLevel>,
    pub(crate) evidence_id: Option<EvidenceId>,
    pub(crate) receipt: Option<Box<Receipt>>,
}

/// The class of a reason, which is all that a caller who is not authenticated may read of it (S36).
pub(crate) const fn class_of(reason: DenyReason, offered: AuthLevel) -> DenyReason {
    match offered {
        AuthLevel::Anonymous if hides_a_rule(reason) => DenyReason::BadgeMissing,
        AuthLevel::ApiKey | AuthLevel::Badge if reason.proto_number() == BADGE_INVALID => DenyReason::BadgeInvalid,
        AuthLevel::ApiKey | AuthLevel::Badge if reason.proto_number() == ISSUER_UNTRUSTED => {
            DenyReason::IssuerUntrusted
        }
        AuthLevel::Anonymous | AuthLevel::ApiKey | AuthLevel::Badge => reason,
    }
}

impl Denial {
    /// The denial that replaces the answer of a call that ran, when that answer must not leave.
    #[cfg(feature = "layer")]
    pub(crate) fn withheld(permit: &Permit, target: &str, reason: DenyReason, detail: &'static str) -> Self {
        let principal = permit.principal();
        Self {
            reason,
            detail,
            target: target.to_owned(),
            auth_level: principal.auth_level,
            principal: principal.authenticated(),
            required: None,
            // An id that may lead nowhere is not handed out.
            evidence_id: (reason != DenyReason::EvidenceUnavailable).then_some(permit.evidence_id()),
            receipt: None,
        }
    }

    /// Why, in full: for the application and for evidence.
    #[must_use]
    pub const fn reason(&self) -> DenyReason {
        self.reason
    }

    /// Why, as the caller may read it.
    ///
    /// A caller that was not authenticated learns the class of the reason only: which of several checks a forged
    /// badge failed, or whether a hidden tool exists, is nothing to tell a stranger.
    #[must_use]
    pub const fn public_reason(&self) -> DenyReason {
        if self.principal.is_some() { self.reason } else { class_of(self.reason, self.auth_level) }
    }

    /// A fixed sentence that says what was wrong; for the application, not for a stranger.
    #[must_use]
    pub const fn detail(&self) -> &'static str {
        self.detail
    }

    /// The kind of credential that was offered.
    #[must_use]
    pub const fn auth_level(&self) -> AuthLevel {
        self.auth_level
    }

    /// Who was denied, if the caller was authenticated.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_deref()
    }

    /// The record of this denial; `None` when evidence itself was unavailable, and where the denial was counted together
    /// with others.
    #[must_use]
    pub const fn evidence_id(&self) -> Option<EvidenceId> {
        self.evidence_id
    }

    /// Where the record of this denial stands, to be handed to the caller: `None` where receipts are switched off, where
    /// the place is not known, and for callers that were not authenticated. Those learn the evidence id only (S36): the
    /// index would tell a stranger how much this server is used.
    #[must_use]
    pub fn receipt(&self) -> Option<&Receipt> {
        self.receipt.as_deref()
    }

    /// One line that a person or a model can act on, in capiscio-mcp's form:
    /// `Error executing tool <tool>: <reason>: <detail> (evidence_id=<uuid>)`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut target = escape_for_display(&self.target);
        if target.len() > MAX_TARGET_BYTES {
            let cut = (0..=MAX_TARGET_BYTES).rev().find(|&end| target.is_char_boundary(end)).unwrap_or(0);
            target.truncate(cut);
            target.push('…');
        }
        let mut text = format!("Error executing tool {target}: {}: {}", self.public_reason(), self.public_detail());
        if let (Some(_), Some(level)) = (&self.principal, self.required) {
            let _ = write!(text, "; trust level {level} is required");
        }
        if let Some(id) = self.evidence_id {
            let _ = write!(text, " (evidence_id={id})");
        }
        text
    }

    /// The machine-readable form for a result's `_meta` or an error's `data`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let reason = self.public_reason();
        let mut object = json!({
            "decision": "deny",
            "reason": reason.code(),
            "code": reason.rfc_code(),
            "auth_level": self.auth_level.as_str(),
            "detail": self.public_detail(),
        });
        if let (Some(members), Some(id)) = (object.as_object_mut(), self.evidence_id) {
            members.insert("evidence_id".to_owned(), Value::String(id.to_string()));
        }
        if let (Some(members), Some(_), Some(level)) = (object.as_object_mut(), &self.principal, self.required) {
            members.insert("required_trust_level".to_owned(), level.as_u8().into());
        }
        object
    }

    fn public_detail(&self) -> &'static str {
        if self.principal.is_some() {
            return self.detail;
        }
        public_sentence(self.public_reason())
    }
}

/// What a stranger is told beside the class of the reason.
#[expect(clippy::wildcard_enum_match_arm, reason = "a new reason says nothing specific until somebody decides it may")]
const fn public_sentence(reason: DenyReason) -> &'static str {
    match reason {
        DenyReason::BadgeMissing => "present a badge that this server trusts",
        DenyReason::BadgeExpired => "the badge has expired; renew it",
        DenyReason::BadgeRevoked => "the badge is revoked",
        DenyReason::IssuerUntrusted => "this server cannot accept the badge's issuer",
        DenyReason::RateLimited => "too much is asked by callers who are not known here; try again later",
        DenyReason::EvidenceUnavailable => "the decision could not be recorded; try again later",
        DenyReason::SessionUnbound => "the session is not bound to this caller; open a new one",
        DenyReason::TaskNotFound => "no such task",
        DenyReason::RequestMalformed => "the request is malformed",
        _ => "the credential was not accepted",
    }
}

/// A [`Denial`] as an error, for code that wants `?`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.text())]
#[non_exhaustive]
pub struct GuardError(Denial);

impl GuardError {
    /// The denial.
    #[must_use]
    pub const fn denial(&self) -> &Denial {
        &self.0
    }

    /// Why the call was denied.
    #[must_use]
    pub const fn reason(&self) -> DenyReason {
        self.0.reason()
    }

    /// The record of the denial; `None` when evidence itself was unavailable, and where the denial was counted together with
    /// others.
    #[must_use]
    pub const fn evidence_id(&self) -> Option<EvidenceId> {
        self.0.evidence_id()
    }
}

impl From<Denial> for GuardError {
    fn from(denial: Denial) -> Self {
        Self(denial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(reason: DenyReason, auth_level: AuthLevel, authenticated: bool) -> Denial {
        Denial {
            reason,
            detail: "the inner detail",
            target: "read_file".to_owned(),
            auth_level,
            principal: authenticated.then(|| Box::new(Principal::new(crate::policy::Caller::ApiKey("tester")))),
            required: Some(TrustLevel::DomainValidated),
            evidence_id: None,
            receipt: None,
        }
    }

    /// Attack: a stranger maps the server by comparing denials: which tools exist, which check a forgery failed.
    #[test]
    fn s36_a_stranger_learns_the_class_of_the_reason_only() {
        use AuthLevel::{Anonymous, Badge};
        let hidden = denial(DenyReason::TrustInsufficient, Anonymous, false);
        let unknown = denial(DenyReason::ToolNotAllowed, Anonymous, false);
        assert_eq!(hidden.text(), unknown.text());
        assert_eq!(hidden.to_json(), unknown.to_json());
        assert_eq!(hidden.public_reason(), DenyReason::BadgeMissing);

        let forged = denial(DenyReason::BadgeSignatureInvalid, Badge, false);
        let foreign = denial(DenyReason::AudienceMismatch, Badge, false);
        assert_eq!(forged.text(), foreign.text());
        assert_eq!(forged.public_reason(), DenyReason::BadgeInvalid);
        assert!(!forged.text().contains("inner detail"));
        assert!(!forged.text().contains("level 2"));
    }

    #[test]
    fn an_authenticated_caller_learns_what_is_needed() {
        let low = denial(DenyReason::TrustInsufficient, AuthLevel::Badge, true);
        assert_eq!(
            low.text(),
            "Error executing tool read_file: trust_insufficient: the inner detail; trust level 2 is required"
        );
        assert_eq!(low.to_json()["required_trust_level"], 2);
    }

    #[test]
    fn a_denial_says_what_kind_of_credential_was_shown() {
        for (shown, text) in
            [(AuthLevel::Anonymous, "anonymous"), (AuthLevel::ApiKey, "api_key"), (AuthLevel::Badge, "badge")]
        {
            let object = denial(DenyReason::TrustInsufficient, shown, false).to_json();
            assert_eq!(object["auth_level"], text);
        }
    }

    #[test]
    fn a_hostile_tool_name_stays_on_one_bounded_line() {
        let mut hostile = denial(DenyReason::ToolNotAllowed, AuthLevel::Badge, true);
        hostile.target = format!("a\nDENIED by nobody\u{202e}{}", "é".repeat(500));
        let text = hostile.text();
        assert!(!text.contains('\n') && !text.contains('\u{202e}'), "{text}");
        assert!(text.len() < 400, "{}", text.len());
    }
}
