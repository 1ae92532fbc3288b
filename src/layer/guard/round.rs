//! The rounds of one request (MCP 2026-07-28, multi round-trip requests): an answer may ask for input and hand out a
//! `requestState`, and the client calls again with both. The state leaves sealed and comes back opened (S13).

use rmcp::model::{ClientRequest, JsonObject};

use crate::enforce::{Authenticated, Holder, MAX_REQUEST_STATE_BYTES, Principal, RequestDigest};
use crate::layer::guard::facts::Facts;
use crate::layer::guard::gate::{Gate, Reason};
use crate::layer::guard::tasks::TaskOwner;
use crate::layer::session::SessionKey;
use crate::policy::DenyReason;

/// One round of a request.
#[derive(Debug)]
pub(crate) struct Round {
    digest: RequestDigest,
    /// What the client brought, sealed until the request is authorized and as the inner server made it after that.
    pub(super) state: Option<String>,
}

impl Round {
    pub(crate) fn new(method: &str, target: &str, arguments: Option<&JsonObject>, state: Option<String>) -> Self {
        Self { digest: RequestDigest::of(method, target, arguments), state }
    }

    /// A round of a request that a raw service gets; `None` for methods that have one round.
    pub(crate) fn of(request: &mut ClientRequest) -> Option<Self> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "MCP names the methods that may ask for input")]
        match request {
            ClientRequest::GetPromptRequest(it) => {
                let state = it.params.request_state.take();
                Some(Self::new("prompts/get", &it.params.name, it.params.arguments.as_ref(), state))
            }
            ClientRequest::ReadResourceRequest(it) => {
                let state = it.params.request_state.take();
                Some(Self::new("resources/read", &it.params.uri, None, state))
            }
            _ => None,
        }
    }
}

/// Hands a request the state that its round brought.
pub(crate) fn restore_state(request: &mut ClientRequest, state: Option<String>) {
    #[expect(clippy::wildcard_enum_match_arm, reason = "MCP names the methods that may ask for input")]
    match request {
        ClientRequest::GetPromptRequest(it) => it.params.request_state = state,
        ClientRequest::ReadResourceRequest(it) => it.params.request_state = state,
        _ => {}
    }
}

impl Gate {
    /// Opens the state that a round brought, and says why the request is refused if it does not open. A credential that
    /// fails has its own reason.
    pub(super) fn open_state(&self, round: &mut Round, facts: &Facts, caller: &Authenticated) -> Option<Reason> {
        let sealed = round.state.take()?;
        let owner = Self::task_owner(&caller.principal().ok()?, facts.session_key());
        let states = self.enforcer.config().request_states();
        match states.open(&sealed, holder(owner.as_ref()), &round.digest, self.enforcer.now_unix()) {
            Ok(state) => {
                round.state = Some(state);
                None
            }
            Err(refusal) => Some(refusal),
        }
    }

    /// Seals the state in an answer; `Err` says why the answer must not leave.
    ///
    /// Without a round it is taken out: no retry can bring it back before 2026-07-28, and rmcp does not let such an answer
    /// through.
    pub(super) fn seal_state(
        &self,
        round: Option<&Round>,
        principal: &Principal,
        session: Option<SessionKey>,
        state: &mut Option<String>,
    ) -> Result<(), Reason> {
        let (Some(open), Some(round)) = (state.take(), round) else { return Ok(()) };
        let owner = Self::task_owner(principal, session);
        let states = self.enforcer.config().request_states();
        let sealed = states.seal(&open, holder(owner.as_ref()), &round.digest, self.enforcer.now_unix());
        *state = Some(sealed.ok_or_else(|| {
            tracing::error!(bytes = open.len(), most = MAX_REQUEST_STATE_BYTES, "a request state is too long to leave");
            (DenyReason::InternalError, "the server's request state is too long")
        })?);
        Ok(())
    }
}

/// Whose rounds a caller's are: as with tasks, only that an anonymous caller without a session has them too.
fn holder(owner: Option<&TaskOwner>) -> Holder<'_> {
    match owner {
        Some(TaskOwner::Principal(owner)) => Holder::Owner(owner),
        Some(TaskOwner::Session(session)) => Holder::Session(session.as_bytes()),
        None => Holder::Anybody,
    }
}
