//! Names to addresses, each checked before anything connects to it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolving};
use tokio::sync::Semaphore;

use super::address::is_permitted;
use super::target::is_localhost;
use super::{FetchError, FetchErrorKind};

/// The most addresses that a name may have; more would buy a hostile zone that many connection attempts.
pub const MAX_ADDRESSES: usize = 32;

/// How long a look-up may take; less than connecting as a whole, so that its failure is told from a slow host's.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(4);

/// How many look-ups of the operating system run at a time; each holds a thread until it ends by itself.
const MAX_SYSTEM_LOOKUPS: usize = 16;

/// Looks up the addresses of a host name. Every address that it answers is checked before one is connected to.
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    /// The addresses of `host`, a lower-case name without a trailing dot; the port of each is ignored.
    fn resolve<'a>(&'a self, host: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;
}

/// The operating system's resolver.
#[derive(Debug)]
pub(super) struct SystemResolver(Arc<Semaphore>);

impl SystemResolver {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_SYSTEM_LOOKUPS)))
    }
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async move {
            let permit = Arc::clone(&self.0).acquire_owned().await.map_err(io::Error::other)?;
            let host = host.to_owned();
            // The permit goes with the thread: a look-up that nobody waits for any more still counts.
            tokio::task::spawn_blocking(move || {
                let addresses = (host.as_str(), 0).to_socket_addrs().map(Iterator::collect);
                drop(permit);
                addresses
            })
            .await
            .map_err(io::Error::other)?
        })
    }
}

/// What reqwest asks when it connects. It connects to what this answers, so a name is looked up once per connection and
/// never again between the check and its use.
pub(super) struct CheckedResolver {
    pub(super) resolver: Arc<dyn Resolve>,
    /// Networks that may be reached besides the public internet.
    pub(super) networks: Vec<IpNet>,
    /// The proxy's host, which the application chose; without one, no name is exempt.
    pub(super) proxy: Option<String>,
}

impl reqwest::dns::Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        if is_localhost(&name) {
            // RFC 6761 §6.3: never a question for a server, so nobody else can answer it. `target` has refused such a
            // name already unless this machine may be reached.
            let own = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            return Box::pin(std::future::ready(Ok(addresses(own.into_iter()))));
        }
        let networks = (self.proxy.as_deref() != Some(&name)).then(|| self.networks.clone());
        let resolver = Arc::clone(&self.resolver);
        Box::pin(async move {
            let refuse = |kind| Err(FetchError::new(kind).into());
            let answer = tokio::time::timeout(LOOKUP_TIMEOUT, resolver.resolve(&name)).await;
            let Ok(Ok(answer)) = answer else { return refuse(FetchErrorKind::Dns) };
            if answer.is_empty() || answer.len() > MAX_ADDRESSES {
                return refuse(FetchErrorKind::Dns);
            }
            // One that is not public among others that are is an attack or a mistake; neither earns a connection.
            if networks.is_some_and(|networks| !answer.iter().all(|address| is_permitted(address.ip(), &networks))) {
                return refuse(FetchErrorKind::Address);
            }
            Ok(addresses(answer.into_iter().map(|address| address.ip())))
        })
    }
}

/// Port 0 stands for the URL's port, and a scope is left behind: neither is for the resolver to choose.
fn addresses(addresses: impl Iterator<Item = IpAddr> + Send + 'static) -> Addrs {
    Box::new(addresses.map(|address| SocketAddr::new(address, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name has this address, with a port and a scope of the resolver's choice.
    #[derive(Debug)]
    struct Always(IpAddr);

    impl Resolve for Always {
        fn resolve<'a>(
            &'a self,
            _host: &'a str,
        ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
            let address = match self.0 {
                IpAddr::V4(address) => SocketAddr::from((address, 22)),
                IpAddr::V6(address) => std::net::SocketAddrV6::new(address, 22, 7, 7).into(),
            };
            Box::pin(std::future::ready(Ok(vec![address])))
        }
    }

    async fn answer(address: &str, proxy: Option<&str>, name: &str) -> Result<Vec<SocketAddr>, FetchErrorKind> {
        let resolver = Arc::new(Always(address.parse().unwrap()));
        let checked = CheckedResolver { resolver, networks: Vec::new(), proxy: proxy.map(str::to_owned) };
        match reqwest::dns::Resolve::resolve(&checked, name.parse().unwrap()).await {
            Ok(addresses) => Ok(addresses.collect()),
            Err(error) => Err(error.downcast_ref::<FetchError>().unwrap().kind()),
        }
    }

    #[tokio::test]
    async fn a_resolver_chooses_addresses_and_neither_ports_nor_scopes() {
        assert_eq!(answer("8.8.8.8", None, "a.example").await, Ok(vec!["8.8.8.8:0".parse().unwrap()]));
        assert_eq!(answer("2606::1", None, "a.example").await, Ok(vec!["[2606::1]:0".parse().unwrap()]));
        assert_eq!(answer("10.0.0.1", None, "a.example").await, Err(FetchErrorKind::Address));
    }

    #[tokio::test]
    async fn only_the_proxy_may_be_at_a_private_address() {
        let private = Ok(vec!["10.0.0.1:0".parse().unwrap()]);
        assert_eq!(answer("10.0.0.1", Some("proxy.example"), "proxy.example").await, private);
        assert_eq!(answer("10.0.0.1", Some("proxy.example"), "a.example").await, Err(FetchErrorKind::Address));
    }

    #[tokio::test]
    async fn localhost_is_this_machine_whatever_a_resolver_says() {
        let own: Vec<SocketAddr> = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
        for name in ["localhost", "files.localhost"] {
            assert_eq!(answer("10.0.0.1", None, name).await, Ok(own.clone()));
        }
    }

    #[tokio::test]
    async fn the_operating_system_knows_this_machine() {
        let found = SystemResolver::new().resolve("localhost").await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()) && !found.is_empty(), "{found:?}");
    }
}
