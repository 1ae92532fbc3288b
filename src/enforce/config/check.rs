//! From what was said to a configuration that can work: every check that needs the whole picture.

use std::collections::HashSet;
use std::sync::Arc;
#[cfg(feature = "layer")]
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::encoding::{base64url, canonical_json};
use crate::enforce::config::builder::{
    DocumentChoice, EvidenceChoice, GuardConfigBuilder, MAX_API_KEYS, MaxLifetime, RevocationChoice,
};
use crate::enforce::config::{ApiKey, ApiKeys, ConfigProblem, GuardConfig, Inner, network};
#[cfg(feature = "layer")]
use crate::enforce::{
    MAX_REAUTHORIZATION_INTERVAL, MAX_REQUEST_STATE_KEYS, MAX_REQUEST_STATE_LIFETIME, RequestStateKey, RequestStates,
};
use crate::evidence::{EvidenceLog, EvidenceMode};
use crate::identity::badge::{BadgeVerifier, Profile};
use crate::identity::did::Did;
use crate::identity::server::HttpOrigin;
use crate::identity::trust_level::TrustLevel;
use crate::identity::trust_store::Issuer;
use crate::policy::{MAX_LABEL_BYTES, Policy, ToolRequirement};

pub(super) fn build(mut draft: GuardConfigBuilder) -> Result<GuardConfig, Vec<ConfigProblem>> {
    if draft.unread {
        return Err(draft.problems);
    }
    let policy = build_policy(&mut draft);
    let api_keys = build_api_keys(&mut draft);
    network::discover(&mut draft);
    check_issuers(&mut draft);
    if let Some(policy) = &policy {
        check_reachable(&mut draft, policy, &api_keys);
    }
    check_audiences(&mut draft);
    let server_origin = check_server_origin(&mut draft);
    check_evidence(&mut draft, policy.as_ref());
    #[cfg(feature = "layer")]
    check_reauthorization(&mut draft);
    #[cfg(feature = "layer")]
    let request_states = build_request_states(&mut draft);
    // before the sources are made: from here on a plan of a file cannot be told from another of the same mode
    let digest = policy.as_ref().and_then(|policy| digest(&mut draft, policy, &api_keys));
    // what leaves something behind comes last, so that a mistake elsewhere does not
    if draft.problems.is_empty() {
        network::open_revocations(&mut draft);
    }
    let evidence = if draft.problems.is_empty() { open_evidence(&mut draft) } else { None };
    let (Some(policy), Some(evidence), Some(digest), true) = (policy, evidence, digest, draft.problems.is_empty())
    else {
        return Err(draft.problems);
    };
    #[cfg(feature = "layer")]
    let Some(request_states) = request_states else { return Err(draft.problems) };
    Ok(GuardConfig {
        inner: Arc::new(Inner {
            policy,
            verifier: build_verifier(&draft),
            issuers: draft.issuers.iter().chain(&draft.additional_issuers).cloned().collect(),
            revocations: match draft.revocations {
                Some(RevocationChoice::Checked(revocations)) => Some(revocations),
                Some(_) | None => None,
            },
            evidence,
            clock: draft.clock,
            audiences: draft.audiences,
            own_dids: draft.own_dids,
            additional_issuers: draft.additional_issuers.iter().map(|issuer| issuer.origin().to_owned()).collect(),
            api_keys,
            bearer_as_badge: draft.bearer_badges,
            outcomes: draft.outcomes,
            result_hashes: draft.result_hashes,
            receipts: draft.receipts,
            #[cfg(feature = "layer")]
            request_states,
            #[cfg(feature = "layer")]
            reauthorization_interval: draft.reauthorization_interval,
            #[cfg(feature = "layer")]
            calls_outlive_credentials: draft.calls_outlive_credentials,
            server_origin,
            profile: draft.profile,
            metadata_opens_tools: draft.metadata_opens_tools,
            digest,
            warnings: draft.warnings,
        }),
    })
}

