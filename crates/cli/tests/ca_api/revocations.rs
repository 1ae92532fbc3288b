//! The list of revocations: whole in every page size, and on disk when it is answered.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::world::{Ca, encode, refused, text};

fn ids(page: &Value) -> Vec<String> {
    page["revocations"].as_array().unwrap().iter().map(|entry| text(&entry["jti"])).collect()
}

/// Revocations that are made while somebody reads must not fall between two pages.
#[tokio::test]
async fn no_page_boundary_loses_a_revocation() {
    let ca = Ca::start();
    let (id, ..) = ca.agent().await;
    let mut badges = Vec::new();
    for _ in 0..40 {
        badges.push(text(&ca.badge(&id, json!({})).await.1["jti"]));
    }
    let revoke = async |jti: &String| {
        assert_eq!(ca.post(&format!("/v1/badges/{jti}/revoke"), json!({})).await.0, 200);
    };
    let (before, during) = badges.split_at(20);
    for jti in before {
        revoke(jti).await;
    }
    let mut during = during.iter();
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let (status, page) = ca.get(&format!("/v1/revocations?limit=3&cursor={cursor}")).await;
        assert_eq!(status, 200, "{page}");
        assert!(page["syncedAt"].is_string());
        seen.extend(ids(&page));
        pages += 1;
        let Some(next) = page["nextCursor"].as_str() else { break };
        next.clone_into(&mut cursor);
        // Two more for each page, before and behind the reader.
        for jti in during.by_ref().take(2) {
            revoke(jti).await;
        }
    }
    assert!(pages > 7, "{pages}");
    assert_eq!(seen.len(), seen.iter().collect::<BTreeSet<_>>().len(), "none comes twice");
    assert_eq!(seen, badges, "all, in the order in which they were revoked");

    let (_, page) = ca.get("/v1/revocations?limit=100000").await;
    assert_eq!((ids(&page).len(), page.get("nextCursor")), (40, None));
    let synced = encode(&text(&page["syncedAt"]));
    assert_eq!(ids(&ca.get(&format!("/v1/revocations?since={synced}")).await.1).len(), 40, "a minute of overlap");
    assert!(ids(&ca.get("/v1/revocations?since=2999-01-01T00:00:00Z").await.1).is_empty());
    refused(&ca.get("/v1/revocations?since=yesterday").await, 400, "invalid_since");
    refused(&ca.get("/v1/revocations?cursor=x").await, 400, "invalid_cursor");
}

/// A crash right after the answer must not bring a revoked badge back.
#[tokio::test]
async fn what_was_answered_outlives_a_crash() {
    let mut ca = Ca::start();
    let (id, ..) = ca.agent().await;
    for round in 0..3 {
        let jti = text(&ca.badge(&id, json!({})).await.1["jti"]);
        assert_eq!(ca.post(&format!("/v1/badges/{jti}/revoke"), json!({ "reason": "lost" })).await.0, 200);
        ca.crash_and_restart();
        let (_, status) = ca.get(&format!("/v1/badges/{jti}/status")).await;
        assert_eq!((&status["revoked"], &status["reason"]), (&json!(true), &json!("lost")), "round {round}");
    }
    assert_eq!(ids(&ca.get("/v1/revocations").await.1).len(), 3);
    assert_eq!(ca.badge(&id, json!({})).await.0, 200, "account, key and agent are still there");
}

/// Our own copy of the list, as guards in offline mode keep it.
#[tokio::test]
async fn our_guard_reads_the_list() {
    use rmcp_guard::identity::badge::{BadgeErrorKind, Revocations};
    use rmcp_guard::identity::remote::RevocationSync;
    use std::sync::Arc;

    let ca = Ca::start();
    let (id, ..) = ca.agent().await;
    ca.run_json(&["agent", "allow-domain", "--agent", &id, "a.example.test"]);
    let ask = json!({ "badge_aud": [crate::world::AUDIENCE] });
    let (_, bad) = ca.badge(&id, ask.clone()).await;
    let (_, good) = ca.badge(&id, ask).await;
    ca.run_json(&["revoke", &text(&bad["jti"])]);
    let sync = RevocationSync::builder(ca.fetcher()).issuer(&ca.origin).build().unwrap();
    sync.sync_now().await.unwrap();
    let verifier = ca.verifier_with(|builder| builder.revocations(Revocations::offline(Arc::new(sync))));
    assert_eq!(crate::world::verify(&verifier, &bad).await.unwrap_err(), BadgeErrorKind::Revoked);
    crate::world::verify(&verifier, &good).await.unwrap();
}
