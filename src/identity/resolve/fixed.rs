//! Sources that hold their answers: DID documents from memory or files, revocation from memory or a file.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use crate::clock::UnixSeconds;
use crate::encoding::parse_unique_json;
use crate::identity::badge::CLOCK_SKEW;
use crate::identity::did::{Did, DidDocument, DidDocumentError, MAX_DID_DOCUMENT_BYTES};
use crate::identity::files::{read_all, read_bounded};
use crate::identity::resolve::revocation_page::RevocationPage;
use crate::identity::resolve::{
    AgentStatus, DidDocumentSource, MaybeReady, ResolveError, RevocationStatus, StatusSource,
};

/// Oldest revocation list that still counts (RFC-002, `REVOCATION_CACHE_MAX_STALENESS`).
pub const REVOCATION_MAX_STALENESS: Duration = Duration::from_secs(300);

/// Largest revocation file that is read: some 100,000 revocations, far more than live badges of an hour.
pub const MAX_REVOCATION_FILE_BYTES: usize = 16 * 1024 * 1024;

/// Most DID documents that are read from a directory; more belong behind a resolver.
pub const MAX_DID_DOCUMENTS: usize = 10_000;

/// A fixed set of DID documents. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct StaticDidDocuments {
    documents: HashMap<Did, Arc<DidDocument>>,
}

/// DID documents cannot be read from a file or directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StaticDidDocumentsError {
    /// The file or directory cannot be read, or a file in it is too large.
    #[error("`{path}` cannot be read", path = path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file is not the document of the DID in its `id`.
    #[error("`{path}` is not a DID document", path = path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// The rule that it breaks, if it names a DID at all.
        source: Option<DidDocumentError>,
    },
    /// Two files are documents of one DID, or the directory has too many.
    #[error("`{path}` is one document too many", path = path.display())]
    Surplus {
        /// The second file.
        path: PathBuf,
    },
}

impl StaticDidDocuments {
    /// No documents.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a document under its own DID, in place of an earlier one.
    #[must_use]
    pub fn add_document(mut self, document: DidDocument) -> Self {
        self.documents.insert(document.did().clone(), Arc::new(document));
        self
    }

    /// Reads `path` once: one document, or every `*.json` file of a directory, each under the DID in its `id`.
    ///
    /// # Errors
    /// [`StaticDidDocumentsError`]; one bad file fails the whole, so that a missing key is noticed at start.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, StaticDidDocumentsError> {
        let path = path.as_ref();
        let file_error = |source| StaticDidDocumentsError::File { path: path.to_owned(), source };
        let mut files = vec![path.to_owned()];
        if path.is_dir() {
            files = fs::read_dir(path)
                .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>())
                .map_err(file_error)?;
            files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
            files.sort();
        }
        let mut loaded = Self::new();
        for file in files {
            let document = load_document(&file)?;
            let known = loaded.documents.contains_key(document.did());
            if known || loaded.documents.len() >= MAX_DID_DOCUMENTS {
                return Err(StaticDidDocumentsError::Surplus { path: file });
            }
            loaded = loaded.add_document(document);
        }
        Ok(loaded)
    }
}

fn load_document(path: &Path) -> Result<DidDocument, StaticDidDocumentsError> {
    let bytes = read_bounded(path, MAX_DID_DOCUMENT_BYTES)
        .map_err(|source| StaticDidDocumentsError::File { path: path.to_owned(), source })?;
    let document_error = |source| StaticDidDocumentsError::Document { path: path.to_owned(), source };
    let id = parse_unique_json(&bytes).ok().and_then(|document| Did::parse(document.get("id")?.as_str()?).ok());
    let did = id.ok_or_else(|| document_error(None))?;
    DidDocument::parse(&did, &bytes).map_err(|error| document_error(Some(error)))
}

