//! What a decision needs of a request, taken out of it before the inner service sees it (S8).

use http::header::AUTHORIZATION;
use http::request::Parts;
use rmcp::RoleServer;
use rmcp::model::{Extensions, MetaObject, NotificationMetaObject, ProtocolVersion, RequestMetaObject};
use rmcp::service::NotificationContext;

use crate::enforce::{
    Action, Authenticated, Call, CallerCredential, CredentialSources, PresentedCredential, Principal, is_bearer_badge,
    is_guard_meta_key,
};
use crate::layer::guard::gate::{Context, Gate, Reason};
use crate::layer::headers;
use crate::layer::session::{SessionHandle, SessionKey};
use crate::policy::DenyReason;

/// The session of an HTTP request.
#[derive(Debug)]
pub(super) enum Session {
    /// None is named: stdio, `initialize`, or stateless HTTP.
    None,
    /// One is named, but no session layer vouches for it.
    Unbound,
    Bound(SessionHandle),
}

/// What a decision needs of a request, taken before the credentials are stripped from it.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(super) credential: PresentedCredential,
    pub(super) session: Session,
    transport: &'static str,
    pub(super) protocol: Option<ProtocolVersion>,
}

impl Facts {
    pub(super) fn session_key(&self) -> Option<SessionKey> {
        match &self.session {
            Session::Bound(handle) => handle.key(),
            Session::None | Session::Unbound => None,
        }
    }

    pub(super) fn call<'a>(&'a self, action: Action<'a>) -> Call<'a> {
        Call {
            transport: self.transport,
            protocol_version: self.protocol.as_ref().map(ProtocolVersion::as_str),
            ..Call::new(action)
        }
    }

    /// Whether the request is in a revision in which answers have cache hints, and may ask for input.
    pub(super) fn is_2026_07_28_or_later(&self) -> bool {
        // ISO dates compare as text.
        self.protocol.as_ref().is_some_and(|version| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str())
    }
}

impl Gate {
    /// Takes what decides out of a request and leaves the rest for the inner service.
    ///
    /// `RequestContext::meta` and the HTTP parts are what rmcp fills from the wire; `params.meta` never decides.
    pub(crate) fn take_facts(&self, context: &mut Context) -> Facts {
        let facts = self.facts(&context.meta.0, &context.extensions, context.protocol_version());
        Self::strip(context);
        facts
    }

    /// [`take_facts`](Self::take_facts) for a notification.
    pub(super) fn take_notification_facts(&self, context: &mut NotificationContext<RoleServer>) -> Facts {
        restore_meta(context);
        let protocol = context.peer.peer_info().map(|info| info.protocol_version.clone());
        let facts = self.facts(&context.meta.0, &context.extensions, protocol);
        Self::strip_notification(context);
        facts
    }

    fn facts(&self, meta: &MetaObject, extensions: &Extensions, protocol: Option<ProtocolVersion>) -> Facts {
        let parts = extensions.get::<Parts>();
        let values = |name| match parts {
            Some(parts) => parts.headers.get_all(name).iter().map(http::HeaderValue::as_bytes).collect(),
            None => Vec::new(),
        };
        let sources = CredentialSources {
            badge_headers: values(&headers::BADGE),
            api_key_headers: values(&headers::API_KEY),
            authorization_headers: values(&AUTHORIZATION),
            meta: Some(&meta.0),
        };
        Facts {
            credential: CallerCredential::from_sources(&sources, self.enforcer.config().bearer_as_badge()),
            session: session_of(parts),
            transport: if parts.is_some() { "http" } else { "stdio" },
            protocol,
        }
    }

    /// Removes credentials and stale principals (S8): a tool that proxies its request must not leak its caller's badge.
    pub(crate) fn strip(context: &mut Context) {
        strip_meta(&mut context.meta);
        Self::strip_extensions(&mut context.extensions);
    }

    pub(crate) fn strip_notification(context: &mut NotificationContext<RoleServer>) {
        restore_meta(context);
        context.meta.retain(|key, _| !is_guard_meta_key(key));
        Self::strip_extensions(&mut context.extensions);
    }

    fn strip_extensions(extensions: &mut Extensions) {
        extensions.remove::<Principal>();
        if let Some(meta) = extensions.get_mut::<RequestMetaObject>() {
            strip_meta(meta);
        }
        let Some(parts) = extensions.get_mut::<Parts>() else { return };
        parts.extensions.remove::<Principal>();
        for name in [headers::BADGE, headers::API_KEY, headers::REQUEST_SIGNATURE] {
            parts.headers.remove(name);
        }
        // `Authorization` is OAuth's and stays, unless it carries a badge, asked for or not.
        if parts.headers.get_all(AUTHORIZATION).iter().any(|value| is_bearer_badge(value.as_bytes())) {
            parts.headers.remove(AUTHORIZATION);
        }
    }
}

fn session_of(parts: Option<&Parts>) -> Session {
    let Some(parts) = parts.filter(|parts| parts.headers.contains_key(headers::MCP_SESSION_ID)) else {
        return Session::None;
    };
    match parts.extensions.get::<SessionHandle>() {
        Some(handle) if handle.key().is_some() => Session::Bound(handle.clone()),
        Some(_) | None => Session::Unbound,
    }
}

/// Why this caller may not act in this session; `None` also when the credential fails, which has its own reason.
pub(super) fn session_refusal(facts: &Facts, caller: &Authenticated) -> Option<Reason> {
    match &facts.session {
        Session::None => None,
        Session::Unbound => {
            Some((DenyReason::SessionUnbound, "the request names a session that no session layer has bound"))
        }
        Session::Bound(handle) => {
            let admitted = handle.admits(caller.principal().ok()?.owner().as_ref());
            (!admitted).then_some((DenyReason::SessionUnbound, "the session is not bound to this caller's headers"))
        }
    }
}

/// rmcp 3.11 takes a notification's extensions out before its `_meta`, which lies among them: without this the context's
/// `meta` is empty, and what the client sent, credentials too, stands where only the extensions are searched.
fn restore_meta(context: &mut NotificationContext<RoleServer>) {
    if let Some(NotificationMetaObject(sent)) = context.extensions.remove::<NotificationMetaObject>() {
        context.meta.0.0.extend(sent.0);
    }
}

fn strip_meta(meta: &mut RequestMetaObject) {
    meta.0.0.retain(|key, _| !is_guard_meta_key(key));
}

pub(crate) fn strip_params_meta(meta: &mut Option<RequestMetaObject>) {
    if let Some(meta) = meta {
        strip_meta(meta);
    }
}
