//! Requests that need input from the client before they are answered (SEP-2322): asked in rounds, each answered by a
//! retry of the whole request.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rmcp::ErrorData;
use rmcp::model::{ClientCapabilities, InputRequest, InputRequests, InputRequiredResult, InputResponses};
use serde_json::json;
use uuid::Uuid;

/// Request states that were handed out, and how many rounds had been asked by then. A state is a random name for what
/// the server knows, so there is nothing in it to tamper with.
#[derive(Default)]
pub(crate) struct RequestStates(Mutex<HashMap<String, usize>>);

impl RequestStates {
    fn hand_out(&self, asked: usize) -> String {
        let state = Uuid::new_v4().to_string();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(state.clone(), asked);
        state
    }

    fn asked(&self, state: &str) -> Result<usize, ErrorData> {
        let states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.get(state).copied().ok_or_else(|| ErrorData::invalid_params("unknown requestState", None))
    }
}

/// A request as its next round sees it.
pub(crate) struct Attempt<'a> {
    pub(crate) responses: Option<&'a InputResponses>,
    pub(crate) state: Option<&'a str>,
    pub(crate) capabilities: ClientCapabilities,
}

pub(crate) enum Step {
    Ask(InputRequiredResult),
    /// Every question is answered; the answers of the last round.
    Done(InputResponses),
}

/// The step that follows `attempt` in `script`; `states` where the rounds are told apart by a request state.
pub(crate) fn next(
    script: &[InputRequests],
    states: Option<&RequestStates>,
    attempt: &Attempt<'_>,
) -> Result<Step, ErrorData> {
    let asked = match (states, attempt.state) {
        (Some(states), Some(state)) => states.asked(state)?,
        (Some(_), None) => 0,
        (None, _) => usize::from(attempt.responses.is_some()),
    };
    let round = |index: usize| -> InputRequests {
        let questions = script.get(index).cloned().unwrap_or_default();
        questions.into_iter().filter(|(_, question)| can_answer(&attempt.capabilities, question)).collect()
    };
    let answers = attempt.responses.cloned().unwrap_or_default();
    // What is no object answers nothing, and is asked again.
    let answered = |questions: &InputRequests| {
        questions.keys().all(|key| answers.get(key).is_some_and(serde_json::Value::is_object))
    };
    let current = match asked.checked_sub(1) {
        None => 0,
        Some(last) if answered(&round(last)) => asked,
        Some(last) => last,
    };
    let questions = round(current);
    if questions.is_empty() {
        return Ok(Step::Done(answers));
    }
    let state = states.map(|states| states.hand_out(current.saturating_add(1)));
    Ok(Step::Ask(InputRequiredResult::new(Some(questions), state)))
}

fn can_answer(capabilities: &ClientCapabilities, question: &InputRequest) -> bool {
    match question {
        InputRequest::Elicitation(_) => capabilities.elicitation.is_some(),
        InputRequest::CreateMessage(_) => capabilities.sampling.is_some(),
        InputRequest::ListRoots(_) => capabilities.roots.is_some(),
        _ => false,
    }
}

/// All that a client can be asked for.
pub(crate) fn every_capability() -> ClientCapabilities {
    serde_json::from_value(json!({"elicitation": {}, "sampling": {}, "roots": {}})).unwrap_or_default()
}
