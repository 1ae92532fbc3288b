//! Which session belongs to whom: one bounded table, shared by every clone of the layer.
//!
//! INVARIANT: the owner of a binding changes at most once, from nobody to somebody, and only under the table's lock.
//! Admission, registration of the response's stream, and the latch all take that lock, so there is no moment at which a
//! stream of somebody else is open in an owned session and not yet told to end.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_channel::oneshot;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::enforce::{Authenticated, Owner};

/// Sessions that may exist at once. A session costs rmcp a task and two channels; ten thousand of them are the memory
/// of a small machine, and a client needs one. Sessions that belong to nobody may take half of them.
pub const MAX_SESSIONS: usize = 10_000;

/// How long a session may lie idle before its binding is forgotten. Longer than rmcp's own `keep_alive` (300 s), so
/// that the binding outlives the session and never the other way round.
pub const SESSION_IDLE: Duration = Duration::from_secs(1800);

/// Responses of one session that may be open at once. rmcp's client has 16 requests in flight and one stream to listen.
pub const MAX_STREAMS_PER_SESSION: usize = 256;

/// A session id as it is kept and compared: its SHA-256. The id itself opens the session to whoever reads it, so it is
/// neither stored nor shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey([u8; 32]);

impl SessionKey {
    pub(super) fn of(session_id: &[u8]) -> Self {
        Self(Sha256::digest(session_id).into())
    }

    pub(crate) const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The first eight bytes in hexadecimal: enough to follow a session through a log, useless for resuming it.
impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKey({self})")
    }
}

/// Resolves when the response that holds it must end: the session was latched by another principal, or forgotten.
pub(super) type Closed = oneshot::Receiver<()>;

/// Why the table does not admit a request or a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAdmitted {
    /// No such session, or not the caller's: one answer for both.
    Unknown,
    /// No room for another session, or for another stream of this one.
    Full,
}

#[derive(Debug)]
struct Stream {
    opener: Option<Owner>,
    /// Dropped to close the stream; its receiver lives in the response body.
    close: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Binding {
    owner: Option<Owner>,
    last_seen: Instant,
    streams: Vec<Stream>,
}

impl Binding {
    fn admits(&self, caller: Option<&Owner>) -> bool {
        self.owner.is_none() || self.owner.as_ref() == caller
    }

    fn open_stream(&mut self, opener: Option<&Owner>) -> Option<Closed> {
        self.streams.retain(|stream| !stream.close.is_canceled());
        if self.streams.len() >= MAX_STREAMS_PER_SESSION {
            return None;
        }
        let (close, closed) = oneshot::channel();
        self.streams.push(Stream { opener: opener.cloned(), close });
        Some(closed)
    }

    /// A session with an open response is in use, however long that response has been silent.
    fn is_idle(&self, now: Instant, limit: Duration) -> bool {
        now.saturating_duration_since(self.last_seen) >= limit
            && self.streams.iter().all(|stream| stream.close.is_canceled())
    }
}

pub(super) struct Sessions {
    bindings: Mutex<HashMap<SessionKey, Binding>>,
    capacity: usize,
    idle: Duration,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("open", &self.lock().len())
            .field("capacity", &self.capacity)
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

impl Sessions {
    pub(super) fn new(capacity: usize, idle: Duration) -> Self {
        Self { bindings: Mutex::default(), capacity, idle }
    }

    /// Whether a binding exists: asked before a credential is checked, so that invented ids cost no signature check.
    pub(super) fn knows(&self, key: SessionKey) -> bool {
        let mut bindings = self.lock();
        match bindings.entry(key) {
            Entry::Occupied(entry) if entry.get().is_idle(Instant::now(), self.idle) => {
                entry.remove();
                false
            }
            Entry::Occupied(_) => true,
            Entry::Vacant(_) => false,
        }
    }

    /// Admits a request of `caller` to a session, and registers the response that will answer it.
    pub(super) fn admit(&self, key: SessionKey, caller: Option<&Owner>) -> Result<Closed, NotAdmitted> {
        let mut bindings = self.lock();
        let binding = bindings.get_mut(&key).filter(|binding| binding.admits(caller)).ok_or(NotAdmitted::Unknown)?;
        binding.last_seen = Instant::now();
        binding.open_stream(caller).ok_or(NotAdmitted::Full)
    }

