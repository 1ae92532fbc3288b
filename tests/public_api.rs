//! The public face as a user sees it: every name in docs/MIGRATING.md exists where the page says, and does what it says.
//!
//! One import to a line, since the page is compared with them.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::enforce::CallerCredential;
use rmcp_guard::enforce::Denial;
use rmcp_guard::enforce::Enforcer;
use rmcp_guard::enforce::GuardConfig;
use rmcp_guard::enforce::GuardError;
use rmcp_guard::enforce::GuardResult;
use rmcp_guard::enforce::evaluate_tool_access;
use rmcp_guard::enforce::evaluate_tool_access_sync;
use rmcp_guard::enforce::log_level_from_env;
use rmcp_guard::enforce::{Call, Outcome};
use rmcp_guard::evidence::EvidenceLog;
use rmcp_guard::evidence::compute_params_hash;
use rmcp_guard::evidence::compute_params_hash_json;
use rmcp_guard::identity::badge::{BadgeIssuer, BadgeRequest, self_sign};
use rmcp_guard::identity::did::Did;
#[cfg(feature = "registry")]
use rmcp_guard::identity::keeper::BadgeKeeper;
use rmcp_guard::identity::key::KeyGenerationError;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::pop::PopChallenge;
#[cfg(feature = "registry")]
use rmcp_guard::identity::registry::AgentBadgeRenewer;
#[cfg(feature = "registry")]
use rmcp_guard::identity::registry::ConnectedServer;
#[cfg(feature = "registry")]
use rmcp_guard::identity::registry::PolicyEvent;
#[cfg(feature = "registry")]
use rmcp_guard::identity::registry::RegistrationError;
#[cfg(feature = "registry")]
use rmcp_guard::identity::registry::RegistryClient;
#[cfg(feature = "registry")]
use rmcp_guard::identity::registry::RegistryError;
#[cfg(feature = "registry")]
use rmcp_guard::identity::registry::ServerBadgeRenewer;
#[cfg(feature = "registry")]
use rmcp_guard::identity::registry::generate_server_keypair;
#[cfg(feature = "registry")]
use rmcp_guard::identity::registry::register_server_identity;
#[cfg(feature = "registry")]
use rmcp_guard::identity::registry::setup_agent_identity;
#[cfg(feature = "registry")]
use rmcp_guard::identity::registry::setup_server_identity;
use rmcp_guard::identity::resolve::KeySource;
use rmcp_guard::identity::server::ServerErrorCode;
use rmcp_guard::identity::server::ServerIdentity;
use rmcp_guard::identity::server::ServerState;
use rmcp_guard::identity::server::ServerVerifier;
use rmcp_guard::identity::server::ServerVerifyError;
use rmcp_guard::identity::server::VerifyConfig;
use rmcp_guard::identity::server::VerifyResult;
use rmcp_guard::identity::server::parse_http_headers;
use rmcp_guard::identity::server::parse_jsonrpc_meta;
use rmcp_guard::identity::server::verify_server;
use rmcp_guard::identity::server::verify_server_strict;
use rmcp_guard::identity::server::verify_server_strict_sync;
use rmcp_guard::identity::server::verify_server_sync;
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::identity::trust_store::Issuer;
#[cfg(feature = "client")]
use rmcp_guard::layer::client::VerifiedClient;
#[cfg(feature = "client")]
use rmcp_guard::layer::client::denial_of;
#[cfg(feature = "layer")]
use rmcp_guard::layer::guard::GuardLayer;
#[cfg(feature = "layer")]
use rmcp_guard::layer::identity::IdentityLayer;
use rmcp_guard::policy::AuthLevel;
use rmcp_guard::policy::Decision;
use rmcp_guard::policy::DenyReason;
use rmcp_guard::policy::ToolRequirement;
use serde_json::{Map, Value, json};

const FILES: &str = "https://files.example.com";
const REGISTRY: &str = "https://registry.example.com";

/// What the page is compared with.
const PAGE: &str = include_str!("../docs/MIGRATING.md");
const OURSELVES: &str = include_str!("public_api.rs");

