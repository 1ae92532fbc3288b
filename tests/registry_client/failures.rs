//! A registry that is down, wrong or hostile.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use axum::body::Body;
use futures_util::stream;
use rmcp_guard::identity::fetch::{FetchErrorKind, Fetcher};
use rmcp_guard::identity::registry::{
    ApiKey, MAX_ANSWER_BYTES, RegistryClient, RegistryError, RegistryErrorKind, RetryPolicy,
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tracing::field::{Field, Visit};

use crate::double::{Answer, KEY, Registry, SERVER_ID, badge, client, fetcher, key};

async fn badge_of(registry: &Registry) -> RegistryError {
    registry.client().server_badge(SERVER_ID, None).await.unwrap_err()
}

#[tokio::test]
async fn each_status_has_its_kind_and_advice_and_no_4xx_is_repeated() {
    let cases = [
        (400, RegistryErrorKind::Invalid, 1),
        (401, RegistryErrorKind::Unauthorized, 1),
        (402, RegistryErrorKind::Invalid, 1),
        (403, RegistryErrorKind::Forbidden, 1),
        (404, RegistryErrorKind::NotFound, 1),
        (408, RegistryErrorKind::Invalid, 1),
        (409, RegistryErrorKind::Conflict, 1),
        (422, RegistryErrorKind::Invalid, 1),
        (429, RegistryErrorKind::RateLimited, 4),
        (500, RegistryErrorKind::Unavailable, 4),
        (502, RegistryErrorKind::Unavailable, 4),
        (503, RegistryErrorKind::Unavailable, 4),
        (304, RegistryErrorKind::Answer, 1),
    ];
    for (status, kind, attempts) in cases {
        let body = if status == 304 { json!(null) } else { json!({ "error": "code", "message": "for people" }) };
        let registry = Registry::start(move |_| Answer::json(status, &body)).await;
        let error = badge_of(&registry).await;
        assert_eq!((error.kind(), error.status()), (kind, Some(status)));
        assert!(!error.advice().is_empty());
        assert_eq!(registry.sent().len(), attempts, "{status}");
        if status != 304 {
            assert_eq!(error.server_message(), Some("code: for people"), "{status}");
        }
        assert_eq!(error.is_permanent(), (400..429).contains(&status), "{status}");
    }
}

/// The registry key goes along a redirect to another host, and a redirected PUT counts as registered.
#[tokio::test]
async fn a_redirect_gets_neither_the_key_nor_a_second_request() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = Registry::always(200, json!({ "data": { "id": SERVER_ID } })).await;
        let target = format!("{}/v1/sdk/servers/{SERVER_ID}", elsewhere.url());
        let registry = Registry::start(move |_| Answer::json(status, &json!({})).with("location", &target)).await;
        let error = registry.client().register_server(SERVER_ID, &key().did(), &key().public_key()).await.unwrap_err();
        assert_eq!(error.kind(), RegistryErrorKind::Unreachable(FetchErrorKind::Redirect), "{status}");
        assert!(error.advice().contains("redirect"));
        assert_eq!((registry.sent().len(), elsewhere.sent().len()), (1, 0), "{status}");
    }
}

