//! Names to addresses, each checked before anything connects to it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolving};
use tokio::sync::{Semaphore, watch};

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

/// The operating system's resolver. Who asks for a name that is being looked up waits for that answer, so that a name
/// that is slow to resolve holds one thread and not all.
#[derive(Debug)]
pub(super) struct SystemResolver {
    look_up: fn(&str) -> io::Result<Vec<SocketAddr>>,
    threads: Arc<Semaphore>,
    under_way: UnderWay,
}

/// What a look-up found; `None` until it has ended.
type Found = Option<Result<Vec<SocketAddr>, io::ErrorKind>>;

/// The look-ups that have a thread: at most [`MAX_SYSTEM_LOOKUPS`].
#[derive(Clone, Debug, Default)]
struct UnderWay(Arc<Mutex<HashMap<String, watch::Receiver<Found>>>>);

impl UnderWay {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<Found>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A look-up. Dropped, also by a runtime that ends before it ran, it is under way no longer.
struct LookUp {
    under_way: UnderWay,
    host: String,
}

impl Drop for LookUp {
    fn drop(&mut self) {
        self.under_way.lock().remove(&self.host);
    }
}

impl SystemResolver {
    pub(super) fn new() -> Self {
        Self::with(|host| (host, 0).to_socket_addrs().map(Iterator::collect))
    }

    fn with(look_up: fn(&str) -> io::Result<Vec<SocketAddr>>) -> Self {
        Self { look_up, threads: Arc::new(Semaphore::new(MAX_SYSTEM_LOOKUPS)), under_way: UnderWay::default() }
    }

    /// The look-up of `host` that is under way, or a new one.
    async fn join(&self, host: &str) -> io::Result<watch::Receiver<Found>> {
        if let Some(found) = self.under_way.lock().get(host) {
            return Ok(found.clone());
        }
        let permit = Arc::clone(&self.threads).acquire_owned().await.map_err(io::Error::other)?;
        let (sender, found) = watch::channel(None);
        match self.under_way.lock().entry(host.to_owned()) {
            Entry::Occupied(other) => return Ok(other.get().clone()),
            Entry::Vacant(place) => drop(place.insert(found.clone())),
        }
        let this = LookUp { under_way: self.under_way.clone(), host: host.to_owned() };
        let look_up = self.look_up;
        // The permit goes with the thread: a look-up that nobody waits for any more still counts.
        tokio::task::spawn_blocking(move || {
            let answer = look_up(&this.host).map_err(|error| error.kind());
            drop(this);
            drop(permit);
            sender.send_replace(Some(answer));
        });
        Ok(found)
    }
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async move {
            let mut found = self.join(host).await?;
            let found = found.wait_for(Option::is_some).await.map_err(io::Error::other)?;
            found.clone().unwrap_or(Err(io::ErrorKind::Other)).map_err(io::Error::from)
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
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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

    /// Waits on a thread, and not for ever.
    fn until(condition: impl Fn() -> bool) {
        let passed = (0..60_000).any(|_| {
            condition() || {
                std::thread::sleep(Duration::from_millis(1));
                false
            }
        });
        assert!(passed, "it took too long");
    }

    /// A host whose name servers never answer is asked for as often as it may be.
    #[tokio::test]
    async fn a_slow_name_holds_one_thread_and_no_other_name() {
        static SLOW: AtomicUsize = AtomicUsize::new(0);
        static GO: AtomicBool = AtomicBool::new(false);

        let resolver = SystemResolver::with(|host| {
            if host == "slow.example" {
                SLOW.fetch_add(1, Ordering::SeqCst);
                until(|| GO.load(Ordering::SeqCst));
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(vec![SocketAddr::from(([8, 8, 8, 8], 0))])
        });
        let mut slow = Vec::new();
        // given up, as by a deadline, and asked for again
        for _ in 0..2 {
            slow = (0..2 * MAX_SYSTEM_LOOKUPS).map(|_| resolver.resolve("slow.example")).collect();
            for waiting in &mut slow {
                assert!(futures_util::poll!(waiting).is_pending());
            }
        }
        assert!(resolver.resolve("quick.example").await.is_ok());
        GO.store(true, Ordering::SeqCst);
        for waiting in slow {
            assert_eq!(waiting.await.unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        assert_eq!(SLOW.load(Ordering::SeqCst), 1);
        assert!(resolver.under_way.lock().is_empty());
        assert!(resolver.resolve("slow.example").await.is_err(), "the next who asks is told anew");
        assert_eq!(SLOW.load(Ordering::SeqCst), 2);
    }

    /// A fetcher may outlive the runtime that it was used on.
    #[test]
    fn a_runtime_that_ends_leaves_no_look_up_behind() {
        let resolver = SystemResolver::with(|_| Ok(Vec::new()));
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let (entered, wait) = std::sync::mpsc::channel::<()>();
        runtime.block_on(async {
            // the only thread is busy, so the look-up is queued and never runs
            drop(tokio::task::spawn_blocking(move || wait.recv()));
            assert!(futures_util::poll!(resolver.resolve("a.example")).is_pending());
        });
        assert_eq!(resolver.under_way.lock().len(), 1);
        runtime.shutdown_background();
        drop(entered);
        until(|| resolver.under_way.lock().is_empty());
        assert_eq!(resolver.threads.available_permits(), MAX_SYSTEM_LOOKUPS);
    }

    #[tokio::test]
    async fn the_operating_system_knows_this_machine() {
        let found = SystemResolver::new().resolve("localhost").await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()) && !found.is_empty(), "{found:?}");
    }
}
