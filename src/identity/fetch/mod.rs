//! The one way out: every request that this crate makes over the network for identity.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

/// Looks up the addresses of a host name. Every address that it answers is checked before one is connected to.
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    /// The addresses of `host`, a lower-case name without a trailing dot; the port of each is ignored.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<SocketAddr>>> + Send + 'a>>;
}

/// Makes requests that a hostile host cannot turn against us. Clones share connections and limits.
#[derive(Clone)]
pub struct Fetcher(Arc<Inner>);

struct Inner;

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").finish_non_exhaustive()
    }
}

/// Why a request brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.kind().as_str())]
pub struct FetchError {
    kind: FetchErrorKind,
}

/// The kinds of [`FetchError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchErrorKind {
    /// The URL is none that is fetched: malformed, another scheme than https, user information, a fragment.
    Url,
    /// The port is not one that is allowed.
    Port,
    /// The host is an address, or resolves to one, that is not on the public internet.
    Address,
    /// The name could not be resolved.
    Dns,
    /// No connection could be made.
    Connect,
    /// The TLS handshake failed, or the certificate is not for this host.
    Tls,
    /// The answer did not arrive in time.
    Timeout,
    /// The answer is a redirect, which is never followed.
    Redirect,
    /// The answer's status is not 200.
    Status(u16),
    /// The answer's content type is not the expected one.
    ContentType,
    /// The answer is longer than allowed.
    TooLarge,
    /// The answer broke off, or is not what was asked for.
    Body,
    /// Too many requests to this host are under way.
    Busy,
}

impl FetchErrorKind {
    /// The kind in fixed words, which name neither host nor address.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Url => "the URL is none that may be fetched",
            Self::Port => "the port is not allowed",
            Self::Address => "the host's address is not allowed",
            Self::Dns => "the host's name could not be resolved",
            Self::Connect => "no connection could be made",
            Self::Tls => "the TLS handshake failed",
            Self::Timeout => "the answer did not arrive in time",
            Self::Redirect => "the answer is a redirect",
            Self::Status(_) => "the answer's status is an error",
            Self::ContentType => "the answer's content type is another",
            Self::TooLarge => "the answer is too large",
            Self::Body => "the answer cannot be read",
            Self::Busy => "too many requests to the host are under way",
        }
    }
}

impl FetchError {
    pub(crate) const fn new(kind: FetchErrorKind) -> Self {
        Self { kind }
    }

    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> FetchErrorKind {
        self.kind
    }
}

/// A mistake in a [`FetcherBuilder`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetcherBuildError {
    /// A certificate cannot be read.
    #[error("the root certificate is not a PEM certificate")]
    RootCertificate,
    /// The TLS library refused the configuration.
    #[error("the HTTP client cannot be built")]
    Client,
}

/// Collects what makes a [`Fetcher`].
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct FetcherBuilder {}

impl Fetcher {
    /// Starts from the strictest: https to port 443 of public addresses.
    pub fn builder() -> FetcherBuilder {
        FetcherBuilder::default()
    }

    /// A fetcher with the defaults of [`builder`](Self::builder).
    ///
    /// # Errors
    /// [`FetcherBuildError::Client`].
    pub fn new() -> Result<Self, FetcherBuildError> {
        Self::builder().build()
    }

    /// Sends one request. `Err` only where no answer of the allowed size and type arrived; a status other than 200 is an
    /// answer here, see [`FetchResponse::status`].
    pub(crate) async fn send(&self, request: FetchRequest<'_>) -> Result<FetchResponse, FetchError> {
        let _ = (&self.0, request);
        Err(FetchError::new(FetchErrorKind::Connect))
    }

    /// Fetches `url` and returns the body of a 200 whose content type is among `media`.
    pub(crate) async fn get(
        &self,
        url: &str,
        media: &'static [&'static str],
        max_bytes: usize,
    ) -> Result<Vec<u8>, FetchError> {
        let response = self.send(FetchRequest::get(url).accept(media).max_bytes(max_bytes)).await?;
        if response.status != 200 {
            return Err(FetchError::new(FetchErrorKind::Status(response.status)));
        }
        Ok(response.body)
    }
}

impl FetcherBuilder {
    /// Trusts one more root certificate, besides the platform's.
    pub fn add_root_certificate_pem(self, pem: &[u8]) -> Self {
        let _ = pem;
        self
    }

    /// Resolves names with `resolver` in place of the operating system.
    pub fn resolver(self, resolver: Arc<dyn Resolve>) -> Self {
        let _ = resolver;
        self
    }

    /// Also connects to `port`, for every host; 443 is always allowed.
    pub fn allow_port(self, port: u16) -> Self {
        let _ = port;
        self
    }

    /// Also connects to addresses of this network, such as `10.1.0.0/16`: for a registry inside the company. Every
    /// issuer and every DID host can then make us ask there.
    pub fn insecure_allow_network(self, network: &str) -> Self {
        let _ = network;
        self
    }

    /// Also connects to this machine, on every port, with plain http too. Development only.
    pub fn dangerous_allow_loopback(self) -> Self {
        self
    }

    /// How long a request may take in all; 10 s by default.
    pub fn timeout(self, timeout: Duration) -> Self {
        let _ = timeout;
        self
    }

    /// Builds the fetcher.
    ///
    /// # Errors
    /// [`FetcherBuildError`].
    pub fn build(self) -> Result<Fetcher, FetcherBuildError> {
        Ok(Fetcher(Arc::new(Inner)))
    }
}

/// One request of this crate's own making.
pub(crate) struct FetchRequest<'a> {
    pub(crate) method: FetchMethod,
    pub(crate) url: &'a str,
    /// Header name and value; values are marked sensitive and never logged.
    pub(crate) headers: Vec<(&'static str, Zeroizing<String>)>,
    /// A JSON body.
    pub(crate) json: Option<Zeroizing<Vec<u8>>>,
    /// Content types that count, without parameters; empty for any, also none.
    pub(crate) media: &'static [&'static str],
    pub(crate) max_bytes: usize,
    pub(crate) timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchMethod {
    Get,
    Post,
    Put,
    Patch,
}

impl<'a> FetchRequest<'a> {
    pub(crate) const fn new(method: FetchMethod, url: &'a str) -> Self {
        Self { method, url, headers: Vec::new(), json: None, media: &[], max_bytes: 64 * 1024, timeout: None }
    }

    pub(crate) const fn get(url: &'a str) -> Self {
        Self::new(FetchMethod::Get, url)
    }

    pub(crate) const fn accept(mut self, media: &'static [&'static str]) -> Self {
        self.media = media;
        self
    }

    pub(crate) const fn max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }
}

/// An answer whose body was read whole, within the limits. Redirects are errors and never get here.
#[derive(Debug)]
pub(crate) struct FetchResponse {
    pub(crate) status: u16,
    /// `Retry-After` in seconds, at most an hour.
    pub(crate) retry_after: Option<Duration>,
    /// The server's `Date`, to tell a wrong clock.
    pub(crate) body: Vec<u8>,
}
