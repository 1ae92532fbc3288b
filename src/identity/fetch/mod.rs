//! The one way out: every request that this crate makes over the network for identity.
//!
//! In scope: what a hostile issuer, DID host or name server can do to whoever fetches from it. A URL is https to port
//! 443 of a name; the name is looked up once per connection, each of its addresses has to be one of the public internet,
//! and those addresses are the ones that are connected to. No redirect is followed, no proxy is taken from the
//! environment, nothing is decompressed, no cookie is kept. The type is checked before the body is read, the size while
//! it is read, and one deadline holds for all of it. Out of scope: which hosts are trusted; whoever asks decides that
//! before it asks.
//!
//! What is allowed besides is said on the [`FetcherBuilder`], once, by the application:
//!
//! ```
//! use rmcp_guard::identity::fetch::{FetcherBuildError, Fetcher};
//!
//! let company = Fetcher::builder().insecure_allow_network("10.1.0.0/16").allow_port(8443).build()?;
//! // a mistake is an error, not a fetcher that allows something else
//! let mistake = Fetcher::builder().insecure_allow_network("10.1.0.0/33").build();
//! assert!(matches!(mistake, Err(FetcherBuildError::Network)));
//! # Ok::<(), FetcherBuildError>(())
//! ```
//!
//! Deployment: the root certificates are the platform's. One fetcher serves all sources; its limits
//! ([`MAX_REQUESTS_PER_HOST`], [`MAX_REQUESTS`]) are shared by its clones. Behind a proxy the proxy has to refuse what
//! is not public, since it looks names up.

mod address;
mod exchange;
mod limits;
mod resolver;
mod target;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::{Certificate, Client, Proxy, Url, redirect, retry, tls};
use zeroize::Zeroizing;

pub(crate) use exchange::{FetchMethod, FetchRequest, FetchResponse};
pub use exchange::{MAX_ERROR_BODY_BYTES, MAX_RETRY_AFTER};
pub use limits::{MAX_REQUESTS, MAX_REQUESTS_PER_HOST};
pub use resolver::{LOOKUP_TIMEOUT, MAX_ADDRESSES, Resolve};
pub use target::MAX_FETCH_URL_BYTES;

use limits::Limits;
use resolver::{CheckedResolver, SystemResolver};
use target::Reach;

/// How long connecting may take: the look-up, TCP and TLS.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request may take in all, unless [`FetcherBuilder::timeout`] says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The most connections to a host that wait for the next request.
const MAX_IDLE_PER_HOST: usize = 4;

/// How long a connection waits for the next request; then its host's name is looked up and checked anew.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes requests that a hostile host cannot turn against us. Clones share connections and limits.
#[derive(Clone)]
pub struct Fetcher(Arc<Inner>);

struct Inner {
    client: Client,
    reach: Reach,
    limits: Limits,
    timeout: Duration,
}

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
    /// The host is an address by itself, a name of a local network, or resolves to an address that is not public.
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
    /// Too many requests to this host, or in all, are under way.
    Busy,
    /// The request cannot be made as asked for: a header's value is none.
    Request,
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
            Self::Busy => "too many requests are under way",
            Self::Request => "the request cannot be made",
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
    /// A network is not an address with a prefix length, or has bits beyond it.
    #[error("the network is not one such as `10.1.0.0/16`")]
    Network,
    /// The proxy is not an http or https URL.
    #[error("the proxy is not an http or https URL")]
    Proxy,
    /// The TLS library refused the configuration, or the platform has no root certificates.
    #[error("the HTTP client cannot be built")]
    Client,
}

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
    /// answer here, see [`FetchResponse::status`]. A dropped future gives up the request.
    pub(crate) async fn send(&self, request: FetchRequest<'_>) -> Result<FetchResponse, FetchError> {
        let Inner { client, reach, limits, timeout } = &*self.0;
        let url = target::check(request.url, reach)?;
        let host = url.host_str().unwrap_or_default();
        let Some(_place) = limits.enter(host) else { return Err(FetchError::new(FetchErrorKind::Busy)) };
        tokio::time::timeout(request.timeout.unwrap_or(*timeout), exchange::exchange(client, url, &request))
            .await
            .unwrap_or(Err(FetchError::new(FetchErrorKind::Timeout)))
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

/// Collects what makes a [`Fetcher`]; mistakes show when it is [built](Self::build).
#[derive(Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct FetcherBuilder {
    roots: Vec<Vec<u8>>,
    resolver: Option<Arc<dyn Resolve>>,
    ports: Vec<u16>,
    networks: Vec<String>,
    loopback: bool,
    proxy: Option<Zeroizing<String>>,
    timeout: Option<Duration>,
}

