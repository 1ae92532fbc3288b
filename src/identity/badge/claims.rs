//! The claims of a badge, checked against each other (RFC-002 verification step 3). Nothing here is trusted
//! yet: it is only free of contradictions.

use serde_json::{Map, Value};

use crate::clock::UnixSeconds;
use crate::identity::badge::{BadgeVerifyError, Profile};
use crate::identity::did::Did;
use crate::identity::key::PublicKey;
use crate::identity::server::HttpOrigin;
use crate::identity::trust_level::TrustLevel;

/// Claims with the right types that do not contradict each other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) jti: String,
    pub(super) issuer: Issuing,
    pub(super) subject: Did,
    pub(super) audience: Option<Vec<String>>,
    pub(super) issued_at: UnixSeconds,
    pub(super) expires_at: UnixSeconds,
    pub(super) not_before: Option<UnixSeconds>,
    pub(super) level: TrustLevel,
    pub(super) domain: Option<String>,
    pub(super) key: Option<PublicKey>,
    /// `cnf.kid`, present exactly for IAL-1.
    pub(super) confirmation: Option<String>,
    /// `kid` of the header.
    pub(super) kid: Option<String>,
    /// Tolerances of the profile that the badge needed.
    pub(super) warnings: Vec<&'static str>,
}

/// Who signed, by the shape of `iss`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Issuing {
    /// `iss` is the subject's own did:key: level 0.
    Holder(PublicKey),
    /// `iss` is this origin, word for word: levels 1 to 4.
    Authority(String, HttpOrigin),
}

impl Claims {
    /// Checks a badge from its header to the meaning of its claims: all that depends on its bytes and the profile alone.
    pub(super) fn check(
        (typ, kid): (Option<&str>, Option<&str>),
        mut claims: Map<String, Value>,
        profile: Profile,
    ) -> Result<Self, BadgeVerifyError> {
        let mut warnings = Vec::new();
        check_typ(typ, profile, &mut warnings)?;
        let jti = text(&mut claims, "jti").ok_or(BadgeVerifyError::claims("`jti` is not a non-empty string"))?;
        let iss = text(&mut claims, "iss").ok_or(BadgeVerifyError::claims("`iss` is not a non-empty string"))?;
        let sub = text(&mut claims, "sub").ok_or(BadgeVerifyError::claims("`sub` is not a non-empty string"))?;
        let issued_at = time(&claims, "iat")?.ok_or(BadgeVerifyError::claims("`iat` is missing"))?;
        let expires_at = time(&claims, "exp")?.ok_or(BadgeVerifyError::claims("`exp` is missing"))?;
        let not_before = time(&claims, "nbf")?;
        let audience = claims.remove("aud").map(strings).map(|list| list.ok_or(())).transpose();
        let audience = audience.map_err(|()| BadgeVerifyError::claims("`aud` is not an array of strings"))?;

        let subject = Did::parse(&sub).map_err(|_| BadgeVerifyError::claims("`sub` is not a did:key or did:web"))?;
        let (level, domain) = check_credential(claims.remove("vc"))?;
        let key = check_key(claims.get("key"), &subject)?;
        let confirmation = check_assurance(&claims, level, key.as_ref(), profile, &mut warnings)?;
        let issuer = check_issuer(iss, &sub, &subject, level, profile)?;
        Ok(Self {
            jti,
            issuer,
            // The key in the name of a did:key serves where no `key` repeats it.
            key: key.or_else(|| subject.public_key().cloned()),
            subject,
            audience,
            issued_at,
            expires_at,
            not_before,
            level,
            domain,
            confirmation,
            kid: kid.map(str::to_owned),
            warnings,
        })
    }

    /// Whether they are short enough to be remembered by the ten thousand: a few kilobytes, as the token is no longer than
    /// that, and few texts that each take more room here than there.
    pub(super) fn is_short(&self, token: &str) -> bool {
        const MAX_BYTES: usize = 4 * 1024;
        const MAX_AUDIENCES: usize = 16;
        token.len() <= MAX_BYTES && self.audience.as_ref().is_none_or(|list| list.len() <= MAX_AUDIENCES)
    }
}

/// A missing `typ` is what the reference issuer writes. A wrong one would let another JWS of the same key pass as a
/// badge, a proof of possession for one.
fn check_typ(typ: Option<&str>, profile: Profile, warnings: &mut Vec<&'static str>) -> Result<(), BadgeVerifyError> {
    let tolerant = profile != Profile::Strict;
    match typ {
        Some("JWT") => Ok(()),
        Some(typ) if tolerant && typ.eq_ignore_ascii_case("JWT") => {
            warnings.push("`typ` is not in upper case");
            Ok(())
        }
        None if tolerant => {
            warnings.push("`typ` is absent");
            Ok(())
        }
        _ => Err(BadgeVerifyError::malformed("`typ` is not `JWT`")),
    }
}

