//! When a badge counts: its times, and what the registry says of it. A part of the family `claims`.

use std::time::Duration;

use super::claims::{invalid, row};
use super::{IN_A_HEADER, fails, in_a_session};
use crate::case::{Act, Answer, Case, attack, call, not_there, step};
use crate::tokens;

pub fn cases() -> Vec<Case> {
    let mut cases = times();
    cases.extend(status());
    cases
}

fn times() -> Vec<Case> {
    let expired = |id, why, patch: &str| row(id, why, tokens::claims(patch), "badge_expired");
    let early = |id, why, patch: &str| row(id, why, tokens::claims(patch), "badge_not_yet_valid");
    let used = || call("level4").badge(tokens::good());
    vec![
        expired("claims/expired", "A badge that expired a day ago.", r#"{"iat":"$now-86700","exp":"$now-86400"}"#),
        expired(
            "claims/expired-at-the-edge",
            "A badge that expired just as long ago as clocks may differ.",
            r#"{"iat":"$now-360","exp":"$now-60"}"#,
        ),
        expired("claims/expired-before-issue", "A badge that expires before it is issued.", r#"{"exp":"$now-300"}"#),
        expired("claims/expiry-zero", "A badge that expires in 1970.", r#"{"iat":0,"exp":0}"#),
        expired(
            "claims/expiry-negative",
            "A badge that expires before 1970, which wraps to the future.",
            r#"{"iat":-600,"exp":-300}"#,
        ),
        expired(
            "claims/expiry-least",
            "An expiry at the least number there is.",
            r#"{"iat":-9223372036854775808,"exp":-9223372036854775808}"#,
        ),
        early("claims/issued-later", "A badge that is issued in the future.", r#"{"iat":"$now+61","exp":"$now+361"}"#),
        early("claims/not-before-later", "A badge that is not valid yet.", r#"{"nbf":"$now+61"}"#),
        early("claims/not-before-greatest", "A badge that is never valid.", r#"{"nbf":9223372036854775807}"#),
        invalid("claims/lifetime-year", "A badge that lives for a year.", r#"{"exp":"$now+31536000"}"#),
        invalid(
            "claims/lifetime-second-too-long",
            "A badge that lives a second longer than an hour.",
            r#"{"exp":"$now+3601"}"#,
        ),
        invalid(
            "claims/expiry-greatest",
            "An expiry at the greatest number there is.",
            r#"{"exp":9223372036854775807}"#,
        ),
        invalid("claims/expiry-beyond", "An expiry beyond 64 bits.", r#"{"exp":92233720368547758070}"#),
        invalid("claims/expiry-missing", "A badge that never expires.", r#"{"exp":null}"#),
        invalid("claims/expiry-text", "The expiry is a text.", r#"{"exp":"1893456000"}"#),
        invalid("claims/expiry-fraction", "The expiry is a fraction.", r#"{"exp":1890000000.5}"#),
        invalid("claims/expiry-exponent", "The expiry has an exponent.", r#"{"exp":1.89e9}"#),
        invalid(
            "claims/issued-missing",
            "A badge without a time of issue, whose life has no length.",
            r#"{"iat":null}"#,
        ),
        row(
            "claims/expiry-twice",
            "The expiry is there twice, the later one last.",
            tokens::claims_text(|it| it.replacen(r#""exp":"#, r#""exp":1,"exp":"#, 1)),
            "badge_invalid",
        ),
        fails(
            attack("claims/expires-between-calls", "A badge that was good goes on being used after it expired.")
                .sends(used().gets(Answer::Ran("level4 ran".to_owned())))
                .sends(step(Act::Wait(Duration::from_secs(361))))
                .sends(used())
                .runs("level4", 1),
            "badge_expired",
            "badge_expired",
        )
        .on(in_a_session, not_there(IN_A_HEADER)),
    ]
}

fn status() -> Vec<Case> {
    let unknown = |case| fails(case, "badge_invalid", "revocation_check_failed");
    vec![
        row("claims/revoked", "A badge that was revoked.", tokens::claims(r#"{"jti":"revoked"}"#), "badge_revoked"),
        unknown(
            attack(
                "claims/status-unknown",
                "The attacker keeps the registry from answering whether the badge was revoked.",
            )
            .sends(call("level4").badge(tokens::claims(r#"{"jti":"status-unknown"}"#))),
        ),
        row(
            "claims/agent-disabled",
            "The badge of an agent that was disabled.",
            tokens::badge_for("did:web:registry.example.com:agents:disabled", 12),
            "agent_disabled",
        ),
        fails(
            attack("claims/revoked-between-calls", "A badge that was good goes on being used after it was revoked.")
                .sends(call("level4").badge(tokens::good()).gets(Answer::Ran("level4 ran".to_owned())))
                .sends(step(Act::Revoke))
                .sends(call("level4").badge(tokens::good()))
                .runs("level4", 1),
            "badge_revoked",
            "badge_revoked",
        )
        .on(in_a_session, not_there(IN_A_HEADER)),
    ]
}