fn build_policy(draft: &mut GuardConfigBuilder) -> Option<Policy> {
    let mut policy = Policy::builder().version(std::mem::take(&mut draft.policy_version));
    for (pattern, requirement) in std::mem::take(&mut draft.tools) {
        policy = policy.tool(pattern, requirement);
    }
    for (method, access) in std::mem::take(&mut draft.methods) {
        policy = policy.method(method, access);
    }
    for method in std::mem::take(&mut draft.custom_methods) {
        policy = policy.allow_custom_method(method);
    }
    if let Some(requirement) = default_requirement(draft) {
        policy = policy.default_requirement(requirement);
    }
    if let Some(patterns) = draft.allowed_tools.take() {
        policy = policy.allowed_tools(patterns);
    }
    if draft.unbound_bearer || draft.seed {
        policy = policy.allow_unbound_bearer();
    }
    if draft.metadata_opens_tools {
        policy = policy.metadata_opens_tools();
    }
    if draft.seed {
        policy = policy.seed_semantics(draft.accept_level_zero);
    }
    policy.build().map_err(|problems| draft.problems.extend(problems)).ok()
}

/// The default requirement, from its own name or from capiscio-mcp's global fields.
fn default_requirement(draft: &mut GuardConfigBuilder) -> Option<ToolRequirement> {
    let level = draft.min_trust_level.and_then(|number| match TrustLevel::try_from(number) {
        Ok(level) => Some(level),
        Err(error) => {
            draft.problem("min_trust_level", error.to_string());
            None
        }
    });
    let global = draft.min_trust_level.is_some() || draft.require_badge;
    if let Some(requirement) = draft.default_requirement.take() {
        if global {
            draft.problem(
                "default_requirement",
                "`min_trust_level` and `require_badge` say the same in capiscio-mcp's words; keep one of the two forms",
            );
        }
        return Some(requirement);
    }
    if global && draft.allowed_tools.is_none() && !draft.seed {
        draft.problem(
            "allowed_tools",
            "`min_trust_level` and `require_badge` apply to the tools listed here and are no floor under rules; list patterns, or write the requirement into the rules",
        );
    }
    if !draft.seed && !global && draft.allowed_tools.is_none() {
        return None;
    }
    let requirement = match level {
        Some(TrustLevel::SelfSigned) | None if draft.seed && !draft.require_badge => ToolRequirement::anonymous(),
        Some(TrustLevel::SelfSigned) | None if draft.seed => ToolRequirement::authenticated(),
        Some(level) => ToolRequirement::min_trust(level),
        None => ToolRequirement::authenticated(),
    };
    Some(if draft.require_badge { requirement.require_badge() } else { requirement })
}

fn build_api_keys(draft: &mut GuardConfigBuilder) -> ApiKeys {
    let listed = std::mem::take(&mut draft.api_keys);
    if listed.len() > MAX_API_KEYS {
        draft.problem("api_key", format!("list at most {MAX_API_KEYS} keys"));
        return ApiKeys::default();
    }
    let (mut names, mut digests) = (HashSet::new(), HashSet::new());
    let mut keys = Vec::with_capacity(listed.len());
    for (number, (hex, name)) in listed.into_iter().enumerate() {
        if name.is_empty() || name.len() > MAX_LABEL_BYTES || name.chars().any(char::is_control) {
            draft.problem(
                format!("api_key[{number}].name"),
                format!("write the principal's name, 1 to {MAX_LABEL_BYTES} bytes without control characters"),
            );
        } else if !names.insert(name.clone()) {
            draft.problem(
                format!("api_key[{number}].name"),
                format!("`{name}` is listed twice; give each key its own name"),
            );
        }
        match sha256_from_hex(&hex) {
            None => draft.problem(
                format!("api_key[{number}].sha256"),
                "write the SHA-256 of the key as 64 hexadecimal digits, never the key itself",
            ),
            Some(sha256) if !digests.insert(sha256) => {
                draft
                    .problem(format!("api_key[{number}].sha256"), "this key is listed twice; one key is one principal");
            }
            Some(sha256) => keys.push(ApiKey { sha256, name }),
        }
    }
    ApiKeys(keys)
}

fn sha256_from_hex(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 {
        return None;
    }
    let digits: Vec<u8> = hex
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |high, low| (high << 4) | low);
    }
    Some(bytes)
}

