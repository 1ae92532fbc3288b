//! The whole list: pages, ages, restarts, and what passes when the issuer is gone.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use rmcp_guard::clock::{Clock, SystemClock, UnixSeconds};
use rmcp_guard::identity::badge::{BadgeErrorKind, Revocations};
use rmcp_guard::identity::remote::{RevocationSync, RevocationSyncBuilder, RevocationSyncError};
use rmcp_guard::identity::resolve::{AgentStatus, RevocationStatus, StatusSource as _};
use serde_json::json;

use crate::registry::{Records, Registry, Reply, agent, fetcher, page, rfc3339};

fn sync(registry: &Registry) -> RevocationSyncBuilder {
    RevocationSync::builder(fetcher()).issuer(&registry.origin).clock(registry.clock.clone())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn badge(sync: &RevocationSync, registry: &Registry, jti: &str) -> Option<RevocationStatus> {
    sync.badge_status(&registry.origin, jti, registry.now()).now_or_never()
}

fn ids(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|number| format!("badge-{number}")).collect()
}

/// The query of a recorded request.
fn query(request: &str) -> HashMap<String, String> {
    let (_, query) = request.split_once('?').unwrap();
    query.split('&').map(|pair| pair.split_once('=').unwrap()).map(|(k, v)| (k.into(), v.replace("%3A", ":"))).collect()
}

/// Serves `pages` under the cursors `1`, `2` and so on, dated by `synced_at`.
fn pages(pages: Vec<Vec<String>>, synced_at: UnixSeconds) -> impl Fn(&str) -> Reply + Send + 'static {
    move |request| {
        let number: usize = query(request).get("cursor").map_or(0, |cursor| cursor.parse().unwrap());
        let next = (number + 1 < pages.len()).then(|| (number + 1).to_string());
        page(&pages[number], synced_at, next.as_deref())
    }
}

/// Attack: the revocation of a badge stands on the second page, and nobody reads that.
#[tokio::test]
async fn every_page_is_read_and_later_reads_go_on_where_the_last_ended() {
    let registry = Registry::start(|_| Reply::Silence).await;
    registry.script(pages(vec![ids(0, 1000), ids(1000, 2000), ids(2000, 2500)], registry.now()));
    let list = sync(&registry).build().unwrap();
    list.sync_now().await.unwrap();
    for (jti, want) in [
        ("badge-0", RevocationStatus::Revoked),
        ("badge-1000", RevocationStatus::Revoked),
        ("badge-2499", RevocationStatus::Revoked),
        ("badge-2500", RevocationStatus::Good),
    ] {
        assert_eq!(badge(&list, &registry, jti), Some(want), "{jti}");
    }
    assert_eq!(list.revoked_badges(&registry.origin), Some(2500));
    let first: Vec<_> = registry.requests().iter().map(|request| query(request)).collect();
    assert_eq!(
        first.iter().map(|query| query.get("cursor").map(String::as_str)).collect::<Vec<_>>(),
        [None, Some("1"), Some("2")]
    );
    assert!(first.iter().all(|query| query["since"] == "1970-01-01T00:00:00Z" && query["limit"] == "1000"));

    let read_at = registry.now();
    registry.clock.advance(seconds(60));
    registry.script(pages(vec![ids(2490, 2510)], registry.now()));
    list.sync_now().await.unwrap();
    let incremental = registry.requests().into_iter().rev().find(|request| request.contains("since")).unwrap();
    assert_eq!(query(&incremental)["since"], rfc3339(read_at.saturating_sub(seconds(1800))));
    assert_eq!(list.revoked_badges(&registry.origin), Some(2510), "an entry that comes twice counts once");
    assert_eq!(badge(&list, &registry, "badge-2509"), Some(RevocationStatus::Revoked));

    // Once a day from the beginning, in case an entry was dated back.
    registry.clock.advance(seconds(24 * 60 * 60));
    registry.script(pages(vec![vec![]], registry.now()));
    let before = registry.requests().len();
    list.sync_now().await.unwrap();
    // The background, which the first question started, may ask once more.
    assert!(registry.requests().iter().skip(before).any(|asked| query(asked)["since"] == "1970-01-01T00:00:00Z"));
    assert_eq!(badge(&list, &registry, "badge-0"), Some(RevocationStatus::Revoked), "nothing is forgotten");
}