impl DidDocumentSource for StaticDidDocuments {
    fn document<'a>(&'a self, did: &'a Did) -> MaybeReady<'a, Result<Arc<DidDocument>, ResolveError>> {
        let document = self.documents.get(did).cloned();
        MaybeReady::ready(document.ok_or(ResolveError::new("the DID document")))
    }
}

/// Revocations in memory, for embedding applications and tests. Share it in an `Arc` and change it while it is in use.
///
/// It vouches for itself for [`REVOCATION_MAX_STALENESS`] after each [`mark_synced`](Self::mark_synced); after that
/// what is listed stays revoked or disabled, and everything else is unknown.
#[derive(Debug)]
pub struct StatusList {
    state: RwLock<StatusListState>,
}

#[derive(Debug)]
struct StatusListState {
    synced_at: UnixSeconds,
    revoked: HashSet<String>,
    disabled: HashSet<Did>,
}

impl StatusList {
    /// An empty list that is current as of `synced_at`.
    #[must_use]
    pub fn new(synced_at: UnixSeconds) -> Self {
        let (revoked, disabled) = (HashSet::new(), HashSet::new());
        Self { state: RwLock::new(StatusListState { synced_at, revoked, disabled }) }
    }

    /// Revokes the badge `jti`, of whatever issuer, for good.
    pub fn revoke(&self, jti: impl Into<String>) {
        self.change(|state| {
            state.revoked.insert(jti.into());
        });
    }

    /// Disables every badge of `subject`, until [`Self::enable`].
    pub fn disable(&self, subject: Did) {
        self.change(|state| {
            state.disabled.insert(subject);
        });
    }

    /// Takes [`Self::disable`] back.
    pub fn enable(&self, subject: &Did) {
        self.change(|state| {
            state.disabled.remove(subject);
        });
    }

    /// States that the list was complete at `synced_at`.
    pub fn mark_synced(&self, synced_at: UnixSeconds) {
        self.change(|state| state.synced_at = synced_at);
    }

    fn change(&self, change: impl FnOnce(&mut StatusListState)) {
        // Each change is one insert, removal or store, so a panic elsewhere leaves nothing half done.
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn read<T>(&self, read: impl FnOnce(&StatusListState) -> T) -> T {
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl StatusSource for StatusList {
    fn badge_status<'a>(
        &'a self,
        _issuer: &'a str,
        jti: &'a str,
        now: UnixSeconds,
    ) -> MaybeReady<'a, RevocationStatus> {
        MaybeReady::ready(self.read(|state| match is_fresh(state.synced_at, now) {
            _ if state.revoked.contains(jti) => RevocationStatus::Revoked,
            true => RevocationStatus::Good,
            false => RevocationStatus::Unknown,
        }))
    }

    fn agent_status<'a>(&'a self, _issuer: &'a str, subject: &'a Did, now: UnixSeconds) -> MaybeReady<'a, AgentStatus> {
        MaybeReady::ready(self.read(|state| match is_fresh(state.synced_at, now) {
            _ if state.disabled.contains(subject) => AgentStatus::Disabled,
            true => AgentStatus::Active,
            false => AgentStatus::Unknown,
        }))
    }
}

/// Not older than allowed, and not from the future either: a list dated ahead would never become stale.
pub(in crate::identity) fn is_fresh(synced_at: UnixSeconds, now: UnixSeconds) -> bool {
    synced_at.saturating_add(REVOCATION_MAX_STALENESS) >= now && synced_at <= now.saturating_add(CLOCK_SKEW)
}

/// A revocation list in a JSON file, the form of the reference client's cache:
/// `{"revocations":[{"jti":"..","revokedAt":".."}],"syncedAt":"2026-01-01T00:00:00Z"}`. A page of a longer list, which
/// the registry marks by `nextCursor`, is not a list.
///
/// Each question looks at the file's metadata and reads the file again when they changed, so replace it by renaming
/// another over it. While it cannot be read, the last list that could be read stands, and becomes stale by its own
/// `syncedAt` after [`REVOCATION_MAX_STALENESS`]. It knows nothing about agents.
///
/// The calling thread is blocked for one `stat` at each question, and after a change, once, for reading and parsing at
/// most [`MAX_REVOCATION_FILE_BYTES`] of a regular file, while other questions wait: keep the file on a local disk, and
/// a list that takes more than a moment to read behind a [`StatusSource`] of your own.
#[derive(Debug)]
pub struct RevocationFile {
    path: PathBuf,
    cached: Mutex<Cached>,
}

