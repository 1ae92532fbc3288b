//! What every form of the guard does with a request, whatever carries it: a handler, a tower service, a raw service.
//!
//! In order: take the credential out of the request, strip it (S8), open the state of a retry (S13), see that the session is
//! bound (S15), ask the enforcer, run the inner call with the permit held, bind a task that it created (S17) or seal the
//! state that it hands out, and let the answer go once the permit says that its decision is on record. What goes on
//! for long is authorized again (S18). Nothing is decided here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rmcp::model::{CacheScope, CallToolRequestParams, ListToolsResult, MetaObject, TaskStatus, Tool};
use rmcp::service::{NotificationContext, RequestContext};
use rmcp::{ErrorData, RoleServer};

use crate::enforce::{
    Action, Authenticated, Call, Denial, Enforcer, Outcome, Permit, Principal, Recording, Undecided, Unrecorded,
};
use crate::evidence::{EvidenceId, Receipt};
use crate::layer::guard::answer::{self, DenialShape};
use crate::layer::guard::facts::{Facts, Session, session_refusal, strip_params_meta};
use crate::layer::guard::method_name::{is_absent, looks_standard};
use crate::layer::guard::opened::Opened;
use crate::layer::guard::pass::{Admitted, Pass};
use crate::layer::guard::receipt::{Answer, stripped};
use crate::layer::guard::round::Round;
use crate::layer::guard::tasks::{TaskOwner, TaskTable};
use crate::layer::session::SessionKey;
use crate::policy::{DenyReason, GuardedMethod, ToolRequirement};

pub(crate) type Context = RequestContext<RoleServer>;

/// A reason that the layer finds, and a sentence about it.
pub(in crate::layer) type Reason = (DenyReason, &'static str);

/// What all clones of a layer and its services share.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) enforcer: Enforcer,
    pub(crate) shape: DenialShape,
    pub(super) tasks: Arc<TaskTable>,
    rules_checked: Arc<AtomicBool>,
}

impl Gate {
    pub(crate) fn new(enforcer: Enforcer) -> Self {
        Self { enforcer, shape: DenialShape::default(), tasks: Arc::default(), rules_checked: Arc::default() }
    }

    /// Asks the enforcer. `refused` is a reason found by the layer; it is recorded and denied with, and so is a state of
    /// `round` that does not open.
    async fn authorize(
        &self,
        facts: &Facts,
        action: Action<'_>,
        beside: Option<Result<&ToolRequirement, ()>>,
        refused: Option<Reason>,
        round: Option<&mut Round>,
    ) -> Result<Permit, Denial> {
        let mut call = Call { beside, refused, ..facts.call(action) };
        let undecided = self.enforcer.begin(call, &facts.credential, Recording::Call);
        let caller = self.identify(facts).await;
        call.refused = call.refused.or_else(|| self.open_state(round?, facts, &caller));
        self.settle(facts, undecided, call, &caller).await
    }

    /// Who sends a request: what the session layer has found out about the same credential, or found out here.
    async fn identify(&self, facts: &Facts) -> Authenticated {
        let known = match &facts.session {
            Session::Bound(handle) => handle.authenticated(),
            Session::None | Session::Unbound => None,
        };
        match known.filter(|known| known.answers_for(&self.enforcer, &facts.credential)) {
            Some(known) => known.clone(),
            None => self.enforcer.identify(&facts.credential).await,
        }
    }

    /// The decision, and the session that it may latch.
    async fn settle(
        &self,
        facts: &Facts,
        undecided: Undecided<'_>,
        mut call: Call<'_>,
        caller: &Authenticated,
    ) -> Result<Permit, Denial> {
        call.refused = call.refused.or_else(|| session_refusal(facts, caller));
        let permit = undecided.settle(&call, caller).await?;
        let Session::Bound(handle) = &facts.session else { return Ok(permit) };
        if handle.latch(permit.principal().owner().as_ref()) {
            return Ok(permit);
        }
        // Two callers were authorized at once and the other one latched the session.
        let mut denial = Denial::withheld(
            &permit,
            call.action.target(),
            DenyReason::SessionUnbound,
            "the session belongs to another caller",
        );
        self.enforcer.notice("session_refused", vec![("decision_id", permit.evidence_id().to_string())]);
        match permit.conclude(Outcome::NotRun, None).await {
            Ok(receipt) => denial.receipt = receipt.map(Box::new),
            Err(Unrecorded::Decision(_)) => denial.evidence_id = None,
            Err(Unrecorded::Outcome(_)) => {}
        }
        Err(denial)
    }