#[tokio::test]
async fn a_good_status_with_something_else_is_no_success() {
    let html = || Answer::json(200, &json!(null)).with("content-type", "text/html");
    let answers: [(&str, Box<dyn Fn() -> Answer + Send + Sync>); 8] = [
        ("html", Box::new(html)),
        ("error", Box::new(|| Answer::json(200, &json!({ "error": "quota", "data": { "id": SERVER_ID } })))),
        ("success false", Box::new(|| Answer::json(200, &json!({ "success": false, "data": { "id": SERVER_ID } })))),
        ("array", Box::new(|| Answer::json(200, &json!([])))),
        ("text", Box::new(|| Answer { body: "not json".into(), ..Answer::json(200, &json!({})) })),
        ("cut off", Box::new(|| Answer { body: r#"{"data":"#.into(), ..Answer::json(200, &json!({})) })),
        ("twice", Box::new(|| Answer { body: r#"{"data":{},"data":{}}"#.into(), ..Answer::json(200, &json!({})) })),
        ("empty", Box::new(|| Answer { body: Body::empty(), ..Answer::json(200, &json!({})) })),
    ];
    for (name, answer) in answers {
        let registry = Registry::start(move |_| answer()).await;
        let client = registry.client();
        let error = client.register_server(SERVER_ID, &key().did(), &key().public_key()).await.unwrap_err();
        assert_eq!(error.kind(), RegistryErrorKind::Answer, "{name}");
        assert_eq!(registry.sent().len(), 1, "{name}");
    }
    // Go's answers carry an empty `error` beside a good result
    let token = badge(&key().did(), &key().public_key());
    let registry = Registry::always(200, json!({ "success": true, "error": "", "data": { "token": token } })).await;
    assert!(registry.client().server_badge(SERVER_ID, None).await.is_ok());
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let registry = Registry::start(|_| {
        let chunk = || Ok::<_, std::io::Error>(vec![b' '; 64 * 1024]);
        let body = Body::from_stream(stream::repeat_with(chunk));
        Answer { body, ..Answer::json(200, &json!({})) }
    })
    .await;
    let error = tokio::time::timeout(Duration::from_secs(60), badge_of(&registry)).await.unwrap();
    assert_eq!(error.kind(), RegistryErrorKind::Answer);
    assert_eq!(registry.sent().len(), 1);

    let registry = Registry::start(|_| {
        let body = format!(r#"{{"x":"{}"}}"#, "a".repeat(MAX_ANSWER_BYTES)).into();
        Answer { body, ..Answer::json(200, &json!({})) }
    })
    .await;
    assert_eq!(badge_of(&registry).await.kind(), RegistryErrorKind::Answer);
}

#[tokio::test]
async fn nobody_there_is_unreachable_after_all_attempts() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = client(&format!("http://127.0.0.1:{port}")).server_badge(SERVER_ID, None).await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Unreachable(FetchErrorKind::Connect));
    assert!(!error.is_permanent());
}

/// An API key that is sent in the clear, or to a place inside that a configuration did not mean.
#[tokio::test]
async fn the_key_goes_to_https_only_and_to_this_machine_only_if_allowed() {
    for url in ["http://registry.example.com", "https://user:pass@registry.example.com", "ws://localhost"] {
        let error = RegistryClient::new(url, Some(ApiKey::new(KEY)), fetcher()).unwrap_err();
        assert_eq!(error.kind(), RegistryErrorKind::Url, "{url}");
    }
    let registry = Registry::always(200, json!({})).await;
    let strict = RegistryClient::new(&registry.url(), Some(ApiKey::new(KEY)), Fetcher::new().unwrap()).unwrap();
    let error = strict.server_badge(SERVER_ID, None).await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Unreachable(FetchErrorKind::Address));
    assert!(error.is_permanent());
    assert!(registry.sent().is_empty());
    for bad in ["", "a b", "a\nb"] {
        let error = RegistryClient::new("https://registry.example.com", Some(ApiKey::new(bad)), fetcher()).unwrap_err();
        assert_eq!(error.kind(), RegistryErrorKind::ApiKey, "{bad:?}");
    }
}

#[tokio::test]
async fn an_outage_that_passes_is_bridged() {
    let left = AtomicU16::new(2);
    let token = badge(&key().did(), &key().public_key());
    let registry = Registry::start(move |_| {
        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Answer::json(503, &json!({}));
        }
        Answer::json(200, &json!({ "data": { "badge": token } }))
    })
    .await;
    assert!(registry.client().server_badge(SERVER_ID, None).await.is_ok());
    assert_eq!(registry.sent().len(), 3);
}

#[tokio::test]
async fn waits_are_what_the_registry_asks_for_and_end_in_time() {
    let registry = Registry::start(|_| Answer::json(429, &json!({})).with("retry-after", "7")).await;
    let client = RegistryClient::new(&format!("http://{}", registry.address), Some(ApiKey::new(KEY)), fetcher());
    let client = client.unwrap().with_retry(RetryPolicy { max_attempts: 10, ..RetryPolicy::default() });
    tokio::time::pause();
    let began = Instant::now();
    let error = client.server_badge(SERVER_ID, None).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (RegistryErrorKind::RateLimited, Some(Duration::from_secs(7))));
    // 7 s after the first, second and third attempt; a fifth would begin within the 30 s only without the jitter
    assert!(began.elapsed() >= Duration::from_secs(21), "{:?}", began.elapsed());
    assert!(began.elapsed() <= Duration::from_secs(30), "{:?}", began.elapsed());
    assert!((4..=5).contains(&registry.sent().len()), "{}", registry.sent().len());

    let hour = Registry::start(|_| Answer::json(503, &json!({})).with("retry-after", "3600")).await;
    let client = RegistryClient::new(&format!("http://{}", hour.address), Some(ApiKey::new(KEY)), fetcher()).unwrap();
    let error = client.server_badge(SERVER_ID, None).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
    assert_eq!(hour.sent().len(), 1);
}

/// What all tests log together; a subscriber of one thread would miss what another thread registered first.
static LOGGED: Mutex<String> = Mutex::new(String::new());

struct Log;

impl Visit for &Log {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        writeln!(LOGGED.lock().unwrap(), "{}={value:?}", field.name()).unwrap();
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut &*self);
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut &*self);
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut &*self);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// A registry that repeats key and token in its answers, so that they end up in the log of whoever asked.
#[tokio::test]
async fn no_secret_is_in_an_error_a_debug_text_or_the_log() {
    tracing::subscriber::set_global_default(Log).unwrap();
    let token = badge(&key().did(), &key().public_key());
    let signature = token.rsplit('.').next().unwrap().to_owned();
    let mut shown = String::new();
    for status in [200, 201, 400, 401, 403, 404, 409, 429, 500] {
        let text = format!("key {KEY} token {token}");
        let registry = Registry::start(move |_| {
            Answer::json(status, &json!({ "error": text, "message": format!("token {text}"), "data": { "x": text } }))
        })
        .await;
        let client = registry.client();
        let error = badge_of(&registry).await;
        let _ = write!(shown, "{error} {error:?} {} {:?} {client:?}", error.advice(), error.server_message());
    }
    // a badge that is shown, and the message about a token alone
    let registry = Registry::start(move |_| Answer::json(400, &json!({ "error": format!("bad token {token}") }))).await;
    let error = badge_of(&registry).await;
    assert_eq!(error.server_message(), Some("bad token [..]"));
    let logged = LOGGED.lock().unwrap().clone();
    assert!(logged.contains("registry call repeated"), "{logged}");
    for secret in [KEY, &signature] {
        assert!(!shown.contains(secret), "{shown}");
        assert!(!logged.contains(secret), "{logged}");
    }
}