fn check_issuers(draft: &mut GuardConfigBuilder) {
    let mut seen = HashSet::new();
    let mut twice = Vec::new();
    for issuer in draft.issuers.iter().chain(&draft.additional_issuers) {
        if !seen.insert(issuer.origin().to_owned()) {
            twice.push(issuer.origin().to_owned());
        }
    }
    for origin in twice {
        draft.problem(
            "issuer",
            format!("`{origin}` is registered twice; an issuer is trusted for every tool or additional for some, once"),
        );
    }
    for origin in std::mem::take(&mut draft.named_issuers) {
        if !draft.issuers.iter().any(|issuer| issuer.origin() == origin) {
            draft.problem(
                "trusted_issuers",
                format!("`{origin}` has no keys; write an `[[issuer]]` table for it or register it in code"),
            );
        }
    }
}

/// Reports rules that nobody could ever satisfy, or that would decide without what their level stands on.
fn check_reachable(draft: &mut GuardConfigBuilder, policy: &Policy, api_keys: &ApiKeys) {
    let trusts_level_zero = draft.accept_level_zero || !draft.self_signed.is_empty();
    let (mut issuer, mut level_zero, mut caller, mut audience, mut revocation) = (None, None, None, None, None);
    let mut unknown = Vec::new();
    for (key, requirement) in policy.requirements() {
        for origin in requirement.additional_issuers() {
            let known = draft.additional_issuers.iter().chain(&draft.issuers).any(|known| known.origin() == origin);
            if !known {
                unknown.push((format!("{key}.issuers"), origin.clone()));
            }
        }
        let has_issuer = !draft.issuers.is_empty() || !requirement.additional_issuers().is_empty();
        let level = requirement.min_level();
        if level.is_some_and(|level| level >= TrustLevel::Registered) {
            if !has_issuer {
                issuer.get_or_insert_with(|| key.clone());
            }
            if !requirement.is_unbound_bearer_allowed() {
                audience.get_or_insert_with(|| key.clone());
            }
            if level.is_some_and(|level| level >= TrustLevel::DomainValidated) {
                revocation.get_or_insert_with(|| key.clone());
            }
        } else if !requirement.is_anonymous() && !has_issuer && !trusts_level_zero {
            if level.is_some() || requirement.is_badge_required() {
                level_zero.get_or_insert(key);
            } else if api_keys.0.is_empty() {
                caller.get_or_insert(key);
            }
        }
    }
    for (key, origin) in unknown {
        draft.problem(key, format!("`{origin}` is not registered; write an `[[issuer]]` table for it with `additional = true`, or call `additional_issuer`"));
    }
    // the peer starts without all this: nobody has a badge, and badges are for nobody in particular
    if !draft.seed {
        if let Some(key) = issuer {
            draft.problem("trusted_issuers", format!("`{key}` asks for a level that only an issuer can give, and none is trusted; write an `[[issuer]]` table or call `trusted_issuer`"));
        }
        if let Some(key) = level_zero {
            draft.problem("trusted_issuers", format!("`{key}` asks for a badge, and none can be accepted; trust an issuer, a DID in `trusted_self_signed`, or every self-signed badge with `accept_level_zero`"));
        }
        if let Some(key) = caller {
            draft.problem("trusted_issuers", format!("`{key}` asks for a known caller, and none is known; trust an issuer, list an API key, or make the tool anonymous"));
        }
        if let Some(key) = audience.filter(|_| draft.audiences.is_empty() && !draft.unbound_bearer) {
            draft.problem("audiences", format!("`{key}` asks for a badge that names this server, and the server has no name; write its origin such as `https://files.example.com`, or opt out with `allow_unbound_bearer`"));
        }
    }
    if let Some(key) = revocation.filter(|_| draft.revocations.is_none()) {
        draft.problem("revocations", format!("`{key}` asks for level 2 or more, where revocation must be checked; name a file or a source, or opt out with `insecure_no_revocation`"));
    }
}

