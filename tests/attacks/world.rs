//! The server under attack: the demo server of the integration tests behind a guard with a clock that stands still and a
//! registry whose status answers follow the badge's id.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use rmcp::transport::streamable_http_server::StreamableHttpServerConfig;
use rmcp_guard::clock::{Clock, UnixSeconds};
use rmcp_guard::enforce::GuardConfigBuilder;
use rmcp_guard::identity::badge::Revocations;
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::resolve::{AgentStatus, MaybeReady, RevocationStatus, StatusSource};
use rmcp_guard::policy::{GuardedMethod, MethodAccess, ToolRequirement};

use crate::case::{Mode, Round};
use crate::common::{Fixture, LEVELS, Server, Transport};
use crate::tokens::{self, NOW};
use crate::wire::PATIENCE;

/// Which configuration an attack meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// One trusted registry, one API key, a rule for every tool but `unlisted`, revocation asked online. No self-signed
    /// badges, no badges in `Authorization`.
    Usual,
    /// Self-signed badges count as level 0.
    LevelZero,
    /// Badges may come in `Authorization: Bearer`.
    Bearer,
    /// The letter of RFC-002.
    Strict,
    /// The methods of prompts and resources have a requirement of level 3.
    MethodsAtLevel3,
}

impl Setup {
    fn apply(self, config: GuardConfigBuilder) -> GuardConfigBuilder {
        match self {
            Self::Usual => config,
            Self::LevelZero => config.accept_level_zero(true),
            Self::Bearer => config.accept_bearer_badges(),
            Self::Strict => config.strict_profile(),
            Self::MethodsAtLevel3 => {
                let access = || MethodAccess::Require(ToolRequirement::min_trust(LEVELS[3]));
                config.method(GuardedMethod::Prompts, access()).method(GuardedMethod::Resources, access())
            }
        }
    }
}

/// Stands at [`NOW`] until somebody moves it.
#[derive(Debug, Default)]
struct Stopped(AtomicI64);

impl Clock for Stopped {
    fn now(&self) -> SystemTime {
        let later = u64::try_from(self.0.load(Ordering::SeqCst)).unwrap();
        UNIX_EPOCH + Duration::from_secs(u64::try_from(NOW.as_i64()).unwrap() + later)
    }
}

/// Says of a badge what its id says, and that all are revoked when told so.
#[derive(Debug, Default)]
struct Registry {
    all_revoked: AtomicBool,
}

impl StatusSource for Registry {
    fn badge_status<'a>(&'a self, _: &'a str, jti: &'a str, _: UnixSeconds) -> MaybeReady<'a, RevocationStatus> {
        MaybeReady::ready(match jti {
            _ if self.all_revoked.load(Ordering::SeqCst) => RevocationStatus::Revoked,
            "revoked" => RevocationStatus::Revoked,
            "status-unknown" => RevocationStatus::Unknown,
            _ => RevocationStatus::Good,
        })
    }

    fn agent_status<'a>(&'a self, _: &'a str, subject: &'a Did, _: UnixSeconds) -> MaybeReady<'a, AgentStatus> {
        let disabled = subject.as_str().ends_with(":disabled");
        MaybeReady::ready(if disabled { AgentStatus::Disabled } else { AgentStatus::Active })
    }
}

pub struct World {
    pub fixture: Fixture,
    pub server: Server,
    pub round: Round,
    /// How long an answer may take.
    pub patience: Duration,
    clock: Arc<Stopped>,
    registry: Arc<Registry>,
}

impl World {
    pub async fn new(setup: Setup, round: &Round) -> Self {
        let mut world = Self::without_a_server(setup, round);
        let transport = match round.mode {
            Mode::Stdio => Transport::Duplex,
            Mode::HttpStateful => Transport::HttpStateful,
            Mode::HttpStatelessSse => Transport::HttpStatelessSse,
            Mode::HttpStatelessJson => Transport::HttpStatelessJson,
        };
        world.server = world.fixture.serve(transport).await;
        world
    }

    /// The same server with nothing around it.
    pub async fn unguarded(round: &Round) -> Self {
        let mut world = Self::without_a_server(Setup::Usual, round);
        world.patience = Duration::from_millis(500);
        let demo = world.fixture.demo.clone();
        world.server = match round.mode {
            Mode::Stdio => Server::duplex(demo),
            mode => {
                let stateful = mode == Mode::HttpStateful;
                let config = StreamableHttpServerConfig::default().with_legacy_session_mode(stateful);
                let config = config.with_json_response(mode == Mode::HttpStatelessJson);
                Server::http(Router::new().nest_service("/mcp", Server::mcp(demo, config))).await
            }
        };
        world
    }

    fn without_a_server(setup: Setup, round: &Round) -> Self {
        let (clock, registry) = (Arc::<Stopped>::default(), Arc::<Registry>::default());
        let fixture = Fixture::with(|config| {
            setup.apply(
                config
                    .clock(Arc::<Stopped>::clone(&clock))
                    .revocations(Revocations::online(Arc::<Registry>::clone(&registry)))
                    .own_did(tokens::our_did())
                    .tool("list_*", ToolRequirement::anonymous())
                    .allow_custom_method("com.example/status"),
            )
        });
        let server = Server::duplex(fixture.demo.clone());
        Self { fixture, server, round: round.clone(), patience: PATIENCE, clock, registry }
    }

    pub fn wait(&self, time: Duration) {
        self.clock.0.fetch_add(i64::try_from(time.as_secs()).unwrap(), Ordering::SeqCst);
    }

    pub fn revoke(&self) {
        self.registry.all_revoked.store(true, Ordering::SeqCst);
    }

    /// The whole log, as text.
    pub fn log(&self) -> String {
        self.fixture.evidence.records().unwrap().iter().map(ToString::to_string).collect()
    }

    /// What calls have left behind so far, but for lists of tools, which are neither decided nor recorded.
    pub fn traces(&self) -> Traces {
        let mut traces = Traces { runs: self.fixture.demo.all_runs(), ..Traces::default() };
        traces.runs.remove("tools/list");
        for record in self.fixture.evidence.records().unwrap() {
            let text = |name: &str| record[name].as_str().unwrap_or_default();
            match (text("rmcp_guard.kind"), text("capiscio.decision"), text("rmcp_guard.notice")) {
                ("decision", "ALLOW", _) => traces.allowed += 1,
                ("decision", ..) => traces.denials.push(text("rmcp_guard.deny_reason").to_owned()),
                ("notice", _, "session_refused") => traces.sessions.push(text("rmcp_guard.notice.reason").to_owned()),
                ("coalesced" | "coalesced_sessions", ..) => traces.denials.push("one of many".to_owned()),
                _ => {}
            }
        }
        traces
    }
}

/// What calls leave behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Calls that the log says were allowed.
    pub allowed: usize,
    /// The reasons of the calls that the log says were denied.
    pub denials: Vec<String>,
    /// The reasons of the requests that the log says the session layer refused.
    pub sessions: Vec<String>,
    /// What has run.
    pub runs: BTreeMap<String, usize>,
}

impl Traces {
    /// What has come since `before`.
    pub fn since(mut self, before: &Self) -> Self {
        self.allowed -= before.allowed;
        self.denials.drain(..before.denials.len());
        self.sessions.drain(..before.sessions.len());
        for (what, times) in &before.runs {
            *self.runs.get_mut(what).unwrap() -= times;
        }
        self.runs.retain(|_, times| *times > 0);
        self
    }
}

impl fmt::Display for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} allowed, denials {:?}, sessions {:?}, ran {:?}",
            self.allowed, self.denials, self.sessions, self.runs
        )
    }
}
