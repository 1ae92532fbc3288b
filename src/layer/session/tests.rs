//! The table, the handle and the body by themselves; the layer around a real rmcp server is in `tests/it/session_layer.rs`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body as _;

use super::body::SessionBody;
use super::refusal::Refusal;
use super::service::session_of;
use super::table::{Closed, NotAdmitted, SessionHandle, SessionKey, Sessions};
use super::{MAX_SESSION_ID_BYTES, MAX_STREAMS_PER_SESSION};
use crate::enforce::Owner;
use crate::layer::headers::MCP_SESSION_ID;
use crate::policy::{AuthLevel, DenyReason};

const IDLE: Duration = Duration::from_secs(60);

fn alice() -> Owner {
    Owner::Badge { issuer: "https://registry.example.com".into(), subject: "did:web:a.example".into() }
}

fn bob() -> Owner {
    Owner::ApiKey { name: "bob".into() }
}

fn key(id: &str) -> SessionKey {
    SessionKey::of(id.as_bytes())
}

fn sessions() -> Arc<Sessions> {
    Arc::new(Sessions::new(4, IDLE))
}

fn handle(sessions: &Arc<Sessions>, id: &str, caller: Option<Owner>) -> SessionHandle {
    SessionHandle::new(Arc::clone(sessions), key(id), caller)
}

fn is_closed(closed: &mut Closed) -> bool {
    !matches!(closed.try_recv(), Ok(None))
}

/// Stops a second caller from taking over a session that somebody was already authorized in.
#[test]
fn s15_a_session_latches_once_to_the_first_authorized_principal() {
    let sessions = sessions();
    let _open = sessions.create(key("s"), None).unwrap();
    assert!(handle(&sessions, "s", None).latch(None), "anonymous calls do not latch");
    assert!(handle(&sessions, "s", Some(bob())).latch(Some(&bob())));

    assert!(!handle(&sessions, "s", Some(alice())).latch(Some(&alice())));
    assert!(!handle(&sessions, "s", None).latch(None), "anonymous calls end with the latch");
    assert!(handle(&sessions, "s", Some(bob())).latch(Some(&bob())));

    assert_eq!(sessions.admit(key("s"), Some(&alice())).unwrap_err(), NotAdmitted::Unknown);
    assert_eq!(sessions.admit(key("s"), None).unwrap_err(), NotAdmitted::Unknown);
    drop(sessions.admit(key("s"), Some(&bob())).unwrap());
}

