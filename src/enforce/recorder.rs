//! Waiting within a limit: for evidence, and for the sources of identity.
//!
//! The store itself never waits. A full queue or a slow disk is given
//! [`EvidenceLog::wait_limit`](crate::evidence::EvidenceLog::wait_limit) by tokio's timer, behind the feature `rt`. Without the
//! feature, or outside a tokio runtime, there is no timer: a wait then ends with the store's own progress or failure.

use std::future::Future;
#[cfg(feature = "rt")]
use std::task::Poll;
use std::time::Duration;

use crate::evidence::AppendError;

/// The output of `work`, which is a wait for the log, or [`AppendError::TimedOut`].
pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, AppendError>>,
) -> Result<T, AppendError> {
    in_time(limit, work).await.unwrap_or(Err(AppendError::TimedOut))
}

/// The output of `work`, or `None` when it takes longer than `limit`. What is at hand needs no timer.
#[cfg(feature = "rt")]
pub(crate) async fn in_time<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let first = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
    match first {
        Poll::Ready(output) => Some(output),
        // A caller outside a tokio runtime has no timer; the progress of what it waits for bounds its wait.
        Poll::Pending if tokio::runtime::Handle::try_current().is_err() => Some(work.await),
        Poll::Pending => tokio::time::timeout(limit, work).await.ok(),
    }
}

#[cfg(not(feature = "rt"))]
pub(crate) async fn in_time<T>(_limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    Some(work.await)
}

/// Whether this thread may block: not inside an async runtime that we know of.
pub(crate) fn may_block() -> bool {
    #[cfg(feature = "rt")]
    return tokio::runtime::Handle::try_current().is_err();
    #[cfg(not(feature = "rt"))]
    return true;
}
