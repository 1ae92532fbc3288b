use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Method, Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use super::body::{Lapse, SessionBody};
use super::refusal::Refusal;
use super::service::{Shared, credential_of, session_of};
use super::table::{Closed, NotAdmitted, SessionHandle, SessionKey};
use crate::clock::UnixSeconds;
use crate::enforce::{Authenticated, PresentedCredential, Principal, offered_auth_level};
use crate::layer::lapse::{has_timer, lapse};
use crate::policy::AuthLevel;

/// The answer to one request that passes the session layer.
///
/// Cancel safe: dropped before the inner service answers, it leaves no binding and no open stream.
#[pin_project]
pub struct SessionFuture<S, B, RB>
where
    S: Service<Request<B>, Response = Response<RB>>,
{
    shared: Arc<Shared>,
    #[pin]
    state: State<S, B, RB>,
}

/// `Enforcer::identify` has no name for its future. One box per request that names or opens a session, beside the one
/// that rmcp's own HTTP service makes.
type Authentication = Pin<Box<dyn Future<Output = Authenticated> + Send>>;

#[pin_project(project = StateProjection)]
enum State<S, B, RB>
where
    S: Service<Request<B>, Response = Response<RB>>,
{
    Refused(Refusal, Option<SessionKey>),
    /// The request names a session: who sends it?
    Authenticating {
        authentication: Authentication,
        kind: AuthLevel,
        key: SessionKey,
        held: Option<(S, Request<B>)>,
    },
    /// The inner service is at work on a request of a session.
    InSession {
        #[pin]
        answer: S::Future,
        closed: Option<Closed>,
        key: SessionKey,
        ends_session: bool,
        /// What watches over the stream that a GET opens.
        lapse: Option<Lapse>,
    },
    /// The inner service is at work on a request without a session; its answer may open one.
    WithoutSession {
        #[pin]
        answer: S::Future,
        credential: Option<PresentedCredential>,
    },
    /// The answer opens a session: for whom?
    Opening {
        authentication: Authentication,
        kind: AuthLevel,
        key: SessionKey,
        response: Option<Response<RB>>,
    },
}

impl<S, B, RB> SessionFuture<S, B, RB>
where
    S: Service<Request<B>, Response = Response<RB>>,
{
    pub(super) fn new(mut service: S, mut request: Request<B>, shared: Arc<Shared>) -> Self {
        let state = match session_of(request.headers()) {
            Err(refusal) => State::Refused(refusal, None),
            Ok(Some(key)) if !shared.sessions.knows(key) => State::Refused(Refusal::NotFound, Some(key)),
            Ok(Some(key)) => {
                let credential = shared.credential_of(request.headers());
                let kind = offered_auth_level(&credential);
                let authentication = shared.authenticate(credential);
                State::Authenticating { authentication, kind, key, held: Some((service, request)) }
            }
            // An event id says nothing of its owner: what it resumes can only be bound by the session.
            Ok(None) if request.headers().contains_key("last-event-id") => State::Refused(Refusal::NotFound, None),
            Ok(None) => {
                let credential = Some(shared.credential_of(request.headers()));
                request.extensions_mut().insert(SessionHandle::without_session());
                State::WithoutSession { answer: service.call(request), credential }
            }
        };
        Self { shared, state }
    }
}

