//! Collects a configuration from code.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
#[cfg(feature = "layer")]
use crate::enforce::RequestStateKey;
use crate::enforce::config::evidence::EvidencePlan;
use crate::enforce::config::network::Network;
use crate::enforce::config::{ConfigError, ConfigProblem, GuardConfig};
use crate::evidence::EvidenceLog;
use crate::identity::badge::{Profile, Revocations};
use crate::identity::did::Did;
use crate::identity::resolve::DidDocumentSource;
use crate::identity::server::ServerIdentity;
use crate::identity::trust_store::Issuer;
use crate::policy::{GuardedMethod, MethodAccess, ToolRequirement};

/// The largest number of API keys: every one is compared with every key that is presented.
pub const MAX_API_KEYS: usize = 1_000;

/// Longest time from one look at the credential of a stream to the next. With the
/// [`MAX_AUTHENTICATION`](crate::enforce::MAX_AUTHENTICATION) that a look may take, nothing goes on for a minute without one.
#[cfg(feature = "layer")]
pub const MAX_REAUTHORIZATION_INTERVAL: Duration = Duration::from_secs(45);

/// Collects a [`GuardConfig`].
///
/// Lists add up; of a single value the last one said counts, so code that comes after [`file`](Self::file) overrides it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "switches that do not depend on each other")]
pub struct GuardConfigBuilder {
    pub(super) problems: Vec<ConfigProblem>,
    pub(super) warnings: Vec<String>,
    /// a file could not be read or is not TOML, so that nothing can be said to be missing
    pub(super) unread: bool,
    pub(super) audiences: Vec<String>,
    pub(super) own_dids: Vec<Did>,
    pub(super) issuers: Vec<Issuer>,
    pub(super) additional_issuers: Vec<Issuer>,
    /// origins that a file names and code has to register
    pub(super) named_issuers: Vec<String>,
    pub(super) self_signed: Vec<Did>,
    pub(super) accept_level_zero: bool,
    pub(super) revocations: Option<RevocationChoice>,
    pub(super) did_documents: Option<DocumentChoice>,
    pub(super) network: Network,
    pub(super) max_lifetime: Option<MaxLifetime>,
    pub(super) signature_cache: Option<usize>,
    pub(super) signature_checks: Option<u32>,
    pub(super) tools: Vec<(String, ToolRequirement)>,
    pub(super) default_requirement: Option<ToolRequirement>,
    pub(super) methods: Vec<(GuardedMethod, MethodAccess)>,
    pub(super) custom_methods: Vec<String>,
    pub(super) api_keys: Vec<(String, String)>,
    pub(super) bearer_badges: bool,
    pub(super) policy_version: String,
    pub(super) evidence: Option<EvidenceChoice>,
    pub(super) outcomes: bool,
    pub(super) result_hashes: bool,
    pub(super) receipts: bool,
    #[cfg(feature = "layer")]
    pub(super) request_state_keys: Vec<RequestStateKey>,
    #[cfg(feature = "layer")]
    pub(super) request_state_lifetime: Duration,
    #[cfg(feature = "layer")]
    pub(super) reauthorization_interval: Duration,
    #[cfg(feature = "layer")]
    pub(super) calls_outlive_credentials: bool,
    pub(super) server_origin: Option<String>,
    pub(super) unbound_bearer: bool,
    pub(super) metadata_opens_tools: bool,
    pub(super) profile: Profile,
    pub(super) seed: bool,
    pub(super) min_trust_level: Option<u8>,
    pub(super) require_badge: bool,
    pub(super) allowed_tools: Option<Vec<String>>,
    pub(super) clock: Arc<dyn Clock>,
}

#[derive(Debug)]
pub(super) enum RevocationChoice {
    Checked(Revocations),
    /// to be made when everything else is known
    #[cfg(feature = "registry")]
    Network(super::network::NetworkRevocations),
    Unchecked,
}

