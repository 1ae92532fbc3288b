//! RFC-003's checks of a proof, each with its code.

#[cfg(doc)]
use super::{MAX_PROOF_LIFETIME, PROOF_TYP};

/// Why a proof does not count. [`code`](Self::code) and [`http_status`](Self::http_status) are RFC-003's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.detail())]
#[non_exhaustive]
pub enum ProofError {
    /// The id of the challenge is not `ch-` and a UUID.
    InvalidChallengeId,
    /// There is no such challenge.
    ChallengeNotFound,
    /// The challenge, or the proof, is about another DID than the one in the path.
    SubjectMismatch,
    /// The challenge was answered before.
    ChallengeUsed,
    /// The challenge has expired.
    ChallengeExpired,
    /// Not a compact `EdDSA` JWS of type [`PROOF_TYP`] with the claims of a proof, its nonce or method included.
    InvalidProof,
    /// The proof has no `cid`.
    MissingChallengeId,
    /// The proof has no `exp`.
    MissingExpiry,
    /// The proof answers another challenge.
    ChallengeIdMismatch,
    /// The proof is meant for another authority.
    AudienceMismatch,
    /// The proof is meant for another URL.
    TargetMismatch,
    /// The proof's `iat` lies outside of the challenge's time.
    IssuedAtInvalid,
    /// The proof lives longer than [`MAX_PROOF_LIFETIME`].
    LifetimeTooLong,
    /// The proof has expired.
    ProofExpired,
    /// The proof outlives the challenge.
    ExpiryOutsideChallenge,
    /// The DID document cannot be obtained.
    DidResolutionFailed,
    /// The DID document is not sound.
    DidDocumentInvalid,
    /// The DID document has no usable key of the proof's id.
    KeyNotFound,
    /// The key is not one that the DID authenticates with.
    KeyNotInAuthentication,
    /// The signature does not verify.
    SignatureInvalid,
}

impl ProofError {
    /// RFC-003's code, which goes into the answer's `error`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidChallengeId => "invalid_challenge_id",
            Self::ChallengeNotFound => "challenge_not_found",
            Self::SubjectMismatch => "subject_mismatch",
            Self::ChallengeUsed => "challenge_used",
            Self::ChallengeExpired => "challenge_expired",
            Self::InvalidProof => "invalid_proof",
            Self::MissingChallengeId => "missing_cid",
            Self::MissingExpiry => "missing_exp",
            Self::ChallengeIdMismatch => "cid_mismatch",
            Self::AudienceMismatch => "audience_mismatch",
            Self::TargetMismatch => "htu_mismatch",
            Self::IssuedAtInvalid => "iat_invalid",
            Self::LifetimeTooLong => "exp_too_long",
            Self::ProofExpired => "proof_expired",
            Self::ExpiryOutsideChallenge => "exp_outside_challenge_window",
            Self::DidResolutionFailed => "did_resolution_failed",
            Self::DidDocumentInvalid => "did_document_invalid",
            Self::KeyNotFound => "kid_not_found",
            Self::KeyNotInAuthentication => "key_not_in_authentication",
            Self::SignatureInvalid => "proof_verification_failed",
        }
    }

    /// The number of the HTTP status that RFC-003 gives to the code.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::InvalidChallengeId | Self::InvalidProof | Self::MissingChallengeId | Self::MissingExpiry => 400,
            Self::ChallengeNotFound => 404,
            Self::DidResolutionFailed | Self::DidDocumentInvalid => 502,
            Self::SubjectMismatch
            | Self::ChallengeUsed
            | Self::ChallengeExpired
            | Self::ChallengeIdMismatch
            | Self::AudienceMismatch
            | Self::TargetMismatch
            | Self::IssuedAtInvalid
            | Self::LifetimeTooLong
            | Self::ProofExpired
            | Self::ExpiryOutsideChallenge
            | Self::KeyNotFound
            | Self::KeyNotInAuthentication
            | Self::SignatureInvalid => 403,
        }
    }

    /// One fixed sentence, without anything the other side sent.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::InvalidChallengeId => "the challenge's id is malformed",
            Self::ChallengeNotFound => "there is no such challenge",
            Self::SubjectMismatch => "the challenge or the proof is about another DID",
            Self::ChallengeUsed => "the challenge was answered before",
            Self::ChallengeExpired => "the challenge has expired",
            Self::InvalidProof => "the proof is malformed",
            Self::MissingChallengeId => "the proof names no challenge",
            Self::MissingExpiry => "the proof names no expiry",
            Self::ChallengeIdMismatch => "the proof answers another challenge",
            Self::AudienceMismatch => "the proof is meant for another authority",
            Self::TargetMismatch => "the proof is meant for another URL",
            Self::IssuedAtInvalid => "the proof was made outside of the challenge's time",
            Self::LifetimeTooLong => "the proof lives longer than 60 seconds",
            Self::ProofExpired => "the proof has expired",
            Self::ExpiryOutsideChallenge => "the proof outlives the challenge",
            Self::DidResolutionFailed => "the DID document cannot be obtained",
            Self::DidDocumentInvalid => "the DID document is not sound",
            Self::KeyNotFound => "the DID document has no usable key of this id",
            Self::KeyNotInAuthentication => "the DID does not authenticate with this key",
            Self::SignatureInvalid => "the proof's signature does not verify",
        }
    }
}
