use std::env::VarError;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::clock::UnixSeconds;
use crate::enforce::config::env::log_level_from;
use crate::evidence::{EvidenceMode, EvidenceOptions};
use crate::identity::badge::{BadgeContext, BadgeIssuer, BadgeRequest, VerifiedBadge};
use crate::identity::key::SigningKey;
use crate::identity::trust_level::TrustLevel;
use crate::identity::trust_store::Issuer;
use crate::policy::{Caller, Decision, DenyReason, GuardedMethod, MethodAccess, ToolRequirement};

pub(super) const REGISTRY: &str = "https://registry.example.com";
pub(super) const AUDIENCE: &str = "https://files.example.com";
pub(super) const JWKS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
/// SHA-256 of `key` and of the empty text.
const KEY_SHA256: &str = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";
const OTHER_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const DID: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";

fn issuer(origin: &str) -> Issuer {
    Issuer::jwks(origin, JWKS).unwrap()
}

/// A builder to which only rules are missing.
pub(super) fn complete() -> GuardConfigBuilder {
    GuardConfig::builder()
        .audience(AUDIENCE)
        .trusted_issuer(issuer(REGISTRY))
        .insecure_no_revocation()
        .evidence(EvidenceLog::in_memory())
}

pub(super) fn level(number: u8) -> ToolRequirement {
    ToolRequirement::min_trust(TrustLevel::try_from(number).unwrap())
}

pub(super) fn keys(builder: GuardConfigBuilder) -> Vec<String> {
    match builder.build() {
        Ok(_) => Vec::new(),
        Err(error) => error.problems().iter().map(|problem| problem.key.clone()).collect(),
    }
}

fn best_effort() -> EvidenceLog {
    EvidenceOptions::default().mode(EvidenceMode::BestEffort).in_memory().unwrap()
}

