//! The life of a guarded call in a tower stack.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use rmcp::ErrorData;
use rmcp::model::{CallToolResponse, Tool};
use tower_service::Service;

use crate::enforce::Denial;
use crate::evidence::Receipt;
use crate::layer::guard::gate::Gate;
use crate::layer::guard::pass::{Admitted, Lapse, Pass, Withheld};
use crate::layer::guard::receipt::Answer as _;
use crate::layer::lapse::has_timer;
use crate::layer::tower::ToolCall;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The future of [`Guard`](crate::layer::guard::Guard) as a tower service.
///
/// Deciding and recording are `async fn`s of the enforcer and stand in a box each; the inner call is not boxed.
/// Dropped while the inner call runs, it records that call as cancelled.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct GuardFuture<S: Service<ToolCall>> {
    gate: Gate,
    #[pin]
    state: State<S, S::Future, S::Error>,
}

#[pin_project(project = StateProjection)]
#[expect(clippy::large_enum_variant, reason = "a future is polled in place; a box would be one more allocation a call")]
enum State<S, F, E> {
    /// Keeps the service that was polled ready: a denied call gives it back by dropping it.
    Deciding(Boxed<Result<(Admitted, Option<Tool>), Denial>>, Option<S>),
    /// The pass is there until the answer is, and what watches over the call once that has to wait.
    Running(#[pin] F, Option<Pass>, Option<Lapse>),
    Settling(Boxed<Result<Option<Receipt>, Withheld>>, Option<Result<CallToolResponse, E>>),
    Done,
}

impl<S: Service<ToolCall>> GuardFuture<S> {
    pub(super) fn new(gate: Gate, call: ToolCall, ready: S) -> Self {
        let decider = gate.clone();
        let ToolCall { params, context, definition } = call;
        let deciding = async move {
            let admitted = decider.admit(params, context, definition.as_ref()).await?;
            Ok((admitted, definition))
        };
        Self { gate, state: State::Deciding(Box::pin(deciding), Some(ready)) }
    }
}

impl<S> Future for GuardFuture<S>
where
    S: Service<ToolCall, Response = CallToolResponse>,
    S::Error: From<ErrorData>,
{
    type Output = Result<CallToolResponse, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProjection::Deciding(deciding, service) => {
                    let decided = ready!(deciding.as_mut().poll(cx));
                    match (decided, service.take()) {
                        (Ok((Admitted { params, context, pass }, definition)), Some(mut service)) => {
                            let call = service.call(ToolCall::new(params, context, definition));
                            this.state.set(State::Running(call, Some(pass), None));
                        }
                        (Ok(_), None) => this.state.set(State::Done),
                        (Err(denial), _) => {
                            this.state.set(State::Done);
                            return Poll::Ready(this.gate.shape.answer(&denial).map_err(S::Error::from));
                        }
                    }
                }
                StateProjection::Running(call, pass, lapse) => {
                    let Some(mut held) = pass.take() else {
                        this.state.set(State::Done);
                        continue;
                    };
                    // Out of the state while the tool runs: a panic drops it as it unwinds, which the record tells from
                    // a cancelled call even where somebody outside catches the panic before this future is dropped.
                    let (settlement, answer) = match call.poll(cx) {
                        Poll::Ready(mut answer) => (held.judge(answer.as_mut().ok()), Some(answer)),
                        Poll::Pending => {
                            if lapse.is_none() && has_timer() {
                                *lapse = held.lapse();
                            }
                            match lapse.as_mut().map(|lapse| lapse.as_mut().poll(cx)) {
                                Some(Poll::Ready(reason)) => (held.end(reason), None),
                                Some(Poll::Pending) | None => {
                                    *pass = Some(held);
                                    return Poll::Pending;
                                }
                            }
                        }
                    };
                    this.state.set(State::Settling(Box::pin(settlement.finish()), answer));
                }
                StateProjection::Settling(settling, answer) => {
                    let settled = ready!(settling.as_mut().poll(cx));
                    let answer = answer.take();
                    this.state.set(State::Done);
                    match (settled, answer) {
                        (Ok(receipt), Some(mut answer)) => {
                            if let Ok(answer) = &mut answer {
                                answer.attach(receipt.as_ref());
                            }
                            return Poll::Ready(answer);
                        }
                        (Ok(_), None) => {}
                        (Err(withheld), _) => {
                            if withheld.orphan.is_some() {
                                tracing::warn!("a task without an owner runs on: a tower service cannot cancel it");
                            }
                            return Poll::Ready(this.gate.shape.answer(&withheld.denial).map_err(S::Error::from));
                        }
                    }
                }
                // Polled after completion; a panic would take the server down for a caller's bug.
                StateProjection::Done => return Poll::Pending,
            }
        }
    }
}

impl<S: Service<ToolCall>> fmt::Debug for GuardFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Deciding(..) => "deciding",
            State::Running(..) => "running",
            State::Settling(..) => "settling",
            State::Done => "done",
        };
        f.debug_struct("GuardFuture").field("state", &state).finish_non_exhaustive()
    }
}
