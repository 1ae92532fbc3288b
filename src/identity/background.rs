//! The one place of this room that starts a task: refreshes and renewals that go on without a caller.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// A task that ends when its owner is dropped.
#[derive(Debug)]
pub(crate) struct Background(JoinHandle<()>);

impl Background {
    /// Starts `work` on the runtime of the caller; `None` outside of one.
    pub(crate) fn start(work: impl Future<Output = ()> + Send + 'static) -> Option<Self> {
        Handle::try_current().ok().map(|runtime| Self(runtime.spawn(work)))
    }

    /// Ends the work at its next await, as dropping the owner would.
    pub(crate) fn abort(&self) {
        self.0.abort();
    }

    /// Whether the work has ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}
