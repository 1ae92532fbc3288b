//! DID documents of did:web, from their hosts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;

use crate::clock::{Clock, SystemClock};
use crate::identity::did::{Did, DidDocument, DidDocumentError, MAX_DID_DOCUMENT_BYTES};
use crate::identity::fetch::{FetchError, FetchErrorKind, Fetcher};
use crate::identity::remote::flight::{Flight, Landing};
use crate::identity::remote::moment::Moment;
use crate::identity::resolve::{DidDocumentSource, MaybeReady, ResolveError};

/// How long a DID document counts, by default; the peer's cache time.
pub const DID_DOCUMENT_LIFETIME: Duration = Duration::from_secs(300);

/// How long a failure counts, so that a host that is down or hostile costs one fetch in that time. It is also the age
/// from which on a document that did not prove what it should is fetched anew.
pub const DID_DOCUMENT_FAILURE_LIFETIME: Duration = Duration::from_secs(10);

/// Most documents that are remembered: at their largest some 80 MB, as they are written some 2 MB.
pub const MAX_CACHED_DID_DOCUMENTS: usize = 1000;

/// Most documents that are fetched at a time; above it a DID has no document for now.
pub const MAX_DID_DOCUMENT_FETCHES: usize = 64;

const MEDIA: &[&str] = &["application/json", "application/did+json", "application/did+ld+json"];

/// Outside of a runtime, or in one that ended.
const NO_RUNTIME: DidResolveError = DidResolveError::Fetch(FetchError::new(FetchErrorKind::Connect));

/// A DID has no document that counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DidResolveError {
    /// The document could not be fetched.
    #[error("the DID document could not be fetched")]
    Fetch(#[source] FetchError),
    /// What was fetched is not the DID's document.
    #[error("the DID document is not valid")]
    Document(#[source] DidDocumentError),
}

/// Resolves did:web over https and did:key by itself, with a bounded cache. Clones share it.
///
/// A document of `localhost` is asked for over plain http, which only a fetcher for development does. A document counts
/// for [`DID_DOCUMENT_LIFETIME`] and no longer, also when its host is down.
#[derive(Clone, Debug)]
pub struct DidWebDocuments {
    inner: Arc<Inner>,
}

type Outcome = Result<Arc<DidDocument>, DidResolveError>;

#[derive(Clone, Debug)]
struct Settings {
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    lifetime: Duration,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    known: Cache<Did, Arc<Known>>,
    /// Held for moments only, never while something is awaited.
    flights: Mutex<HashMap<Did, Flight<Outcome>>>,
}

#[derive(Debug)]
struct Known {
    outcome: Outcome,
    asked: Moment,
}

impl DidWebDocuments {
    /// A resolver with an empty cache.
    #[must_use]
    pub fn new(fetcher: Fetcher) -> Self {
        Self::with_settings(Settings { fetcher, clock: Arc::new(SystemClock), lifetime: DID_DOCUMENT_LIFETIME })
    }

    fn with_settings(settings: Settings) -> Self {
        let (known, flights) = (Cache::new(MAX_CACHED_DID_DOCUMENTS), Mutex::default());
        Self { inner: Arc::new(Inner { settings, known, flights }) }
    }

    /// How long a document counts; [`DID_DOCUMENT_LIFETIME`] by default. The new resolver's cache is empty.
    #[must_use]
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        Self::with_settings(Settings { lifetime, ..self.inner.settings.clone() })
    }

    /// The clock that ages documents, beside the monotonic one. The new resolver's cache is empty.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self::with_settings(Settings { clock, ..self.inner.settings.clone() })
    }

    /// The document of `did`, from the cache while it counts. Cancel safe: the fetch goes on in the background.
    ///
    /// # Errors
    /// [`DidResolveError`]; a failure is remembered for [`DID_DOCUMENT_FAILURE_LIFETIME`].
    pub async fn resolve(&self, did: &Did) -> Result<Arc<DidDocument>, DidResolveError> {
        match self.inner.at_hand(did) {
            Some(outcome) => outcome,
            None => self.inner.fetched(did).await,
        }
    }
}

