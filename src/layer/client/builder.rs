//! What a verified client demands and presents, and the ways to connect.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::ProtocolVersion;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::common::client_side_sse::ExponentialBackoff;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess, Transport};
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt as _, RoleClient};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::Command;
use zeroize::Zeroizing;

use super::VerifiedClient;
use super::command::restrict_environment;
use super::error::{ClientConfigError, ClientConfigErrorKind, ConnectError};
use super::gate::{Credentials, Gate};
use super::http::VerifyingHttp;
use super::transport::Verified;
use crate::clock::{Clock, SystemClock};
use crate::identity::badge::Revocations;
use crate::identity::did::Did;
use crate::identity::resolve::DidDocumentSource;
use crate::identity::server::{
    BadgeSource, Channel, HttpOrigin, ServerVerifier, StaticBadge, VerifyConfig, VerifyConfigBuilder,
};
use crate::identity::trust_level::TrustLevel;
use crate::identity::trust_store::Issuer;

/// How long a handshake may take, verification included: rmcp waits 10 s alone before it takes a silent server for
/// one that does not know `server/discover`.
pub const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest pause between attempts to resume an event stream; rmcp's own default doubles without bound.
const MAX_RESUME_PAUSE: Duration = Duration::from_secs(30);

/// How long one attempt to reach an HTTP server may take, unless [`VerifiedClientBuilder::http_client`] says otherwise.
const HTTP_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How the connection starts. Whichever it is, the answer that counts is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Lifecycle {
    /// `initialize`, as all revisions up to 2025-11-25 have it.
    #[default]
    Initialize,
    /// `server/discover`, as 2026-07-28 has it.
    Discover,
    /// `server/discover`, and `initialize` if the server says that it does not know it.
    Auto,
}

impl Lifecycle {
    fn mode(self) -> ClientLifecycleMode {
        let preferred_versions = vec![ProtocolVersion::LATEST];
        match self {
            Self::Initialize => ClientLifecycleMode::Initialize,
            Self::Discover => ClientLifecycleMode::Discover { preferred_versions },
            Self::Auto => ClientLifecycleMode::Auto { preferred_versions, legacy_version: None },
        }
    }
}

/// A caller's badge: a live [`BadgeSource`], or one token that is presented until it expires.
pub struct CallerBadge(Inner);

enum Inner {
    Source(Arc<dyn BadgeSource>),
    Token(Zeroizing<String>),
}

impl<S: BadgeSource> From<S> for CallerBadge {
    fn from(source: S) -> Self {
        Self(Inner::Source(Arc::new(source)))
    }
}

impl From<String> for CallerBadge {
    fn from(token: String) -> Self {
        Self(Inner::Token(Zeroizing::new(token)))
    }
}

impl From<&str> for CallerBadge {
    fn from(token: &str) -> Self {
        token.to_owned().into()
    }
}

impl fmt::Debug for CallerBadge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Inner::Source(_) => "CallerBadge::Source(..)",
            Inner::Token(_) => "CallerBadge::Token(..)",
        })
    }
}

/// Collects what a [`VerifiedClient`] demands of its server and presents to it, then connects.
///
/// Mistakes are reported by the `connect_*` methods, as [`ConnectError::Config`].
#[must_use = "a builder does nothing until it connects"]
pub struct VerifiedClientBuilder<H: ClientHandler = ()> {
    handler: H,
    verify: VerifyConfigBuilder,
    anybody_trusted: bool,
    badge: Option<CallerBadge>,
    api_key: Option<Zeroizing<String>>,
    lifecycle: Lifecycle,
    handshake_timeout: Duration,
    pass_env: Vec<OsString>,
    http: Option<reqwest::ClientBuilder>,
    clock: Arc<dyn Clock>,
}

impl<H: ClientHandler> fmt::Debug for VerifiedClientBuilder<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedClientBuilder")
            .field("verify", &self.verify)
            .field("lifecycle", &self.lifecycle)
            .field("handshake_timeout", &self.handshake_timeout)
            .finish_non_exhaustive()
    }
}