#[derive(Debug, Default)]
struct Cached {
    /// Of the file that was read last, whether or not it was a list.
    stamp: Option<Stamp>,
    list: Option<RevocationList>,
    failing: bool,
}

#[derive(Debug)]
struct RevocationList {
    synced_at: UnixSeconds,
    revoked: HashSet<String>,
}

impl RevocationFile {
    /// The list in `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), cached: Mutex::default() }
    }

    fn current(&self) -> MutexGuard<'_, Cached> {
        // Opening a pipe would wait for its writer, and everybody with us.
        let metadata = fs::metadata(&self.path).ok().filter(fs::Metadata::is_file);
        let seen = metadata.map(|metadata| Stamp::of(&metadata));
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_some() && seen == cached.stamp {
            return cached;
        }
        let failure = match seen.map(|_| self.read()) {
            Some(Ok((stamp, list))) => {
                let failure = list.is_none().then_some("the revocation file is not a revocation list");
                cached.stamp = Some(stamp);
                cached.list = list.or(cached.list.take());
                failure
            }
            Some(Err(_)) | None => Some("the revocation file cannot be read"),
        };
        // Said once: the next caller would otherwise write the same line with every call.
        if let Some(failure) = failure.filter(|_| !cached.failing) {
            tracing::warn!(path = %self.path.display(), "{failure}; the last good list stands until it is stale");
        }
        cached.failing = failure.is_some();
        cached
    }

    /// The stamp is that of the open file, taken before reading: a change after that shows at the next question.
    fn read(&self) -> io::Result<(Stamp, Option<RevocationList>)> {
        let file = File::open(&self.path)?;
        let stamp = Stamp::of(&file.metadata()?);
        let list = match read_all(&file, MAX_REVOCATION_FILE_BYTES) {
            Ok(bytes) => parse_list(&bytes),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => None,
            Err(error) => return Err(error),
        };
        Ok((stamp, list))
    }
}

impl StatusSource for RevocationFile {
    fn badge_status<'a>(
        &'a self,
        _issuer: &'a str,
        jti: &'a str,
        now: UnixSeconds,
    ) -> MaybeReady<'a, RevocationStatus> {
        MaybeReady::ready(match &self.current().list {
            Some(list) if list.revoked.contains(jti) => RevocationStatus::Revoked,
            Some(list) if is_fresh(list.synced_at, now) => RevocationStatus::Good,
            Some(_) | None => RevocationStatus::Unknown,
        })
    }

    fn agent_status<'a>(
        &'a self,
        _issuer: &'a str,
        _subject: &'a Did,
        _now: UnixSeconds,
    ) -> MaybeReady<'a, AgentStatus> {
        MaybeReady::ready(AgentStatus::Unknown)
    }
}

/// What tells one state of a file from the next. Time and length alone miss a rewrite of equal length within the
/// clock's granularity; the inode and its change time catch a rename.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt as _;
        Self {
            modified: metadata.modified().ok(),
            len: metadata.len(),
            #[cfg(unix)]
            inode: (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The registry's answer has the same form, and its other pages would be missing without a trace.
fn parse_list(bytes: &[u8]) -> Option<RevocationList> {
    let page = RevocationPage::parse(bytes).filter(|page| page.next_cursor().is_none())?;
    Some(RevocationList { synced_at: page.synced_at, revoked: page.ids().map(str::to_owned).collect() })
}

#[cfg(test)]
mod tests;