    /// Decides on a tool call. `definition` is the tool as its handler defines it, looked up by its exact name.
    pub(crate) async fn admit(
        &self,
        mut params: CallToolRequestParams,
        mut context: Context,
        definition: Option<&Tool>,
    ) -> Result<Admitted, Denial> {
        let client_has_tasks = context.client_capabilities().is_some_and(|it| it.supports_tasks());
        let facts = self.take_facts(&mut context);
        strip_params_meta(&mut params.meta);
        let beside = requirement_of(definition);
        let (name, arguments) = (&*params.name, params.arguments.as_ref());
        let state = params.request_state.take();
        // A state that is brought in an earlier revision has to open too.
        let mut round = (state.is_some() || facts.is_2026_07_28_or_later())
            .then(|| Round::new("tools/call", name, arguments, state));
        let action = Action::Tool { name, arguments };
        let permit = self.authorize(&facts, action, by_ref(beside.as_ref()), None, round.as_mut()).await?;
        params.request_state = round.as_mut().and_then(|round| round.state.take());
        context.extensions.insert(permit.principal().clone());
        let pass = Pass {
            permit,
            gate: self.clone(),
            tool: Arc::from(&*params.name),
            session: facts.session_key(),
            round,
            watched: (!self.enforcer.config().calls_outlive_credentials()).then_some((facts, beside)),
            cancelled: context.ct.clone(),
            client_has_tasks,
        };
        Ok(Admitted { params, context, pass })
    }