impl VerifiedClientBuilder {
    pub(super) fn new() -> Self {
        Self {
            handler: (),
            verify: VerifyConfig::builder(),
            anybody_trusted: false,
            badge: None,
            api_key: None,
            lifecycle: Lifecycle::default(),
            handshake_timeout: DEFAULT_HANDSHAKE_TIMEOUT,
            pass_env: Vec::new(),
            http: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl<H: ClientHandler> VerifiedClientBuilder<H> {
    /// Answers the server's requests and notifications with `handler`, which also names this client.
    ///
    /// rmcp's `ClientConfig` is a handler that answers nothing, for programs that only want a name.
    pub fn handler<T: ClientHandler>(self, handler: T) -> VerifiedClientBuilder<T> {
        VerifiedClientBuilder {
            handler,
            verify: self.verify,
            anybody_trusted: self.anybody_trusted,
            badge: self.badge,
            api_key: self.api_key,
            lifecycle: self.lifecycle,
            handshake_timeout: self.handshake_timeout,
            pass_env: self.pass_env,
            http: self.http,
            clock: self.clock,
        }
    }

    /// Trusts server badges of `issuer`.
    pub fn trusted_issuer(mut self, issuer: Issuer) -> Self {
        self.verify = self.verify.trusted_issuer(issuer);
        self.anybody_trusted = true;
        self
    }

    /// The lowest trust level that the server's badge must carry.
    pub fn min_trust_level(mut self, level: TrustLevel) -> Self {
        self.verify = self.verify.min_trust_level(level);
        self
    }

    /// Accepts every self-signed server, level 0. Off by default.
    pub fn accept_level_zero(mut self, accept: bool) -> Self {
        self.verify = self.verify.accept_level_zero(accept);
        self.anybody_trusted |= accept;
        self
    }

    /// Accepts the self-signed badges of this `did:key`.
    pub fn trusted_self_signed(mut self, did: Did) -> Self {
        self.verify = self.verify.trusted_self_signed(did);
        self.anybody_trusted = true;
        self
    }

    /// Adds a DID that the server may have; once one is named, every other is refused.
    ///
    /// Required wherever the DID names no origin: over stdio and for `did:key` (S20).
    pub fn expect_did(mut self, did: impl Into<String>) -> Self {
        self.verify = self.verify.expect_did(did);
        self
    }

    /// Lets exactly these DIDs be presented at the origin of a gateway whose name they do not carry.
    pub fn gateway<D: Into<String>>(mut self, origin: impl Into<String>, dids: impl IntoIterator<Item = D>) -> Self {
        self.verify = self.verify.gateway(origin, dids);
        self
    }

    /// Does not compare a `did:web` with the dialled origin (capiscio-mcp's name; weaker than the default).
    pub fn skip_origin_binding(mut self, skip: bool) -> Self {
        self.verify = self.verify.skip_origin_binding(skip);
        self
    }

    /// Lets a `did:web` bind to plain http on this machine; development only.
    pub fn dangerous_loopback_http(mut self) -> Self {
        self.verify = self.verify.dangerous_loopback_http();
        self
    }

    /// Reads the server's badge with the tolerances of development: loopback and `.invalid` issuers, and every self-signed
    /// badge. Never in production.
    pub fn dangerous_dev_profile(mut self) -> Self {
        self.verify = self.verify.dangerous_dev_profile();
        self
    }

    /// Calls a server verified by its badge alone: whoever copies its public badge passes.
    pub fn insecure_accept_badge_without_pop(mut self) -> Self {
        self.verify = self.verify.insecure_accept_badge_without_pop();
        self
    }

    /// Where revocation and status of the server's badge are asked; needed for levels 2 and above.
    pub fn revocations(mut self, revocations: Revocations) -> Self {
        self.verify = self.verify.revocations(revocations);
        self
    }

    /// Accepts badges of every level without asking for their revocation.
    pub fn insecure_no_revocation(mut self) -> Self {
        self.verify = self.verify.insecure_no_revocation();
        self
    }

    /// Where DID documents come from. Without a source the key in the server's badge is the key of its `did:web`.
    pub fn did_documents(mut self, documents: Arc<dyn DidDocumentSource>) -> Self {
        self.verify = self.verify.did_documents(documents);
        self
    }

    /// The clock that badges and proofs are judged by; the system's by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.verify = self.verify.clock(Arc::clone(&clock));
        self.clock = clock;
        self
    }

    /// The badge that requests carry once the server is verified; asked once per request.
    ///
    /// While its source has no badge, requests fail here rather than leave without it.
    pub fn badge(mut self, badge: impl Into<CallerBadge>) -> Self {
        self.badge = Some(badge.into());
        self
    }

    /// The API key that requests carry once the server is verified. Beside a badge, the badge decides.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(Zeroizing::new(key.into()));
        self
    }

    /// How the connection starts; [`Lifecycle::Initialize`] by default.
    pub const fn lifecycle(mut self, lifecycle: Lifecycle) -> Self {
        self.lifecycle = lifecycle;
        self
    }

    /// How long the handshake may take, and the verification of one that is repeated; [`DEFAULT_HANDSHAKE_TIMEOUT`] by
    /// default. Over HTTP rmcp gives a handshake that it repeats by itself 5 s in all.
    pub const fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Passes this variable of our own environment to a child process, beyond
    /// [`PASSED_ENVIRONMENT`](super::PASSED_ENVIRONMENT).
    pub fn pass_env(mut self, name: impl Into<OsString>) -> Self {
        self.pass_env.push(name.into());
        self
    }

    /// TLS roots, proxies and timeouts of HTTP connections.
    ///
    /// Redirects are switched off whatever it says, and so are proxies for plain http. Its default headers go along with
    /// the handshake too, before the server is verified: no credential belongs there. A total timeout would also end
    /// event streams: bound calls by rmcp's own request options instead.
    pub fn http_client(mut self, client: reqwest::ClientBuilder) -> Self {
        self.http = Some(client);
        self
    }

    /// Starts a server as a child process and connects over its standard input and output.
    ///
    /// The child sees [`PASSED_ENVIRONMENT`](super::PASSED_ENVIRONMENT), what [`pass_env`](Self::pass_env) names, and
    /// what was set on `command` itself (S23). It is killed when the connection fails or is dropped.
    ///
    /// # Errors
    /// [`ConnectError`]; the child is gone then.
    pub async fn connect_command(mut self, mut command: Command) -> Result<VerifiedClient<H>, ConnectError> {
        restrict_environment(&mut command, &std::mem::take(&mut self.pass_env));
        let ready = self.ready(Channel::stdio())?;
        let child = TokioChildProcess::new(command).map_err(|error| ConnectError::Transport(error.into()))?;
        ready.connect_wrapped(child).await
    }

    /// Connects over a pair of byte streams with newline-delimited JSON: a pipe, an in-memory duplex, a Unix socket.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_io<R, W>(self, read: R, write: W) -> Result<VerifiedClient<H>, ConnectError>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let ready = self.ready(Channel::stdio())?;
        ready.connect_wrapped(AsyncRwTransport::new_client(read, write)).await
    }

