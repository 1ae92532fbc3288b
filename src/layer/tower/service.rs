//! `Guard` as a tower service of tool calls.

use std::mem;
use std::task::{Context, Poll};

use rmcp::ErrorData;
use rmcp::model::CallToolResponse;
use tower_service::Service;

use crate::layer::guard::Guard;
use crate::layer::tower::{GuardFuture, ToolCall};

impl<S> Service<ToolCall> for Guard<S>
where
    S: Service<ToolCall, Response = CallToolResponse> + Clone,
    S::Error: From<ErrorData>,
{
    type Response = CallToolResponse;
    type Error = S::Error;
    type Future = GuardFuture<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: ToolCall) -> GuardFuture<S> {
        // The service that was polled ready goes with the call; its clone is the one to be polled next.
        let clone = self.inner.clone();
        let ready = mem::replace(&mut self.inner, clone);
        GuardFuture::new(self.gate.clone(), call, ready)
    }
}