fn check_audiences(draft: &mut GuardConfigBuilder) {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for audience in &draft.audiences {
        if let Some(advice) = audience_advice(audience) {
            found.push(format!("`{}`: {advice}", audience.escape_debug()));
        } else if !seen.insert(audience) {
            found.push(format!("`{audience}` is listed twice; keep one"));
        }
    }
    for advice in found {
        draft.problem("audiences", advice);
    }
}

/// What to write instead of an audience that no issuer would put into a badge.
fn audience_advice(audience: &str) -> Option<String> {
    const FORM: &str = "write an origin such as `https://files.example.com` or a name such as `urn:example:files`";
    let scheme = audience.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("http" | "https") => match HttpOrigin::parse(audience) {
            Err(_) => Some(FORM.to_owned()),
            Ok(origin) if origin.as_str() != audience => {
                Some(format!("audiences are compared byte for byte; write `{}`", origin.as_str()))
            }
            Ok(_) => None,
        },
        Some(scheme)
            if !scheme.is_empty()
                && audience.len() <= MAX_LABEL_BYTES
                && audience.chars().all(|c| c.is_ascii_graphic()) =>
        {
            None
        }
        Some(_) | None => Some(FORM.to_owned()),
    }
}

fn check_server_origin(draft: &mut GuardConfigBuilder) -> Option<String> {
    let origin = HttpOrigin::parse(&draft.server_origin.take()?);
    if origin.is_err() {
        draft.problem(
            "server_origin",
            "write an http or https origin without a path, such as `https://files.example.com`",
        );
    }
    origin.ok().map(|origin| origin.as_str().to_owned())
}

fn check_evidence(draft: &mut GuardConfigBuilder, policy: Option<&Policy>) {
    let mode = match &draft.evidence {
        None => {
            draft.problem("evidence", "every decision is recorded: write `[evidence]` with `dir`, or pass `EvidenceLog::create_or_open(..)`, in tests `EvidenceLog::in_memory()`");
            return;
        }
        Some(EvidenceChoice::Open(log)) => log.mode(),
        Some(EvidenceChoice::Directory(plan)) => plan.mode,
    };
    if mode == EvidenceMode::BestEffort && draft.profile != Profile::Dev {
        draft.problem("evidence.mode", "best-effort evidence can be lost and is for development; write `bounded` or `strict`, or choose `dangerous_dev_profile` in code");
    }
    if mode == EvidenceMode::BestEffort {
        // Best-effort logs sync when they close, so such a rule would wait in vain and deny every call.
        let rules = policy.into_iter().flat_map(Policy::requirements);
        for (key, _) in rules.filter(|(_, requirement)| requirement.is_durable_evidence()) {
            draft.problem(
                format!("{key}.durable_evidence"),
                "best-effort evidence is never durable in time; drop this or write `mode = \"bounded\"`",
            );
        }
    }
}

fn open_evidence(draft: &mut GuardConfigBuilder) -> Option<EvidenceLog> {
    match draft.evidence.take()? {
        EvidenceChoice::Open(log) => Some(log),
        EvidenceChoice::Directory(plan) => {
            let directory = plan.directory.display().to_string();
            plan.open().map_err(|error| draft.problem("evidence.dir", format!("`{directory}`: {error}"))).ok()
        }
    }
}

fn build_verifier(draft: &GuardConfigBuilder) -> BadgeVerifier {
    let mut verifier = BadgeVerifier::builder().profile(draft.profile).accept_level_zero(draft.accept_level_zero);
    for issuer in &draft.issuers {
        verifier = verifier.issuer(issuer.clone());
    }
    for issuer in &draft.additional_issuers {
        verifier = verifier.additional_issuer(issuer.clone());
    }
    for audience in &draft.audiences {
        verifier = verifier.audience(audience.clone());
    }
    for did in &draft.self_signed {
        verifier = verifier.trusted_self_signed(did.clone());
    }
    verifier = match &draft.revocations {
        Some(RevocationChoice::Checked(revocations)) => verifier.revocations(revocations.clone()),
        Some(RevocationChoice::Unchecked) => verifier.insecure_no_revocation(),
        // no source: levels 2 and up are denied
        #[cfg(feature = "registry")]
        Some(RevocationChoice::Network(_)) => verifier,
        None => verifier,
    };
    verifier = match draft.max_lifetime {
        Some(MaxLifetime::Limited(lifetime)) => verifier.max_lifetime(lifetime),
        Some(MaxLifetime::Unlimited) => verifier.insecure_no_max_lifetime(),
        None => verifier,
    };
    if let Some(DocumentChoice::Source(source)) = &draft.did_documents {
        verifier = verifier.did_documents(Arc::clone(source));
    }
    if let Some(entries) = draft.signature_cache {
        verifier = verifier.signature_cache(entries);
    }
    if let Some(checks) = draft.signature_checks {
        verifier = verifier.signature_checks_per_second(checks);
    }
    verifier.build()
}