#[tokio::test]
async fn cursors_that_lead_nowhere_end() {
    let registry = Registry::start(|_| Reply::Silence).await;
    let now = registry.now();
    let list = || sync(&registry).max_revocations(1000).build().unwrap();

    registry.script(move |_| page(&ids(0, 1), now, Some("again")));
    let (repeated, before) = (list(), registry.requests().len());
    assert!(matches!(repeated.sync_now().await, Err(RevocationSyncError::Cursor)));
    assert!(registry.requests().len() <= before + 2);

    let number = Mutex::new(0);
    registry.script(move |_| {
        let mut number = number.lock().unwrap();
        *number += 1;
        page(&[], now, Some(&number.to_string()))
    });
    let (endless, before) = (list(), registry.requests().len());
    assert!(matches!(endless.sync_now().await, Err(RevocationSyncError::Cursor)));
    assert!(registry.requests().len() <= before + 18, "{}", registry.requests().len());

    registry.script(move |_| page(&[], now, Some(&"c".repeat(5000))));
    assert!(matches!(list().sync_now().await, Err(RevocationSyncError::Cursor)));
    registry.script(move |_| page(&ids(0, 1001), now, None));
    let full = list();
    assert!(matches!(full.sync_now().await, Err(RevocationSyncError::Full)));
    for list in [repeated, endless, full] {
        let health = list.health(&registry.origin).unwrap();
        assert_eq!((health.last_success, health.failing_since), (None, Some(now)));
        // With its failure known nobody waits, and an incomplete list vouches for nobody.
        assert_eq!(badge(&list, &registry, "other"), Some(RevocationStatus::Unknown));
    }
}

/// Attack: an issuer that sends more than is allowed, again and again, fills the memory bit by bit.
#[tokio::test]
async fn a_list_may_be_full_and_no_attempt_makes_it_fuller() {
    let registry = Registry::start(|_| Reply::Silence).await;
    let directory = tempfile::tempdir().unwrap();
    let open = || sync(&registry).max_revocations(100).cache_dir(directory.path()).build().unwrap();
    let (list, now) = (open(), registry.now());
    registry.script(move |_| page(&ids(0, 90), now, None));
    list.sync_now().await.unwrap();
    registry.script(move |_| page(&ids(0, 1000), now, None));
    for _ in 0..3 {
        assert!(matches!(list.sync_now().await, Err(RevocationSyncError::Full)));
        assert_eq!(list.revoked_badges(&registry.origin), Some(100));
    }
    // All that may be held, and all of it known: that is no list with more.
    registry.script(move |_| page(&ids(0, 100), now, None));
    list.sync_now().await.unwrap();
    drop(list);
    assert_eq!(open().revoked_badges(&registry.origin), Some(100), "the cache has what a sync read that failed");
}