/// Public names of capiscio-mcp's README: API reference, types, configuration fields, environment, MCP integration.
const SEED: &[&str] = &[
    "guard",
    "guard_sync",
    "evaluate_tool_access",
    "compute_params_hash",
    "GuardConfig",
    "GuardResult",
    "GuardError",
    "verify_server",
    "verify_server_sync",
    "verify_server_strict",
    "parse_http_headers",
    "parse_jsonrpc_meta",
    "VerifyConfig",
    "VerifyResult",
    "ServerVerifyError",
    "generate_server_keypair",
    "generate_server_keypair_sync",
    "register_server_identity",
    "setup_server_identity",
    "RegistrationError",
    "KeyGenerationError",
    "MCPServerIdentity.from_env()",
    "ServerBadgeKeeper",
    "GuardEventEmitter",
    "Decision",
    "AuthLevel",
    "DenyReason",
    "TrustLevel",
    "ServerState",
    "ServerErrorCode",
    "min_trust_level",
    "accept_level_zero",
    "trusted_issuers",
    "allowed_tools",
    "require_badge",
    "policy_version",
    "offline_mode",
    "skip_origin_binding",
    "CAPISCIO_CORE_ADDR",
    "CAPISCIO_SERVER_ORIGIN",
    "CAPISCIO_LOG_LEVEL",
    "CAPISCIO_SERVER_ID",
    "CAPISCIO_API_KEY",
    "CAPISCIO_SERVER_URL",
    "CAPISCIO_SERVER_DOMAIN",
    "CAPISCIO_SERVER_PRIVATE_KEY_PEM",
    "CapiscioMCPServer(name, did, badge)",
    "CapiscioMCPServer.tool(min_trust_level=..)",
    "CapiscioMCPServer.run(transport=\"stdio\")",
    "CapiscioMCPClient(command, args, ..)",
    "CapiscioMCPClient.call_tool",
    ".list_tools",
];

#[test]
fn the_migration_page_names_every_public_name_of_the_seed() {
    let first_cells: String = PAGE.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).collect();
    for name in SEED {
        assert!(first_cells.contains(&format!("`{name}`")), "`{name}` is in no first column of docs/MIGRATING.md");
    }
}

#[test]
fn the_migration_page_names_only_what_is_used_here() {
    let rooms = ["enforce::", "evidence::", "identity::", "layer::", "policy::"];
    let named: BTreeSet<_> =
        PAGE.split('`').skip(1).step_by(2).filter(|code| rooms.iter().any(|room| code.starts_with(room))).collect();
    assert!(named.len() > 30, "{named:?}");
    for path in named {
        assert!(OURSELVES.contains(&format!("use rmcp_guard::{path};")), "{path} is not used in tests/public_api.rs");
    }
}

fn agent_badge(issuer: &BadgeIssuer, level: TrustLevel) -> String {
    let key = SigningKey::generate().unwrap();
    let request = BadgeRequest::new(key.did(), key.public_key(), level).audience(FILES).domain("agent.example.com");
    issuer.issue(&request, SystemClock.now_unix()).unwrap()
}

fn issuer() -> (BadgeIssuer, Issuer) {
    let issuer = BadgeIssuer::new(REGISTRY, "ca-1", Arc::new(SigningKey::generate().unwrap())).unwrap();
    let trusted = Issuer::jwks(REGISTRY, &issuer.jwks_json()).unwrap();
    (issuer, trusted)
}

/// capiscio-mcp's global fields, as its README sets them.
#[test]
fn the_seeds_global_fields_decide() {
    let (issuer, trusted) = issuer();
    let config = GuardConfig::builder()
        .audience(FILES)
        .trusted_issuer(trusted)
        .insecure_no_revocation()
        .min_trust_level(2)
        .accept_level_zero(false)
        .allowed_tools(["read_*", "list_*"])
        .require_badge(true)
        .policy_version("v1.0")
        .evidence(EvidenceLog::in_memory())
        .build()
        .unwrap();
    let enforcer = Enforcer::new(config);
    let registered = CallerCredential::badge(agent_badge(&issuer, TrustLevel::Registered));
    let validated = CallerCredential::badge(agent_badge(&issuer, TrustLevel::DomainValidated));
    let cases = [
        ("read_file", &validated, Decision::Allow, None, AuthLevel::Badge),
        ("read_file", &registered, Decision::Deny, Some(DenyReason::TrustInsufficient), AuthLevel::Badge),
        ("write_file", &validated, Decision::Deny, Some(DenyReason::ToolNotAllowed), AuthLevel::Badge),
        (
            "read_file",
            &CallerCredential::Anonymous,
            Decision::Deny,
            Some(DenyReason::BadgeMissing),
            AuthLevel::Anonymous,
        ),
    ];
    for (tool, credential, decision, reason, auth_level) in cases {
        let result: GuardResult = evaluate_tool_access_sync(&enforcer, tool, None, credential).unwrap();
        assert_eq!((result.decision, result.deny_reason, result.auth_level), (decision, reason, auth_level), "{tool}");
        assert!(result.evidence_id.is_some(), "{tool}");
    }
}