/// The proxy's URL may hold a password, so it is not shown.
impl fmt::Debug for FetcherBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetcherBuilder")
            .field("roots", &self.roots.len())
            .field("resolver", &self.resolver)
            .field("ports", &self.ports)
            .field("networks", &self.networks)
            .field("loopback", &self.loopback)
            .field("proxy", &self.proxy.is_some())
            .field("timeout", &self.timeout)
            .finish()
    }
}

impl FetcherBuilder {
    /// Trusts the root certificates of this PEM text, besides the platform's.
    pub fn add_root_certificate_pem(mut self, pem: &[u8]) -> Self {
        self.roots.push(pem.to_vec());
        self
    }

    /// Resolves names with `resolver` in place of the operating system. `localhost` is this machine without being asked.
    pub fn resolver(mut self, resolver: Arc<dyn Resolve>) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Also connects to `port`, for every host; 443 is always allowed.
    pub fn allow_port(mut self, port: u16) -> Self {
        self.ports.push(port);
        self
    }

    /// Also connects to addresses of this network, such as `10.1.0.0/16`, and to names of local networks such as
    /// `registry.internal`: for a registry inside the company. Every issuer and every DID host can then make us ask there.
    pub fn insecure_allow_network(mut self, network: impl Into<String>) -> Self {
        self.networks.push(network.into());
        self
    }

    /// Also connects to this machine by `localhost`, names below it, 127.0.0.0/8 and `[::1]`, on every port, with plain
    /// http too. Development only.
    pub const fn dangerous_allow_loopback(mut self) -> Self {
        self.loopback = true;
        self
    }

    /// Makes https requests through the proxy at `url`, which may hold a user name and a password. The proxy then looks
    /// names up and connects, so it has to refuse addresses that are not public; URLs are checked here as ever. With
    /// [`insecure_allow_network`](Self::insecure_allow_network) names of local networks are passed on to it too, and
    /// whether they lead into the allowed network is no longer checked here.
    pub fn dangerous_proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Some(Zeroizing::new(url.into()));
        self
    }

    /// How long a request may take in all; [`DEFAULT_TIMEOUT`] by default. A call of a
    /// [`RegistryClient`](super::registry::RegistryClient) has 30 s instead.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Builds the fetcher, with the platform's root certificates as they are now.
    ///
    /// # Errors
    /// [`FetcherBuildError`], for the first mistake.
    pub fn build(self) -> Result<Fetcher, FetcherBuildError> {
        let networks = self.networks.iter().map(|network| parse_network(network)).collect::<Result<Vec<_>, _>>()?;
        let reach = Reach { ports: self.ports, networks: networks.clone(), loopback: self.loopback };

        let mut roots = Vec::new();
        for pem in &self.roots {
            let bundle = Certificate::from_pem_bundle(pem).map_err(|_| FetcherBuildError::RootCertificate)?;
            if bundle.is_empty() {
                return Err(FetcherBuildError::RootCertificate);
            }
            roots.extend(bundle);
        }

        let mut client = Client::builder()
            .tls_backend_rustls()
            .tls_version_min(tls::Version::TLS_1_2)
            .tls_certs_merge(roots)
            .https_only(!self.loopback)
            .http1_only()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_proxy()
            // another crate may have turned these on for all of reqwest's users
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .user_agent(concat!("rmcp-guard/", env!("CARGO_PKG_VERSION")));
        let mut proxy_host = None;
        if let Some(proxy) = &self.proxy {
            let url = Url::parse(proxy).map_err(|_| FetcherBuildError::Proxy)?;
            if !matches!(url.scheme(), "http" | "https") {
                return Err(FetcherBuildError::Proxy);
            }
            proxy_host = url.host_str().map(str::to_owned);
            client = client.proxy(Proxy::https(url).map_err(|_| FetcherBuildError::Proxy)?);
        }
        let client = client
            .dns_resolver(CheckedResolver {
                resolver: self.resolver.unwrap_or_else(|| Arc::new(SystemResolver::new())),
                networks,
                proxy: proxy_host,
            })
            .build()
            .map_err(|_| FetcherBuildError::Client)?;
        let timeout = self.timeout.unwrap_or(DEFAULT_TIMEOUT);
        Ok(Fetcher(Arc::new(Inner { client, reach, limits: Limits::default(), timeout })))
    }
}

/// `10.1.2.3/16` is refused: whoever writes it means one of two things.
fn parse_network(text: &str) -> Result<IpNet, FetcherBuildError> {
    let network: IpNet = text.parse().map_err(|_| FetcherBuildError::Network)?;
    if network == network.trunc() { Ok(network) } else { Err(FetcherBuildError::Network) }
}
