//! From an id and an API key to an identity: keys, files, the environment, and a registry that is not there.

use std::collections::HashMap;
use std::env::VarError;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use rmcp_guard::clock::{Clock, SystemClock};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::fetch::FetchErrorKind;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::registry::{
    ApiKey, ConnectedServer, KeyDirectory, KeyDirectoryErrorKind, KeySource, RegistrationError, RegistryClient,
    RegistryErrorKind, RetryPolicy, ServerDidForm, generate_server_keypair, register_server_identity,
    setup_server_identity,
};
use rmcp_guard::identity::server::{META_SERVER_BADGE, ServerIdentity};
use serde_json::json;
use tokio::net::TcpListener;

use crate::double::{Accounts, Answer, KEY, Registry, SERVER_ID, badge, client, fetcher, key};

async fn start(accounts: &Accounts) -> Registry {
    let accounts = accounts.clone();
    Registry::start(move |sent| accounts.answer(sent)).await
}

async fn connect(registry: &Registry, directory: &Path) -> Result<ConnectedServer, RegistrationError> {
    ServerIdentity::connect(registry.client(), SERVER_ID).key_directory(directory).start().await
}

fn kind(result: Result<ConnectedServer, RegistrationError>) -> RegistryErrorKind {
    match result {
        Err(RegistrationError::Registry(error)) => error.kind(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_gets_a_key_a_did_and_a_badge() {
    let accounts = Accounts::new("servers").with_server(SERVER_ID);
    let registry = start(&accounts).await;
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("keys");
    let connected = ServerIdentity::connect(registry.client(), SERVER_ID)
        .key_directory(&directory)
        .domain("files.example.com")
        .origin("https://files.example.com")
        .start()
        .await
        .unwrap();
    let did = format!("did:web:localhost%3A{}:servers:{SERVER_ID}", registry.address.port());
    assert_eq!(connected.identity.did().as_str(), did);
    assert_eq!((connected.server_id.as_str(), connected.org_id.as_deref()), (SERVER_ID, Some("org-1")));
    assert_eq!(connected.key_source, KeySource::Generated);
    let shown = connected.identity.disclose(None, SystemClock.now_unix()).meta;
    assert!(shown.contains_key(META_SERVER_BADGE));
    assert!(connected.keeper.health().running);

    let paths: Vec<_> = registry.lines();
    let expected = [format!("PUT /v1/sdk/servers/{SERVER_ID}"), format!("POST /v1/sdk/servers/{SERVER_ID}/badge")];
    assert_eq!(paths, expected);
    assert_eq!(registry.sent()[1].body, json!({ "domain": "files.example.com" }));
    let files = KeyDirectory::new(&directory);
    assert_eq!(files.did().unwrap().as_str(), did);
    assert_eq!(files.org_id().as_deref(), Some("org-1"));

    // the next start has the same identity
    let again = connect(&registry, &directory).await.unwrap();
    assert_eq!(again.identity.key_did(), connected.identity.key_did());
    assert_eq!(again.key_source, KeySource::File);
    // and names the registry's host where no domain is set
    let host = format!("localhost:{}", registry.address.port());
    assert_eq!(registry.sent()[3].body, json!({ "domain": host }));
    connected.keeper.stop().await;
    assert!(!connected.keeper.health().running);
}

/// What the Python SDK 2.7.1 leaves behind after its first start.
#[tokio::test]
#[cfg(unix)]
async fn a_directory_of_the_python_sdk_is_taken_over() {
    use std::os::unix::fs::PermissionsExt as _;

    let accounts = Accounts::new("agents").with_server("11111111-2222-4333-8444-555555555555");
    let registry = start(&accounts).await;
    let home = tempfile::tempdir().unwrap();
    let did = format!("did:web:localhost%3A{}:agents:11111111-2222-4333-8444-555555555555", registry.address.port());
    let private = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIDMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMz\n\
                   -----END PRIVATE KEY-----\n";
    let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAF8t5+ytBIPKx7GXkGY1uCLKOgT/rAeSkAIObheGAgM4=\n\
                  -----END PUBLIC KEY-----\n";
    let files = [
        ("private_key.pem", private, 0o600),
        ("public_key.pem", public, 0o644),
        ("did.txt", &did, 0o644),
        ("org_id.txt", "org-7", 0o644),
        (".resolved_server_id", "11111111-2222-4333-8444-555555555555", 0o644),
    ];
    for (name, text, mode) in files {
        fs::write(home.path().join(name), text).unwrap();
        fs::set_permissions(home.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();

    let connected = connect(&registry, home.path()).await.unwrap();
    assert_eq!(connected.identity.did().as_str(), did);
    assert_eq!(connected.identity.key_did(), key().did());
    assert_eq!(connected.server_id, "11111111-2222-4333-8444-555555555555");
    assert!(connected.identity.current_badge().is_some());
    for (name, text, _) in files {
        let now = if name == "org_id.txt" { "org-1" } else { text };
        assert_eq!(fs::read_to_string(home.path().join(name)).unwrap(), now, "{name}");
    }
    // without the registry it is known by the same name
    drop(registry);
    let port = did.split("%3A").nth(1).unwrap().split(':').next().unwrap();
    let offline = RegistryClient::new(&format!("http://localhost:{port}"), Some(ApiKey::new(KEY)), fetcher()).unwrap();
    let offline = offline.with_retry(RetryPolicy::never());
    let connected = ServerIdentity::connect(offline, SERVER_ID).key_directory(home.path()).start().await.unwrap();
    assert_eq!(connected.identity.did().as_str(), did);
    assert_eq!(connected.org_id.as_deref(), Some("org-1"));
}

#[tokio::test]
async fn a_registry_that_refuses_stops_the_start() {
    let home = tempfile::tempdir().unwrap();
    for (status, expected) in [
        (401, RegistryErrorKind::Unauthorized),
        (403, RegistryErrorKind::Forbidden),
        (404, RegistryErrorKind::NotFound),
        (400, RegistryErrorKind::Invalid),
    ] {
        let registry = Registry::start(move |_| Answer::json(status, &json!({ "error": "x" }))).await;
        assert_eq!(kind(connect(&registry, home.path()).await), expected);
        // an unknown id is not a new server
        assert_eq!(registry.lines(), [format!("PUT /v1/sdk/servers/{SERVER_ID}")]);
    }
    // the key is known, and may not have a badge
    let registry = Registry::start(|sent| match sent.method.as_str() {
        "PUT" => Answer::json(200, &json!({ "data": { "id": SERVER_ID } })),
        _ => Answer::json(403, &json!({ "error": "disabled" })),
    })
    .await;
    assert_eq!(kind(connect(&registry, home.path()).await), RegistryErrorKind::Forbidden);
    let page = Registry::start(|_| Answer::json(200, &json!(null)).with("content-type", "text/html")).await;
    assert_eq!(kind(connect(&page, home.path()).await), RegistryErrorKind::Answer);
}

#[tokio::test]
async fn an_unknown_server_is_created_when_asked_for_and_remembered() {
    let accounts = Accounts::new("servers");
    let registry = start(&accounts).await;
    let home = tempfile::tempdir().unwrap();
    let connector = || ServerIdentity::connect(registry.client(), SERVER_ID).key_directory(home.path());
    assert_eq!(kind(connector().start().await), RegistryErrorKind::NotFound);
    let created = connector().create_if_missing().name("Files").start().await.unwrap();
    assert_eq!(created.server_id, "00000000-0000-4000-8000-000000000000");
    let again = connector().start().await.unwrap();
    assert_eq!(again.server_id, created.server_id);
    assert_eq!(accounts.servers().len(), 1);
    let posted = registry.sent().into_iter().find(|sent| sent.line() == "POST /v1/sdk/servers").unwrap();
    assert_eq!(posted.body["name"], "Files");
}

/// Two processes of one server start for the first time at once: two keys and two servers would be two identities.
#[tokio::test]
async fn first_starts_at_once_make_one_key_and_one_server() {
    let accounts = Accounts::new("servers");
    let registry = start(&accounts).await;
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("_auto");
    let start = || ServerIdentity::connect(registry.client(), "auto").key_directory(&directory).start();
    let (one, two, three, four) = tokio::join!(start(), start(), start(), start());
    let all: Vec<_> = [one, two, three, four].into_iter().map(Result::unwrap).collect();
    assert!(all.iter().all(|server| server.identity.did() == all[0].identity.did()));
    assert!(all.iter().all(|server| server.identity.key_did() == all[0].identity.key_did()));
    assert_eq!(accounts.servers().len(), 1);
    assert_eq!(all.iter().filter(|server| server.key_source == KeySource::Generated).count(), 1);
}

#[tokio::test]
async fn without_the_registry_the_identity_stands_and_the_badge_follows() {
    let home = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = client(&format!("http://localhost:{}", address.port())).with_retry(RetryPolicy::never());
    let connected =
        ServerIdentity::connect(client.clone(), SERVER_ID).key_directory(home.path()).start().await.unwrap();
    let did = format!("did:web:localhost%3A{}:servers:{SERVER_ID}", address.port());
    assert_eq!(connected.identity.did().as_str(), did);
    assert_eq!(connected.identity.current_badge(), None);
    let error = connected.keeper.ready().await.unwrap_err();
    assert_eq!((error.message(), error.is_permanent()), (FetchErrorKind::Connect.as_str(), false));
    let health = connected.keeper.health();
    assert!(health.running && health.failures >= 1 && health.expires_at.is_none(), "{health:?}");

    // with no id there is no DID to stand by
    let auto = ServerIdentity::connect(client, "auto").key_directory(home.path()).start().await;
    assert_eq!(kind(auto), RegistryErrorKind::Unreachable(FetchErrorKind::Connect));

    let accounts = Accounts::new("servers").with_server(SERVER_ID);
    let behaviour = accounts.clone();
    let registry = Registry::start_on(TcpListener::bind(address).await.unwrap(), move |sent| behaviour.answer(sent));
    let badge = tokio::time::timeout(Duration::from_secs(120), connected.keeper.changes().next()).await.unwrap();
    assert_eq!(connected.identity.current_badge(), badge);
    assert!(badge.is_some());
    // registered first, with the key that the server has
    assert_eq!(registry.sent()[0].method, "PUT");
    assert_eq!(accounts.servers()[SERVER_ID].1.thumbprint(), {
        KeyDirectory::new(home.path()).load().unwrap().unwrap().public_key().thumbprint()
    });
}

#[tokio::test]
async fn an_outage_of_badges_alone_is_one_too() {
    let home = tempfile::tempdir().unwrap();
    let (accounts, down) = (Accounts::new("servers").with_server(SERVER_ID), Arc::new(AtomicBool::new(true)));
    let switch = Arc::clone(&down);
    let registry = Registry::start(move |sent| {
        if sent.target.ends_with("/badge") && switch.load(Ordering::SeqCst) {
            return Answer::json(503, &json!({}));
        }
        accounts.answer(sent)
    })
    .await;
    let connected = connect(&registry, home.path()).await.unwrap();
    assert_eq!(connected.identity.current_badge(), None);
    down.store(false, Ordering::SeqCst);
    let badge = tokio::time::timeout(Duration::from_secs(120), connected.keeper.changes().next()).await.unwrap();
    assert!(badge.is_some());
    // what is registered is not registered again
    assert_eq!(registry.lines().iter().filter(|line| line.starts_with("PUT")).count(), 1);
}

/// A registry, or whoever stands in for it, hands out the badge of another server.
#[tokio::test]
async fn a_badge_of_another_server_or_key_stops_the_start() {
    let home = tempfile::tempdir().unwrap();
    KeyDirectory::new(home.path()).store_new(&key()).unwrap();
    let stranger = SigningKey::from_seed(&[0x44; 32]).public_key();
    let tokens: [(fn(u16) -> String, _, bool); 5] = [
        (|port| format!("did:web:localhost%3A{port}:servers:{SERVER_ID}"), key().public_key(), true),
        (|port| format!("did:web:localhost%3A{port}:agents:{SERVER_ID}"), key().public_key(), true),
        (|port| format!("did:web:localhost%3A{port}:servers:other"), key().public_key(), false),
        (|_| format!("did:web:registry.example.com:servers:{SERVER_ID}"), key().public_key(), false),
        (|port| format!("did:web:localhost%3A{port}:servers:{SERVER_ID}"), stranger, false),
    ];
    for (subject, badge_key, accepted) in tokens {
        let registry = Registry::start(move |sent| {
            if sent.method == "PUT" {
                // the registry has this DID already
                return Answer::json(409, &json!({ "error": "exists" }));
            }
            let port = sent.header("host").unwrap().split(':').nth(1).unwrap().parse().unwrap();
            let subject = Did::parse(&subject(port)).unwrap();
            Answer::json(200, &json!({ "token": badge(&subject, &badge_key) }))
        })
        .await;
        let result = connect(&registry, home.path()).await;
        if accepted {
            assert!(result.unwrap().identity.current_badge().is_some());
        } else {
            assert_eq!(kind(result), RegistryErrorKind::ForeignBadge);
        }
    }
}

#[tokio::test]
async fn a_servers_own_did_is_registered_and_expected() {
    let own = Did::parse("did:web:files.example.com").unwrap();
    let subject = own.clone();
    let registry = Registry::start(move |sent| match sent.method.as_str() {
        "PUT" => Answer::json(200, &json!({ "data": { "id": SERVER_ID } })),
        _ => Answer::json(200, &json!({ "token": badge(&subject, &key().public_key()) })),
    })
    .await;
    let home = tempfile::tempdir().unwrap();
    let connector = || {
        ServerIdentity::connect(registry.client(), SERVER_ID).key(Arc::new(key())).key_directory(home.path().join("x"))
    };
    let connected = connector().did(own.clone()).start().await.unwrap();
    assert_eq!((connected.identity.did(), connected.key_source), (&own, KeySource::Given));
    assert_eq!(registry.sent()[0].body["did"], own.as_str());
    // a key that was given is not stored
    assert!(!home.path().join("x/private_key.pem").exists());
    assert_eq!(kind(connector().start().await), RegistryErrorKind::ForeignBadge);
    let wrong = connector().did(own).origin("not an origin").start().await;
    assert!(matches!(wrong, Err(RegistrationError::Identity(_))), "{wrong:?}");
}

#[tokio::test]
async fn the_form_of_the_did_without_a_badge_is_a_setting() {
    let registry = Registry::always(503, json!({})).await;
    let home = tempfile::tempdir().unwrap();
    let connected = ServerIdentity::connect(registry.client(), SERVER_ID)
        .did_form(ServerDidForm::Agents)
        .key_directory(home.path())
        .start()
        .await
        .unwrap();
    assert!(connected.identity.did().as_str().ends_with(&format!(":agents:{SERVER_ID}")));
}

#[tokio::test]
async fn the_steps_under_their_old_names() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("keys");
    let pair = generate_server_keypair(Some(&directory)).unwrap();
    assert_eq!(pair.private_key_path.as_deref(), Some(directory.join("private_key.pem").as_path()));
    match generate_server_keypair(Some(&directory)) {
        Err(RegistrationError::Keys(error)) => assert_eq!(error.kind(), KeyDirectoryErrorKind::Exists),
        other => panic!("{other:?}"),
    }
    assert_ne!(generate_server_keypair(None).unwrap().did, pair.did);

    let registry = start(&Accounts::new("servers").with_server(SERVER_ID)).await;
    let client = registry.client();
    register_server_identity(&client, SERVER_ID, &pair.did, &pair.key.public_key()).await.unwrap();
    let setup = setup_server_identity(&client, SERVER_ID, &directory).await.unwrap();
    assert_eq!((setup.keypair.did, setup.server.id.as_str()), (pair.did, SERVER_ID));
    let refused = register_server_identity(&client, "unknown", &key().did(), &key().public_key()).await.unwrap_err();
    assert!(refused.advice().contains("check the id"), "{}", refused.advice());
}

fn environment(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Result<String, VarError> + use<> {
    let pairs: HashMap<String, String> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    move |name| pairs.get(name).cloned().ok_or(VarError::NotPresent)
}

#[tokio::test]
async fn the_environment_says_who_the_server_is() {
    let accounts = Accounts::new("servers").with_server(SERVER_ID);
    let registry = start(&accounts).await;
    let escaped = key().to_pkcs8_pem().unwrap().replace('\n', "\\n");
    let lookup = environment(&[
        ("CAPISCIO_SERVER_ID", SERVER_ID),
        ("CAPISCIO_API_KEY", KEY),
        ("CAPISCIO_SERVER_URL", &registry.url()),
        ("CAPISCIO_SERVER_DOMAIN", "files.example.com"),
        ("CAPISCIO_SERVER_PRIVATE_KEY_PEM", &escaped),
    ]);
    let home = tempfile::tempdir().unwrap();
    // another key in the directory counts less
    KeyDirectory::new(home.path()).load_or_generate().unwrap();
    let connector = ServerIdentity::from_env_with(fetcher(), lookup).unwrap();
    let connected = connector.key_directory(home.path()).start().await.unwrap();
    assert_eq!((connected.identity.key_did(), connected.key_source), (key().did(), KeySource::Given));
    assert_eq!(registry.sent()[1].body, json!({ "domain": "files.example.com" }));
}

/// S34: whoever can set a variable chooses who we are, and gets a start that stops where that cannot be read. Nothing in
/// the environment names an issuer, opens an address, or sends the key in the clear.
#[test]
fn s34_what_the_environment_says_wrongly_stops_the_start() {
    let good = [("CAPISCIO_SERVER_ID", SERVER_ID), ("CAPISCIO_API_KEY", KEY)];
    assert!(ServerIdentity::from_env_with(fetcher(), environment(&good)).is_ok());
    let cases = [
        ("CAPISCIO_SERVER_ID", "", Some("CAPISCIO_SERVER_ID")),
        ("CAPISCIO_SERVER_ID", "my server", Some("CAPISCIO_SERVER_ID")),
        ("CAPISCIO_SERVER_ID", "../other", Some("CAPISCIO_SERVER_ID")),
        ("CAPISCIO_SERVER_ID", "550e8400e29b41d4a716446655440000", Some("CAPISCIO_SERVER_ID")),
        ("CAPISCIO_SERVER_ID", "{550e8400-e29b-41d4-a716-446655440000}", Some("CAPISCIO_SERVER_ID")),
        ("CAPISCIO_API_KEY", "", Some("CAPISCIO_API_KEY")),
        ("CAPISCIO_API_KEY", "sk secret", None),
        ("CAPISCIO_SERVER_URL", "registry.example.com", None),
        ("CAPISCIO_SERVER_URL", "http://registry.example.com", None),
        ("CAPISCIO_SERVER_PRIVATE_KEY_PEM", "sk secret", Some("CAPISCIO_SERVER_PRIVATE_KEY_PEM")),
    ];
    for (name, value, variable) in cases {
        let pairs: Vec<_> = good.into_iter().filter(|(known, _)| *known != name).chain([(name, value)]).collect();
        let error = ServerIdentity::from_env_with(fetcher(), environment(&pairs)).unwrap_err();
        match &error {
            RegistrationError::Environment(error) => assert_eq!(Some(error.variable()), variable),
            RegistrationError::Registry(error) => {
                assert!(matches!(error.kind(), RegistryErrorKind::Url | RegistryErrorKind::ApiKey), "{error:?}");
                assert_eq!(variable, None, "{name}");
            }
            other => panic!("{other:?}"),
        }
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
    let not_text = |name: &str| match name {
        "CAPISCIO_SERVER_ID" => Err(VarError::NotUnicode("x".into())),
        _ => Ok(KEY.to_owned()),
    };
    let error = ServerIdentity::from_env_with(fetcher(), not_text).unwrap_err();
    assert_eq!(error.to_string(), "CAPISCIO_SERVER_ID is not text");
}

/// Another user of the machine writes down the id of another server of the account: it would get this server's key.
#[tokio::test]
#[cfg(unix)]
async fn an_id_that_others_may_have_written_is_not_believed() {
    use std::os::unix::fs::PermissionsExt as _;

    let registry = Registry::always(500, json!({})).await;
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join(".resolved_server_id"), "11111111-2222-4333-8444-555555555555").unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    for server in [SERVER_ID, "auto"] {
        let connector = ServerIdentity::connect(registry.client(), server).key_directory(home.path());
        match connector.key(Arc::new(key())).start().await {
            Err(RegistrationError::Keys(error)) => assert_eq!(error.kind(), KeyDirectoryErrorKind::Permissions),
            other => panic!("{other:?}"),
        }
    }
    assert!(registry.sent().is_empty());
}

#[tokio::test]
async fn a_key_file_that_others_may_read_stops_the_start() {
    let home = tempfile::tempdir().unwrap();
    KeyDirectory::new(home.path()).store_new(&key()).unwrap();
    let asked = Arc::new(AtomicU16::new(0));
    let count = Arc::clone(&asked);
    let registry = Registry::start(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Answer::json(500, &json!({}))
    })
    .await;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(home.path().join("private_key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
        match connect(&registry, home.path()).await {
            Err(RegistrationError::Keys(error)) => assert_eq!(error.kind(), KeyDirectoryErrorKind::Permissions),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}
