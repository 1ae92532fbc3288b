//! Server and client with badges that renew themselves, over several of their lifetimes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rmcp::model::CallToolRequestParams;
use rmcp_guard::clock::Clock as _;
use rmcp_guard::enforce::GuardConfig;
use rmcp_guard::evidence::EvidenceLog;
use rmcp_guard::identity::badge::{BadgeRequest, UnverifiedBadge};
use rmcp_guard::identity::keeper::{BadgeChanges, BadgeKeeper, BadgeRenewer, RenewError};
use rmcp_guard::identity::server::{BadgeSource as _, ServerErrorCode, ServerIdentity};
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::identity::trust_store::Issuer;
use rmcp_guard::layer::client::{ConnectError, Lifecycle, VerifiedClient};
use rmcp_guard::layer::guard::GuardLayer;
use rmcp_guard::layer::identity::IdentityLayer;
use rmcp_guard::policy::ToolRequirement;
use rmcp_guard::test_util::{FixedClock, TEST_NOW};

use super::fixtures::{ISSUER, Server, expecting, issuer, issuer_jwks};
use super::guarded::app_with;
use super::web::Web;

const AUDIENCE: &str = "https://echo.example.com";
const LIFETIME: Duration = Duration::from_secs(60);

/// A registry that can be down.
#[derive(Debug)]
struct Registry {
    request: BadgeRequest,
    clock: Arc<FixedClock>,
    down: Arc<AtomicBool>,
}

impl BadgeRenewer for Registry {
    fn renew(&self) -> Pin<Box<dyn Future<Output = Result<String, RenewError>> + Send + '_>> {
        Box::pin(async {
            if self.down.load(Ordering::SeqCst) {
                return Err(RenewError::new("the registry is down"));
            }
            Ok(issuer(200).issue(&self.request, self.clock.now_unix()).unwrap())
        })
    }
}

struct World {
    clock: Arc<FixedClock>,
    down: Arc<AtomicBool>,
    server: Server,
    web: Web,
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(FixedClock::new(TEST_NOW));
        Self { clock, down: Arc::default(), server: Server::new(1), web: Web::start().await }
    }

    async fn keeper_of(&self, holder: &Server, audience: Option<&str>) -> BadgeKeeper {
        let request = BadgeRequest::new(holder.did.clone(), holder.key.public_key(), TrustLevel::Registered);
        let mut request = request.lifetime(LIFETIME);
        request.audience = audience.map(str::to_owned).into_iter().collect();
        let registry = Registry { request, clock: Arc::clone(&self.clock), down: Arc::clone(&self.down) };
        let keeper = BadgeKeeper::builder(Arc::new(registry)).subject(holder.did.clone()).clock(self.clock.clone());
        let keeper = keeper.start().unwrap();
        keeper.ready().await.unwrap();
        keeper
    }

    fn serve(&self, badge: BadgeKeeper) {
        let config = GuardConfig::builder()
            .audience(AUDIENCE)
            .trusted_issuer(Issuer::jwks(ISSUER, &issuer_jwks()).unwrap())
            .insecure_no_revocation()
            .tool("echo", ToolRequirement::min_trust(TrustLevel::Registered))
            .evidence(EvidenceLog::in_memory())
            .clock(self.clock.clone())
            .build();
        let identity = ServerIdentity::builder(self.server.did.clone(), Arc::clone(&self.server.key));
        let identity = identity.badge(badge).origin(&self.web.origin).build().unwrap();
        let identity = IdentityLayer::new(identity).with_clock(self.clock.clone());
        self.web.become_(app_with(identity, &GuardLayer::new(config.unwrap())));
    }

    async fn connect(&self, badge: &BadgeKeeper) -> Result<VerifiedClient, ConnectError> {
        let client = expecting(&self.server).lifecycle(Lifecycle::Initialize).clock(self.clock.clone());
        client.badge(badge.clone()).connect_http(&self.web.url()).await
    }

    fn assert_live(&self, token: &str) {
        let expires_at = UnverifiedBadge::parse(token).unwrap().claimed_expires_at().unwrap();
        assert!(self.clock.now_unix() < expires_at, "an expired badge was shown");
    }

    /// What the server says about itself to anybody, such as with a refusal.
    async fn disclosed_badge(&self) -> Option<String> {
        let response = reqwest::get(self.web.url()).await.unwrap();
        response.headers().get("capiscio-server-badge").map(|badge| badge.to_str().unwrap().to_owned())
    }
}

/// The next badge. The keeper looks at its clock every second, so this is soon.
async fn renewed(changes: &mut BadgeChanges) -> Arc<str> {
    tokio::time::timeout(Duration::from_secs(60), changes.next()).await.unwrap().unwrap()
}

async fn call(client: &VerifiedClient) -> bool {
    let result = client.call_tool(CallToolRequestParams::new("echo")).await.unwrap();
    result.is_error == Some(false)
}

/// Defect 37 of the peer: the badge was frozen when the server started. Here each handshake, call and response shows one
/// that is live, and none when there is none.
#[tokio::test]
async fn server_and_client_outlive_their_badges() {
    let world = World::new().await;
    let caller = Server::new(90);
    let ours = world.keeper_of(&world.server, None).await;
    let theirs = world.keeper_of(&caller, Some(AUDIENCE)).await;
    world.serve(ours.clone());
    let client = world.connect(&theirs).await.unwrap();
    let (mut our_badges, mut their_badges) = (ours.changes(), theirs.changes());
    renewed(&mut our_badges).await;
    renewed(&mut their_badges).await;

    let mut logged = 0;
    for _ in 0..4 {
        assert!(call(&client).await, "in a session that is older than any badge");
        let other = world.connect(&theirs).await.unwrap();
        assert!(call(&other).await);
        other.cancel().await.unwrap();
        world.assert_live(&world.disclosed_badge().await.unwrap());
        let log = world.web.log();
        let shown: Vec<_> = log[logged..].iter().filter_map(|request| request.header("x-capiscio-badge")).collect();
        assert!(shown.len() >= 2);
        for token in shown {
            world.assert_live(token);
        }
        logged = log.len();

        world.clock.advance(Duration::from_secs(50));
        renewed(&mut our_badges).await;
        renewed(&mut their_badges).await;
    }

    world.down.store(true, Ordering::SeqCst);
    world.clock.advance(LIFETIME);
    let before = world.web.log().len();
    let error = client.call_tool(CallToolRequestParams::new("echo")).await.unwrap_err();
    assert!(error.to_string().contains("no badge"), "{error}");
    assert!(world.web.log()[before..].iter().all(|request| request.header("x-capiscio-badge").is_none()));
    assert_eq!((ours.current(), world.disclosed_badge().await), (None, None));
    let Err(ConnectError::Identity(refused)) = world.connect(&theirs).await else {
        panic!("a server without a badge was accepted");
    };
    assert_eq!(refused.code(), ServerErrorCode::BadgeMissing);

    world.down.store(false, Ordering::SeqCst);
    renewed(&mut our_badges).await;
    renewed(&mut their_badges).await;
    assert!(call(&client).await, "the session was only idle");
    assert!(world.connect(&theirs).await.is_ok());
}
