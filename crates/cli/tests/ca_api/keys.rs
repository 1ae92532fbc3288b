//! The CA's own keys: rollover while badges live, and a key that was stolen.

use rmcp_guard::identity::badge::BadgeErrorKind;
use serde_json::{Value, json};

use crate::world::{AUDIENCE, Ca, text, verify};

async fn published(ca: &Ca) -> Vec<String> {
    let (_, set) = ca.get("/.well-known/jwks.json").await;
    set["keys"].as_array().unwrap().iter().map(|key| text(&key["kid"])).collect()
}

fn kid_of(badge: &Value) -> String {
    let token = text(&badge["token"]);
    rmcp_guard::identity::badge::UnverifiedBadge::parse(&token).unwrap().kid().unwrap().to_owned()
}

#[tokio::test]
async fn a_new_key_is_published_before_it_signs_and_the_old_one_outlives_its_badges() {
    let ca = Ca::start();
    let verifier = ca.verifier();
    let (id, ..) = ca.agent().await;
    let ask = json!({ "badge_aud": [AUDIENCE] });
    let (_, first) = ca.badge(&id, ask.clone()).await;
    verify(&verifier, &first).await.unwrap();

    let announced = text(&ca.run_json(&["rotate"])["kid"]);
    assert_eq!(published(&ca).await, [kid_of(&first), announced.clone()]);
    let (_, second) = ca.badge(&id, ask.clone()).await;
    assert_eq!(kid_of(&second), kid_of(&first), "the new key does not sign yet");
    let twice = ca.run(&["rotate"]);
    assert_eq!(twice.status.code(), Some(5), "one rotation at a time");

    // Another CA, whose new key signs at once. The server is never told.
    let ca = Ca::start();
    let verifier = ca.verifier();
    let (id, ..) = ca.agent().await;
    let (_, old) = ca.badge(&id, ask.clone()).await;
    verify(&verifier, &old).await.unwrap();
    let next = text(&ca.run_json(&["rotate", "--overlap", "0"])["kid"]);
    let (_, new) = ca.badge(&id, ask).await;
    assert_eq!((kid_of(&new), published(&ca).await), (next.clone(), vec![kid_of(&old), next]));
    verify(&verifier, &old).await.unwrap();
    verify(&verifier, &new).await.unwrap();
}

#[tokio::test]
async fn what_a_stolen_key_signed_counts_no_more() {
    let ca = Ca::start();
    let (id, ..) = ca.agent().await;
    let ask = json!({ "badge_aud": [AUDIENCE] });
    let (_, stolen) = ca.badge(&id, ask.clone()).await;
    let next = text(&ca.run_json(&["rotate", "--compromised"])["kid"]);
    assert_eq!(published(&ca).await, [next]);
    // A guard that has not seen the old set.
    assert_eq!(verify(&ca.verifier(), &stolen).await.unwrap_err(), BadgeErrorKind::SignatureInvalid);
    let (_, new) = ca.badge(&id, ask).await;
    verify(&ca.verifier(), &new).await.unwrap();
}
