use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::table::Closed;

/// The body of a response that passed the session layer.
///
/// It is the inner service's body, frame for frame, until the session is latched by another principal or forgotten, or until
/// the credential that opened a stream is not let in any more (S18): then it ends. A refusal's body is one line of JSON.
#[pin_project]
#[derive(Debug)]
pub struct SessionBody<RB> {
    #[pin]
    content: Content<RB>,
}

/// Resolves when a stream has to end. In a mutex that nobody locks, so that the body stays `Sync`.
pub(super) struct Lapse(Mutex<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Lapse {
    pub(super) fn new(lapse: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Mutex::new(Box::pin(lapse)))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll(cx)
    }
}

impl fmt::Debug for Lapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lapse").finish_non_exhaustive()
    }
}

#[pin_project(project = ContentProjection)]
#[derive(Debug)]
enum Content<RB> {
    Inner {
        #[pin]
        body: RB,
        closed: Option<Closed>,
        lapse: Option<Lapse>,
    },
    Text(String),
    Ended,
}

impl<RB> SessionBody<RB> {
    pub(super) const fn inner(body: RB, closed: Option<Closed>) -> Self {
        Self { content: Content::Inner { body, closed, lapse: None } }
    }

    /// A body that ends when `lapse` does.
    pub(super) const fn watched(body: RB, closed: Option<Closed>, lapse: Option<Lapse>) -> Self {
        Self { content: Content::Inner { body, closed, lapse } }
    }

    pub(super) const fn text(text: String) -> Self {
        Self { content: Content::Text(text) }
    }
}

impl<RB> Body for SessionBody<RB>
where
    RB: Body,
    RB::Data: From<String>,
{
    type Data = RB::Data;
    type Error = RB::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut content = self.project().content;
        match content.as_mut().project() {
            ContentProjection::Inner { body, closed, lapse } => {
                // The closing comes first: a frame that is ready when the session changes hands stays unread.
                let ended = closed.as_mut().is_some_and(|closed| Pin::new(closed).poll(cx).is_ready())
                    || lapse.as_mut().is_some_and(|lapse| lapse.poll(cx).is_ready());
                if !ended {
                    return body.poll_frame(cx);
                }
                content.set(Content::Ended);
                Poll::Ready(None)
            }
            ContentProjection::Text(text) => {
                let text = std::mem::take(text);
                content.set(Content::Ended);
                Poll::Ready(Some(Ok(Frame::data(text.into()))))
            }
            ContentProjection::Ended => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Inner { body, .. } => body.is_end_stream(),
            Content::Text(_) => false,
            Content::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Inner { body, .. } => body.size_hint(),
            Content::Text(text) => u64::try_from(text.len()).map_or_else(|_| SizeHint::default(), SizeHint::with_exact),
            Content::Ended => SizeHint::with_exact(0),
        }
    }
}
