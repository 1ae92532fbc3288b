//! `GuardLayer`: the configuration side.

use tower_layer::Layer;

use crate::enforce::{Enforcer, GuardConfig};
use crate::layer::guard::answer::DenialShape;
use crate::layer::guard::gate::Gate;
use crate::layer::guard::handler::Guard;
use crate::layer::session::SessionLayer;

/// Puts a [`Guard`] around an rmcp server.
///
/// Clones, and all services they make, share one enforcer, one evidence log, one table of task owners and one of
/// session owners: build the layer once and clone it, or clone the guarded server, into the factory of an HTTP service.
///
/// The [module](super) shows an allowed and a denied call.
#[derive(Clone, Debug)]
pub struct GuardLayer {
    pub(crate) gate: Gate,
    sessions: SessionLayer,
}

impl GuardLayer {
    /// A guard that decides by `config`.
    #[must_use]
    pub fn new(config: GuardConfig) -> Self {
        let enforcer = Enforcer::new(config);
        Self { sessions: SessionLayer::new(enforcer.clone()), gate: Gate::new(enforcer) }
    }

    /// Sets how a denied `tools/call` is answered; by default as a [`DenialShape::ToolResult`].
    #[must_use]
    pub fn denial_shape(mut self, shape: DenialShape) -> Self {
        self.gate.shape = shape;
        self
    }

    /// The enforcer that decides for every service of this layer.
    #[must_use]
    pub const fn enforcer(&self) -> &Enforcer {
        &self.gate.enforcer
    }

    /// The HTTP layer that binds the sessions of a streamable HTTP endpoint to their owners. Behind it stands the MCP
    /// service that this guard protects; without it, calls within sessions are denied.
    ///
    /// All layers that this guard and its clones hand out share one table of sessions, until
    /// [`with_max_sessions`](SessionLayer::with_max_sessions) or
    /// [`with_idle_limit`](SessionLayer::with_idle_limit) gives one a table of its own.
    #[must_use]
    pub fn session_layer(&self) -> SessionLayer {
        self.sessions.clone()
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, gate: self.gate.clone() }
    }
}