#[cfg(feature = "layer")]
#[test]
fn rounds_and_streams_have_bounds() {
    use crate::enforce::{
        MAX_REAUTHORIZATION_INTERVAL, MAX_REQUEST_STATE_KEYS, MAX_REQUEST_STATE_LIFETIME, RequestStateKey,
    };

    let with_keys = |count: usize| {
        let key = || RequestStateKey::generate().unwrap();
        (0..count).fold(complete(), |config, _| config.request_state_key(key()))
    };
    assert!(keys(with_keys(MAX_REQUEST_STATE_KEYS)).is_empty());
    assert_eq!(keys(with_keys(MAX_REQUEST_STATE_KEYS + 1)), ["request_state_key"]);

    let tick = Duration::from_nanos(1);
    for (lifetime, fine) in [
        (Duration::from_millis(999), false),
        (Duration::from_secs(1), true),
        (MAX_REQUEST_STATE_LIFETIME, true),
        (MAX_REQUEST_STATE_LIFETIME + tick, false),
    ] {
        assert_eq!(keys(complete().request_state_lifetime(lifetime)).is_empty(), fine, "{lifetime:?}");
    }
    for (interval, fine) in [
        (Duration::ZERO, false),
        (tick, true),
        (MAX_REAUTHORIZATION_INTERVAL, true),
        (MAX_REAUTHORIZATION_INTERVAL + tick, false),
    ] {
        assert_eq!(keys(complete().reauthorization_interval(interval)).is_empty(), fine, "{interval:?}");
    }
    assert!(MAX_REAUTHORIZATION_INTERVAL + crate::enforce::MAX_AUTHENTICATION <= Duration::from_secs(60), "S18");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn every_mistake_is_named_by_its_key() {
    let bare = || GuardConfig::builder().evidence(EvidenceLog::in_memory());
    let did = || Did::parse(DID).unwrap();
    let table: Vec<(&str, GuardConfigBuilder, &[&str])> = vec![
        ("nothing wrong", complete().tool("read_*", level(4)), &[]),
        ("no rules at all", complete(), &[]),
        ("no evidence", GuardConfig::builder(), &["evidence"]),
        ("best effort outside dev", GuardConfig::builder().evidence(best_effort()), &["evidence.mode"]),
        ("bad glob", complete().tool("read_[", level(1)), &[r#"tools."read_[""#]),
        ("same rule twice", complete().tool("read", level(1)).tool("read", level(2)), &[r#"tools."read""#]),
        ("same rule in other words", complete().tool("r[e]ad", level(1)).tool("read", level(2)), &[r#"tools."read""#]),
        ("same glob in other words", complete().tool("a*", level(1)).tool("a**", level(2)), &[r#"tools."a*""#]),
        (
            "overlap of equal rank",
            complete().tool("*_a", level(1)).tool("a_*", level(1)).tool("b?*", level(1)).tool("b*?", level(1)),
            &[r#"tools."b?*""#],
        ),
        ("level without issuer", bare().audience(AUDIENCE).tool("a", level(1)), &["trusted_issuers"]),
        (
            "badge without issuer",
            bare().tool("a", ToolRequirement::authenticated().require_badge()),
            &["trusted_issuers"],
        ),
        ("level 0 without trust", bare().tool("a", level(0)), &["trusted_issuers"]),
        ("level 0 with trust in one key", bare().tool("a", level(0)).trusted_self_signed(did()), &[]),
        ("level 0 with trust in all keys", bare().tool("a", level(0)).accept_level_zero(true), &[]),
        ("known caller, none known", bare().tool("a", ToolRequirement::authenticated()), &["trusted_issuers"]),
        ("known caller by key", bare().tool("a", ToolRequirement::authenticated()).api_key(KEY_SHA256, "bot"), &[]),
        ("s01 no audience", bare().trusted_issuer(issuer(REGISTRY)).tool("a", level(1)), &["audiences"]),
        (
            "s01 opted out for the tool",
            bare().trusted_issuer(issuer(REGISTRY)).tool("a", level(1).allow_unbound_bearer()),
            &[],
        ),
        (
            "s01 opted out everywhere",
            bare().trusted_issuer(issuer(REGISTRY)).tool("a", level(1)).allow_unbound_bearer(),
            &[],
        ),
        (
            "no revocation below level 2",
            bare().audience(AUDIENCE).trusted_issuer(issuer(REGISTRY)).tool("a", level(1)),
            &[],
        ),
        (
            "no revocation at level 2",
            bare().audience(AUDIENCE).trusted_issuer(issuer(REGISTRY)).tool("a", level(2)),
            &["revocations"],
        ),
        (
            "method without revocation",
            bare()
                .audience(AUDIENCE)
                .trusted_issuer(issuer(REGISTRY))
                .method(GuardedMethod::Prompts, MethodAccess::Require(level(2))),
            &["revocations"],
        ),
        (
            "additional issuer unknown",
            complete().tool("a", level(1).trust_issuer("https://x.example")),
            &[r#"tools."a".issuers"#],
        ),
        (
            "additional issuer known",
            complete()
                .additional_issuer(issuer("https://x.example"))
                .tool("a", level(1).trust_issuer("https://x.example")),
            &[],
        ),
        ("issuer twice", complete().trusted_issuer(issuer(REGISTRY)), &["issuer"]),
        ("issuer trusted and additional", complete().additional_issuer(issuer(REGISTRY)), &["issuer"]),
        ("audience with path", complete().audience("https://files.example.com/mcp"), &["audiences"]),
        ("audience in capitals", complete().audience("https://FILES.example.com"), &["audiences"]),
        ("audience with port", complete().audience("https://other.example.com:443"), &["audiences"]),
        ("audience without scheme", complete().audience("files.example.com"), &["audiences"]),
        ("audience empty", complete().audience(""), &["audiences"]),
        ("audience with space", complete().audience("urn:a b"), &["audiences"]),
        ("audience twice", complete().audience(AUDIENCE), &["audiences"]),
        ("audience by name", complete().audience("urn:capiscio:trust-domain:a"), &[]),
        ("server origin", complete().server_origin("files"), &["server_origin"]),
        ("api key itself", complete().api_key("key", "bot"), &["api_key[0].sha256"]),
        ("api key not hex", complete().api_key("g".repeat(64), "bot"), &["api_key[0].sha256"]),
        ("api key not ascii", complete().api_key("\u{e9}".repeat(32), "bot"), &["api_key[0].sha256"]),
        ("api key without name", complete().api_key(KEY_SHA256, ""), &["api_key[0].name"]),
        (
            "api key twice",
            complete().api_key(KEY_SHA256, "a").api_key(KEY_SHA256.to_uppercase(), "b"),
            &["api_key[1].sha256"],
        ),
        ("name twice", complete().api_key(KEY_SHA256, "a").api_key(OTHER_SHA256, "a"), &["api_key[1].name"]),
        ("level out of range", complete().min_trust_level(5).allowed_tools(["a"]), &["min_trust_level"]),
        ("global minimum for no tools", complete().min_trust_level(2), &["allowed_tools"]),
        (
            "two defaults",
            complete().min_trust_level(2).allowed_tools(["a"]).default_requirement(level(1)),
            &["default_requirement"],
        ),
        ("bad pattern in the list", complete().allowed_tools(["[bad", "a"]), &["allowed_tools"]),
        ("bad pattern, seed", complete().seed_semantics().allowed_tools(["[bad"]), &[]),
        ("nobody, seed", bare().seed_semantics().min_trust_level(1), &[]),
        ("custom method empty", complete().allow_custom_method(""), &["custom_methods"]),
        (
            "method twice",
            complete()
                .method(GuardedMethod::Prompts, MethodAccess::Inner)
                .method(GuardedMethod::Prompts, MethodAccess::Inner),
            &["methods.prompts"],
        ),
        ("version with newline", complete().policy_version("a\nb"), &["policy_version"]),
        (
            "too many rules",
            (0..=crate::policy::MAX_RULES).fold(complete(), |builder, n| builder.tool(format!("t{n}"), level(1))),
            &["tools"],
        ),
        (
            "everything at once",
            GuardConfig::builder()
                .tool("[", level(1))
                .tool("a", level(3))
                .api_key("x", "")
                .server_origin("x")
                .audience("x"),
            &[r#"tools."[""#, "api_key[0].name", "api_key[0].sha256", "audiences", "server_origin", "evidence"],
        ),
    ];
    for (name, builder, want) in table {
        assert_eq!(keys(builder), want, "{name}");
    }
}

#[test]
fn the_error_lists_all_mistakes_in_one_line() {
    let error = GuardConfig::builder().tool("a", level(2)).build().unwrap_err();
    let text = error.to_string();
    assert!(error.problems().iter().all(|problem| text.contains(&problem.to_string())), "{text}");
    assert!(!text.contains('\n'));
}

#[test]
fn the_seeds_global_fields_set_a_default_and_its_names() {
    let config = complete()
        .min_trust_level(2)
        .allowed_tools(["read_*"])
        .tool("read_me", ToolRequirement::anonymous())
        .build()
        .unwrap();
    let reason = |tool| config.policy().evaluate(tool, Caller::Anonymous, None).reason;
    assert_eq!(reason("read_me"), None, "no floor under explicit rules");
    assert_eq!(reason("read_file"), Some(DenyReason::BadgeMissing));
    assert_eq!(reason("write_file"), Some(DenyReason::ToolNotAllowed));
    let nothing = complete().allowed_tools(Vec::<String>::new()).build().unwrap();
    assert_eq!(nothing.policy().evaluate("a", Caller::Anonymous, None).reason, Some(DenyReason::ToolNotAllowed));
    let zero = complete().min_trust_level(0).allowed_tools(["a"]).build().unwrap();
    assert_eq!(zero.policy().evaluate("a", Caller::Anonymous, None).reason, Some(DenyReason::BadgeMissing));
}

#[test]
fn seed_semantics_read_the_same_fields_as_the_seed() {
    let seed = || GuardConfig::builder().evidence(EvidenceLog::in_memory()).seed_semantics();
    let nobody = Caller::Anonymous;
    for (name, builder, caller, want) in [
        ("empty list is every tool", seed(), nobody, None),
        ("empty list given", seed().allowed_tools(Vec::<String>::new()), nobody, None),
        ("key, minimum 0", seed(), Caller::ApiKey("bot"), None),
        ("minimum 1", seed().min_trust_level(1), nobody, Some(DenyReason::BadgeMissing)),
        (
            "minimum 1, level 0 accepted",
            seed().min_trust_level(1).accept_level_zero(true),
            nobody,
            Some(DenyReason::TrustInsufficient),
        ),
        ("key, minimum 1", seed().min_trust_level(1), Caller::ApiKey("bot"), Some(DenyReason::TrustInsufficient)),
        ("badge required", seed().require_badge(true), nobody, Some(DenyReason::BadgeMissing)),
        (
            "badge required, level 0 accepted",
            seed().require_badge(true).accept_level_zero(true),
            nobody,
            Some(DenyReason::BadgeMissing),
        ),
        ("key, badge required", seed().require_badge(true), Caller::ApiKey("bot"), Some(DenyReason::BadgeMissing)),
        ("list", seed().allowed_tools(["list_*"]), nobody, Some(DenyReason::ToolNotAllowed)),
        ("malformed list", seed().allowed_tools(["[bad"]), nobody, Some(DenyReason::ToolNotAllowed)),
        (
            "trust before list",
            seed().min_trust_level(1).allowed_tools(["list_*"]),
            Caller::ApiKey("bot"),
            Some(DenyReason::TrustInsufficient),
        ),
    ] {
        let config = builder.build().unwrap();
        assert_eq!(config.policy().evaluate("read_file", caller, None).reason, want, "{name}");
    }
}

#[test]
fn api_keys_are_known_by_their_digest_only() {
    let config =
        complete().api_key(KEY_SHA256, "build-bot").api_key(OTHER_SHA256.to_uppercase(), "empty").build().unwrap();
    assert_eq!(config.api_key_name("key"), Some("build-bot"));
    assert_eq!(config.api_key_name(""), Some("empty"));
    for unknown in ["Key", "key ", KEY_SHA256, "build-bot"] {
        assert_eq!(config.api_key_name(unknown), None, "{unknown}");
    }
    assert_eq!(complete().build().unwrap().api_key_name("key"), None);
    assert!(!format!("{config:?}").contains("2c70e12b"));
}

/// A badge from a throw-away issuer, verified by a configuration that trusts it.
async fn verified(audience: Option<&str>, badge_level: TrustLevel) -> (GuardConfig, VerifiedBadge) {
    let now = UnixSeconds::new(1_800_000_000);
    let signer = BadgeIssuer::new(REGISTRY, "k1", Arc::new(SigningKey::generate().unwrap())).unwrap();
    let agent = SigningKey::generate().unwrap().public_key();
    let mut request =
        BadgeRequest::new(Did::from_public_key(&agent), agent, badge_level).lifetime(Duration::from_secs(300));
    if let Some(audience) = audience {
        request = request.audience(audience);
    }
    if badge_level > TrustLevel::Registered {
        request = request.domain("agent.example.com");
    }
    let token = signer.issue(&request, now).unwrap();
    let config = GuardConfig::builder()
        .audience(AUDIENCE)
        .trusted_issuer(Issuer::jwks(REGISTRY, &signer.jwks_json()).unwrap())
        .insecure_no_revocation()
        .tool("open", ToolRequirement::anonymous())
        .tool("known", ToolRequirement::authenticated())
        .tool("one", level(1))
        .tool("three", level(3))
        .tool("one_unbound", level(1).allow_unbound_bearer())
        .method(GuardedMethod::Prompts, MethodAccess::Inner)
        .allow_custom_method("example/refresh")
        .evidence(EvidenceLog::in_memory())
        .build()
        .unwrap();
    let badge = config.verifier().verify(&token, &BadgeContext::at(now)).await.unwrap();
    (config, badge)
}

/// Attack: a server to which an agent showed its badge presents the same badge here, as that agent.
#[tokio::test]
async fn s01_a_verified_badge_that_names_no_audience_opens_nothing() {
    let (config, badge) = verified(None, TrustLevel::DomainValidated).await;
    let (policy, caller) = (config.policy(), Caller::Badge(&badge));
    for tool in ["open", "known", "one"] {
        assert_eq!(policy.evaluate(tool, caller, None).reason, Some(DenyReason::BadgeUnbound), "{tool}");
    }
    assert_eq!(policy.evaluate("three", caller, None).reason, Some(DenyReason::TrustInsufficient));
    assert_eq!(policy.evaluate_method(GuardedMethod::Prompts, caller).reason, Some(DenyReason::BadgeUnbound));
    assert_eq!(policy.evaluate_custom("example/refresh", caller).reason, Some(DenyReason::BadgeUnbound));
    assert_eq!(policy.evaluate("one_unbound", caller, None).decision, Decision::Allow);
    let tightened = policy.evaluate("one_unbound", caller, Some(&level(1)));
    assert_eq!(tightened.reason, Some(DenyReason::BadgeUnbound), "the exception needs both");

    let (config, badge) = verified(Some(AUDIENCE), TrustLevel::DomainValidated).await;
    for tool in ["open", "known", "one", "one_unbound"] {
        assert_eq!(config.policy().evaluate(tool, Caller::Badge(&badge), None).decision, Decision::Allow, "{tool}");
    }
}

#[test]
fn methods_are_denied_until_they_are_opened() {
    let config = complete()
        .method(GuardedMethod::Prompts, MethodAccess::Inner)
        .method(GuardedMethod::Resources, MethodAccess::Require(level(1)))
        .allow_custom_method("example/refresh")
        .build()
        .unwrap();
    let policy = config.policy();
    for (method, want) in [
        (GuardedMethod::Prompts, None),
        (GuardedMethod::Resources, Some(DenyReason::BadgeMissing)),
        (GuardedMethod::Completion, Some(DenyReason::MethodNotAllowed)),
        (GuardedMethod::Skills, Some(DenyReason::MethodNotAllowed)),
        (GuardedMethod::Subscriptions, Some(DenyReason::MethodNotAllowed)),
        (GuardedMethod::Logging, Some(DenyReason::MethodNotAllowed)),
    ] {
        assert_eq!(policy.evaluate_method(method, Caller::Anonymous).reason, want, "{method:?}");
    }
    assert!(policy.allows_custom("example/refresh"));
    for other in ["", "example/Refresh", "example/refresh ", "/example/refresh", "tools/call"] {
        assert_eq!(policy.evaluate_custom(other, Caller::Anonymous).reason, Some(DenyReason::MethodNotAllowed));
    }
}

/// Attack: the policy behind a decision is changed afterwards, and nothing in the evidence tells the two apart.
#[test]
fn s33_the_digest_covers_whatever_bears_on_a_decision() {
    let base = || complete().tool("a", level(1)).api_key(KEY_SHA256, "bot");
    let digest = |builder: GuardConfigBuilder| builder.build().unwrap().digest().to_owned();
    let want = digest(base());
    assert_eq!(want.len(), "sha256:".len() + 43);
    assert_eq!(digest(base()), want, "the same configuration");
    assert_eq!(digest(complete().api_key(OTHER_SHA256, "bot").tool("a", level(1))), want, "order, and the key itself");
    let other_key = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08"}]}"#;
    let others = vec![
        ("rule", base().tool("b", level(1))),
        ("requirement", complete().tool("a", level(1).durable_evidence()).api_key(KEY_SHA256, "bot")),
        ("default", base().default_requirement(level(1))),
        ("allowed tools", base().allowed_tools(["x"])),
        ("version", base().policy_version("2")),
        ("audience", base().audience("urn:example:b")),
        ("profile", base().strict_profile()),
        ("level zero", base().accept_level_zero(true)),
        ("self-signed", base().trusted_self_signed(Did::parse(DID).unwrap())),
        ("own DID", base().own_did(Did::parse(DID).unwrap())),
        ("issuer", base().trusted_issuer(issuer("https://b.example"))),
        ("additional issuer", base().additional_issuer(issuer("https://b.example"))),
        ("API key", base().api_key(OTHER_SHA256, "other")),
        ("bearer", base().accept_bearer_badges()),
        ("unbound", base().allow_unbound_bearer()),
        ("metadata", base().metadata_opens_tools()),
        ("method", base().method(GuardedMethod::Prompts, MethodAccess::Inner)),
        ("method by requirement", base().method(GuardedMethod::Prompts, MethodAccess::Require(level(1)))),
        ("custom method", base().allow_custom_method("x")),
        ("lifetime", base().max_lifetime(Duration::from_secs(60))),
        ("any lifetime", base().insecure_no_max_lifetime()),
        ("revocation", base().revocations(Revocations::file("revocations.json"))),
        ("seed", base().seed_semantics()),
    ];
    let mut seen = vec![want];
    for (name, builder) in others {
        let changed = digest(builder);
        assert!(!seen.contains(&changed), "{name}");
        seen.push(changed);
    }
    let empty = || GuardConfig::builder().evidence(EvidenceLog::in_memory());
    let by_issuer = [
        issuer(REGISTRY),
        issuer(REGISTRY).max_level(TrustLevel::Registered),
        issuer(REGISTRY).subjects(["did:key"]).unwrap(),
        Issuer::jwks(REGISTRY, other_key).unwrap(),
    ]
    .map(|issuer| digest(empty().trusted_issuer(issuer)));
    for (place, one) in by_issuer.iter().enumerate() {
        assert!(!by_issuer[..place].contains(one), "issuer {place}");
    }
}

pub(super) fn write(directory: &Path, name: &str, text: &str, mode: u32) -> std::path::PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let _ = mode;
    path
}

/// Attack: another user of the machine edits the file that says whom this process trusts.
#[cfg(unix)]
#[test]
fn s33_a_file_that_others_can_write_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (mode, refused) in [(0o600, false), (0o644, false), (0o400, false), (0o620, true), (0o602, true), (0o666, true)]
    {
        let path = write(directory.path(), "guard.toml", "", mode);
        let want: &[String] = if refused { &[path.display().to_string()] } else { &[] };
        assert_eq!(keys(complete().file(&path)), want, "{mode:o}");
        fs::remove_file(&path).unwrap();
        write(directory.path(), "keys.json", JWKS, mode);
        let text = "[[issuer]]\norigin = \"https://b.example\"\njwks_file = \"keys.json\"";
        let want: &[&str] = if refused { &["issuer[0].jwks_file"] } else { &[] };
        assert_eq!(keys(complete().toml(text, directory.path())), want, "keys, {mode:o}");
        let want: &[&str] = if refused { &["revocations.file"] } else { &[] };
        assert_eq!(
            keys(complete().toml("[revocations]\nfile = \"keys.json\"", directory.path())),
            want,
            "revoked, {mode:o}"
        );
        fs::remove_file(directory.path().join("keys.json")).unwrap();
    }
}

#[test]
fn a_directory_of_documents_is_read_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let documents = directory.path().join("documents");
    fs::create_dir(&documents).unwrap();
    let build = || complete().toml("[did_documents]\ndirectory = \"documents\"", directory.path());
    assert_eq!(keys(build()), [""; 0]);
    write(&documents, "bad.json", "{}", 0o600);
    assert_eq!(keys(build()), ["did_documents.directory"]);
    fs::remove_file(documents.join("bad.json")).unwrap();
    let digest = |builder: GuardConfigBuilder| builder.build().unwrap().digest().to_owned();
    assert_ne!(digest(build()), digest(complete()), "s33");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        write(&documents, "note.txt", "", 0o666);
        assert_eq!(keys(build()), ["did_documents.directory"], "s33: others can write a file");
        fs::remove_file(documents.join("note.txt")).unwrap();
        fs::set_permissions(&documents, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(keys(build()), ["did_documents.directory"], "s33: others can add a file");
    }
}

#[test]
fn files_that_cannot_be_read_are_mistakes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display().to_string();
    assert_eq!(keys(complete().file(directory.path())), [path], "a directory");
    let missing = directory.path().join("missing.toml");
    assert_eq!(keys(complete().file(&missing)), [missing.display().to_string()]);
    let size = usize::try_from(MAX_CONFIG_BYTES).unwrap();
    let longest = write(directory.path(), "longest.toml", &"#".repeat(size), 0o600);
    assert_eq!(keys(complete().file(longest)), [""; 0]);
    let too_long = write(directory.path(), "long.toml", &"#".repeat(size + 1), 0o600);
    assert_eq!(keys(complete().file(&too_long)), [too_long.display().to_string()]);
    let binary = directory.path().join("binary.toml");
    fs::write(&binary, [0xff, 0xfe]).unwrap();
    assert_eq!(keys(complete().file(&binary)), [binary.display().to_string()]);
    #[cfg(unix)]
    assert_eq!(keys(complete().file("/dev/null")), ["/dev/null"], "a device");
}

#[test]
fn every_mistake_in_the_file_form_is_named_by_its_key() {
    for (text, want) in [
        ("", vec![]),
        ("policy_version = 3", vec!["policy_version"]),
        ("polcy_version = \"3\"", vec!["polcy_version"]),
        ("profile = \"loose\"", vec!["profile"]),
        ("audiences = \"https://a.example\"", vec!["audiences"]),
        ("audiences = [1, \"urn:a:b\", true]", vec!["audiences[0]", "audiences[2]"]),
        ("own_dids = [\"did:x\"]", vec!["own_dids[0]"]),
        ("trusted_self_signed = [\"key\"]", vec!["trusted_self_signed[0]"]),
        ("trusted_issuers = [\"https://b.example\"]", vec!["trusted_issuers"]),
        ("trusted_issuers = [\"https://registry.example.com\"]", vec![]),
        ("min_trust_level = 5\nallowed_tools = [\"a\"]", vec!["min_trust_level"]),
        ("min_trust_level = \"2\"\nallowed_tools = [\"a\"]", vec!["min_trust_level"]),
        ("min_trust_level = -1\nallowed_tools = [\"a\"]", vec!["min_trust_level"]),
        ("require_badge = \"yes\"", vec!["require_badge"]),
        ("outcomes = 1\nresult_hashes = 0", vec!["outcomes", "result_hashes"]),
        ("[tools]\na = 3", vec!["tools.\"a\""]),
        ("tools = 3", vec!["tools"]),
        ("[tools.\"read_*\"]\nmin_trust_level = 9", vec!["tools.\"read_*\".min_trust_level"]),
        ("[tools.a]\nmin_trust = 1", vec!["tools.\"a\".min_trust"]),
        ("[tools.a]\nanonymous = true\nrequire_badge = true", vec!["tools.\"a\".anonymous"]),
        ("[tools.a]\nanonymous = true\nmin_trust_level = 0", vec!["tools.\"a\".anonymous"]),
        ("[tools.a]\nissuers = [\"https://b.example\"]", vec!["tools.\"a\".issuers"]),
        ("[tools.\"[\"]", vec!["tools.\"[\""]),
        ("[methods]\nprompts = \"outer\"\ntools = \"inner\"", vec!["methods.prompts", "methods.tools"]),
        ("[methods]\nprompts = { min_trust_level = 7 }", vec!["methods.prompts.min_trust_level"]),
        ("custom_methods = [\"\"]", vec!["custom_methods"]),
        ("[[api_key]]\nname = \"a\"\nkey = \"x\"", vec!["api_key[0].sha256", "api_key[0].key"]),
        ("[api_key]\nname = \"a\"", vec!["api_key"]),
        ("[[issuer]]\norigin = \"https://b.example\"", vec!["issuer[0].jwks_file"]),
        ("[[issuer]]\njwks_file = \"missing\"\norigin = \"https://b.example\"", vec!["issuer[0].jwks_file"]),
        ("[revocations]", vec!["revocations"]),
        ("[revocations]\nfile = \"a\"\ninsecure_none = true", vec!["revocations"]),
        ("[revocations]\nmode = \"offline\"\nfile = \"a\"", vec![]),
        ("[revocations]\nmode = \"offline\"", vec!["revocations.file"]),
        ("[revocations]\nmode = \"sometimes\"", vec!["revocations.mode"]),
        ("[revocations]\nmode = \"synced\"\ninsecure_none = true", vec!["revocations"]),
        ("[revocations]\ncache_dir = \"a\"", vec!["revocations.cache_dir"]),
        ("[revocations]\ncache_dir = \"a\"\nfile = \"b\"", vec!["revocations.cache_dir"]),
        ("[did_documents]", vec!["did_documents"]),
        ("[did_documents]\nresolve = true\ndirectory = \"a\"", vec!["did_documents"]),
        ("[did_documents]\nresolve = \"yes\"", vec!["did_documents.resolve", "did_documents"]),
        ("[did_documents]\ndirectory = \"missing\"", vec!["did_documents.directory"]),
        ("[[issuer]]\norigin = \"https://b.example\"\ndiscover = false", vec!["issuer[0].jwks_file"]),
        ("[[issuer]]\norigin = \"https://b.example\"\ndiscover = true\njwks_file = \"a\"", vec!["issuer[0]"]),
        ("[evidence]\nmode = \"bounded\"", vec!["evidence.dir"]),
        ("[evidence]\ndir = \"a\"\nmode = \"fast\"", vec!["evidence.mode"]),
        ("[evidence]\ndir = \"a\"\nwait_limit_ms = 0", vec!["evidence.wait_limit_ms"]),
        ("[evidence]\ndir = \"a\"\nwait_limit_ms = 60001", vec!["evidence.wait_limit_ms"]),
        ("[evidence]\ndir = \"a\"\nwait_limit_ms = \"50\"", vec!["evidence.wait_limit_ms"]),
        ("[evidence]\ndir = \"a\"\nreceipts = \"yes\"", vec!["evidence.receipts"]),
        ("[evidence]\ndir = \"a\"\norigin = \"\"", vec!["evidence.origin"]),
        ("[evidence]\ndir = \"a\"\norigin = \"https://log.example\"", vec!["evidence.origin"]),
        ("[evidence]\ndir = \"a\"\norigin = \"log.example/\"", vec!["evidence.origin"]),
        ("[evidence]\ndir = \"a\"\norigin = \"log example\"", vec!["evidence.origin"]),
        ("[evidence]\ndir = \"a\"\norigin = \"log+example\"", vec!["evidence.origin"]),
        ("[evidence]\ndir = \"a\"\ninstance = \"\"", vec!["evidence.instance"]),
        ("[evidence]\ndir = \"a\"\ninstance = \"../b\"", vec!["evidence.instance"]),
        // too long with the random origin that goes before it
        ("[evidence]\ndir = \"a\"\ninstance = \"a123456789b123456789c123456789d123456789\"", vec!["evidence.instance"]),
        ("[evidence]\ndir = \"a\"\nprivate_dir = \"a\"", vec!["evidence.private_dir"]),
        ("[evidence]\ndir = \"a\"\nprivate_dir = \"a/keys\"", vec!["evidence.private_dir"]),
        ("[evidence]\ndir = \"a\"\nroll_after_bytes = 1048575", vec!["evidence.roll_after_bytes"]),
        ("[evidence]\ndir = \"a\"\nroll_after_bytes = 1099511627777", vec!["evidence.roll_after_bytes"]),
        ("[evidence]\ndir = \"a\"\nroll_after_bytes = \"8 GiB\"", vec!["evidence.roll_after_bytes"]),
        ("[evidence]\ndir = \"a\"\nroll_after_days = 0", vec!["evidence.roll_after_days"]),
        ("[evidence]\ndir = \"a\"\nroll_after_days = 3661", vec!["evidence.roll_after_days"]),
        ("[evidence]\ndir = \"a\"\nroll_after_days = 1.5", vec!["evidence.roll_after_days"]),
        ("[evidence]\ndir = \"a\"\ncheckpoint_interval_ms = 99", vec!["evidence.checkpoint_interval_ms"]),
        ("[evidence]\ndir = \"a\"\ncheckpoint_interval_ms = 3600001", vec!["evidence.checkpoint_interval_ms"]),
        ("[evidence]\ndir = \"a\"\nunauthenticated_share = 0", vec!["evidence.unauthenticated_share"]),
        ("[evidence]\ndir = \"a\"\nunauthenticated_share = 101", vec!["evidence.unauthenticated_share"]),
        ("[evidence]\ndir = \"a\"\ndenied_bytes_per_second = -1", vec!["evidence.denied_bytes_per_second"]),
        ("[evidence]\ndir = \"a\"\ndenied_burst_bytes = \"16 MiB\"", vec!["evidence.denied_burst_bytes"]),
        ("[evidence]\ndir = \"a\"\nanonymous_bytes_per_second = 1.5", vec!["evidence.anonymous_bytes_per_second"]),
        ("[evidence]\ndir = \"a\"\nanonymous_burst_bytes = 1099511627777", vec!["evidence.anonymous_burst_bytes"]),
        ("[evidence]\ndir = \"a\"\nretention_days = 30", vec!["evidence.retention_days"]),
        ("a = 1\n[b]\nc = 2", vec!["a", "b"]),
        ("a = ", vec!["line 1"]),
        ("\n\na = 1\na = 2", vec!["line 4"]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(keys(complete().toml(text, directory.path())), want, "{text}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "a mistake left something behind: {text}");
    }
}

#[test]
fn a_file_that_is_not_toml_is_not_quoted() {
    let error = complete().toml("[[api_key]]\nsha256 = s3cret oops", Path::new("")).build().unwrap_err();
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

#[test]
fn the_file_form_means_what_the_builder_means() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "keys.json", JWKS, 0o600);
    let text = format!(
        r#"
            policy_version = "7"
            profile = "strict"
            audiences = ["{AUDIENCE}"]
            own_dids = ["{DID}"]
            server_origin = "{AUDIENCE}"
            accept_level_zero = true
            bearer_badges = true
            outcomes = false
            result_hashes = true
            custom_methods = ["x/y"]
            default_requirement = {{ min_trust_level = 4 }}
            [[issuer]]
            origin = "{REGISTRY}"
            jwks_file = "keys.json"
            max_level = 3
            subjects = ["did:key"]
            [revocations]
            insecure_none = true
            [[api_key]]
            name = "bot"
            sha256 = "{KEY_SHA256}"
            [tools]
            "list_*" = {{ anonymous = true }}
            read = {{ min_trust_level = 1, require_badge = true, durable_evidence = true, allow_unbound_bearer = true }}
            [methods]
            prompts = "inner"
            resources = {{ min_trust_level = 1 }}
        "#
    );
    let path = write(directory.path(), "guard.toml", &text, 0o600);
    let from_file = GuardConfig::builder().file(path).evidence(EvidenceLog::in_memory()).build().unwrap();
    let from_code = GuardConfig::builder()
        .policy_version("7")
        .strict_profile()
        .audience(AUDIENCE)
        .own_did(Did::parse(DID).unwrap())
        .accept_level_zero(true)
        .accept_bearer_badges()
        .allow_custom_method("x/y")
        .default_requirement(level(4))
        .trusted_issuer(issuer(REGISTRY).max_level(TrustLevel::OrganizationValidated).subjects(["did:key"]).unwrap())
        .insecure_no_revocation()
        .api_key(KEY_SHA256, "bot")
        .tool("list_*", ToolRequirement::anonymous())
        .tool("read", level(1).require_badge().durable_evidence().allow_unbound_bearer())
        .method(GuardedMethod::Prompts, MethodAccess::Inner)
        .method(GuardedMethod::Resources, MethodAccess::Require(level(1)))
        .evidence(EvidenceLog::in_memory())
        .build()
        .unwrap();
    assert_eq!(from_file.digest(), from_code.digest());
    assert_eq!(from_file.server_origin(), Some(AUDIENCE));
    assert!(from_file.bearer_as_badge() && from_file.records_result_hashes() && !from_file.records_outcomes());
}

/// The example with the files that it names, in a directory of its own.
fn example() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), "guard.toml", include_str!("../../../docs/guard.toml"), 0o600);
    write(directory.path(), "registry.jwks.json", JWKS, 0o600);
    (directory, path)
}

#[cfg(not(feature = "registry"))]
#[test]
fn what_needs_the_network_is_a_mistake_in_a_build_without_it() {
    let (directory, path) = example();
    assert_eq!(
        keys(GuardConfig::builder().file(path)),
        [
            "issuer[1].discover",
            "revocations.mode",
            "did_documents.resolve",
            "network",
            "tools.\"write_file\".issuers",
            "revocations"
        ]
    );
    assert!(!directory.path().join("evidence").exists());
}

#[cfg(feature = "registry")]
#[test]
fn the_example_file_loads() {
    let (directory, path) = example();
    write(directory.path(), "ca.pem", &network::tests::root_certificate(), 0o600);
    let config = GuardConfig::builder().file(path).build().unwrap();
    let reason = |tool| config.policy().evaluate(tool, Caller::ApiKey("build-bot"), None).reason;
    for (tool, want) in [
        ("list_files", None),
        ("status", None),
        ("read_file", Some(DenyReason::TrustInsufficient)),
        ("delete_file", Some(DenyReason::BadgeMissing)),
        ("search_files", Some(DenyReason::BadgeMissing)),
        ("format_disk", Some(DenyReason::ToolNotAllowed)),
    ] {
        assert_eq!(reason(tool), want, "{tool}");
    }
    assert!(directory.path().join("evidence").is_dir());
    config.evidence().close();
}

fn environment(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Result<String, VarError> {
    move |name| {
        let found = pairs.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned()).ok_or(VarError::NotPresent)
    }
}

/// Attack: whoever can set variables of the process adds an issuer, an audience, another profile or another log.
#[test]
fn s34_the_environment_widens_nothing() {
    let hostile = environment(&[
        ("CAPISCIO_TRUST_STORE_KEY", "/tmp/evil.jwk"),
        ("CAPISCIO_TRUST_PATH", "/tmp/evil"),
        ("CAPISCIO_REGISTRY_ENDPOINT", "https://evil.example"),
        ("CAPISCIO_EVIDENCE_MODE", "none"),
        ("CAPISCIO_EVIDENCE_DIR", "/tmp/evil"),
        ("CAPISCIO_ENFORCEMENT_MODE", "EM-OBSERVE"),
        ("CAPISCIO_BUNDLE_URL", "https://evil.example"),
        ("CAPISCIO_PROFILE", "dev"),
        ("CAPISCIO_SERVER_ORIGIN", "https://evil.example"),
    ]);
    let before = complete().tool("a", level(1)).build().unwrap();
    let after = complete().tool("a", level(1)).environment_from(hostile).build().unwrap();
    assert_eq!(after.digest(), before.digest());
    assert_eq!(after.audiences(), [AUDIENCE]);
    assert_eq!(after.profile(), Profile::Interop);
    assert_eq!(after.evidence().mode(), before.evidence().mode());
    assert_eq!(after.server_origin(), Some("https://evil.example"), "a label in evidence, and no more");
    assert_eq!(after.warnings().len(), 7, "{:?}", after.warnings());
    assert!(before.warnings().is_empty());
}

/// Attack: whoever can set variables sends the evidence elsewhere, under another name, or has it kept more loosely.
#[test]
fn s34_the_environment_does_not_change_how_evidence_is_kept() {
    let file = r#"
        [evidence]
        dir = "log"
        mode = "strict"
        wait_limit_ms = 20
        origin = "log.example"
        instance = "one"
        private_dir = "keys"
        receipts = false
        checkpoint_interval_ms = 500
        roll_after_bytes = 1048576
        roll_after_days = 2
        unauthenticated_share = 40
        denied_bytes_per_second = 1001
        denied_burst_bytes = 1002
        anonymous_bytes_per_second = 1003
        anonymous_burst_bytes = 1004
    "#;
    let asked = std::cell::RefCell::new(Vec::new());
    let hostile = |name: &str| {
        asked.borrow_mut().push(name.to_owned());
        Ok("https://evil.example".to_owned())
    };
    let before = complete().toml(file, Path::new("/base"));
    let after = complete().toml(file, Path::new("/base")).environment_from(hostile);
    assert_eq!(format!("{:?}", after.evidence), format!("{:?}", before.evidence));
    assert_eq!((after.receipts, after.outcomes, after.result_hashes), (false, before.outcomes, before.result_hashes));
    let plan = format!("{:?}", before.evidence);
    for said in [
        "/base/log",
        "Strict",
        "20ms",
        "log.example",
        "one",
        "/base/keys",
        "500ms",
        "1048576",
        "172800s",
        "40",
        "(1001, 1002)",
        "(1003, 1004)",
    ] {
        assert!(plan.contains(said), "{said}: {plan}");
    }
    let asked = asked.into_inner();
    assert!(asked.iter().all(|name| name.starts_with("CAPISCIO_")), "{asked:?}");
}

/// Attack: a typing error in a variable silently starts the server with something else than was meant.
#[test]
fn s34_what_cannot_be_parsed_stops_the_start() {
    assert_eq!(
        keys(complete().environment_from(environment(&[("CAPISCIO_SERVER_ORIGIN", "files")]))),
        ["server_origin"]
    );
    let not_text = |_: &str| Err(VarError::NotUnicode(OsString::from("x")));
    assert_eq!(keys(complete().environment_from(not_text)), ["CAPISCIO_SERVER_ORIGIN"]);
    for (value, want) in [
        ("", Ok(LogLevel::Info)),
        ("debug", Ok(LogLevel::Debug)),
        ("WARNING", Ok(LogLevel::Warn)),
        ("off", Ok(LogLevel::Off)),
        ("verbose", Err(LogLevelError)),
        (" info", Err(LogLevelError)),
    ] {
        assert_eq!(log_level_from(|_| Ok(value.to_owned())), want, "{value}");
    }
    assert_eq!(log_level_from(|_| Err(VarError::NotPresent)), Ok(LogLevel::Info));
    assert_eq!(log_level_from(not_text), Err(LogLevelError));
}

/// Attack: whoever starts the process sets a variable, and badges for another server are taken for ours.
#[test]
fn s34_an_audience_comes_from_the_environment_by_name_only() {
    let origin = environment(&[("CAPISCIO_SERVER_ORIGIN", "https://b.example")]);
    assert_eq!(complete().audience_from(&origin).build().unwrap().audiences(), [AUDIENCE, "https://b.example"]);
    assert_eq!(keys(complete().audience_from(environment(&[("CAPISCIO_SERVER_ORIGIN", "b")]))), ["audiences"]);
    assert_eq!(complete().audience_from(environment(&[])).build().unwrap().audiences(), [AUDIENCE]);
}

/// Attack: a file or a variable on a production machine turns on the tolerances of development.
#[test]
fn s35_the_dev_profile_needs_code() {
    let base = Path::new("");
    assert_eq!(keys(complete().toml("profile = \"dev\"", base)), ["profile"]);
    for key in ["dev", "dangerous_dev_profile", "insecure"] {
        assert_eq!(keys(complete().toml(&format!("{key} = true"), base)), [key]);
    }
    assert_eq!(complete().build().unwrap().profile(), Profile::Interop);
    assert_eq!(complete().dangerous_dev_profile().build().unwrap().profile(), Profile::Dev);
}

/// Attack: a server in production runs with evidence that may be lost, and its owner does not know.
#[test]
fn s35_best_effort_evidence_builds_only_with_the_dev_profile() {
    let directory = tempfile::tempdir().unwrap();
    let file = |builder: GuardConfigBuilder| {
        keys(builder.toml("[evidence]\ndir = \"log\"\nmode = \"best-effort\"", directory.path()))
    };
    assert_eq!(file(complete()), ["evidence.mode"]);
    assert_eq!(file(complete().strict_profile()), ["evidence.mode"]);
    assert!(!directory.path().join("log").exists());
    assert_eq!(keys(complete().evidence(best_effort())), ["evidence.mode"]);
    assert_eq!(keys(complete().evidence(best_effort()).dangerous_dev_profile()), [""; 0]);
}

#[test]
fn a_file_says_how_long_a_call_may_wait_for_its_evidence() {
    let directory = tempfile::tempdir().unwrap();
    let limit = |dir: &str, more: &str| {
        let text = format!("[evidence]\ndir = \"{dir}\"\n{more}");
        complete().toml(&text, directory.path()).build().unwrap().evidence().wait_limit()
    };
    assert_eq!(limit("default", ""), Duration::from_millis(50));
    assert_eq!(limit("strict", "mode = \"strict\""), Duration::from_millis(250));
    assert_eq!(limit("longest", "wait_limit_ms = 60000"), Duration::from_secs(60));
}

#[test]
fn durable_evidence_needs_a_log_that_becomes_durable() {
    let durable = ToolRequirement::anonymous().durable_evidence();
    let builder = complete().evidence(best_effort()).dangerous_dev_profile().tool("pay", durable);
    assert_eq!(keys(builder), ["tools.\"pay\".durable_evidence"]);
}

/// What an unread file would have said is not reported as missing beside the mistake that hides it.
#[test]
fn a_file_that_cannot_be_read_is_the_only_mistake() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("guard.toml");
    assert_eq!(keys(GuardConfig::builder().file(&missing)), [missing.display().to_string()]);
    assert_eq!(keys(GuardConfig::builder().toml("audiences = [", directory.path())), ["line 1"]);
}

/// TOML from pieces that its grammar and our keys know, in no sensible order.
fn toml_like() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "[tools]",
            "[[issuer]]",
            "[evidence]",
            "[revocations]",
            "[[api_key]]",
            "[methods]",
            "[default_requirement]",
            "policy_version",
            "profile",
            "audiences",
            "own_dids",
            "min_trust_level",
            "require_badge",
            "allowed_tools",
            "trusted_issuers",
            "accept_level_zero",
            "\"read_*\"",
            "prompts",
            "origin",
            "jwks_file",
            "subjects",
            "name",
            "sha256",
            "dir",
            "mode",
            "file",
            "discover",
            "[network]",
            "[did_documents]",
            "resolve",
            "ports",
            "insecure_allow_networks",
            "root_certificates",
            "cache_dir",
            "\"synced\"",
            "insecure_none",
            "anonymous",
            "issuers",
            "tools.a",
            "a.b.c",
            " = ",
            " = ",
            " = ",
            "\n",
            "\n",
            "\n",
            "{",
            "}",
            "[",
            "]",
            "[[",
            "]]",
            ",",
            ".",
            "\"",
            "'",
            "\"\"\"",
            "#",
            "true",
            "false",
            "0",
            "5",
            "-1",
            "1e400",
            "nan",
            "1979-05-27T07:32:00Z",
            "\"inner\"",
            "\"[bad\"",
            "[[]]",
            "{ min_trust_level = 9 }",
            "\"did:web:x\"",
            "\\u0000",
            "\u{202e}",
            "\u{0}",
        ])
        .prop_map(str::to_owned),
        ".{0,6}",
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]

    /// Whatever stands in a configuration, the start ends with a configuration or with a list of mistakes.
    #[test]
    fn no_text_makes_the_configuration_panic(text in toml_like()) {
        let directory = Path::new("/nonexistent");
        match GuardConfig::builder().toml(&text, directory).build() {
            Ok(_) => proptest::prop_assert!(false, "there is no evidence directory"),
            Err(error) => {
                proptest::prop_assert!(!error.problems().is_empty());
                proptest::prop_assert!(!error.to_string().chars().any(char::is_control));
            }
        }
    }
}

#[test]
fn hostile_toml_is_refused_at_its_line() {
    let depth = 100_000;
    let texts = [
        ("lists", format!("a = {}", "[".repeat(depth))),
        ("tables", format!("a = {}", "{a=".repeat(depth))),
        ("dots", format!("{}a = 1", "a.".repeat(depth))),
        ("header", format!("[{}a]", "a.".repeat(depth))),
        ("twice", "profile = 'strict'\nprofile = 'interop'".to_owned()),
    ];
    for (name, text) in texts {
        let line = if name == "twice" { "line 2" } else { "line 1" };
        assert_eq!(keys(complete().toml(&text, Path::new("."))), [line], "{name}");
    }
    // said on an empty builder: what an unread text would have set is not reported as missing
    let long = "#".repeat(usize::try_from(MAX_CONFIG_BYTES).unwrap() + 1);
    assert_eq!(keys(GuardConfig::builder().toml(&long, Path::new("."))), ["configuration"]);
}