/// Attack: an issuer, or somebody before it, answers with what is no list, and the verifier takes it for an empty one.
#[tokio::test]
async fn what_is_no_list_is_no_empty_list() {
    let registry = Registry::start(|_| Reply::Silence).await;
    let now = rfc3339(registry.now());
    let json = |text: String| Reply::Text(200, "application/json", text);
    let cases = [
        ("an error with 200", json(r#"{"error":"x"}"#.to_owned()), "the list is not one"),
        ("no list", Reply::Json(json!({"syncedAt": now})), "the list is not one"),
        ("no time", Reply::Json(json!({"revocations": []})), "the list is not one"),
        ("no id", Reply::Json(json!({"revocations": [{"revokedAt": now}], "syncedAt": now})), "the list is not one"),
        (
            "a number for a cursor",
            Reply::Json(json!({"revocations": [], "syncedAt": now, "nextCursor": 7})),
            "the list is not one",
        ),
        (
            "twice",
            json(format!(r#"{{"revocations":[{{"jti":"a"}}],"revocations":[],"syncedAt":"{now}"}}"#)),
            "the list is not one",
        ),
        ("a page", Reply::Text(200, "text/html", "<html>".to_owned()), "the answer's content type is another"),
        ("404", Reply::Text(404, "application/json", "{}".to_owned()), "the answer's status is an error"),
        ("elsewhere", Reply::Text(302, "application/json", String::new()), "the answer is a redirect"),
        ("endless", Reply::Endless, "the answer is too large"),
    ];
    for (name, reply, want) in cases {
        let list = sync(&registry).build().unwrap();
        registry.script(move |_| reply.clone());
        list.sync_now().await.unwrap_err();
        assert_eq!(list.health(&registry.origin).unwrap().last_error, Some(want), "{name}");
        assert_eq!(badge(&list, &registry, "x"), Some(RevocationStatus::Unknown), "{name}");
    }
}

#[tokio::test]
async fn a_page_that_is_lost_leaves_the_date_and_keeps_what_was_read() {
    let registry = Registry::start(|_| Reply::Silence).await;
    let first = registry.now();
    registry.script(pages(vec![ids(0, 1)], first));
    let list = sync(&registry).build().unwrap();
    list.sync_now().await.unwrap();
    registry.clock.advance(seconds(200));
    let now = registry.now();
    registry.script(move |request| match query(request).get("cursor") {
        None => page(&ids(10, 11), now, Some("2")),
        Some(_) => Reply::Text(503, "text/html", "down".to_owned()),
    });
    list.sync_now().await.unwrap_err();
    let health = list.health(&registry.origin).unwrap();
    assert_eq!((health.last_success, health.failing_since), (Some(first), Some(now)));
    assert_eq!(health.good_until, Some(first.saturating_add(seconds(300))));
    assert_eq!(
        badge(&list, &registry, "badge-10"),
        Some(RevocationStatus::Revoked),
        "a revocation that was read counts"
    );
    assert_eq!(badge(&list, &registry, "other"), Some(RevocationStatus::Good));
    registry.clock.advance(seconds(101));
    assert_eq!(badge(&list, &registry, "other"), Some(RevocationStatus::Unknown));
    assert_eq!(badge(&list, &registry, "badge-0"), Some(RevocationStatus::Revoked), "listed is revoked, however old");
}

#[tokio::test]
async fn only_the_named_issuers_are_asked_and_none_about_agents() {
    let registry = Registry::start(|_| Reply::Silence).await;
    registry.script(pages(vec![vec![]], registry.now()));
    let list = sync(&registry).build().unwrap();
    list.sync_now().await.unwrap();
    let now = registry.now();
    assert_eq!(badge(&list, &registry, "x"), Some(RevocationStatus::Good));
    let foreign = list.badge_status("https://other.example", "x", now).now_or_never();
    assert_eq!(foreign, Some(RevocationStatus::Unknown));
    let did = agent();
    assert_eq!(list.agent_status(&registry.origin, &did, now).now_or_never(), Some(AgentStatus::Unknown));
    assert!(list.health("https://other.example").is_none());
    for issuer in ["http://registry.example.com", "registry.example.com", "https://a.example/path", "did:key:z6Mk"] {
        let refused = RevocationSync::builder(fetcher()).issuer(issuer).build();
        assert!(matches!(refused, Err(RevocationSyncError::Issuer(named)) if named == issuer), "{issuer}");
    }
}

/// Attack: the issuer's clock, or an old copy of its list, makes a list look younger than it is.
#[tokio::test]
async fn a_list_is_as_old_as_our_question_whatever_the_issuers_clock_says() {
    for (name, behind, ahead) in [("right", 0, 0), ("ten minutes behind", 600, 0), ("ten minutes ahead", 0, 600)] {
        let registry = Registry::start(|_| Reply::Silence).await;
        let issuer_time = registry.now().saturating_sub(seconds(behind)).saturating_add(seconds(ahead));
        registry.script(pages(vec![vec![]], issuer_time));
        let list = sync(&registry).build().unwrap();
        list.sync_now().await.unwrap();
        registry.clock.advance(seconds(300));
        assert_eq!(badge(&list, &registry, "x"), Some(RevocationStatus::Good), "{name}");

        // The issuer still gives the list of then: nothing is younger for having been asked again.
        assert!(list.sync_now().await.is_ok(), "{name}");
        registry.clock.advance(seconds(1));
        let refused = list.sync_now().await.unwrap_err();
        assert!(matches!(refused, RevocationSyncError::Old | RevocationSyncError::Clock), "{name}: {refused}");
        assert_eq!(badge(&list, &registry, "x"), Some(RevocationStatus::Unknown), "{name}");

        registry.script(pages(vec![vec![]], issuer_time.saturating_add(seconds(301))));
        list.sync_now().await.unwrap();
        assert_eq!(badge(&list, &registry, "x"), Some(RevocationStatus::Good), "{name}");
    }
    let registry = Registry::start(|_| Reply::Silence).await;
    let list = sync(&registry).build().unwrap();
    for issuer_time in [registry.now().saturating_sub(seconds(901)), registry.now().saturating_add(seconds(901))] {
        registry.script(pages(vec![vec![]], issuer_time));
        assert!(matches!(list.sync_now().await, Err(RevocationSyncError::Clock)));
        assert_eq!(badge(&list, &registry, "x"), Some(RevocationStatus::Unknown));
    }
}

#[tokio::test]
async fn an_issuers_clock_that_was_put_back_hides_no_revocation() {
    let registry = Registry::start(|_| Reply::Silence).await;
    registry.script(pages(vec![vec![]], registry.now().saturating_add(seconds(840))));
    let list = sync(&registry).build().unwrap();
    list.sync_now().await.unwrap();
    registry.clock.advance(seconds(60));
    // Dated by the corrected clock, the revocation lies before what an incremental read asks for.
    let (now, revoked_at) = (registry.now(), registry.now());
    registry.script(move |request| {
        let since = &query(request)["since"];
        let entries = if *since <= rfc3339(revoked_at) { ids(7, 8) } else { vec![] };
        page(&entries, now, None)
    });
    list.sync_now().await.unwrap();
    assert_eq!(badge(&list, &registry, "badge-7"), Some(RevocationStatus::Revoked));
}

/// An old list is brought up to date before a badge that it does not name is trusted: the call waits, once.
#[tokio::test]
async fn jumps_of_our_clock_cost_one_wait() {
    let registry = Registry::start(|_| Reply::Silence).await;
    let records = Records::default();
    registry.script(records.script(&registry.clock));
    let list = sync(&registry).build().unwrap();
    let first = list.badge_status(&registry.origin, "x", registry.now());
    assert_eq!(first.await, RevocationStatus::Good, "the first question starts the work and waits for it");
    assert_eq!(badge(&list, &registry, "x"), Some(RevocationStatus::Good));
    registry.clock.advance(seconds(301));
    records.revoke("x");
    assert_eq!(badge(&list, &registry, "x"), None, "it has to wait");
    assert_eq!(list.badge_status(&registry.origin, "x", registry.now()).await, RevocationStatus::Revoked);
    assert_eq!(badge(&list, &registry, "y"), Some(RevocationStatus::Good));

    // Back by an hour: a list from the future counts for nothing, and the issuer's next one does.
    registry.clock.set(registry.now().saturating_sub(seconds(3600)));
    assert_ne!(badge(&list, &registry, "y"), Some(RevocationStatus::Good));
}

/// The whole path of a revocation, and of a disabled agent, as a guard sees it.
#[tokio::test]
async fn a_revoked_badge_is_denied_after_the_next_sync_and_a_disabled_agent_after_its_answer_ends() {
    let registry = Registry::start(|_| Reply::Silence).await;
    let records = Records::default();
    registry.script(records.script(&registry.clock));
    let (token, jti) = registry.badge(2);
    let (other, _) = registry.badge(2);
    let list = sync(&registry).build().unwrap();
    list.sync_now().await.unwrap();
    let revocations = Revocations::registry(list.clone());
    for token in [&token, &other] {
        assert_eq!(registry.verify(&revocations, token).await.unwrap().warnings(), [""; 0]);
    }
    assert_eq!(registry.asked("/v1/badges/"), 0, "the list answers for badges");

    records.revoke(&jti);
    registry.clock.advance(seconds(5));
    list.sync_now().await.unwrap();
    assert_eq!(registry.verify(&revocations, &token).await.unwrap_err(), BadgeErrorKind::Revoked);
    registry.verify(&revocations, &other).await.unwrap();

    records.disable(agent().as_str());
    registry.clock.advance(seconds(11));
    assert_eq!(registry.verify(&revocations, &other).await.unwrap_err(), BadgeErrorKind::AgentDisabled);
    // The issuer is gone: neither comes back.
    registry.script(|_| Reply::Text(503, "text/html", "down".to_owned()));
    registry.clock.advance(seconds(60));
    assert_eq!(registry.verify(&revocations, &other).await.unwrap_err(), BadgeErrorKind::AgentDisabled);
    assert_eq!(registry.verify(&revocations, &token).await.unwrap_err(), BadgeErrorKind::Revoked);
}

/// Attack: the registry is taken down so that a revocation is never heard of; a restart makes the verifier forget.
#[tokio::test]
async fn after_a_restart_without_the_issuer_the_list_counts_to_its_end() {
    let registry = Registry::start(|_| Reply::Silence).await;
    let records = Records::default();
    registry.script(records.script(&registry.clock));
    let ((two, _), (one, _), (revoked, jti)) = (registry.badge(2), registry.badge(1), registry.badge(1));
    records.revoke(&jti);
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("revocations");
    let before = sync(&registry).cache_dir(&cache).build().unwrap();
    before.sync_now().await.unwrap();
    drop(before);
    registry.stop();

    registry.clock.advance(seconds(300));
    let revocations = Revocations::registry(sync(&registry).cache_dir(&cache).build().unwrap());
    registry.verify(&revocations, &two).await.unwrap();
    assert_eq!(registry.verify(&revocations, &revoked).await.unwrap_err(), BadgeErrorKind::Revoked);
    registry.clock.advance(seconds(1));
    assert_eq!(registry.verify(&revocations, &two).await.unwrap_err(), BadgeErrorKind::RevocationCheckFailed);
    let passed = registry.verify(&revocations, &one).await.unwrap();
    assert!(passed.warnings().contains(&"revocation could not be checked"), "{:?}", passed.warnings());
    assert_eq!(registry.verify(&revocations, &revoked).await.unwrap_err(), BadgeErrorKind::Revoked);
}

fn only_file(directory: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// Attack: the file is damaged or changed so that revocations are missing from it.
#[tokio::test]
async fn a_damaged_cache_is_not_trusted_and_one_cut_short_is_as_old_as_what_is_left() {
    let registry = Registry::start(|_| Reply::Silence).await;
    let first = registry.now();
    registry.script(pages(vec![ids(0, 300)], first));
    let directory = tempfile::tempdir().unwrap();
    let list = sync(&registry).cache_dir(directory.path()).build().unwrap();
    list.sync_now().await.unwrap();
    let file = only_file(directory.path());
    let short = fs::metadata(&file).unwrap().len();
    registry.clock.advance(seconds(60));
    let second = registry.now();
    registry.script(pages(vec![ids(300, 302)], second));
    list.sync_now().await.unwrap();
    drop(list);
    registry.stop();
    let whole = fs::read(&file).unwrap();
    assert!(u64::try_from(whole.len()).unwrap() < short + 400, "a sync appends what is new");

    // One for all: making a fetcher reads the platform's root certificates.
    let fetcher = fetcher();
    let builder = || RevocationSync::builder(fetcher.clone()).issuer(&registry.origin).clock(registry.clock.clone());
    let reopened = || builder().cache_dir(directory.path()).build().unwrap();
    let state = |list: &RevocationSync| {
        (list.health(&registry.origin).unwrap().last_success, list.revoked_badges(&registry.origin))
    };
    assert_eq!(state(&reopened()), (Some(second), Some(302)));
    for cut in [usize::try_from(short).unwrap(), whole.len() - 1] {
        fs::write(&file, &whole[..cut]).unwrap();
        let (mark, entries) = state(&reopened());
        assert_eq!(mark, Some(first), "{cut}");
        assert!((300..=302).contains(&entries.unwrap()), "{cut}");
    }
    for position in (0..whole.len()).step_by(53).chain([whole.len() - 1]) {
        let mut damaged = whole.clone();
        damaged[position] ^= 1;
        fs::write(&file, &damaged).unwrap();
        let (mark, _) = state(&reopened());
        assert!(mark.is_none() || mark == Some(first), "{position}");
        assert!(mark.is_none() || position >= usize::try_from(short).unwrap(), "{position}");
    }
    for nonsense in [&b""[..], b"{}", &[0; 4096], &[255; 4096]] {
        fs::write(&file, nonsense).unwrap();
        let list = reopened();
        assert_eq!(state(&list), (None, Some(0)));
        assert_ne!(badge(&list, &registry, "x"), Some(RevocationStatus::Good));
    }
}

#[tokio::test]
async fn a_damaged_cache_is_replaced_and_so_is_one_that_somebody_took_away() {
    let registry = Registry::start(|_| Reply::Silence).await;
    let records = Records::default();
    records.revoke("a");
    registry.script(records.script(&registry.clock));
    let directory = tempfile::tempdir().unwrap();
    let list = sync(&registry).cache_dir(directory.path()).build().unwrap();
    list.sync_now().await.unwrap();
    let file = only_file(directory.path());
    for damage in [true, false] {
        if damage {
            fs::write(directory.path().join("x"), b"nonsense").unwrap();
            fs::rename(directory.path().join("x"), &file).unwrap();
        } else {
            fs::remove_file(&file).unwrap();
        }
        registry.clock.advance(seconds(60));
        list.sync_now().await.unwrap();
        let again = sync(&registry).cache_dir(directory.path()).build().unwrap();
        assert_eq!(again.revoked_badges(&registry.origin), Some(1), "{damage}");
        assert_eq!(again.health(&registry.origin).unwrap().last_success, Some(registry.now()), "{damage}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_cache_is_for_us_alone_and_refused_where_others_can_write() {
    use std::os::unix::fs::PermissionsExt as _;
    let registry = Registry::start(|_| Reply::Silence).await;
    let records = Records::default();
    records.revoke("a");
    registry.script(records.script(&registry.clock));
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("deep/cache");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let set_mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let list = sync(&registry).cache_dir(&cache).build().unwrap();
    list.sync_now().await.unwrap();
    assert_eq!((mode(&cache), mode(&only_file(&cache))), (0o700, 0o600));

    set_mode(&only_file(&cache), 0o620);
    let mistrusted = sync(&registry).cache_dir(&cache).build().unwrap();
    assert_eq!(mistrusted.revoked_badges(&registry.origin), Some(0), "who can write the file could have emptied it");
    for open in [0o770, 0o707, 0o777] {
        set_mode(&cache, open);
        let refused = sync(&registry).cache_dir(&cache).build();
        assert!(matches!(refused, Err(RevocationSyncError::Cache(_))), "{open:o}");
    }
    set_mode(&cache, 0o700);
    let occupied = only_file(&cache);
    assert!(matches!(sync(&registry).cache_dir(&occupied).build(), Err(RevocationSyncError::Cache(_))));
}

#[tokio::test]
async fn the_work_starts_without_a_question_and_ends_with_the_last_clone() {
    let registry = Registry::start(|_| Reply::Silence).await;
    let records = Records::default();
    registry.script(records.script(&registry.clock));
    let list = sync(&registry).interval(seconds(1)).build().unwrap();
    list.start();
    list.start();
    while registry.asked("/v1/revocations") < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(list.clone());
    let before = registry.asked("/v1/revocations");
    while registry.asked("/v1/revocations") == before {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(list);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let at_the_end = registry.asked("/v1/revocations");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(registry.asked("/v1/revocations"), at_the_end);
}

#[test]
fn outside_a_runtime_it_answers_what_it_holds() {
    let list = RevocationSync::builder(fetcher()).issuer("http://127.0.0.1:9").build().unwrap();
    let answer = list.badge_status("http://127.0.0.1:9", "x", rmcp_guard::test_util::TEST_NOW).now_or_never();
    assert_eq!(answer, Some(RevocationStatus::Unknown));
    let shared: Arc<dyn rmcp_guard::identity::resolve::StatusSource> = Arc::new(list);
    assert!(shared.health("http://127.0.0.1:9").unwrap().last_success.is_none());
}

/// Somebody asks without a runtime, while the work goes on in one.
#[test]
fn outside_the_runtime_that_it_works_on_there_is_no_panic() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let registry = runtime.block_on(Registry::start(|_| Reply::Silence));
    let list = sync(&registry).build().unwrap();
    runtime.block_on(async { list.start() });
    assert_eq!(badge(&list, &registry, "x"), Some(RevocationStatus::Unknown));
    assert!(matches!(list.sync_now().now_or_never(), Some(Err(RevocationSyncError::Fetch(_)))));
}

/// The system's clock, which panics once when told to.
#[derive(Debug, Default)]
struct Faulty(AtomicBool);

impl Clock for Faulty {
    fn now(&self) -> SystemTime {
        assert!(!self.0.swap(false, Ordering::SeqCst), "this panic is part of the test");
        SystemClock.now()
    }
}

/// Work that panicked is told, and goes on with the next question after a pause.
#[tokio::test]
async fn a_sync_that_panics_is_told_and_does_not_end_the_syncing() {
    let registry = Registry::start(|_| Reply::Silence).await;
    let clock = Arc::new(Faulty::default());
    registry.script(pages(vec![vec![]], SystemClock.now_unix()));
    let list = RevocationSync::builder(fetcher()).issuer(&registry.origin).clock(clock.clone()).build().unwrap();
    let ask = || list.badge_status(&registry.origin, "x", SystemClock.now_unix());
    clock.0.store(true, Ordering::SeqCst);
    list.start();
    while list.health(&registry.origin).unwrap().failing_since.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let health = list.health(&registry.origin).unwrap();
    assert_eq!((health.last_error, health.next_attempt), (Some("the sync panicked"), None));
    assert_eq!(ask().now_or_never(), Some(RevocationStatus::Unknown), "nobody waits for what fails");
    while list.health(&registry.origin).unwrap().failing_since.is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(ask().now_or_never(), Some(RevocationStatus::Good));
}

/// A list that is still young is kept so by the runtime that asks next.
#[test]
fn the_work_goes_on_in_the_next_runtime() {
    let serving = tokio::runtime::Runtime::new().unwrap();
    let registry = serving.block_on(Registry::start(|_| Reply::Silence));
    registry.script(pages(vec![vec![]], registry.now()));
    let list = sync(&registry).build().unwrap();
    let planned = || list.health(&registry.origin).unwrap().next_attempt;
    let working = tokio::runtime::Runtime::new().unwrap();
    let first = working.block_on(async { list.badge_status(&registry.origin, "x", registry.now()).await });
    assert_eq!(first, RevocationStatus::Good);
    drop(working);
    assert_eq!(planned(), None, "its runtime has ended");
    assert_eq!(badge(&list, &registry, "x"), Some(RevocationStatus::Good), "and here is none");
    assert_eq!(serving.block_on(async { badge(&list, &registry, "x") }), Some(RevocationStatus::Good));
    let asked = registry.asked("/v1/revocations");
    registry.clock.advance(seconds(301));
    serving.block_on(async {
        // The first attempt may meet a connection that ended with its runtime.
        while registry.asked("/v1/revocations") == asked {
            list.badge_status(&registry.origin, "x", registry.now()).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}