/// Stops two callers who race for an unowned session from both winning it.
#[test]
fn s15_the_latch_is_atomic() {
    for _ in 0..200 {
        let sessions = sessions();
        let _open = sessions.create(key("s"), None).unwrap();
        let racers: Vec<Owner> = (0..8).map(|racer| Owner::ApiKey { name: format!("racer {racer}") }).collect();
        let winners = std::thread::scope(|scope| {
            let threads: Vec<_> = racers
                .iter()
                .map(|racer| {
                    let handle = handle(&sessions, "s", Some(racer.clone()));
                    scope.spawn(move || handle.latch(Some(racer)))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(winners.iter().filter(|won| **won).count(), 1);
        for (racer, won) in racers.iter().zip(winners) {
            assert_eq!(sessions.admit(key("s"), Some(racer)).is_ok(), won);
        }
    }
}

/// Stops an eavesdropper who opened a stream in an unowned session from reading the answers of its later owner.
#[test]
fn s15_streams_of_others_end_with_the_latch() {
    let sessions = sessions();
    let mut of_creator = sessions.create(key("s"), None).unwrap();
    let mut of_alice = sessions.admit(key("s"), Some(&alice())).unwrap();
    let mut of_bob = sessions.admit(key("s"), Some(&bob())).unwrap();
    assert!(!is_closed(&mut of_creator) && !is_closed(&mut of_alice) && !is_closed(&mut of_bob));

    assert!(handle(&sessions, "s", Some(bob())).latch(Some(&bob())));
    assert!(is_closed(&mut of_creator));
    assert!(is_closed(&mut of_alice));
    assert!(!is_closed(&mut of_bob), "the response to the call that latched must arrive");
}

/// Stops a caller whose credential the layer cannot see on every request (`_meta`) from owning a session, since
/// its next request could not be told from a thief's.
#[test]
fn s15_a_credential_outside_the_headers_does_not_latch() {
    let sessions = sessions();
    let _open = sessions.create(key("s"), None).unwrap();
    assert!(!handle(&sessions, "s", None).latch(Some(&bob())));
    assert!(!handle(&sessions, "s", Some(alice())).latch(Some(&bob())));
    assert!(handle(&sessions, "s", None).admits(None), "it still belongs to nobody");
}

/// Stops a call that was admitted before its session was forgotten from binding anything to the dead id.
#[test]
fn s15_a_forgotten_session_admits_and_latches_nobody() {
    let sessions = sessions();
    let mut open = sessions.create(key("s"), Some(&bob())).unwrap();
    sessions.forget(key("s"));
    assert!(is_closed(&mut open));
    assert!(!sessions.knows(key("s")));
    assert!(!handle(&sessions, "s", Some(bob())).latch(Some(&bob())));
    assert_eq!(sessions.admit(key("s"), Some(&bob())).unwrap_err(), NotAdmitted::Unknown);
}

#[test]
fn a_request_without_a_session_has_nothing_to_latch() {
    let handle = SessionHandle::without_session();
    assert_eq!(handle.key(), None);
    assert!(handle.latch(Some(&bob())) && handle.latch(None));
}

#[tokio::test(start_paused = true)]
async fn a_full_table_refuses_and_forgets_only_what_lies_idle() {
    let sessions = sessions();
    let busy = sessions.create(key("busy"), Some(&bob())).unwrap();
    for id in ["1", "2", "3"] {
        drop(sessions.create(key(id), Some(&alice())).unwrap());
    }
    assert_eq!(sessions.create(key("4"), Some(&bob())).unwrap_err(), NotAdmitted::Full);
    tokio::time::advance(IDLE).await;
    drop(sessions.create(key("4"), Some(&bob())).unwrap());
    assert!(sessions.knows(key("busy")), "an open response keeps its session");
    assert!(!sessions.knows(key("1")));

    drop(busy);
    assert!(!sessions.knows(key("busy")));
}

/// Stops strangers from locking known callers out by opening sessions.
#[tokio::test(start_paused = true)]
async fn s16_sessions_of_nobody_take_half_of_the_table() {
    let sessions = sessions();
    drop(sessions.create(key("1"), None).unwrap());
    drop(sessions.create(key("2"), None).unwrap());
    assert_eq!(sessions.create(key("3"), None).unwrap_err(), NotAdmitted::Full);
    drop(sessions.create(key("3"), Some(&bob())).unwrap());
    // One that found an owner no longer counts.
    assert!(handle(&sessions, "1", Some(bob())).latch(Some(&bob())));
    drop(sessions.create(key("4"), None).unwrap());
    assert_eq!(sessions.create(key("5"), Some(&bob())).unwrap_err(), NotAdmitted::Full);

    tokio::time::advance(IDLE).await;
    drop(sessions.create(key("5"), None).unwrap());
}

#[tokio::test(start_paused = true)]
async fn each_request_renews_a_session() {
    let sessions = sessions();
    drop(sessions.create(key("s"), Some(&bob())).unwrap());
    for _ in 0..3 {
        tokio::time::advance(IDLE.checked_sub(Duration::from_secs(1)).unwrap()).await;
        assert!(sessions.knows(key("s")));
        drop(sessions.admit(key("s"), Some(&bob())).unwrap());
    }
    tokio::time::advance(IDLE).await;
    assert!(!sessions.knows(key("s")));
}

#[test]
fn open_responses_of_a_session_are_bounded() {
    let sessions = sessions();
    let mut open = vec![sessions.create(key("s"), None).unwrap()];
    while open.len() < MAX_STREAMS_PER_SESSION {
        open.push(sessions.admit(key("s"), None).unwrap());
    }
    assert_eq!(sessions.admit(key("s"), None).unwrap_err(), NotAdmitted::Full);
    open.pop();
    drop(sessions.admit(key("s"), None).unwrap());
}

/// Stops an inner service that hands out an id twice from giving one caller the session of another.
#[test]
fn s14_an_id_that_is_bound_is_not_bound_again() {
    let sessions = sessions();
    let _open = sessions.create(key("s"), Some(&bob())).unwrap();
    assert_eq!(sessions.create(key("s"), Some(&alice())).unwrap_err(), NotAdmitted::Unknown);
    assert!(handle(&sessions, "s", Some(bob())).admits(Some(&bob())));
}

#[test]
fn neither_table_nor_handle_shows_a_session_id() {
    let sessions = sessions();
    let id = "0c8e5a3e-secret";
    let _open = sessions.create(key(id), Some(&bob())).unwrap();
    let shown = format!("{sessions:?} {:?} {}", handle(&sessions, id, Some(bob())), key(id));
    assert!(!shown.contains("0c8e5a3e") && !shown.contains("secret"), "{shown}");
    assert_eq!(key(id).to_string().len(), 16);
}

type Named = Result<Option<SessionKey>, Refusal>;

#[test]
fn session_ids_are_one_bounded_visible_word() {
    let long = "x".repeat(MAX_SESSION_ID_BYTES);
    let too_long = "x".repeat(MAX_SESSION_ID_BYTES + 1);
    let table: [(&str, &[&[u8]], Named); 9] = [
        ("none", &[], Ok(None)),
        ("uuid", &[b"0c8e5a3e-1d5f-4a57-a4de-6b1f0a7c9d11"], Ok(Some(key("0c8e5a3e-1d5f-4a57-a4de-6b1f0a7c9d11")))),
        ("longest", &[long.as_bytes()], Ok(Some(key(&long)))),
        ("too long", &[too_long.as_bytes()], Err(Refusal::Malformed)),
        ("empty", &[b""], Err(Refusal::Malformed)),
        ("blank inside", &[b"a b"], Err(Refusal::Malformed)),
        ("not ASCII", &[b"\xc3\xa9"], Err(Refusal::Malformed)),
        ("twice", &[b"a", b"b"], Err(Refusal::Malformed)),
        ("twice the same", &[b"a", b"a"], Err(Refusal::Malformed)),
    ];
    for (name, values, want) in table {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(MCP_SESSION_ID, HeaderValue::from_bytes(value).unwrap());
        }
        assert_eq!(session_of(&headers), want, "{name}");
    }
}

#[tokio::test]
async fn refusals_say_class_and_kind_only() {
    let challenge = HeaderValue::from_static("Badge");
    let table = [
        (Refusal::Malformed, 400, r#"{"reason":"request_malformed"}"#),
        (Refusal::NotFound, 404, r#"{"reason":"session_unbound"}"#),
        (Refusal::Full, 503, r#"{"reason":"session_limit"}"#),
        (Refusal::Unbindable, 500, r#"{"reason":"internal_error"}"#),
        (
            Refusal::Credential(DenyReason::KeysUnavailable, AuthLevel::Badge),
            503,
            r#"{"credential":"badge","reason":"issuer_untrusted"}"#,
        ),
        (
            Refusal::Credential(DenyReason::BadgeExpired, AuthLevel::Badge),
            401,
            r#"{"credential":"badge","reason":"badge_expired"}"#,
        ),
        (
            Refusal::Credential(DenyReason::BadgeSignatureInvalid, AuthLevel::Badge),
            401,
            r#"{"credential":"badge","reason":"badge_invalid"}"#,
        ),
    ];
    for (refusal, status, body) in table {
        let response: Response<SessionBody<Body>> = refusal.response(&challenge);
        assert_eq!(response.status(), status, "{refusal:?}");
        assert_eq!(response.headers().contains_key(WWW_AUTHENTICATE), status == 401, "{refusal:?}");
        assert_eq!(response.headers().contains_key(RETRY_AFTER), status == 503, "{refusal:?}");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        let bytes = to_bytes(Body::new(response.into_body()), 1024).await.unwrap();
        assert_eq!(std::str::from_utf8(&bytes).unwrap(), format!("{body}\n"), "{refusal:?}");
    }
    assert_eq!(Refusal::Credential(DenyReason::BadgeMissing, AuthLevel::Anonymous).status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_open_body_ends_when_its_session_is_taken() {
    let sessions = sessions();
    let closed = sessions.create(key("s"), None).unwrap();
    let endless = stream::once(async { Ok::<_, std::io::Error>("first") }).chain(stream::pending());
    let mut body = Body::new(SessionBody::inner(Body::from_stream(endless), Some(closed))).into_data_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), "first");

    let (end, ()) = tokio::join!(body.next(), async {
        assert!(handle(&sessions, "s", Some(bob())).latch(Some(&bob())));
    });
    assert!(end.is_none());
    assert!(body.next().await.is_none(), "it stays ended");
}

#[tokio::test]
async fn a_body_that_nobody_takes_is_passed_on_as_it_is() {
    let body = SessionBody::inner(Body::from("whole"), None);
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(5), false));
    assert_eq!(to_bytes(Body::new(body), 16).await.unwrap(), "whole");
}