    /// Connects over any transport of rmcp except HTTP, which takes [`connect_http`](Self::connect_http): below a
    /// wrapper, rmcp's HTTP transport repeats handshakes that nobody verifies (S23). It is refused by its type name, a
    /// help against mistakes that does not see through a type of your own around it.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_transport<T>(self, transport: T) -> Result<VerifiedClient<H>, ConnectError>
    where
        T: Transport<RoleClient> + 'static,
    {
        if std::any::type_name::<T>().contains("StreamableHttpClientWorker") {
            let advice = "HTTP connects by `connect_http`: rmcp's HTTP transport repeats handshakes unverified";
            return Err(ClientConfigError::new(ClientConfigErrorKind::HttpTransport, advice).into());
        }
        self.ready(Channel::stdio())?.connect_wrapped(transport).await
    }

    /// Connects to a streamable HTTP endpoint: `https`, or `http` on this machine.
    ///
    /// Redirects are not followed, and credentials travel as headers of single requests (`X-Capiscio-Badge`,
    /// `X-Capiscio-Registry-Key`). Each handshake that rmcp repeats for an expired session is verified like the first
    /// and must be answered by the same DID.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_http(mut self, url: &str) -> Result<VerifiedClient<H>, ConnectError> {
        let channel = http_channel(url)?;
        let tls = channel.origin().is_some_and(HttpOrigin::is_tls);
        let http = self.http.take().unwrap_or_else(|| reqwest::Client::builder().connect_timeout(HTTP_CONNECT_TIMEOUT));
        let mut http = http.redirect(reqwest::redirect::Policy::none());
        if !tls {
            // a proxy of the environment would get the credential in the clear
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| {
            ClientConfigError::new(ClientConfigErrorKind::HttpClient, format!("no HTTP client: {error}"))
        })?;
        let ready = self.ready(channel)?;
        let mut config = StreamableHttpClientTransportConfig::with_uri(url);
        let mut resume = ExponentialBackoff::default();
        resume.max_delay = Some(MAX_RESUME_PAUSE);
        config.retry_config = Arc::new(resume);
        let backend = VerifyingHttp::new(http, Arc::clone(&ready.gate));
        ready.connect(StreamableHttpClientTransport::with_client(backend, config)).await
    }

    fn ready(self, channel: Channel) -> Result<Ready<H>, ClientConfigError> {
        if !self.anybody_trusted {
            let advice = "nobody is trusted: name an issuer with `trusted_issuer`";
            return Err(ClientConfigError::new(ClientConfigErrorKind::NobodyTrusted, advice));
        }
        let config = self
            .verify
            .build()
            .map_err(|error| ClientConfigError::new(ClientConfigErrorKind::Verification, error.to_string()))?;
        let badge = match self.badge.map(|badge| badge.0) {
            None => None,
            Some(Inner::Source(source)) => Some(source),
            Some(Inner::Token(token)) => {
                let badge = StaticBadge::with_clock(&token, Arc::clone(&self.clock)).map_err(|error| {
                    ClientConfigError::new(ClientConfigErrorKind::Credential, format!("the badge is {error}"))
                })?;
                Some(Arc::new(badge) as Arc<dyn BadgeSource>)
            }
        };
        if self.api_key.as_ref().is_some_and(|key| key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic())) {
            let advice = "an API key is visible ASCII text";
            return Err(ClientConfigError::new(ClientConfigErrorKind::Credential, advice));
        }
        let credentials = Credentials { badge, api_key: self.api_key };
        let gate = Gate::new(ServerVerifier::new(config), channel, credentials, self.clock, self.handshake_timeout);
        Ok(Ready { handler: self.handler, gate, lifecycle: self.lifecycle, handshake_timeout: self.handshake_timeout })
    }
}

