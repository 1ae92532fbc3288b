//! A client in offline mode, whose sources are on the network all the same.

use std::sync::Arc;

use futures_util::FutureExt as _;
use rmcp_guard::clock::Clock as _;
use rmcp_guard::identity::badge::Revocations;
use rmcp_guard::identity::remote::{DidWebDocuments, OnlineStatus, RevocationSync};
use rmcp_guard::identity::server::{ServerErrorCode, VerifyConfig, VerifyConfigBuilder};
use rmcp_guard::identity::trust_store::Issuer;
use serde_json::json;

use super::documents::{DOCUMENT, document, handshake, holder};
use super::world::{Host, claims, clock, fetcher, issuer, key, remote, sign};

/// A host that has every answer, and gives none until the semaphore of [`Host::hold`] says so.
async fn host() -> Host {
    let host = Host::start().await;
    let did = host.did();
    host.publish(&[&key(1, "ca-1")]);
    host.put_json(DOCUMENT, &document(&did, &holder()));
    host.put_json("/v1/badges/j/status", &json!({"jti": "j", "revoked": false}));
    let subject = did.replace('%', "%25").replace(':', "%3A");
    host.put_json(&format!("/v1/agents/{subject}/status"), &json!({"did": did, "status": "active"}));
    let synced_at = humantime::format_rfc3339_seconds(clock().now()).to_string();
    host.put_json("/v1/revocations", &json!({"revocations": [], "syncedAt": synced_at}));
    host
}

/// The sources of a client, one of them on the network.
struct Sources {
    issuer: Issuer,
    revocations: Option<Revocations>,
    documents: Option<Arc<DidWebDocuments>>,
}

impl Sources {
    fn new(name: &str, host: &Host) -> Self {
        let (origin, clock) = (host.origin(), clock());
        let jwks = json!({ "keys": [key(1, "ca-1").jwk()] }).to_string();
        let issuer = match name {
            "keys" => issuer(&origin, remote(host, &clock)),
            _ => Issuer::jwks(&origin, &jwks).unwrap().subjects(["did:web:*"]).unwrap(),
        };
        let live = Arc::new(OnlineStatus::new(fetcher()));
        let revocations = match name {
            "status" => Some(Revocations::online(live)),
            "list" => {
                let list = RevocationSync::builder(fetcher()).issuer(&origin).clock(clock.clone()).build().unwrap();
                Some(Revocations::synced(Arc::new(list), live))
            }
            _ => None,
        };
        let documents = (name == "documents").then(|| Arc::new(DidWebDocuments::new(fetcher()).with_clock(clock)));
        Self { issuer, revocations, documents }
    }

    fn config(&self) -> VerifyConfigBuilder {
        let config = VerifyConfig::builder().dangerous_dev_profile().dangerous_loopback_http().clock(clock());
        let config = match &self.revocations {
            Some(revocations) => config.revocations(revocations.clone()),
            None => config.insecure_no_revocation(),
        };
        let config = config.trusted_issuer(self.issuer.clone());
        match &self.documents {
            Some(documents) => config.did_documents(documents.clone()),
            None => config,
        }
    }
}

/// Attack: whoever keeps an issuer or a host from answering makes a client wait that must not, or gets a server past it
/// whose badge nobody could check.
#[tokio::test]
async fn offline_mode_never_waits_for_the_network_and_fails_closed() {
    for name in ["keys", "status", "list", "documents"] {
        let host = host().await;
        let gate = host.hold();
        let badge = sign(&key(1, "ca-1"), &claims(&host.origin(), &host.did(), &holder()));
        let sources = Sources::new(name, &host);
        let verify = |offline| handshake(&host, sources.config().offline_mode(offline), holder(), &badge);

        for _ in 0..3 {
            let verdict = verify(true).now_or_never();
            assert_eq!(verdict, Some(Err(ServerErrorCode::WouldWait)), "{name}: nothing is at hand");
        }
        gate.add_permits(1);
        assert_eq!(verify(false).await, Ok(()), "{name}: who may wait gets the answer");
        assert_eq!(verify(true).now_or_never(), Some(Ok(())), "{name}: and then it is at hand");
    }
}