impl DidDocumentSource for DidWebDocuments {
    fn document<'a>(&'a self, did: &'a Did) -> MaybeReady<'a, Result<Arc<DidDocument>, ResolveError>> {
        let plain = |outcome: Outcome| outcome.map_err(|_| ResolveError::new("the DID document"));
        match self.inner.at_hand(did) {
            Some(outcome) => MaybeReady::ready(plain(outcome)),
            None => MaybeReady::Wait(Box::pin(async move { plain(self.inner.fetched(did).await) })),
        }
    }

    fn forget(&self, did: &Did) {
        let clock = &*self.inner.settings.clock;
        let is_old = |known: &Arc<Known>| known.asked.elapsed(clock) >= DID_DOCUMENT_FAILURE_LIFETIME;
        self.inner.known.remove_if(did, is_old);
    }
}

impl Inner {
    fn at_hand(&self, did: &Did) -> Option<Outcome> {
        if let Some(derived) = DidDocument::of_did_key(did) {
            return Some(Ok(Arc::new(derived)));
        }
        let known = self.known.get(did)?;
        let lifetime = if known.outcome.is_ok() { self.settings.lifetime } else { DID_DOCUMENT_FAILURE_LIFETIME };
        (known.asked.elapsed(&*self.settings.clock) < lifetime).then(|| known.outcome.clone())
    }

    async fn fetched(self: &Arc<Self>, did: &Did) -> Outcome {
        match self.begin(did) {
            Ok(landing) => landing.outcome().await.unwrap_or(Err(NO_RUNTIME)),
            Err(outcome) => outcome,
        }
    }

    /// Joins the fetch of this DID's document or starts one; the outcome where there is nothing to wait for.
    fn begin(self: &Arc<Self>, did: &Did) -> Result<Landing<Outcome>, Outcome> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, flight| flight.is_under_way());
        if let Some(flight) = flights.get(did) {
            return Ok(flight.landing());
        }
        // The fetch may have ended since we looked: what it brought is known before it counts as ended.
        if let Some(outcome) = self.at_hand(did) {
            return Err(outcome);
        }
        if flights.len() >= MAX_DID_DOCUMENT_FETCHES {
            return Err(Err(DidResolveError::Fetch(FetchError::new(FetchErrorKind::Busy))));
        }
        let (settings, owner, wanted) = (self.settings.clone(), Arc::downgrade(self), did.clone());
        let started = Flight::start(async move {
            let asked = Moment::now(&*settings.clock);
            let outcome = settings.fetch(&wanted).await;
            if let Err(error) = &outcome {
                tracing::debug!(did = %wanted, error = error as &dyn std::error::Error, "no DID document");
            }
            // Too many fetches of ours say nothing about the host.
            let busy = matches!(&outcome, Err(DidResolveError::Fetch(error)) if error.kind() == FetchErrorKind::Busy);
            if let Some(inner) = owner.upgrade().filter(|_| !busy) {
                inner.known.insert(wanted, Arc::new(Known { outcome: outcome.clone(), asked }));
            }
            outcome
        });
        let flight = started.ok_or(Err(NO_RUNTIME))?;
        let landing = flight.landing();
        flights.insert(did.clone(), flight);
        Ok(landing)
    }
}

impl Settings {
    async fn fetch(&self, did: &Did) -> Outcome {
        // Of the two methods that parse, did:key was answered before.
        let web = did.web().ok_or(DidResolveError::Fetch(FetchError::new(FetchErrorKind::Url)))?;
        let body = self.fetcher.get(&web.document_url(), MEDIA, MAX_DID_DOCUMENT_BYTES).await;
        let body = body.map_err(DidResolveError::Fetch)?;
        DidDocument::parse(did, &body).map(Arc::new).map_err(DidResolveError::Document)
    }
}