/// A checked configuration.
struct Ready<H> {
    handler: H,
    gate: Arc<Gate>,
    lifecycle: Lifecycle,
    handshake_timeout: Duration,
}

impl<H: ClientHandler> Ready<H> {
    async fn connect_wrapped<T: Transport<RoleClient> + 'static>(
        self,
        transport: T,
    ) -> Result<VerifiedClient<H>, ConnectError> {
        let transport = Verified::new(transport, Arc::clone(&self.gate));
        self.connect(transport).await
    }

    async fn connect<T: Transport<RoleClient> + 'static>(
        self,
        transport: T,
    ) -> Result<VerifiedClient<H>, ConnectError> {
        let Self { handler, gate, lifecycle, handshake_timeout } = self;
        let handshake = Box::pin(handler.serve_with_lifecycle(transport, lifecycle.mode()));
        let started = tokio::time::timeout(handshake_timeout, handshake).await;
        // whatever rmcp made of it, this is the reason
        if let Some(failure) = gate.failure() {
            return Err(failure.into());
        }
        let service = match started {
            Ok(Ok(service)) => service,
            Ok(Err(error)) => return Err(ConnectError::from_rmcp(error)),
            Err(_) => return Err(ConnectError::Timeout(handshake_timeout)),
        };
        match gate.server().filter(|_| gate.is_verified()) {
            Some(server) => Ok(VerifiedClient { service, gate, server }),
            None => Err(super::VerificationFailure::UnexpectedHandshake.into()),
        }
    }
}

fn http_channel(url: &str) -> Result<Channel, ClientConfigError> {
    let invalid = || {
        let advice = "the server's URL is not an https URL without user name and fragment";
        ClientConfigError::new(ClientConfigErrorKind::InvalidUrl, advice)
    };
    let channel = Channel::http(url).map_err(|_| invalid())?;
    let origin = channel.origin().filter(|_| !url.contains('#')).ok_or_else(invalid)?;
    if !origin.is_tls() && !origin.is_loopback() {
        let advice = format!("`{}` is plain http and not this machine: use https", origin.as_str());
        return Err(ClientConfigError::new(ClientConfigErrorKind::PlainHttp, advice));
    }
    Ok(channel)
}
