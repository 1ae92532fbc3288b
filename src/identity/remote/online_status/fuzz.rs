//! What fuzzing does with answers about the status of badges and subjects: see [`internal`](crate::internal).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a panic is how fuzzing reports a broken law"
)]

use super::*;
use crate::identity::fuzz::{AGENT, REGISTRY};

const JTI: &str = "00000000-0000-4000-8000-000000000048";

/// An answer counts for what it names and is good only where it says so; an id that is asked about stays one segment.
pub fn fuzz_status_answer(data: &[u8]) {
    let badge = Question::badge([0; 32], REGISTRY, JTI).unwrap();
    let agent = Question::subject([0; 32], REGISTRY, &Did::parse(AGENT).unwrap()).unwrap();
    let server = "did:web:elsewhere.example.test:servers:files";
    let server = Question::subject([0; 32], REGISTRY, &Did::parse(server).unwrap()).unwrap();
    let told = [&badge, &agent, &server].map(|question| question.standing(data));
    if let Ok(answer) = serde_json::from_slice::<Value>(data) {
        let [badge, agent, server] = told;
        if let Some(standing) = badge {
            assert_eq!((&answer["jti"], answer["revoked"].as_bool()), (&JTI.into(), Some(standing == Standing::Bad)));
        }
        for (standing, did, id) in
            [(agent, AGENT, "agent-001"), (server, "did:web:elsewhere.example.test:servers:files", "")]
        {
            let Some(standing) = standing else { continue };
            assert_eq!(standing == Standing::Good, answer["status"] == "active");
            let named = |text: &Value| text == did || (!id.is_empty() && text == id);
            assert!(answer["did"] == did || (answer.get("did").is_none() && named(&answer["id"])));
        }
    } else {
        assert_eq!(told, [None; 3]);
    }

    let Ok(text) = std::str::from_utf8(data) else { return };
    let subject = Did::parse(text).ok().and_then(|did| Question::subject([0; 32], REGISTRY, &did));
    for question in [Question::badge([0; 32], REGISTRY, text), subject].into_iter().flatten() {
        let path = question.url.strip_prefix(REGISTRY).unwrap();
        assert!(
            matches!(path.split('/').collect::<Vec<_>>().as_slice(), ["", "v1", _, id, "status"] if !matches!(*id, "" | "." | ".."))
        );
        let url = fluent_uri::Uri::parse(question.url.as_str()).unwrap().normalize();
        assert_eq!(url.path().as_str().split('/').count(), 5);
        assert!(!url.has_query() && !url.has_fragment());
    }
}