    /// Binds a session that the inner service has just created to its creator.
    pub(super) fn create(&self, key: SessionKey, creator: Option<&Owner>) -> Result<Closed, NotAdmitted> {
        let now = Instant::now();
        let mut bindings = self.lock();
        let mut room = self.has_room(&bindings, creator);
        if !room {
            bindings.retain(|_, binding| !binding.is_idle(now, self.idle));
            room = self.has_room(&bindings, creator);
        }
        match bindings.entry(key) {
            // An id that is handed out twice would give one caller the other's session.
            Entry::Occupied(_) => Err(NotAdmitted::Unknown),
            Entry::Vacant(_) if !room => Err(NotAdmitted::Full),
            Entry::Vacant(entry) => entry
                .insert(Binding { owner: creator.cloned(), last_seen: now, streams: Vec::new() })
                .open_stream(creator)
                .ok_or(NotAdmitted::Full),
        }
    }

    /// Sessions of nobody may take half of the table, so that strangers cannot lock known callers out.
    fn has_room(&self, bindings: &HashMap<SessionKey, Binding>, creator: Option<&Owner>) -> bool {
        let share = self.capacity.div_ceil(2);
        let strangers_fit = || bindings.values().filter(|binding| binding.owner.is_none()).count() < share;
        bindings.len() < self.capacity && (creator.is_some() || bindings.len() < share || strangers_fit())
    }

    fn latch(&self, key: SessionKey, caller: Option<&Owner>) -> bool {
        let closed: Vec<Stream>;
        {
            let mut bindings = self.lock();
            let Some(binding) = bindings.get_mut(&key).filter(|binding| binding.admits(caller)) else { return false };
            let Some(owner) = caller.filter(|_| binding.owner.is_none()) else { return true };
            binding.owner = Some(owner.clone());
            closed = binding.streams.extract_if(.., |stream| stream.opener.as_ref() != Some(owner)).collect();
        }
        // Dropping wakes their tasks, which is done outside the lock.
        drop(closed);
        true
    }

    fn admits(&self, key: SessionKey, caller: Option<&Owner>) -> bool {
        self.lock().get(&key).is_some_and(|binding| binding.admits(caller))
    }

    /// Forgets a session and ends its streams.
    pub(super) fn forget(&self, key: SessionKey) {
        let binding = self.lock().remove(&key);
        drop(binding);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, Binding>> {
        // Nothing panics under the lock, and a binding is never half-written: a poisoned table is a whole one.
        self.bindings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the guard gets from the session layer, in the extensions of the HTTP request: the session of this request, to
/// be latched when a call in it is authorized.
///
/// Only the session layer makes one, so a request that has a session id and no handle came past the layer.
#[derive(Clone, Debug)]
pub(crate) struct SessionHandle {
    session: Option<(Arc<Sessions>, SessionKey)>,
    /// Whom the headers of this request authenticate.
    caller: Option<Owner>,
    /// How they do, so that the guard need not ask again within this request.
    authenticated: Option<Authenticated>,
}

impl SessionHandle {
    /// For a request that names no session: `initialize`, or a stateless one.
    pub(super) const fn without_session() -> Self {
        Self { session: None, caller: None, authenticated: None }
    }

    pub(super) fn new(sessions: Arc<Sessions>, key: SessionKey, caller: Option<Owner>) -> Self {
        Self { session: Some((sessions, key)), caller, authenticated: None }
    }

    pub(super) fn authenticated_as(mut self, authenticated: Authenticated) -> Self {
        self.authenticated = Some(authenticated);
        self
    }

    /// Whom the headers of this request authenticate. The request may carry another credential elsewhere.
    pub(crate) const fn authenticated(&self) -> Option<&Authenticated> {
        self.authenticated.as_ref()
    }

    /// The session of this request; `None` if the request named none.
    pub(crate) fn key(&self) -> Option<SessionKey> {
        self.session.as_ref().map(|(_, key)| *key)
    }

    /// Whether [`latch`](Self::latch) would succeed now: asked before the decision, so that a refusal is its reason.
    pub(crate) fn admits(&self, caller: Option<&Owner>) -> bool {
        let Some((sessions, key)) = &self.session else { return true };
        self.caller.as_ref() == caller && sessions.admits(*key, caller)
    }

    /// Says that a call of `caller` was authorized in this session. The first `caller` that is somebody becomes the
    /// session's owner, and responses that others opened in it end.
    ///
    /// `false` means that the call must be denied (`session_unbound`): the session belongs to somebody else or is gone,
    /// or `caller` was not authenticated by the request's headers, so that the following requests of the same client
    /// could not be told from anybody's who knows the session id. Always `true` where there is no session.
    pub(crate) fn latch(&self, caller: Option<&Owner>) -> bool {
        let Some((sessions, key)) = &self.session else { return true };
        self.caller.as_ref() == caller && sessions.latch(*key, caller)
    }
}
