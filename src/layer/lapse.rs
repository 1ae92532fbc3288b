//! What goes on for longer than a moment ends with the credential that opened it (S18).
//!
//! A subscription, the stream of a session, a call that runs: each was decided once, and badges expire, are revoked and
//! lose their agent meanwhile. So the credential is verified anew every now and then, and the decision is taken again with what
//! comes out; nothing of an earlier look counts. What nobody can decide in time ends too.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, UNIX_EPOCH};

use crate::clock::UnixSeconds;
use crate::enforce::{Authenticated, Enforcer, PresentedCredential};
use crate::layer::guard::gate::Reason;
use crate::policy::DenyReason;

const EXPIRED: Reason = (DenyReason::BadgeExpired, "the badge expired while this went on; begin anew with a fresh one");

/// Shortest sleep: a clock that stands still must not make a loop of it.
const MIN_SLEEP: Duration = Duration::from_millis(1);

/// Resolves when what `credential` opened may not go on, with the reason.
///
/// That is when its badge `expires`, and when `may_go_on` says so, which is asked each
/// [`reauthorization_interval`](crate::enforce::GuardConfigBuilder::reauthorization_interval). A badge that had expired already
/// was let in by the tolerance for clocks that disagree; it stays for as long as that lets it.
pub(super) async fn lapse(
    enforcer: &Enforcer,
    credential: &PresentedCredential,
    expires: Option<UnixSeconds>,
    may_go_on: impl Fn(&Authenticated) -> Result<(), Reason>,
) -> Reason {
    let ends = expires.filter(|end| enforcer.now_unix() < *end);
    let left = || match ends {
        None => Duration::MAX,
        Some(end) => {
            let end = UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(end.as_i64()).unwrap_or(0)));
            let now = enforcer.config().clock().now();
            end.map_or(Duration::MAX, |end| end.duration_since(now).unwrap_or_default())
        }
    };
    let interval = enforcer.config().reauthorization_interval();
    loop {
        tokio::time::sleep(interval.min(left()).max(MIN_SLEEP)).await;
        let left = left();
        if left.is_zero() {
            return EXPIRED;
        }
        // What takes long does not make the badge last longer.
        let Ok(caller) = tokio::time::timeout(left, enforcer.identify(credential)).await else { return EXPIRED };
        if let Err(reason) = may_go_on(&caller) {
            return reason;
        }
    }
}

/// The output of `work`, or why it was ended. `lapse` is made when `work` has to wait: what answers at once costs nothing.
pub(super) async fn run_until<T, L: Future<Output = Reason> + Unpin>(
    work: impl Future<Output = T>,
    lapse: impl FnOnce() -> Option<L>,
) -> Result<T, Reason> {
    let mut work = pin!(work);
    let (mut make, mut lapse) = (Some(lapse), None);
    poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        if let Some(make) = make.take().filter(|_| has_timer()) {
            lapse = make();
        }
        match &mut lapse {
            Some(lapse) => Pin::new(lapse).poll(cx).map(Err),
            None => Poll::Pending,
        }
    })
    .await
}

/// Outside a tokio runtime there is no timer; rmcp does not run there either.
pub(super) fn has_timer() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}
