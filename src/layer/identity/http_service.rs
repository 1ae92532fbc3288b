use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use pin_project::pin_project;
use tower_service::Service;

use super::Identity;
use crate::layer::headers::{SERVER_BADGE, SERVER_DID};

impl<S, B, RB> Service<Request<B>> for Identity<S>
where
    S: Service<Request<B>, Response = Response<RB>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = IdentityFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let badge = self.layer.identity.current_badge().and_then(|badge| HeaderValue::from_str(&badge).ok());
        IdentityFuture { answer: self.inner.call(request), did: self.layer.did.clone(), badge }
    }
}

/// The answer to one request, with the server's identity in its headers.
#[pin_project]
#[derive(Debug)]
pub struct IdentityFuture<F> {
    #[pin]
    answer: F,
    did: Option<HeaderValue>,
    badge: Option<HeaderValue>,
}

impl<F, RB, E> Future for IdentityFuture<F>
where
    F: Future<Output = Result<Response<RB>, E>>,
{
    type Output = Result<Response<RB>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.answer.poll(context))?;
        set(response.headers_mut(), SERVER_DID, this.did.take());
        set(response.headers_mut(), SERVER_BADGE, this.badge.take());
        Poll::Ready(Ok(response))
    }
}

/// A member that we cannot fill is removed: what an inner service put there speaks for somebody else.
fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => headers.insert(name, value),
        None => headers.remove(name),
    };
}
