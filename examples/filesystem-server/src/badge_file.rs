//! A badge in a file that somebody renews: read again when it changes, never on a request's way.

use std::fmt;
use std::future::Future;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rmcp_guard::identity::badge::ClaimedIdentity;
use rmcp_guard::identity::server::{BadgeSource, MAX_DISCLOSED_BYTES, StaticBadge};
use tokio::sync::watch;

/// How often the file is looked at: a badge is renewed every few minutes.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The badge in a file, as it was when the file last held a good one. Clones share it.
#[derive(Clone)]
pub struct BadgeFile {
    current: watch::Receiver<StaticBadge>,
}

impl BadgeFile {
    /// Reads the file, and returns with the badge the work of watching it: it ends when every clone of the badge is
    /// dropped, and without it the badge stays as it is until it expires.
    ///
    /// A later content that is no badge, or one of another subject, is reported in the log and ignored.
    ///
    /// # Errors
    /// The file cannot be read, is larger than a badge can be, or holds none.
    pub fn open(path: impl AsRef<Path>) -> io::Result<(Self, impl Future<Output = ()> + Send + 'static)> {
        let path = path.as_ref().to_owned();
        let version = version(&path)?;
        let (badge, subject) = read(&path)?;
        let (sender, current) = watch::channel(badge);
        Ok((Self { current }, follow(path, version, subject, sender)))
    }
}

impl BadgeSource for BadgeFile {
    fn current(&self) -> Option<Arc<str>> {
        self.current.borrow().current()
    }
}

impl fmt::Debug for BadgeFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BadgeFile").field("expires_at", &self.current.borrow().expires_at()).finish_non_exhaustive()
    }
}

async fn follow(path: PathBuf, mut seen: Version, subject: String, sender: watch::Sender<StaticBadge>) {
    loop {
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(POLL_INTERVAL) => {}
        }
        let file = path.clone();
        let changed = move || match version(&file)? {
            now if now == seen => Ok(None),
            now => read(&file).map(|badge| Some((now, badge))),
        };
        match tokio::task::spawn_blocking(changed).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some((now, (badge, of))))) => {
                seen = now;
                if of == subject {
                    tracing::info!(expires_at = badge.expires_at().as_i64(), "the badge was renewed");
                    sender.send_replace(badge);
                } else {
                    tracing::warn!("the badge file holds a badge of another subject; the old badge stays");
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "the badge file cannot be used; the old badge stays"),
            Err(_) => return,
        }
    }
}

type Version = (Option<SystemTime>, u64);

fn version(path: &Path) -> io::Result<Version> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.modified().ok(), metadata.len()))
}

fn read(path: &Path) -> io::Result<(StaticBadge, String)> {
    let text = read_small(path, MAX_DISCLOSED_BYTES)?;
    let token = text.trim();
    let badge = StaticBadge::new(token).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let subject = ClaimedIdentity::peek(token).subject;
    let subject = subject.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the badge names no subject"))?;
    Ok((badge, subject))
}

/// A text file of at most `max` bytes.
pub(crate) fn read_small(path: &Path, max: usize) -> io::Result<String> {
    let mut text = String::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    std::fs::File::open(path)?.take(limit).read_to_string(&mut text)?;
    if text.len() > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is larger than it may be"));
    }
    Ok(text)
}