/// `vc`: the two types, one of five levels, and a domain from level 2 up.
fn check_credential(vc: Option<Value>) -> Result<(TrustLevel, Option<String>), BadgeVerifyError> {
    let Some(Value::Object(mut vc)) = vc else { return Err(BadgeVerifyError::claims("`vc` is not an object")) };
    let types = vc.remove("type").and_then(strings).unwrap_or_default();
    if !["VerifiableCredential", "AgentIdentity"].iter().all(|want| types.iter().any(|found| found == want)) {
        return Err(BadgeVerifyError::claims("`vc.type` lacks `VerifiableCredential` or `AgentIdentity`"));
    }
    let Some(Value::Object(mut subject)) = vc.remove("credentialSubject") else {
        return Err(BadgeVerifyError::claims("`vc.credentialSubject` is not an object"));
    };
    let level = subject.get("level").and_then(Value::as_str).and_then(|level| level.parse().ok());
    let level: TrustLevel = level.ok_or(BadgeVerifyError::claims("`level` is not one of \"0\" to \"4\""))?;
    // The peer writes an unset domain as an empty string.
    let domain = match subject.remove("domain") {
        None => None,
        Some(Value::String(domain)) => Some(domain).filter(|domain| !domain.is_empty()),
        Some(_) => return Err(BadgeVerifyError::claims("`domain` is not a string")),
    };
    if domain.is_none() && level >= TrustLevel::DomainValidated {
        return Err(BadgeVerifyError::claims("`domain` is missing at level 2 or above"));
    }
    Ok((level, domain))
}

/// `key`: a usable Ed25519 JWK, and for a did:key subject the key that its name already is.
fn check_key(key: Option<&Value>, subject: &Did) -> Result<Option<PublicKey>, BadgeVerifyError> {
    let Some(key) = key else { return Ok(None) };
    let key = PublicKey::from_jwk_expecting(key, subject.public_key());
    let key = key.map_err(|_| BadgeVerifyError::claims("`key` is not a usable Ed25519 JWK"))?;
    if subject.public_key().is_some_and(|own| *own != key) {
        return Err(BadgeVerifyError::claims("`key` is not the key of the did:key subject"));
    }
    Ok(Some(key))
}

/// The matrix of `ial`, `cnf`, `key` and level (RFC-002 verification steps 3d to 3h); gives `cnf.kid` for IAL-1.
fn check_assurance(
    claims: &Map<String, Value>,
    level: TrustLevel,
    key: Option<&PublicKey>,
    profile: Profile,
    warnings: &mut Vec<&'static str>,
) -> Result<Option<String>, BadgeVerifyError> {
    let tolerant = profile != Profile::Strict;
    let proved = match claims.get("ial").map(Value::as_str) {
        Some(Some("0")) => false,
        Some(Some("1")) => true,
        // The peer's issuer leaves it unset. Never read as "1".
        None | Some(Some("")) if tolerant => {
            warnings.push("`ial` is absent or empty and was read as \"0\"");
            false
        }
        _ => return Err(BadgeVerifyError::claims("`ial` is neither \"0\" nor \"1\"")),
    };
    let cnf = claims.get("cnf");
    if !proved {
        if cnf.is_some() {
            return Err(BadgeVerifyError::claims("`cnf` without `ial` \"1\""));
        }
        if key.is_none() {
            if !tolerant {
                return Err(BadgeVerifyError::claims("`key` is missing"));
            }
            warnings.push("`key` is absent");
        }
        return Ok(None);
    }
    if level == TrustLevel::SelfSigned {
        return Err(BadgeVerifyError::claims("`ial` \"1\" at level 0"));
    }
    let key = key.ok_or(BadgeVerifyError::claims("`ial` \"1\" without `key`"))?;
    let kid = cnf.and_then(|cnf| cnf.get("kid")).and_then(Value::as_str).filter(|kid| !kid.is_empty());
    let kid = kid.ok_or(BadgeVerifyError::claims("`ial` \"1\" without `cnf.kid`"))?;
    if cnf.and_then(|cnf| cnf.get("jwk")).is_some_and(|jwk| PublicKey::from_jwk(jwk).as_ref() != Ok(key)) {
        return Err(BadgeVerifyError::claims("`cnf.jwk` is not `key`"));
    }
    Ok(Some(kid.to_owned()))
}

/// The shape of `iss`: the did:key subject itself exactly at level 0, else an https origin (RFC-002 §4.3.1).
fn check_issuer(
    iss: String,
    sub: &str,
    subject: &Did,
    level: TrustLevel,
    profile: Profile,
) -> Result<Issuing, BadgeVerifyError> {
    if level == TrustLevel::SelfSigned {
        let own = subject.public_key().filter(|_| iss == sub);
        let own = own.ok_or(BadgeVerifyError::claims("level 0 and `iss` is not the did:key in `sub`"))?;
        return Ok(Issuing::Holder(own.clone()));
    }
    let origin = HttpOrigin::parse(&iss).ok();
    let origin = origin.filter(|origin| origin.is_tls() || (profile == Profile::Dev && origin.is_loopback()));
    let origin = origin.ok_or(BadgeVerifyError::claims("`iss` is not an https origin"))?;
    Ok(Issuing::Authority(iss, origin))
}

/// A non-empty string, taken out.
fn text(object: &mut Map<String, Value>, name: &str) -> Option<String> {
    let present = object.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    match object.remove(name).filter(|_| present) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// An integer number of seconds; fractions, strings and numbers beyond 64 bits are refused.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<UnixSeconds>, BadgeVerifyError> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_i64() {
            Some(seconds) => Ok(Some(UnixSeconds::new(seconds))),
            None => Err(BadgeVerifyError::claims("`iat`, `exp` or `nbf` is not an integer")),
        },
    }
}

/// An array of strings only.
fn strings(value: Value) -> Option<Vec<String>> {
    let Value::Array(items) = value else { return None };
    let text = |item| if let Value::String(text) = item { Some(text) } else { None };
    items.into_iter().map(text).collect()
}
