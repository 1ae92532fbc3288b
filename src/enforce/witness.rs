//! Asking witnesses over HTTP, behind the feature `registry`.
//!
//! A witness that is down, slow or refuses never costs a call anything: nothing waits for it. It is seen in
//! [`WitnessTask::states`], in the log's health (how far the witnessed checkpoint is behind) and as a warning; a refusal
//! that means a rolled back or forked log is an error in the log of the process.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::clock::{Clock, SystemClock};
use crate::evidence::witness::{Submission, Witness, WitnessAnswer, WitnessError};
use crate::evidence::{EvidenceLog, OpenError};
use crate::identity::background::Background;
use crate::identity::fetch::{FetchMethod, FetchRequest, Fetcher};

/// How long one witness may take.
pub const WITNESS_TIMEOUT: Duration = Duration::from_secs(10);
/// The shortest interval between two rounds; more often would only tire witnesses.
pub const MIN_WITNESS_INTERVAL: Duration = Duration::from_secs(1);

/// Sends checkpoints to witnesses.
#[derive(Clone, Debug)]
pub struct WitnessClient {
    fetcher: Fetcher,
    witnesses: Arc<[Witness]>,
    quorum: usize,
}

/// How one witness answered last.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WitnessState {
    /// The witness's name.
    pub name: String,
    /// The size that it signed last; `None` before the first.
    pub signed_size: Option<u64>,
    /// When it did.
    pub signed_at: Option<SystemTime>,
    /// Why it has not signed the last time; `None` when it has.
    pub last_error: Option<WitnessError>,
    /// Rounds in a row without its signature.
    pub failures: u32,
}

impl WitnessClient {
    /// Asks `witnesses` by way of `fetcher`.
    #[must_use]
    pub fn new(fetcher: Fetcher, witnesses: impl IntoIterator<Item = Witness>) -> Self {
        let witnesses: Arc<[Witness]> = witnesses.into_iter().collect();
        Self { fetcher, quorum: witnesses.len(), witnesses }
    }

    /// How many of the witnesses an auditor will ask for; all of them unless given. A checkpoint that so many have signed
    /// is kept until there is a newer one that so many have, so that a witness that is down never costs the log its
    /// quorum. With fewer than all, one that stays down does not keep the witnessed checkpoint where it is either.
    #[must_use]
    pub const fn quorum(mut self, witnesses: usize) -> Self {
        self.quorum = witnesses;
        self
    }

    /// Asks every witness once about the published checkpoint of the log in `directory`, and keeps what they sign beside
    /// it, unless fewer have signed than before (see [`quorum`](Self::quorum)). One result for each witness, in order, with the size it signed; empty before the first checkpoint.
    ///
    /// # Errors
    /// [`OpenError`] when the checkpoint cannot be read or the cosignatures not be written.
    pub async fn push(
        &self,
        directory: impl AsRef<Path>,
    ) -> Result<Vec<(String, Result<u64, WitnessError>)>, OpenError> {
        let Some(mut submission) = Submission::of(directory)? else { return Ok(Vec::new()) };
        let mut results = Vec::with_capacity(self.witnesses.len());
        for witness in &*self.witnesses {
            let signed = self.ask(witness, &mut submission).await;
            results.push((witness.key().name().to_owned(), signed));
        }
        if results.iter().any(|(_, signed)| signed.is_ok()) && !submission.save(&self.witnesses, self.quorum)? {
            tracing::info!("fewer witnesses than before have signed: the witnessed checkpoint stays the earlier one");
        }
        Ok(results)
    }

    /// Asks one witness, a second time where it says from which size.
    async fn ask(&self, witness: &Witness, submission: &mut Submission) -> Result<u64, WitnessError> {
        let mut old = submission.known_size(witness);
        for _ in 0..2 {
            let body = submission.request(old)?;
            let url = witness.submission_url();
            let mut request = FetchRequest::new(FetchMethod::Post, &url).text(body);
            request.timeout = Some(WITNESS_TIMEOUT);
            let response = self.fetcher.send(request).await.map_err(|_| WitnessError::Unreachable)?;
            match submission.accept(witness, old, response.status, &response.body)? {
                WitnessAnswer::Cosigned => return Ok(submission.checkpoint().size),
                WitnessAnswer::AskFrom(size) => old = size,
            }
        }
        Err(WitnessError::Unreachable)
    }

    /// Asks every witness each `interval`, at least [`MIN_WITNESS_INTERVAL`], about the log, until the returned task is
    /// dropped; it holds a handle of the log until then. Needs a tokio runtime: `None` outside of one, or for a log in
    /// memory.
    #[must_use]
    pub fn start(self, log: &EvidenceLog, interval: Duration) -> Option<WitnessTask> {
        log.directory()?;
        let states: Vec<_> = self.witnesses.iter().map(WitnessState::of).collect();
        let states = Arc::new(Mutex::new(states));
        let task = Background::start(self.run(log.clone(), interval.max(MIN_WITNESS_INTERVAL), Arc::clone(&states)))?;
        Some(WitnessTask { states, _task: task })
    }

    async fn run(self, log: EvidenceLog, interval: Duration, states: Arc<Mutex<Vec<WitnessState>>>) {
        let mut asked: Option<(PathBuf, u64)> = None;
        loop {
            tokio::time::sleep(interval).await;
            let Some(directory) = log.directory() else { return };
            let published = Submission::of(&directory).ok().flatten().map(|one| one.checkpoint().size);
            let now = published.map(|size| (directory.clone(), size));
            let all_signed = states.lock().unwrap_or_else(PoisonError::into_inner).iter().all(|one| one.failures == 0);
            if now == asked && all_signed {
                continue;
            }
            asked = now;
            match self.push(&directory).await {
                Ok(results) => note(&states, results),
                Err(error) => tracing::warn!(%error, "the log's checkpoint could not be given to witnesses"),
            }
        }
    }
}

fn note(states: &Mutex<Vec<WitnessState>>, results: Vec<(String, Result<u64, WitnessError>)>) {
    let mut states = states.lock().unwrap_or_else(PoisonError::into_inner);
    for (state, (name, result)) in states.iter_mut().zip(results) {
        match result {
            Ok(size) => {
                (state.signed_size, state.signed_at) = (Some(size), Some(SystemClock.now()));
                (state.last_error, state.failures) = (None, 0);
            }
            Err(error) => {
                if error.is_alarm() {
                    tracing::error!(witness = %name, %error, "a witness has seen another history of the evidence log");
                } else if state.last_error != Some(error) {
                    tracing::warn!(witness = %name, %error, "a witness did not sign the evidence log");
                }
                state.last_error = Some(error);
                state.failures = state.failures.saturating_add(1);
            }
        }
    }
}

impl WitnessState {
    fn of(witness: &Witness) -> Self {
        let name = witness.key().name().to_owned();
        Self { name, signed_size: None, signed_at: None, last_error: None, failures: 0 }
    }
}

/// Witnesses that are asked in the background; dropping it ends that.
#[derive(Debug)]
#[must_use = "dropping it stops asking"]
pub struct WitnessTask {
    states: Arc<Mutex<Vec<WitnessState>>>,
    _task: Background,
}

impl WitnessTask {
    /// How each witness answered last, in the order they were given.
    #[must_use]
    pub fn states(&self) -> Vec<WitnessState> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