impl<S, B, RB> Future for SessionFuture<S, B, RB>
where
    S: Service<Request<B>, Response = Response<RB>>,
    RB: Body,
    RB::Data: From<String>,
{
    type Output = Result<Response<SessionBody<RB>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProjection::Refused(refusal, key) => return Poll::Ready(Ok(this.shared.refuse(*refusal, *key))),
                StateProjection::Authenticating { authentication, kind, key, held } => {
                    let authenticated = ready!(authentication.as_mut().poll(context));
                    // Taken once: the state is replaced below.
                    let Some((service, request)) = held.take() else { return Poll::Pending };
                    let key = *key;
                    match authenticated.principal() {
                        Ok(principal) => enter(this.shared, key, &principal, authenticated, service, request),
                        Err(reason) => State::Refused(Refusal::Credential(reason, *kind), Some(key)),
                    }
                }
                StateProjection::InSession { answer, closed, key, ends_session, lapse } => {
                    let lost = closed.as_mut().is_none_or(|closed| Pin::new(closed).poll(context).is_ready());
                    if lost {
                        State::Refused(Refusal::NotFound, Some(*key))
                    } else {
                        let response = ready!(answer.poll(context))?;
                        if session_of(response.headers()).is_ok_and(|named| named.is_none_or(|named| named == *key)) {
                            if *ends_session && response.status().is_success() {
                                this.shared.sessions.forget(*key);
                                // The answer to the request that ends the session does not end with it.
                                *closed = None;
                            }
                            let (closed, lapse) = (closed.take(), lapse.take());
                            return Poll::Ready(Ok(response.map(|body| SessionBody::watched(body, closed, lapse))));
                        }
                        State::Refused(Refusal::Unbindable, Some(*key))
                    }
                }
                StateProjection::WithoutSession { answer, credential } => {
                    let response = ready!(answer.poll(context))?;
                    match (session_of(response.headers()), credential.take()) {
                        (Ok(None), _) => {
                            return Poll::Ready(Ok(response.map(|body| SessionBody::inner(body, None))));
                        }
                        (Ok(Some(key)), Some(credential)) => State::Opening {
                            kind: offered_auth_level(&credential),
                            authentication: this.shared.authenticate(credential),
                            key,
                            response: Some(response),
                        },
                        (Ok(Some(_)), None) | (Err(_), _) => State::Refused(Refusal::Unbindable, None),
                    }
                }
                StateProjection::Opening { authentication, kind, key, response } => {
                    let authenticated = ready!(authentication.as_mut().poll(context));
                    let Some(response) = response.take() else { return Poll::Pending };
                    let bound = authenticated
                        .principal()
                        .map_err(|reason| Refusal::Credential(reason, *kind))
                        .and_then(|creator| {
                            this.shared.sessions.create(*key, creator.owner().as_ref()).map_err(|error| match error {
                                NotAdmitted::Full => Refusal::Full,
                                NotAdmitted::Unknown => Refusal::Unbindable,
                            })
                        });
                    match bound {
                        Ok(closed) => {
                            return Poll::Ready(Ok(response.map(|body| SessionBody::inner(body, Some(closed)))));
                        }
                        Err(refusal) => State::Refused(refusal, Some(*key)),
                    }
                }
            };
            this.state.set(next);
        }
    }
}

/// Hands an authenticated request of a session to the inner service, if the session admits its caller.
fn enter<S, B, RB>(
    shared: &Shared,
    key: SessionKey,
    caller: &Principal,
    authenticated: Authenticated,
    mut service: S,
    mut request: Request<B>,
) -> State<S, B, RB>
where
    S: Service<Request<B>, Response = Response<RB>>,
{
    let caller = caller.owner();
    match shared.sessions.admit(key, caller.as_ref()) {
        Ok(closed) => {
            let ends_session = request.method() == Method::DELETE;
            let lapse = (request.method() == Method::GET && has_timer())
                .then(|| shared.watch(shared.credential_of(request.headers()), authenticated.badge_expires(), key));
            let handle = SessionHandle::new(Arc::clone(&shared.sessions), key, caller);
            request.extensions_mut().insert(handle.authenticated_as(authenticated));
            State::InSession { answer: service.call(request), closed: Some(closed), key, ends_session, lapse }
        }
        Err(NotAdmitted::Unknown) => State::Refused(Refusal::NotFound, Some(key)),
        Err(NotAdmitted::Full) => State::Refused(Refusal::Full, Some(key)),
    }
}

impl Shared {
    fn credential_of(&self, headers: &HeaderMap) -> PresentedCredential {
        credential_of(headers, self.enforcer.config().bearer_as_badge())
    }

    fn authenticate(&self, credential: PresentedCredential) -> Authentication {
        let enforcer = self.enforcer.clone();
        Box::pin(async move { enforcer.identify(&credential).await })
    }

    /// Ends the stream of a session with the credential that opened it (S18), and records that. The owner of the session is that
    /// credential's: if it is somebody else's meanwhile, the table ends the stream.
    fn watch(&self, credential: PresentedCredential, badge_expires: Option<UnixSeconds>, key: SessionKey) -> Lapse {
        let enforcer = self.enforcer.clone();
        Lapse::new(async move {
            let (reason, _) = lapse(&enforcer, &credential, badge_expires, |caller| {
                caller.principal().map(drop).map_err(|reason| (reason, "the credential does not count any more"))
            })
            .await;
            let members =
                vec![("method", "GET".to_owned()), ("reason", reason.code().to_owned()), ("session", key.to_string())];
            enforcer.notice("stream_ended", members);
        })
    }

    fn refuse<RB>(&self, refusal: Refusal, key: Option<SessionKey>) -> Response<SessionBody<RB>> {
        let mut members =
            vec![("reason", refusal.code().to_owned()), ("http_status", refusal.status().as_str().to_owned())];
        if let Some(key) = key {
            members.push(("session", key.to_string()));
        }
        self.enforcer.session_refused(refusal.code(), refusal.credential(), members);
        refusal.response(&self.challenge)
    }
}

impl<S, B, RB> fmt::Debug for SessionFuture<S, B, RB>
where
    S: Service<Request<B>, Response = Response<RB>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFuture").finish_non_exhaustive()
    }
}
