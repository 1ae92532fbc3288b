//! Badges for whoever proves its key (IAL-1, RFC-003).

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use rmcp_guard::identity::badge::BadgeRequest;
use rmcp_guard::identity::did::{Did, DidDocument};
use rmcp_guard::identity::pop::issuance::{
    ChallengeId, DEFAULT_CHALLENGE_LIFETIME, MAX_CHALLENGE_LIFETIME, ProofError,
};
use rmcp_guard::identity::remote::DidResolveError;
use rmcp_guard::identity::trust_level::TrustLevel;
use serde_json::json;

use crate::ca::api::badges::issued_answer;
use crate::ca::api::input::{self, BadgeBody, Object};
use crate::ca::api::{Answer, App, Peer, ok};
use crate::ca::challenges::{self, Pending, refused};
use crate::ca::error::CaError;
use crate::ca::limits::network;
use crate::ca::subjects::{self, Kind, Subject};
use crate::ca::time::{now, rfc3339};
use crate::ca::{accounts::Caller, badges, policy};

/// The shortest life of a challenge: time to answer it.
const MIN_CHALLENGE_LIFETIME: Duration = Duration::from_secs(10);

/// The DID of a path, which is one of the subject's.
fn did_of(subject: &Subject, text: &str) -> Result<Did, CaError> {
    match Did::parse(text) {
        Ok(did) => Ok(did),
        // An id stands for the DID that the owner knows.
        Err(_) if uuid::Uuid::try_parse(text).is_ok() => Ok(subject.named().clone()),
        Err(error) => Err(CaError::invalid("invalid_did", error.to_string())),
    }
}

/// `POST /v1/agents/{did}/badge/challenge`, by the owner's API key or with a badge that the subject still has.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Peer(address): Peer,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Object,
) -> Answer {
    app.limits.challenges_of_ip.take(network(address), Instant::now())?;
    let body: BadgeBody = body.parse()?;
    let lifetime = body.challenge_ttl.map_or(DEFAULT_CHALLENGE_LIFETIME, Duration::from_secs);
    if lifetime < MIN_CHALLENGE_LIFETIME || lifetime > MAX_CHALLENGE_LIFETIME {
        return Err(CaError::invalid("invalid_ttl", "the lifetime of a challenge is not 10 to 600 seconds"));
    }
    let ask = body.ask()?;
    let caller = input::caller(&app, &headers, address).await?;
    let holder = if caller.is_none() { Some(holder(&app, &headers).await?) } else { None };

    let work = move |app: &App| {
        app.store.write(|connection| {
            let subject = subjects::find(connection, &id, Kind::Agent)?;
            let did = did_of(&subject, &id)?;
            may_ask(&subject, caller.as_ref(), holder.as_ref())?;
            subject.check_enabled()?;
            app.limits.challenges.take(did.as_str().to_owned(), Instant::now())?;
            app.limits.challenges_of_account.take(subject.account.clone(), Instant::now())?;
            // What cannot be granted is refused now, not after the proof.
            policy::decide(connection, &subject, &ask)?;
            let badge_ttl = app.policy.lifetime(&ask)?.as_secs();
            let challenge = challenges::create(connection, &app.origin, &subject, did, &ask, lifetime, now())?;
            Ok((challenge, badge_ttl, ask.audience))
        })
    };
    let (challenge, badge_ttl, badge_aud) = app.blocking(work).await?;
    let offer = challenge.offer();
    let expires = rfc3339(offer.expires_at.as_i64());
    Ok(ok(&json!({
        "challenge_id": offer.challenge_id,
        "nonce": offer.nonce,
        "challenge_expires_at": expires,
        "proof_aud": offer.proof_aud,
        "htu": offer.htu,
        "htm": offer.htm,
        "badge_aud": badge_aud,
        "badge_ttl": badge_ttl,
        // as the Go client spells them
        "expires_at": expires,
        "aud": offer.proof_aud,
    })))
}

/// The subject of a badge of ours, level 1 or more, that is for us or for nobody in particular.
async fn holder(app: &Arc<App>, headers: &HeaderMap) -> Result<Did, CaError> {
    let unauthorized = || CaError::refused(401, "unauthorized", "an API key or a badge of this CA is needed");
    let token = if let Some(token) = input::single(headers, "x-capiscio-badge")? {
        token
    } else {
        let value = input::single(headers, header::AUTHORIZATION.as_str())?.ok_or_else(unauthorized)?;
        let (scheme, token) = value.split_once(' ').ok_or_else(unauthorized)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(unauthorized());
        }
        token.trim()
    };
    match app.verify(token.to_owned()).await? {
        Ok(badge) if badge.level() >= TrustLevel::Registered => Ok(badge.subject().clone()),
        _ => Err(unauthorized()),
    }
}