    /// Runs a method other than `tools/call` under its class's requirement. `adapt` sees an answer before it leaves:
    /// whether it depends on the caller, and what outcome to record. One that does not may end up in shared caches, so
    /// it carries no receipt.
    pub(crate) async fn method<T: Answer, F: Future<Output = Result<T, ErrorData>>>(
        &self,
        action: (GuardedMethod, &'static str, &str),
        context: Context,
        run: impl FnOnce(Context) -> F,
        adapt: impl FnOnce(&mut T, bool) -> Outcome,
    ) -> Result<T, ErrorData> {
        self.method_in_rounds(action, None, context, |context, _| run(context), adapt).await
    }

    /// [`method`](Self::method) for one whose answer may ask for input; `run` gets the state that a retry brought.
    pub(crate) async fn method_in_rounds<T: Answer, F: Future<Output = Result<T, ErrorData>>>(
        &self,
        action: (GuardedMethod, &'static str, &str),
        round: Option<Round>,
        context: Context,
        run: impl FnOnce(Context, Option<String>) -> F,
        adapt: impl FnOnce(&mut T, bool) -> Outcome,
    ) -> Result<T, ErrorData> {
        // rmcp makes one future of all methods and moves it about, which costs more than a box
        Box::pin(self.run_method(action, round, context, run, adapt)).await
    }

    async fn run_method<T: Answer, F: Future<Output = Result<T, ErrorData>>>(
        &self,
        action: (GuardedMethod, &'static str, &str),
        mut round: Option<Round>,
        mut context: Context,
        run: impl FnOnce(Context, Option<String>) -> F,
        adapt: impl FnOnce(&mut T, bool) -> Outcome,
    ) -> Result<T, ErrorData> {
        let facts = self.take_facts(&mut context);
        let permit = self.permit_method(&facts, action, round.as_mut()).await?;
        let state = round.as_mut().and_then(|round| round.state.take());
        context.extensions.insert(permit.principal().clone());
        let depends_on_caller = permit.requirement().is_some();
        let (class, method, target) = action;
        let opened = Opened::new(&permit, Action::Method { class, method, target }, &context.ct);
        // What these turn on is sent without an answer to hold back, so their decision is on record before they run.
        let held = if matches!(class, GuardedMethod::Subscriptions | GuardedMethod::Logging) {
            self.finish(permit, Outcome::Ok).await?;
            None
        } else {
            Some(permit)
        };
        let mut answer = match self.run(&facts, &opened, run(context, state)).await {
            Ok(answer) => stripped(answer),
            Err(reason) => {
                if let Some(permit) = held {
                    self.finish(permit, Outcome::Cancelled).await?;
                }
                return Err(self.end(opened, reason));
            }
        };
        let mut outcome = match &mut answer {
            Ok(answer) => adapt(answer, depends_on_caller),
            Err(_) => Outcome::ProtocolError,
        };
        let Some(permit) = held else { return answer };
        if let Some(state) = answer.as_mut().ok().and_then(T::request_state)
            && let Err((reason, detail)) =
                self.seal_state(round.as_ref(), permit.principal(), facts.session_key(), state)
        {
            outcome = Outcome::ProtocolError;
            answer = Err(answer::error(&Denial::withheld(&permit, target, reason, detail)));
        }
        let receipt = self.finish(permit, outcome).await?;
        if let Ok(answer) = &mut answer {
            answer.attach(receipt.as_ref().filter(|_| depends_on_caller));
        }
        answer
    }

    pub(crate) async fn permit_method(
        &self,
        facts: &Facts,
        (class, method, target): (GuardedMethod, &'static str, &str),
        round: Option<&mut Round>,
    ) -> Result<Permit, ErrorData> {
        let action = Action::Method { class, method, target };
        Box::pin(self.authorize(facts, action, None, None, round)).await.map_err(|denial| answer::error(&denial))
    }

    /// Records how a method other than `tools/call` ended; the receipt of its decision.
    pub(crate) async fn finish(&self, permit: Permit, outcome: Outcome) -> Result<Option<Receipt>, ErrorData> {
        let denial = Denial::withheld(&permit, "", DenyReason::EvidenceUnavailable, "");
        let id = permit.evidence_id();
        Box::pin(permit.conclude(outcome, None)).await.map_err(|what| answer::error(&unrecorded(denial, id, what)))
    }

    /// [`finish`](Self::finish) for an answer of the inner service, as it may leave then.
    pub(crate) async fn conclude<T: Answer>(
        &self,
        permit: Permit,
        answer: Result<T, ErrorData>,
    ) -> Result<T, ErrorData> {
        let mut answer = stripped(answer);
        let receipt = self.finish(permit, outcome_of(&answer)).await?;
        if let Ok(answer) = &mut answer {
            answer.attach(receipt.as_ref());
        }
        answer
    }

    /// Decides on a custom request, and runs it.
    pub(crate) async fn custom_request<T: Answer, F: Future<Output = Result<T, ErrorData>>>(
        &self,
        method: &str,
        mut context: Context,
        run: impl FnOnce(Context) -> F,
    ) -> Result<T, ErrorData> {
        let facts = self.take_facts(&mut context);
        let permit = self.permit_custom(&facts, method).await.map_err(|denial| answer::unknown_method(&denial))?;
        context.extensions.insert(permit.principal().clone());
        let opened = Opened::new(&permit, Action::Custom { method }, &context.ct);
        match self.run(&facts, &opened, run(context)).await {
            Ok(answer) => self.conclude(permit, answer).await,
            Err(reason) => {
                self.finish(permit, Outcome::Cancelled).await?;
                Err(self.end(opened, reason))
            }
        }
    }

    /// Records a request whose method this crate does not know, and says how to answer it.
    pub(crate) async fn refuse_unknown(&self, method: &str, context: &mut Context) -> ErrorData {
        let facts = self.take_facts(context);
        let refused = (DenyReason::MethodNotAllowed, "the guard does not know this method");
        match self.authorize(&facts, Action::Custom { method }, None, Some(refused), None).await {
            Ok(_) => ErrorData::internal_error("internal error", None),
            Err(denial) => answer::unknown_method(&denial),
        }
    }

    /// Decides on a custom notification; `None` means that it is dropped.
    pub(crate) async fn permit_custom_notification(
        &self,
        method: &str,
        context: &mut NotificationContext<RoleServer>,
    ) -> Option<Permit> {
        let facts = self.take_notification_facts(context);
        let permit = self.permit_custom(&facts, method).await.ok()?;
        context.extensions.insert(permit.principal().clone());
        Some(permit)
    }

    async fn permit_custom(&self, facts: &Facts, method: &str) -> Result<Permit, Denial> {
        let refused = if is_absent(method, facts.protocol.as_ref()) {
            Some((DenyReason::MethodNotAllowed, "a method that this revision of the protocol does not have"))
        } else if looks_standard(method) {
            Some((DenyReason::RequestMalformed, "a standard method in a form that the protocol does not know"))
        } else {
            None
        };
        Box::pin(self.authorize(facts, Action::Custom { method }, None, refused, None)).await
    }

    /// Decides on `tasks/get`, `tasks/update` or `tasks/cancel`: the caller must own the task, and the decision on the
    /// tool that created it is taken again with the credential of now (S17).
    pub(crate) async fn permit_task(
        &self,
        method: &'static str,
        id: &str,
        context: &mut Context,
        definition: impl FnOnce(&str) -> Option<Tool>,
    ) -> Result<Permit, ErrorData> {
        let facts = self.take_facts(context);
        let call = facts.call(Action::Task { method, tool: "" });
        let undecided = self.enforcer.begin(call, &facts.credential, Recording::Call);
        let caller = self.identify(&facts).await;
        let owner = caller.principal().ok().and_then(|principal| Self::task_owner(&principal, facts.session_key()));
        let tool = self.tasks.tool_of(id, owner.as_ref());
        let beside = tool.as_deref().and_then(|tool| requirement_of(definition(tool).as_ref()));
        let call = match &tool {
            Some(tool) => Call { beside: by_ref(beside.as_ref()), ..facts.call(Action::Task { method, tool }) },
            None => Call {
                refused: Some((DenyReason::TaskNotFound, "no such task, or it belongs to another caller")),
                ..call
            },
        };
        let permit = self.settle(&facts, undecided, call, &caller).await;
        let permit = permit.map_err(|denial| answer::error(&denial))?;
        context.extensions.insert(permit.principal().clone());
        Ok(permit)
    }

    /// Notes that a task lives on, with the time that its handler gives it.
    pub(crate) fn task_lives(&self, id: &str, ttl_ms: Option<u64>) {
        self.tasks.renew(id, ttl_ms.map(Duration::from_millis));
    }

    /// Notes that a task has ended, once. How a task ended is the outcome of the call that created it, so where that has
    /// to be on stable storage before an answer leaves, this has too (S31); `Err` is the answer then.
    pub(crate) async fn task_ended(&self, id: &str, status: &'static str, permit: &Permit) -> Result<(), ErrorData> {
        if !self.tasks.end(id) {
            return Ok(());
        }
        let members = vec![
            ("status", status.to_owned()),
            ("task", self.enforcer.pseudonym(id)),
            ("decision_id", permit.evidence_id().to_string()),
        ];
        if !permit.awaits_durable() {
            self.enforcer.notice("task_ended", members);
            return Ok(());
        }
        Box::pin(self.enforcer.notice_durably("task_ended", members)).await.map_err(|error| {
            tracing::error!(%error, "the end of a task could not be stored: its answer is withheld");
            self.tasks.reopen(id);
            let denial = Denial::withheld(permit, "", DenyReason::EvidenceUnavailable, "");
            answer::error(&unrecorded(denial, permit.evidence_id(), Unrecorded::Outcome(error)))
        })
    }

    /// Whose tasks a caller's are: an anonymous one has those of its session alone (S16).
    pub(super) fn task_owner(principal: &Principal, session: Option<SessionKey>) -> Option<TaskOwner> {
        principal.owner().map(TaskOwner::Principal).or(session.map(TaskOwner::Session))
    }

    /// Reduces a page of `tools/list` to what the caller may call. Pages and cursors stay as they are.
    ///
    /// `definition` is what a call looks a tool up with: a requirement that it does not show is not enforced.
    pub(crate) async fn filter_tools(
        &self,
        facts: &Facts,
        first_page: bool,
        page: &mut ListToolsResult,
        definition: impl Fn(&str) -> Option<Tool>,
    ) {
        self.warn_of_dead_rules(first_page, page);
        let caller = self.identify(facts).await;
        let hidden = session_refusal(facts, &caller).is_some();
        let mut kept = Vec::with_capacity(page.tools.len());
        for mut tool in std::mem::take(&mut page.tools) {
            let beside = requirement_of(Some(&tool));
            if beside.is_some() && beside != requirement_of(definition(&tool.name).as_ref()) {
                tracing::error!(tool = &*tool.name, "a requirement is listed that `get_tool` does not show");
            }
            let action = Action::Tool { name: &tool.name, arguments: None };
            let call = Call { beside: by_ref(beside.as_ref()), ..facts.call(action) };
            if !hidden && self.enforcer.allows(&call, &caller) {
                strip_requirement(&mut tool);
                kept.push(tool);
            }
        }
        page.tools = kept;
        if facts.is_2026_07_28_or_later() || page.cache_scope.is_some() {
            page.cache_scope = Some(CacheScope::Private);
            // A client's cache knows no credentials: it would show one caller's list to the next.
            page.ttl_ms = Some(0);
        }
    }

    /// Once, as soon as all tools of the handler are known: rules that no tool can match are probably misspelt.
    fn warn_of_dead_rules(&self, first_page: bool, page: &ListToolsResult) {
        if !first_page || page.next_cursor.is_some() || self.rules_checked.swap(true, Ordering::Relaxed) {
            return;
        }
        let names: Vec<&str> = page.tools.iter().map(|tool| &*tool.name).collect();
        for rule in self.enforcer.config().policy().dead_rules(&names) {
            tracing::warn!(rule, "no tool has a name that this rule matches");
        }
    }
}

/// The denial that replaces an answer that could not be recorded, by how far the log got. An id is handed out where it is
/// sure to lead to a record.
pub(super) fn unrecorded(denial: Denial, decision_id: EvidenceId, what: Unrecorded) -> Denial {
    let (detail, evidence_id) = match what {
        Unrecorded::Decision(_) => ("the call could not be recorded, so its answer is withheld", None),
        Unrecorded::Outcome(_) => {
            ("the call ran, and how it ended could not be stored, so its answer is withheld", Some(decision_id))
        }
    };
    Denial { detail, evidence_id, ..denial }
}

/// The requirement beside a tool (S12); `Some(Err(()))` when it is there and cannot be read.
fn requirement_of(tool: Option<&Tool>) -> Option<Result<ToolRequirement, ()>> {
    let meta = tool?.meta.as_ref()?;
    ToolRequirement::from_meta(&meta.0).map_err(|_| ()).transpose()
}

pub(super) fn by_ref(beside: Option<&Result<ToolRequirement, ()>>) -> Option<Result<&ToolRequirement, ()>> {
    beside.map(|beside| beside.as_ref().map_err(|&()| ()))
}

fn strip_requirement(tool: &mut Tool) {
    if let Some(MetaObject(meta)) = &mut tool.meta {
        meta.remove(ToolRequirement::META_KEY);
    }
    tool.meta.take_if(|meta| meta.0.is_empty());
}

/// Makes an answer that depends on its caller unfit for shared caches.
pub(crate) fn keep_private(depends_on_caller: bool, ttl_ms: &mut Option<u64>, scope: &mut Option<CacheScope>) {
    if depends_on_caller && scope.is_some() {
        *scope = Some(CacheScope::Private);
        *ttl_ms = Some(0);
    }
}

/// The spelling of a status that a task does not leave.
pub(crate) fn terminal(status: TaskStatus) -> Option<&'static str> {
    match status {
        TaskStatus::Completed => Some("completed"),
        TaskStatus::Failed => Some("failed"),
        TaskStatus::Cancelled => Some("cancelled"),
        TaskStatus::Working | TaskStatus::InputRequired | _ => None,
    }
}

/// What to record of an answer that holds no more than success or an error.
pub(crate) const fn outcome_of<T>(answer: &Result<T, ErrorData>) -> Outcome {
    match answer {
        Ok(_) => Outcome::Ok,
        Err(_) => Outcome::ProtocolError,
    }
}