#[derive(Debug)]
pub(super) enum DocumentChoice {
    Source(Arc<dyn DidDocumentSource>),
    /// to be made when everything else is known
    #[cfg(feature = "registry")]
    Resolve,
}

#[derive(Debug)]
pub(super) enum MaxLifetime {
    Limited(Duration),
    Unlimited,
}

#[derive(Debug)]
pub(super) enum EvidenceChoice {
    Open(EvidenceLog),
    Directory(EvidencePlan),
}

impl Default for GuardConfigBuilder {
    fn default() -> Self {
        Self {
            problems: Vec::new(),
            warnings: Vec::new(),
            unread: false,
            audiences: Vec::new(),
            own_dids: Vec::new(),
            issuers: Vec::new(),
            additional_issuers: Vec::new(),
            named_issuers: Vec::new(),
            self_signed: Vec::new(),
            accept_level_zero: false,
            revocations: None,
            did_documents: None,
            network: Network::default(),
            max_lifetime: None,
            signature_cache: None,
            signature_checks: None,
            tools: Vec::new(),
            default_requirement: None,
            methods: Vec::new(),
            custom_methods: Vec::new(),
            api_keys: Vec::new(),
            bearer_badges: false,
            policy_version: String::new(),
            evidence: None,
            outcomes: true,
            result_hashes: false,
            receipts: true,
            #[cfg(feature = "layer")]
            request_state_keys: Vec::new(),
            #[cfg(feature = "layer")]
            request_state_lifetime: crate::enforce::DEFAULT_REQUEST_STATE_LIFETIME,
            #[cfg(feature = "layer")]
            reauthorization_interval: MAX_REAUTHORIZATION_INTERVAL,
            #[cfg(feature = "layer")]
            calls_outlive_credentials: false,
            server_origin: None,
            unbound_bearer: false,
            metadata_opens_tools: false,
            profile: Profile::Interop,
            seed: false,
            min_trust_level: None,
            require_badge: false,
            allowed_tools: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl GuardConfigBuilder {
    /// Adds a name under which callers address this server, such as its origin `https://files.example.com` or
    /// `urn:example:files`. Badges are compared with it byte for byte; it is never taken from a request.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Adds a DID of this server, which is never accepted as a caller's (S2). A `did:key` stands for its key too, under
    /// whatever DID a badge names it; for another DID, [`own_identity`](Self::own_identity) knows the key.
    #[must_use]
    pub fn own_did(mut self, did: Did) -> Self {
        self.own_dids.push(did);
        self
    }

    /// Adds the DID and the key of the identity that this server discloses; neither is ever accepted as a caller's (S2).
    #[must_use]
    pub fn own_identity(self, identity: &ServerIdentity) -> Self {
        self.own_did(identity.did().clone()).own_did(identity.key_did())
    }

    /// Trusts an issuer's badges for every tool.
    #[must_use]
    pub fn trusted_issuer(mut self, issuer: Issuer) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// Registers an issuer that counts only for tools whose requirement names its origin.
    #[must_use]
    pub fn additional_issuer(mut self, issuer: Issuer) -> Self {
        self.additional_issuers.push(issuer);
        self
    }

    /// Accepts level-0 badges that this `did:key` signed for itself.
    #[must_use]
    pub fn trusted_self_signed(mut self, did: Did) -> Self {
        self.self_signed.push(did);
        self
    }

    /// Accepts level-0 badges of every `did:key`. They prove a key and nothing else.
    #[must_use]
    pub const fn accept_level_zero(mut self, yes: bool) -> Self {
        self.accept_level_zero = yes;
        self
    }

    /// How badges are checked for revocation; needed for levels 2 and up.
    #[must_use]
    pub fn revocations(mut self, revocations: Revocations) -> Self {
        self.revocations = Some(RevocationChoice::Checked(revocations));
        self
    }

    /// Accepts badges of every level without asking whether they were revoked.
    #[must_use]
    pub fn insecure_no_revocation(mut self) -> Self {
        self.revocations = Some(RevocationChoice::Unchecked);
        self
    }

    /// Where DID documents come from, for badges that need one.
    #[must_use]
    pub fn did_documents(mut self, source: Arc<dyn DidDocumentSource>) -> Self {
        self.did_documents = Some(DocumentChoice::Source(source));
        self
    }

    /// The fetcher behind the keys, lists and documents that a [file](Self::file) asks for over the network, in place of
    /// one that the file's `[network]` table describes. Only such a fetcher can reach this machine itself
    /// ([`dangerous_allow_loopback`](crate::identity::fetch::FetcherBuilder::dangerous_allow_loopback), S35). Sources made
    /// in code bring their own.
    #[cfg(feature = "registry")]
    #[must_use]
    pub fn fetcher(mut self, fetcher: crate::identity::fetch::Fetcher) -> Self {
        self.network.fetcher = Some(fetcher);
        self
    }

    /// The longest accepted span from a badge's `iat` to its `exp`; 3600 s by default (S6).
    #[must_use]
    pub const fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.max_lifetime = Some(MaxLifetime::Limited(lifetime));
        self
    }

    /// Accepts badges of any lifetime.
    #[must_use]
    pub const fn insecure_no_max_lifetime(mut self) -> Self {
        self.max_lifetime = Some(MaxLifetime::Unlimited);
        self
    }

    /// How many verified signatures are remembered; 0 switches the cache off. Nothing else is ever cached.
    #[must_use]
    pub const fn signature_cache(mut self, entries: usize) -> Self {
        self.signature_cache = Some(entries);
        self
    }

    /// Signature checks each second on badges that turn out not to count, ten times as many at once;
    /// [`DEFAULT_SIGNATURE_CHECKS_PER_SECOND`](crate::identity::badge::DEFAULT_SIGNATURE_CHECKS_PER_SECOND) by default. Beyond
    /// it callers whose badge was not seen before are denied (`rate_limited`); see there what that is good for.
    #[must_use]
    pub const fn signature_checks_per_second(mut self, checks: u32) -> Self {
        self.signature_checks = Some(checks);
        self
    }

    /// Adds a rule for the tools that match `pattern` ([`ToolPattern`](crate::policy::ToolPattern)). The most specific
    /// rule decides; a tool without a rule is denied.
    #[must_use]
    pub fn tool(mut self, pattern: impl Into<String>, requirement: ToolRequirement) -> Self {
        self.tools.push((pattern.into(), requirement));
        self
    }

    /// Serves the tools without a rule of their own, instead of denying them.
    #[must_use]
    pub fn default_requirement(mut self, requirement: ToolRequirement) -> Self {
        self.default_requirement = Some(requirement);
        self
    }

    /// Opens a group of methods besides tools (S10).
    #[must_use]
    pub fn method(mut self, method: GuardedMethod, access: MethodAccess) -> Self {
        self.methods.push((method, access));
        self
    }

    /// Lets one custom request or notification through to the handler, by its exact method name (S11).
    #[must_use]
    pub fn allow_custom_method(mut self, method: impl Into<String>) -> Self {
        self.custom_methods.push(method.into());
        self
    }

    /// Knows an API key by its SHA-256 (64 hexadecimal digits) as the principal `name`.
    ///
    /// It has no trust level: it satisfies [`ToolRequirement::authenticated`] and no minimum.
    #[must_use]
    pub fn api_key(mut self, sha256_hex: impl Into<String>, name: impl Into<String>) -> Self {
        self.api_keys.push((sha256_hex.into(), name.into()));
        self
    }

    /// Looks at a Bearer value as a badge when its payload says it is one (S7). Off by default: on MCP endpoints Bearer
    /// is OAuth's.
    #[must_use]
    pub const fn accept_bearer_badges(mut self) -> Self {
        self.bearer_badges = true;
        self
    }

    /// The version of the policy that evidence names.
    #[must_use]
    pub fn policy_version(mut self, version: impl Into<String>) -> Self {
        self.policy_version = version.into();
        self
    }

    /// The log that every decision goes to. Mandatory.
    #[must_use]
    pub fn evidence(mut self, log: EvidenceLog) -> Self {
        self.evidence = Some(EvidenceChoice::Open(log));
        self
    }

    /// Whether the end of each allowed call is recorded; on by default. Where it is off, an answer under strict evidence
    /// waits for its decision only.
    #[must_use]
    pub const fn outcomes(mut self, yes: bool) -> Self {
        self.outcomes = yes;
        self
    }

    /// Whether that record carries a keyed hash of the result; off by default. Results above
    /// [`MAX_HASHED_RESULT_BYTES`](crate::enforce::MAX_HASHED_RESULT_BYTES) are not hashed, and their records say so.
    #[must_use]
    pub const fn result_hashes(mut self, yes: bool) -> Self {
        self.result_hashes = yes;
        self
    }

    /// Whether answers carry a receipt ([`Receipt`](crate::evidence::Receipt)) of the decision on them, with which their
    /// caller can hold the log to it; on by default. Only authenticated callers get one, allowed or denied: the index in
    /// it tells how many records the log has, which is nothing to tell a stranger.
    #[must_use]
    pub const fn receipts(mut self, yes: bool) -> Self {
        self.receipts = yes;
        self
    }

    /// Adds a key for the `requestState` of retries (S13), at most
    /// [`MAX_REQUEST_STATE_KEYS`](crate::enforce::MAX_REQUEST_STATE_KEYS). The first one seals and every one opens, so that a
    /// key can be replaced while rounds are under way: add the new one second everywhere, then first, then drop the old.
    ///
    /// Without a key this process makes its own, which no other has and no restart keeps: replicas that a balancer sends the
    /// rounds of one request to need one in common.
    #[cfg(feature = "layer")]
    #[must_use]
    pub fn request_state_key(mut self, key: RequestStateKey) -> Self {
        self.request_state_keys.push(key);
        self
    }

    /// How long a `requestState` can be brought back, from a second to
    /// [`MAX_REQUEST_STATE_LIFETIME`](crate::enforce::MAX_REQUEST_STATE_LIFETIME);
    /// [`DEFAULT_REQUEST_STATE_LIFETIME`](crate::enforce::DEFAULT_REQUEST_STATE_LIFETIME) by default. Within it a state opens as
    /// often as its caller brings it.
    #[cfg(feature = "layer")]
    #[must_use]
    pub const fn request_state_lifetime(mut self, lifetime: Duration) -> Self {
        self.request_state_lifetime = lifetime;
        self
    }

    /// How often what goes on is authorized again (S18): streams of HTTP sessions, `subscriptions/listen`, and calls that run.
    /// [`MAX_REAUTHORIZATION_INTERVAL`] by default and at most; not zero.
    #[cfg(feature = "layer")]
    #[must_use]
    pub const fn reauthorization_interval(mut self, interval: Duration) -> Self {
        self.reauthorization_interval = interval;
        self
    }

    /// Lets a call run to its end when its caller's badge expires or is revoked meanwhile. Its progress and its result then go
    /// to somebody who would not be let in any more. For tools that run for longer than badges live and cannot become tasks,
    /// whose results are asked for with the credential of then. Streams end in any case.
    #[cfg(feature = "layer")]
    #[must_use]
    pub const fn dangerous_calls_outlive_credentials(mut self) -> Self {
        self.calls_outlive_credentials = true;
        self
    }

    /// The origin that evidence names as ours. It decides nothing; see [`audience`](Self::audience).
    #[must_use]
    pub fn server_origin(mut self, origin: impl Into<String>) -> Self {
        self.server_origin = Some(origin.into());
        self
    }

    /// Badges that name no audience count for every tool (S1). Such a badge works at every server that accepts it, so
    /// whoever sees it can present it here; evidence says `binding=none`.
    #[must_use]
    pub const fn allow_unbound_bearer(mut self) -> Self {
        self.unbound_bearer = true;
        self
    }

    /// A requirement beside a tool opens it without a rule here (S12). For handlers whose tool list is code of this
    /// process, never for one that relays somebody else's tools.
    #[must_use]
    pub const fn metadata_opens_tools(mut self) -> Self {
        self.metadata_opens_tools = true;
        self
    }

    /// Reads badges by the letter of RFC-002, without the tolerances that interoperation asks for.
    #[must_use]
    pub const fn strict_profile(mut self) -> Self {
        self.profile = Profile::Strict;
        self
    }

    /// Reads badges with the tolerances of development: loopback and `.invalid` issuers, best-effort evidence. Neither a
    /// file nor the environment can say this (S35).
    #[must_use]
    pub const fn dangerous_dev_profile(mut self) -> Self {
        self.profile = Profile::Dev;
        self
    }

    /// Reads the global fields as capiscio-mcp does, which is less strict: a minimum of level 0 lets anonymous callers in,
    /// an empty `allowed_tools` allows every tool, a malformed pattern in it matches nothing, badges need no audience,
    /// and without an issuer nobody has a badge.
    #[must_use]
    pub const fn seed_semantics(mut self) -> Self {
        self.seed = true;
        self
    }

    /// capiscio-mcp's global minimum, 0 to 4: the [`default_requirement`](Self::default_requirement) of the tools in
    /// [`allowed_tools`](Self::allowed_tools). No floor under explicit rules.
    #[must_use]
    pub const fn min_trust_level(mut self, level: u8) -> Self {
        self.min_trust_level = Some(level);
        self
    }

    /// capiscio-mcp's global switch: the tools in [`allowed_tools`](Self::allowed_tools) ask for a badge, not an API key.
    #[must_use]
    pub const fn require_badge(mut self, yes: bool) -> Self {
        self.require_badge = yes;
        self
    }

    /// capiscio-mcp's list of tool patterns that the default requirement opens. An empty list opens nothing.
    #[must_use]
    pub fn allowed_tools<I: IntoIterator<Item = S>, S: Into<String>>(mut self, patterns: I) -> Self {
        self.allowed_tools.get_or_insert_default().extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Adds what a TOML file says, at most [`MAX_CONFIG_BYTES`](super::MAX_CONFIG_BYTES) long. Relative paths in it
    /// start at its directory. On Unix a file that its group or everybody can write is refused, and so are the files it
    /// names as keys, certificates, documents and revocations (S33). Every key, by example:
    ///
    /// ```toml
    #[doc = include_str!("../../../docs/guard.toml")]
    /// ```
    #[must_use]
    pub fn file(self, path: impl AsRef<Path>) -> Self {
        super::file::read(self, path.as_ref())
    }

    /// Adds what TOML text says, at most [`MAX_CONFIG_BYTES`](super::MAX_CONFIG_BYTES) long; relative paths in it start
    /// at `base`.
    #[must_use]
    pub fn toml(self, text: &str, base: &Path) -> Self {
        super::file::merge(self, text, base)
    }

    /// The time that badges are checked against; the operating system's by default.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Checks everything and compiles the rules.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake: what is unreadable, what contradicts itself, and what could not work, such
    /// as a rule for a level that no trusted issuer, audience or revocation source stands behind.
    pub fn build(self) -> Result<GuardConfig, ConfigError> {
        super::check::build(self).map_err(|problems| ConfigError { problems })
    }

    pub(super) fn problem(&mut self, key: impl Into<String>, advice: impl Into<String>) {
        self.problems.push(ConfigProblem::new(key, advice));
    }
}
