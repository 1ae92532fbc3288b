//! Work that is under way once, however many callers wait for it.

use std::future::Future;

use tokio::sync::watch;

use crate::identity::background::Background;

/// Work under way, or its outcome. It goes on when a waiting caller is dropped, and ends when this is.
#[derive(Debug)]
pub(super) struct Flight<T> {
    outcome: watch::Receiver<Option<T>>,
    task: Background,
}

/// Waits for the outcome of a [`Flight`] without keeping it alive.
#[derive(Debug)]
pub(super) struct Landing<T>(watch::Receiver<Option<T>>);

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    /// Starts `work` on the runtime of the caller, which has to be driven until it ends; `None` outside of one.
    pub(super) fn start(work: impl Future<Output = T> + Send + 'static) -> Option<Self> {
        let (sender, outcome) = watch::channel(None);
        let task = Background::start(async move {
            sender.send_replace(Some(work.await));
        })?;
        Some(Self { outcome, task })
    }

    /// False as soon as there is an outcome, and where there will be none: its runtime was shut down.
    pub(super) fn is_under_way(&self) -> bool {
        self.outcome.borrow().is_none() && !self.task.is_finished()
    }

    pub(super) fn landing(&self) -> Landing<T> {
        Landing(self.outcome.clone())
    }
}

impl<T: Clone> Landing<T> {
    /// The outcome; `None` when the work ended without one.
    pub(super) async fn outcome(mut self) -> Option<T> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_dropped_caller_leaves_the_work_to_the_others() {
        let (answer, asked) = oneshot::channel::<u8>();
        let flight = Flight::start(async move { asked.await.unwrap_or(0) }).unwrap();
        let mut first = Box::pin(flight.landing().outcome());
        let second = flight.landing();
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        drop(first);
        assert!(flight.is_under_way());
        answer.send(7).unwrap();
        assert_eq!(second.outcome().await, Some(7));
        assert!(!flight.is_under_way());
        assert_eq!(flight.landing().outcome().await, Some(7), "late callers find the outcome");
    }

    #[tokio::test]
    async fn the_work_ends_with_its_owner() {
        let witness = Arc::new(());
        let held = Arc::clone(&witness);
        let flight = Flight::start(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        let landing = flight.as_ref().unwrap().landing();
        drop(flight);
        let ended = tokio::time::timeout(Duration::from_secs(30), landing.outcome()).await;
        assert_eq!(ended, Ok(None));
        assert_eq!(Arc::strong_count(&witness), 1);
    }

    #[test]
    fn outside_a_runtime_nothing_starts_and_a_dead_runtime_leaves_no_flight() {
        assert!(Flight::start(async {}).is_none());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let flight = runtime.block_on(async { Flight::start(std::future::pending::<()>()) }).unwrap();
        assert!(flight.is_under_way());
        drop(runtime);
        assert!(!flight.is_under_way());
    }
}
