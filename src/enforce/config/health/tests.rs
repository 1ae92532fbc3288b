use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::enforce::config::tests::complete;
use crate::evidence::EvidenceLog;
use crate::identity::did::Did;
use crate::identity::resolve::{AgentStatus, MaybeReady, RevocationStatus, StatusSource};

#[test]
fn a_guard_of_files_has_nothing_to_say() {
    let config = complete().build().unwrap();
    assert!(config.health().is_good());
    assert_eq!(config.health().sources, []);
}

#[tokio::test]
async fn a_guard_of_files_is_warm() {
    assert_eq!(complete().build().unwrap().warm_up().await, Ok(()));
}

/// A source that answers nothing and says how it is doing.
#[derive(Debug)]
struct Reporting(&'static str);

impl StatusSource for Reporting {
    fn badge_status<'a>(&'a self, _: &'a str, _: &'a str, _: UnixSeconds) -> MaybeReady<'a, RevocationStatus> {
        MaybeReady::ready(RevocationStatus::Unknown)
    }

    fn agent_status<'a>(&'a self, _: &'a str, _: &'a Did, _: UnixSeconds) -> MaybeReady<'a, AgentStatus> {
        MaybeReady::ready(AgentStatus::Unknown)
    }

    fn health(&self, _issuer: &str) -> Option<SourceHealth> {
        Some(SourceHealth { last_error: Some(self.0), ..SourceHealth::unknown() })
    }
}

#[test]
fn every_source_of_revocations_is_reported_in_the_order_in_which_it_is_asked() {
    let revocations = Revocations::hybrid(Arc::new(Reporting("live")), Arc::new(Reporting("list")));
    let health = complete().revocations(revocations).build().unwrap().health();
    let reported: Vec<_> = health.sources.iter().map(|source| (source.kind, source.health.last_error)).collect();
    assert_eq!(reported, [(SourceKind::Revocations, Some("live")), (SourceKind::Revocations, Some("list"))]);
    assert!(!health.is_good());
}

#[test]
fn health_as_json_has_a_fixed_shape() {
    let at = UnixSeconds::new(1_800_000_000);
    let report =
        |health| SourceReport { kind: SourceKind::Keys, issuer: "https://registry.example.com".into(), health };
    let good = SourceHealth {
        last_success: Some(at),
        good_until: Some(at.saturating_add(Duration::from_secs(300))),
        next_attempt: Some(at.saturating_add(Duration::from_secs(240))),
        ..SourceHealth::unknown()
    };
    let evidence = EvidenceHealth { records: 7, queued: 1, dropped: 2, ..EvidenceHealth::default() };
    let health = GuardHealth { at, sources: vec![report(good.clone())], evidence };
    assert_eq!(
        health.to_json(),
        json!({
            "good": true,
            "at": 1_800_000_000,
            "evidence": { "failed": false, "records": 7, "queued": 1, "dropped": 2, "coalesced": 0, "log": null },
            "sources": [{
                "source": "keys",
                "issuer": "https://registry.example.com",
                "good": true,
                "last_success": 1_800_000_000,
                "failing_since": null,
                "last_error": null,
                "good_until": 1_800_000_300,
                "next_attempt": 1_800_000_240,
            }],
        })
    );
    let failing =
        SourceHealth { failing_since: Some(at), last_error: Some("in fixed words"), ..SourceHealth::unknown() };
    let health = GuardHealth { at, sources: vec![report(good.clone()), report(failing)], evidence };
    assert!(!health.is_good());
    assert_eq!(health.to_json()["sources"][1]["last_error"], "in fixed words");
    let failed = EvidenceHealth { failed: true, ..evidence };
    let health = GuardHealth { at, sources: vec![report(good)], evidence: failed };
    assert!(!health.is_good(), "nothing can be recorded");
    assert_eq!(health.to_json()["evidence"]["failed"], true);
}

/// A log whose tiles cannot be written goes on for a while, and its operator should know before it stops.
#[test]
fn health_tells_how_far_the_log_is_published() {
    let directory = tempfile::tempdir().unwrap();
    let log = EvidenceLog::create_or_open(directory.path().join("log")).unwrap();
    let config = complete().evidence(log.clone()).build().unwrap();
    let _enforcer = crate::enforce::Enforcer::new(config.clone());
    log.publish(Duration::from_secs(60)).unwrap();
    let health = config.health();
    assert!(health.is_good());
    let json = health.to_json();
    assert_eq!(json["evidence"]["log"]["published"], json["evidence"]["records"], "{json}");
    assert_eq!(json["evidence"]["log"]["behind_ms"], 0, "{json}");
    let mut failing = health;
    failing.evidence.log.as_mut().unwrap().tiles_failing = true;
    assert!(!failing.is_good());
}

#[test]
fn what_is_missing_is_named_in_one_line() {
    let missing = |kind, issuer: &str, reason| MissingSource { kind, issuer: issuer.into(), reason };
    let error = WarmUpError {
        missing: vec![
            missing(SourceKind::Keys, "https://a.example", Some("no connection could be made")),
            missing(SourceKind::Revocations, "https://b.example", None),
        ],
    };
    assert_eq!(
        error.to_string(),
        "not every source could be asked: keys of https://a.example (no connection could be made); revocations of https://b.example"
    );
}