#[tokio::test]
async fn a_denial_is_an_error_where_one_is_wanted() {
    let config = GuardConfig::builder()
        .tool("list_*", ToolRequirement::anonymous())
        .tool("read_file", ToolRequirement::anonymous())
        .evidence(EvidenceLog::in_memory());
    let enforcer = Enforcer::new(config.build().unwrap());
    let anonymous = Ok(CallerCredential::Anonymous);

    let permit = enforcer.require(&Call::tool("list_files", None), &anonymous).await.unwrap();
    permit.finish(Outcome::Ok, None).await.unwrap();

    let error: GuardError = enforcer.require(&Call::tool("delete_file", None), &anonymous).await.unwrap_err();
    let denial: &Denial = error.denial();
    assert_eq!((error.reason(), denial.public_reason()), (DenyReason::ToolNotAllowed, DenyReason::BadgeMissing));
    assert!(error.evidence_id().is_some());
    assert!(error.to_string().starts_with("Error executing tool delete_file: badge_missing: "), "{error}");

    let result = evaluate_tool_access(&enforcer, "read_file", None, &CallerCredential::Anonymous).await;
    assert_eq!((result.decision, result.trust_level), (Decision::Allow, None));
}

#[test]
fn hashes_are_the_seeds() {
    let want = "sha256:KBeqj3oTvXt6SYIbfLyENb_KwxilB962ef9VCI2UuBs";
    assert_eq!(compute_params_hash(&json!({"ratio": 1})), want);
    assert_eq!(compute_params_hash_json(r#"{"ratio": 1}"#).as_deref(), Ok(want));
}

#[tokio::test]
async fn a_server_is_verified_to_the_degree_that_it_proves() {
    let (registry, trusted) = issuer();
    let key = Arc::new(SigningKey::generate().unwrap());
    let did = Did::parse("did:web:files.example.com").unwrap();
    let request = BadgeRequest::new(did.clone(), key.public_key(), TrustLevel::Registered);
    let badge = registry.issue(&request, SystemClock.now_unix()).unwrap();
    let trusted = trusted.subjects([did.as_str()]).unwrap();
    let config = || {
        VerifyConfig::builder()
            .trusted_issuer(trusted.clone())
            .min_trust_level(TrustLevel::Registered)
            .accept_level_zero(false)
            .offline_mode(false)
            .skip_origin_binding(false)
    };
    let without_proof = config().build().unwrap();
    let as_the_seed = config().insecure_accept_badge_without_pop().build().unwrap();

    let result: VerifyResult =
        verify_server(Some(did.as_str()), Some(&badge), Some(FILES), Some("/mcp"), &without_proof).await;
    assert_eq!(result.state, ServerState::DeclaredPrincipal);
    let result = verify_server_sync(Some(did.as_str()), Some(&badge), Some(FILES), None, &as_the_seed).unwrap();
    assert_eq!((result.state, result.trust_level), (ServerState::VerifiedPrincipal, Some(TrustLevel::Registered)));
    let error: ServerVerifyError =
        verify_server_strict(Some(did.as_str()), Some(&badge), Some("https://other.example.com"), None, &as_the_seed)
            .await
            .unwrap_err();
    assert_eq!(error.code(), ServerErrorCode::OriginMismatch);
    let error = verify_server_strict_sync(None, None, Some(FILES), None, &as_the_seed).unwrap_err();
    assert_eq!(error.code(), ServerErrorCode::IdentityMissing);

    let _: ServerVerifier = ServerVerifier::new(without_proof);
    let _: PopChallenge = PopChallenge::new(std::time::Instant::now()).unwrap();
    let identity = ServerIdentity::builder(did.clone(), key).origin(FILES).build().unwrap();
    assert_eq!(identity.did(), &did);
}

#[test]
fn disclosures_are_read_from_both_places() {
    let headers = parse_http_headers([("Capiscio-Server-DID", "did:web:files.example.com")]).unwrap();
    assert_eq!(headers.server_did(), Some("did:web:files.example.com"));
    let mut meta: Map<String, Value> = Map::new();
    meta.insert("capiscio_server_did".to_owned(), "did:web:files.example.com".into());
    assert_eq!(parse_jsonrpc_meta(&meta).unwrap(), headers);
}

#[test]
fn keys_are_made_and_written() {
    let key: Result<SigningKey, KeyGenerationError> = SigningKey::generate();
    let key = key.unwrap();
    let again = SigningKey::from_pkcs8_pem(&key.to_pkcs8_pem().unwrap()).unwrap();
    assert_eq!(again.did(), key.did());
    assert!(self_sign(&key, &[FILES.to_owned()], Duration::from_secs(300), SystemClock.now_unix()).is_ok());
}

#[test]
fn the_environment_adds_no_trust() {
    assert!(log_level_from_env().is_ok());
    let config = GuardConfig::from_env()
        .tool("list_*", ToolRequirement::anonymous())
        .evidence(EvidenceLog::in_memory())
        .build()
        .unwrap();
    assert!(!config.verifier().has_issuers() && config.audiences().is_empty());
}

/// The names of the page that stand for a registry; against a real one they are used by the tests of the registry's client.
#[cfg(feature = "registry")]
#[tokio::test]
async fn a_registry_that_cannot_be_reached_is_an_error_with_advice() {
    use rmcp_guard::identity::fetch::Fetcher;
    use rmcp_guard::identity::keeper::SelfSignedRenewer;
    use rmcp_guard::identity::registry::{BadgeOptions, EventDecision, RetryPolicy};

    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    let pair = generate_server_keypair(Some(&keys)).unwrap();
    assert!(pair.private_key_path.is_some_and(|path| path.is_file()));
    let again: RegistrationError = generate_server_keypair(Some(&keys)).unwrap_err();
    assert!(!again.advice().is_empty());

    // no port on this machine, and no fetcher that would reach it
    let client = RegistryClient::new("https://127.0.0.1:1", None, Fetcher::new().unwrap()).unwrap();
    let client = client.with_retry(RetryPolicy::never());
    let id = "6a1f2f58-8c8f-4a0c-9a39-6f3d3c1d2b10";
    let (did, key) = (pair.did.clone(), pair.key.public_key());
    assert!(register_server_identity(&client, id, &did, &key).await.is_err());
    assert!(setup_server_identity(&client, id, &keys).await.is_err());
    assert!(setup_agent_identity(client.clone(), id, &keys).await.is_err());
    let event = PolicyEvent::new(EventDecision::Deny, "read_file", SystemClock.now()).unwrap();
    let error: RegistryError = client.post_event(&event).await.unwrap_err();
    assert!(!error.advice().is_empty());

    let _ = ServerBadgeRenewer::new(client.clone(), id, did.clone(), key);
    let _ = AgentBadgeRenewer::by_account(client, did, Arc::clone(&pair.key), BadgeOptions::new());
    let keeper = BadgeKeeper::builder(Arc::new(SelfSignedRenewer::new(pair.key))).start().unwrap();
    assert!(keeper.ready().await.is_ok());
    let connected: Option<ConnectedServer> = None;
    assert!(connected.is_none());
}

/// A key source of one's own stands where a registry client will.
#[test]
fn a_source_of_keys_can_be_brought() {
    fn takes(source: Arc<dyn KeySource>) -> Issuer {
        Issuer::with_keys(REGISTRY, source).unwrap()
    }
    let _ = takes;
}

#[cfg(feature = "layer")]
#[test]
fn the_layers_are_made_from_what_the_page_names() {
    let config = GuardConfig::builder().tool("list_*", ToolRequirement::anonymous()).evidence(EvidenceLog::in_memory());
    let guard = GuardLayer::new(config.build().unwrap());
    let _ = guard.session_layer();
    let key = Arc::new(SigningKey::generate().unwrap());
    let _ = IdentityLayer::new(ServerIdentity::builder(key.did(), key).build().unwrap());
}

#[cfg(feature = "client")]
#[tokio::test]
async fn a_client_does_not_connect_to_a_server_that_shows_nothing() {
    let (near, far) = tokio::io::duplex(4096);
    drop(far);
    let (read, write) = tokio::io::split(near);
    let (_, trusted) = issuer();
    let connected = VerifiedClient::builder()
        .trusted_issuer(trusted)
        .min_trust_level(TrustLevel::Registered)
        .expect_did("did:web:files.example.com")
        .insecure_no_revocation()
        .connect_io(read, write)
        .await;
    assert!(connected.is_err());
    let _ = denial_of;
}