fn may_ask(subject: &Subject, caller: Option<&Caller>, holder: Option<&Did>) -> Result<(), CaError> {
    match (caller, holder) {
        (Some(caller), _) => subject.check_owner(&caller.account),
        (None, Some(holder)) if *holder == subject.did || Some(holder) == subject.alias.as_ref() => Ok(()),
        _ => Err(CaError::refused(403, "agent_not_owned", "the badge is another agent's")),
    }
}

/// `POST …/badge/pop`, where the Go client brings its proof.
pub(super) async fn prove(State(app): State<Arc<App>>, Path(id): Path<String>, body: Object) -> Answer {
    let body: BadgeBody = body.parse()?;
    match body.mode.as_deref() {
        None | Some("" | "ial1") => redeem(app, id, body).await,
        Some(_) => Err(CaError::invalid("invalid_mode", "a proof brings a badge of `ial1`")),
    }
}

/// A badge for a proof: RFC-003's 24 checks in its order. No API key is needed, and nothing but the proof is read of
/// the request: what the badge says was settled with the challenge.
pub(super) async fn redeem(app: Arc<App>, id: String, body: BadgeBody) -> Answer {
    // check 1
    let challenge = ChallengeId::parse(body.challenge_id.as_deref().unwrap_or_default()).map_err(refused)?;
    let proof = body.proof_jws.ok_or_else(|| refused(ProofError::InvalidProof))?;
    // check 2
    let (pending, subject, did) = app
        .blocking(move |app| {
            app.store.read(|connection| {
                let pending = challenges::find(connection, &app.origin, challenge)?;
                let subject = subjects::find(connection, &pending.subject, Kind::Agent)?;
                let did = did_of(&subject, &id)?;
                Ok((pending, subject, did))
            })
        })
        .await?;
    let blocked = pending.challenge.did.as_str().to_owned();
    app.limits.failed_proofs.check(&blocked, Instant::now())?;

    // checks 3 to 23
    let verified = match verify(&app, &pending, &subject, &did, &proof).await {
        Ok(verified) => verified,
        Err(error) => {
            // Not the proof's fault, or no proof at all.
            let counts = !matches!(
                error,
                ProofError::SubjectMismatch
                    | ProofError::ChallengeUsed
                    | ProofError::ChallengeExpired
                    | ProofError::DidResolutionFailed
                    | ProofError::DidDocumentInvalid
            );
            if counts {
                app.limits.failed_proofs.count(&blocked, Instant::now());
            }
            return Err(refused(error));
        }
    };

    let issued = app
        .blocking(move |app| {
            app.store.write(|connection| {
                // check 24: with the badge or not at all
                challenges::use_up(connection, challenge, now())?;
                // The time since the challenge may have changed whose it is and what it may have.
                let subject = subjects::find(connection, &pending.subject, Kind::Agent)?;
                let known = [Some(&subject.did), subject.alias.as_ref()].contains(&Some(&did));
                let current = !app.origin.hosts(&did) || subject.key.as_ref() == Some(verified.key());
                if !known || !current {
                    return Err(refused(ProofError::SubjectMismatch));
                }
                app.limit_badges(did.as_str(), &subject.account)?;
                let (level, domain) = policy::decide(connection, &subject, &pending.ask)?;
                if subject.alias.as_ref() == Some(&did) {
                    subjects::mark_proven(connection, &subject, now())?;
                }
                let mut request = BadgeRequest::new(did, verified.key().clone(), level)
                    .lifetime(app.policy.lifetime(&pending.ask)?)
                    .proven(verified.key_id());
                request.domain = domain;
                request.audience = pending.ask.audience;
                badges::issue(connection, &app.ring, &subject, request, now())
            })
        })
        .await?;
    Ok(issued_answer(&issued))
}

async fn verify(
    app: &App,
    pending: &Pending,
    subject: &Subject,
    did: &Did,
    proof: &str,
) -> Result<rmcp_guard::identity::pop::issuance::VerifiedProof, ProofError> {
    let checked = pending.challenge.check(did, proof, now())?;
    if let Some(document) = subject.local_document(did) {
        return checked.verify(&document);
    }
    // Ours, and without a key.
    if app.origin.hosts(did) {
        return Err(ProofError::DidDocumentInvalid);
    }
    let document: Arc<DidDocument> = app.documents.resolve(did).await.map_err(|error| match error {
        DidResolveError::Document(_) => ProofError::DidDocumentInvalid,
        DidResolveError::Fetch(_) | _ => ProofError::DidResolutionFailed,
    })?;
    checked.verify(&document)
}