/// A registry on this machine that can be switched off, and a configuration that finds it.
#[cfg(feature = "registry")]
mod over_the_network {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::Router;
    use axum::http::{StatusCode, header};
    use axum::response::IntoResponse as _;
    use axum::routing::get;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};
    use crate::enforce::config::GuardConfigBuilder;
    use crate::enforce::config::tests::{AUDIENCE, level};
    use crate::identity::background::Background;
    use crate::identity::badge::{BadgeContext, BadgeIssuer, BadgeRequest};
    use crate::identity::did::Did;
    use crate::identity::fetch::Fetcher;
    use crate::identity::key::SigningKey;
    use crate::identity::trust_level::TrustLevel;

    struct Registry {
        origin: String,
        issuer: BadgeIssuer,
        up: Arc<AtomicBool>,
        _server: Background,
    }

    impl Registry {
        async fn start(up: bool) -> Self {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let origin = format!("http://{}", listener.local_addr().unwrap());
            let issuer = BadgeIssuer::new(&origin, "k1", Arc::new(SigningKey::generate().unwrap())).unwrap();
            let (up, jwks) = (Arc::new(AtomicBool::new(up)), issuer.jwks_json());
            let answers = Arc::clone(&up);
            let keys = get(move || async move {
                if answers.load(Ordering::SeqCst) {
                    ([(header::CONTENT_TYPE, "application/json")], jwks).into_response()
                } else {
                    StatusCode::SERVICE_UNAVAILABLE.into_response()
                }
            });
            let app = Router::new().route("/.well-known/jwks.json", keys);
            let server = Background::start(async move { axum::serve(listener, app).await.unwrap() }).unwrap();
            Self { origin, issuer, up, _server: server }
        }

        fn config(&self) -> GuardConfigBuilder {
            let text = format!("[[issuer]]\norigin = \"{}\"\ndiscover = true", self.origin);
            GuardConfig::builder()
                .audience(AUDIENCE)
                .evidence(EvidenceLog::in_memory())
                .tool("one", level(1))
                .dangerous_dev_profile()
                .fetcher(Fetcher::builder().dangerous_allow_loopback().build().unwrap())
                .toml(&text, Path::new(""))
        }

        fn badge(&self) -> String {
            let key = SigningKey::generate().unwrap().public_key();
            let request = BadgeRequest::new(Did::from_public_key(&key), key, TrustLevel::Registered);
            let request = request.lifetime(Duration::from_secs(300)).audience(AUDIENCE);
            self.issuer.issue(&request, SystemClock.now_unix()).unwrap()
        }
    }

    async fn is_accepted(config: &GuardConfig, badge: &str) -> bool {
        config.verifier().verify(badge, &BadgeContext::at(config.clock().now_unix())).await.is_ok()
    }

    #[tokio::test]
    async fn the_first_badge_fetches_what_nobody_warmed_up() {
        let registry = Registry::start(true).await;
        let config = registry.config().build().unwrap();
        assert!(!config.health().is_good(), "nothing was asked yet");
        assert!(is_accepted(&config, &registry.badge()).await);
        assert!(config.health().is_good());
    }

    #[tokio::test]
    async fn a_registry_that_is_down_at_start_is_named_and_keeps_no_server_from_starting() {
        let registry = Registry::start(false).await;
        let config = registry.config().build().unwrap();
        let error = config.warm_up().await.unwrap_err();
        let [missing] = error.missing() else { panic!("{error}") };
        assert_eq!((missing.kind, missing.issuer.as_str()), (SourceKind::Keys, registry.origin.as_str()));
        assert_eq!(missing.reason, Some("the answer's status is an error"));
        let health = config.health();
        assert!(!health.is_good());
        assert!(health.sources[0].health.failing_since.is_some());
        assert!(!is_accepted(&config, &registry.badge()).await, "nobody is let in meanwhile");
        // a later question of the application's own finds it up
        registry.up.store(true, Ordering::SeqCst);
        let digest = config.digest().to_owned();
        tokio::time::timeout(Duration::from_secs(60), async {
            while config.warm_up().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .unwrap();
        assert!(config.health().is_good());
        assert!(is_accepted(&config, &registry.badge()).await);
        assert_eq!(
            registry.config().build().unwrap().digest(),
            digest,
            "s33: keys that were fetched are not part of it"
        );
    }

    /// A configuration is built before a runtime is, and by a file that asks for every source.
    #[test]
    fn a_configuration_is_built_outside_of_a_runtime() {
        let text = "[[issuer]]\norigin = \"https://b.example\"\ndiscover = true\n[revocations]\nmode = \"synced\"\n[did_documents]\nresolve = true";
        let config = complete().toml(text, Path::new("")).build().unwrap();
        assert!(!config.health().is_good());
    }
}