#[cfg(feature = "layer")]
fn check_reauthorization(draft: &mut GuardConfigBuilder) {
    if draft.reauthorization_interval.is_zero() || draft.reauthorization_interval > MAX_REAUTHORIZATION_INTERVAL {
        draft.problem("reauthorization_interval", "must be more than zero and at most 45 seconds");
    }
}

#[cfg(feature = "layer")]
fn build_request_states(draft: &mut GuardConfigBuilder) -> Option<RequestStates> {
    let mut keys = std::mem::take(&mut draft.request_state_keys);
    if keys.len() > MAX_REQUEST_STATE_KEYS {
        draft.problem("request_state_key", format!("is given more than {MAX_REQUEST_STATE_KEYS} times"));
    }
    if !(Duration::from_secs(1)..=MAX_REQUEST_STATE_LIFETIME).contains(&draft.request_state_lifetime) {
        draft.problem("request_state_lifetime", "must lie between one second and one day");
    }
    if keys.is_empty() {
        match RequestStateKey::generate() {
            Ok(key) => keys.push(key),
            Err(error) => draft.problem("request_state_key", error.to_string()),
        }
    }
    RequestStates::new(keys, draft.request_state_lifetime)
}

/// `sha256:` over the canonical JSON of everything that bears on a decision.
fn digest(draft: &mut GuardConfigBuilder, policy: &Policy, api_keys: &ApiKeys) -> Option<String> {
    let sorted = |mut items: Vec<Value>| {
        items.sort_by_cached_key(Value::to_string);
        items
    };
    let issuers = |issuers: &[Issuer]| sorted(issuers.iter().map(Issuer::describe).collect());
    let texts = |texts: &mut dyn Iterator<Item = &str>| sorted(texts.map(Value::from).collect());
    let description = json!({
        "policy": policy.describe(),
        "profile": draft.profile.as_str(),
        "trusted_issuers": issuers(&draft.issuers),
        "additional_issuers": issuers(&draft.additional_issuers),
        "trusted_self_signed": texts(&mut draft.self_signed.iter().map(Did::as_str)),
        "accept_level_zero": draft.accept_level_zero,
        "audiences": texts(&mut draft.audiences.iter().map(String::as_str)),
        "own_dids": texts(&mut draft.own_dids.iter().map(Did::as_str)),
        "api_keys": texts(&mut api_keys.0.iter().map(|key| key.name.as_str())),
        "bearer_badges": draft.bearer_badges,
        "revocation": match &draft.revocations {
            Some(RevocationChoice::Checked(revocations)) => revocations.mode().as_str(),
            #[cfg(feature = "registry")]
            Some(RevocationChoice::Network(plan)) => plan.as_str(),
            Some(RevocationChoice::Unchecked) => "unchecked",
            None => "none",
        },
        "did_documents": draft.did_documents.is_some(),
        "network": draft.network.describe(),
        "max_lifetime": match draft.max_lifetime {
            Some(MaxLifetime::Limited(lifetime)) => json!(lifetime.as_secs_f64()),
            Some(MaxLifetime::Unlimited) => json!("unlimited"),
            None => json!("default"),
        },
    });
    match canonical_json(&description) {
        Ok(bytes) => Some(format!("sha256:{}", base64url(&Sha256::digest(bytes)))),
        Err(error) => {
            draft.problem("policy_version", error.to_string());
            None
        }
    }
}
