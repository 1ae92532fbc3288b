//! Revocation and agent status, asked of the issuer one by one.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use quick_cache::sync::Cache;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::clock::UnixSeconds;
use crate::encoding::parse_unique_json;
use crate::identity::did::Did;
use crate::identity::fetch::{FetchErrorKind, Fetcher};
use crate::identity::remote::escape;
use crate::identity::remote::flight::{Flight, Landing};
use crate::identity::resolve::{AgentStatus, MaybeReady, RevocationStatus, StatusSource};
use crate::identity::server::HttpOrigin;

/// How long a good answer counts unless told otherwise.
pub const DEFAULT_STATUS_LIFETIME: Duration = Duration::from_secs(10);

/// The longest that a good answer can be made to count.
pub const MAX_STATUS_LIFETIME: Duration = Duration::from_secs(300);

/// Answers that are remembered, some 140 bytes each; what was not asked for longest is forgotten first.
pub const MAX_STATUS_ANSWERS: usize = 65_536;

/// Questions under way at one time; further ones are answered "unknown".
pub const MAX_STATUS_QUESTIONS: usize = 1024;

/// The longest answer. A real one has a few hundred bytes.
pub const MAX_STATUS_BYTES: usize = 16 * 1024;

/// Issuers whose failures are counted. They come from a configuration; a question for one more is not asked.
const MAX_ISSUERS: usize = 1024;

/// How long a failed question is not asked again.
const FAILURE_MEMORY: Duration = Duration::from_secs(1);

/// So many failures in a row open an issuer's circuit, for a second that doubles with each further one.
const FAILURES_TO_OPEN: u32 = 3;
const MAX_OPEN: Duration = Duration::from_secs(30);

const JSON: &[&str] = &["application/json"];

/// Asks the issuer about each badge and each subject, and remembers the answers for a moment. Clones share them.
///
/// | question | asked at |
/// |---|---|
/// | badge | `{iss}/v1/badges/{jti}/status` |
/// | subject `did:web:<host of iss>:..:agents:<id>` | `{iss}/v1/agents/{id}/status` |
/// | subject `did:web:<host of iss>:..:servers:<id>` | `{iss}/v1/servers/{id}/status` |
/// | any other subject | `{iss}/v1/agents/{did}/status` |
///
/// An id means something at its own host only: the issuer may have another agent under the same one.
///
/// An answer counts when it is a JSON object that names what was asked about. Whatever else arrives, or does not, is
/// "unknown", never "revoked". Equal questions share one request. A good answer counts for its lifetime, and is asked
/// for anew in the background after half of it, so that callers who keep calling never wait. "Revoked" is for good and
/// is not asked again; "disabled" is, and stands until there is another answer.
///
/// A failed question is not asked again for a second. After three failures in a row an issuer is left alone for a
/// second, then two, up to 30 s; meanwhile no call waits for it, and one at a time tries it again.
#[derive(Clone)]
pub struct OnlineStatus(Arc<Inner>);

struct Inner {
    fetcher: Fetcher,
    lifetime: Duration,
    answers: Cache<Key, Answer>,
    /// Requests under way, and some that have ended.
    requests: Mutex<HashMap<Key, Flight<Option<Standing>>>>,
    circuits: Mutex<HashMap<String, Circuit>>,
}

/// SHA-256 of kind, issuer and id: no two questions share an answer.
type Key = [u8; 32];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Good,
    /// Revoked or disabled.
    Bad,
}

#[derive(Clone, Copy, Debug, Default)]
struct Answer {
    known: Option<Told>,
    failed_at: Option<UnixSeconds>,
}

/// The last standing, and when it was asked for, by the call's clock and by one that nobody sets back.
#[derive(Clone, Copy, Debug)]
struct Told {
    standing: Standing,
    at: UnixSeconds,
    asked: Instant,
}

impl Told {
    fn is_young(&self, now: UnixSeconds, limit: Duration) -> bool {
        is_young(self.at, now, limit) && self.asked.elapsed().as_secs() <= limit.as_secs()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Circuit {
    failures: u32,
    open_until: Option<UnixSeconds>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Badge,
    Subject,
}

/// One question, in its own words so that it can go on without the call that asked.
#[derive(Debug)]
struct Question {
    key: Key,
    kind: Kind,
    issuer: String,
    url: String,
    /// What the answer has to name.
    id: String,
    did: Option<String>,
}

enum Known {
    Answer(Standing),
    /// Nothing that counts, and asking is not the time.
    Silence,
    Ask,
}

impl OnlineStatus {
    /// A source without answers yet.
    #[must_use]
    pub fn new(fetcher: Fetcher) -> Self {
        Self::with(fetcher, DEFAULT_STATUS_LIFETIME)
    }

    /// How long a good answer counts; [`DEFAULT_STATUS_LIFETIME`] unless set, at most [`MAX_STATUS_LIFETIME`]. A badge
    /// that is revoked passes that much longer. Starts without answers.
    #[must_use]
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        Self::with(self.0.fetcher.clone(), lifetime.min(MAX_STATUS_LIFETIME))
    }

    fn with(fetcher: Fetcher, lifetime: Duration) -> Self {
        let answers = Cache::new(MAX_STATUS_ANSWERS);
        let (requests, circuits) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { fetcher, lifetime, answers, requests, circuits }))
    }

    fn ask<'a, T: Send + 'a>(
        &'a self,
        kind: Kind,
        issuer: &'a str,
        id: &'a str,
        now: UnixSeconds,
        question: impl FnOnce(Key) -> Option<Question>,
        status: fn(Option<Standing>) -> T,
    ) -> MaybeReady<'a, T> {
        let key = key(kind, issuer, id);
        let known = self.0.known(&key, kind, issuer, now);
        if let Known::Silence = known {
            return MaybeReady::ready(status(self.0.last_bad(&key)));
        }
        let answered = match known {
            Known::Answer(standing) if !self.0.is_due(&key, issuer, now) => {
                return MaybeReady::ready(status(Some(standing)));
            }
            Known::Answer(standing) => Some(standing),
            Known::Ask | Known::Silence => None,
        };
        let request = question(key).and_then(|question| self.start(question, now));
        match (answered, request) {
            (Some(standing), _) => MaybeReady::ready(status(Some(standing))),
            (None, None) => MaybeReady::ready(status(self.0.last_bad(&key))),
            (None, Some(request)) => MaybeReady::Wait(Box::pin(async move {
                // What came while we waited counts, also where a call that read the clock after us had asked for it.
                let told = request.outcome().await.flatten();
                status(told.or_else(|| self.0.last_bad(&key)))
            })),
        }
    }

    /// The request for `question`, which may be one that is under way; `None` when it cannot be made now.
    fn start(&self, question: Question, now: UnixSeconds) -> Option<Landing<Option<Standing>>> {
        let mut requests = lock(&self.0.requests);
        if let Some(request) = requests.get(&question.key).filter(|request| request.is_under_way()) {
            return Some(request.landing());
        }
        if requests.len() >= MAX_STATUS_QUESTIONS {
            requests.retain(|_, request| request.is_under_way());
        }
        if requests.len() >= MAX_STATUS_QUESTIONS || !self.0.may_try(&question.issuer, now) {
            return None;
        }
        let key = question.key;
        let request = Flight::start(answer(Arc::downgrade(&self.0), self.0.fetcher.clone(), question, now))?;
        let landing = request.landing();
        requests.insert(key, request);
        Some(landing)
    }
}

/// Makes the request and keeps its outcome. It holds no owner: dropping the last source ends it.
async fn answer(inner: Weak<Inner>, fetcher: Fetcher, question: Question, now: UnixSeconds) -> Option<Standing> {
    let asked = Instant::now();
    let outcome = question.fetch(&fetcher).await;
    inner.upgrade()?.note(&question, outcome, now, asked);
    outcome.ok()
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// The issuer works, and knows nothing of what was asked.
    NotKnown,
    /// The issuer does not work.
    Issuer,
    /// We did not ask.
    Ours,
}

impl Question {
    fn badge(key: Key, issuer: &str, jti: &str) -> Option<Self> {
        let origin = HttpOrigin::parse(issuer).ok()?;
        let url = format!("{}/v1/badges/{}/status", origin.as_str(), escape::segment(jti)?);
        let (issuer, id) = (issuer.to_owned(), jti.to_owned());
        Some(Self { key, kind: Kind::Badge, issuer, url, id, did: None })
    }

    fn subject(key: Key, issuer: &str, subject: &Did) -> Option<Self> {
        let origin = HttpOrigin::parse(issuer).ok()?;
        let did = subject.as_str();
        let host = origin.as_str().rsplit_once("://").map(|(_, host)| host.replace(':', "%3A"))?;
        let own = did.strip_prefix("did:web:").is_some_and(|rest| rest.split(':').next() == Some(&host));
        // The id that ends the DID and has no escapes: what has another form is asked for by its full name.
        let plain =
            |id: &&str| own && did.strip_suffix(id).is_some_and(|rest| rest.ends_with(':')) && !id.contains('%');
        let web = subject.web();
        let (folder, id) = match web.map(|web| (web.agent_id().filter(plain), web.server_id().filter(plain))) {
            Some((Some(agent), _)) => ("agents", agent),
            Some((_, Some(server))) => ("servers", server),
            Some((None, None)) | None => ("agents", did),
        };
        Some(Self {
            key,
            kind: Kind::Subject,
            issuer: issuer.to_owned(),
            url: format!("{}/v1/{folder}/{}/status", origin.as_str(), escape::segment(id)?),
            id: id.to_owned(),
            did: Some(did.to_owned()),
        })
    }

    async fn fetch(&self, fetcher: &Fetcher) -> Result<Standing, Failure> {
        match fetcher.get(&self.url, JSON, MAX_STATUS_BYTES).await {
            Ok(body) => self.standing(&body).ok_or(Failure::Issuer),
            Err(error) => {
                let kind = error.kind();
                let not_known =
                    matches!(kind, FetchErrorKind::Status(status) if status != 429 && (400..500).contains(&status));
                if kind == FetchErrorKind::Busy {
                    Err(Failure::Ours)
                } else if not_known {
                    Err(Failure::NotKnown)
                } else {
                    Err(Failure::Issuer)
                }
            }
        }
    }

    /// What an answer says, if it is one to this question.
    fn standing(&self, body: &[u8]) -> Option<Standing> {
        let answer = parse_unique_json(body).ok()?;
        if answer.get("error").is_some_and(|error| !error.is_null()) {
            return None;
        }
        match self.kind {
            Kind::Badge => {
                let named = answer.get("jti")?.as_str()? == self.id;
                let revoked = answer.get("revoked")?.as_bool()?;
                named.then_some(if revoked { Standing::Bad } else { Standing::Good })
            }
            Kind::Subject => {
                if !self.is_named_by(answer.get("id"), answer.get("did")) {
                    return None;
                }
                let status = answer.get("status")?.as_str()?;
                Some(if status == "active" { Standing::Good } else { Standing::Bad })
            }
        }
    }

    /// Whether an answer with these members is about the subject.
    fn is_named_by(&self, id: Option<&Value>, did: Option<&Value>) -> bool {
        let full = self.did.as_deref().unwrap_or_default();
        let is = |named: &Value, text: &str| named.as_str() == Some(text);
        match (did, id) {
            // Asked for by its DID, and answered about it, an agent has whatever id the registry gave it.
            (Some(did), _) if self.id == full => is(did, full),
            (Some(did), Some(id)) => is(did, full) && (is(id, &self.id) || is(id, full)),
            (Some(did), None) => is(did, full),
            (None, Some(id)) => is(id, full) || is(id, &self.id),
            (None, None) => false,
        }
    }
}

impl Inner {
    fn known(&self, key: &Key, kind: Kind, issuer: &str, now: UnixSeconds) -> Known {
        let answer = self.answers.get(key).unwrap_or_default();
        match answer.known {
            Some(told) if kind == Kind::Badge && told.standing == Standing::Bad => return Known::Answer(Standing::Bad),
            Some(told) if told.is_young(now, self.lifetime) => return Known::Answer(told.standing),
            _ => {}
        }
        let failed = answer.failed_at.is_some_and(|at| is_young(at, now, FAILURE_MEMORY));
        if failed || self.is_open(issuer, now) { Known::Silence } else { Known::Ask }
    }

    /// Whether a good answer is past half of its life, and may be asked for anew.
    fn is_due(&self, key: &Key, issuer: &str, now: UnixSeconds) -> bool {
        let Some(answer) = self.answers.get(key) else { return false };
        let failed = answer.failed_at.is_some_and(|at| is_young(at, now, FAILURE_MEMORY));
        let half = self.lifetime.checked_div(2).unwrap_or_default();
        let old =
            answer.known.is_some_and(|told| told.standing == Standing::Good && now >= told.at.saturating_add(half));
        old && !failed && !self.is_open(issuer, now)
    }

    /// What stands when the issuer is silent: nobody becomes active again because the issuer cannot be reached.
    fn last_bad(&self, key: &Key) -> Option<Standing> {
        let standing = self.answers.get(key)?.known?.standing;
        (standing == Standing::Bad).then_some(standing)
    }

    /// An answer is as old as its question; a failure begins when it is known.
    fn note(&self, question: &Question, outcome: Result<Standing, Failure>, at: UnixSeconds, asked: Instant) {
        let ended_at = at.saturating_add(asked.elapsed());
        let mut answer = self.answers.get(&question.key).unwrap_or_default();
        match outcome {
            Ok(standing) => (answer.known, answer.failed_at) = (Some(Told { standing, at, asked }), None),
            Err(_) => answer.failed_at = Some(ended_at),
        }
        self.answers.insert(question.key, answer);
        let mut circuits = lock(&self.circuits);
        let Some(circuit) = circuits.get_mut(&question.issuer) else { return };
        match outcome {
            Ok(_) | Err(Failure::NotKnown) => *circuit = Circuit::default(),
            Err(Failure::Ours) => {}
            Err(Failure::Issuer) => {
                circuit.failures = circuit.failures.saturating_add(1);
                circuit.open_until = circuit.open_time().map(|open| ended_at.saturating_add(open));
                if circuit.failures == FAILURES_TO_OPEN {
                    tracing::warn!(issuer = %question.issuer, "the issuer does not say what its badges are worth");
                }
            }
        }
    }

    /// Whether `issuer` is left alone at `now`.
    fn is_open(&self, issuer: &str, now: UnixSeconds) -> bool {
        lock(&self.circuits).get(issuer).is_some_and(|circuit| circuit.is_open(now))
    }

    /// Whether `issuer` may be asked. When its circuit has just ended, only the one that asks here may, for a while.
    fn may_try(&self, issuer: &str, now: UnixSeconds) -> bool {
        let mut circuits = lock(&self.circuits);
        if !circuits.contains_key(issuer) && circuits.len() >= MAX_ISSUERS {
            return false;
        }
        let circuit = circuits.entry(issuer.to_owned()).or_default();
        if circuit.is_open(now) {
            return false;
        }
        circuit.open_until = circuit.open_time().map(|open| now.saturating_add(open));
        true
    }
}

impl Circuit {
    /// A time that lies further ahead than any that was set is from before a jump of the clock.
    fn is_open(&self, now: UnixSeconds) -> bool {
        self.open_until.is_some_and(|until| now < until && until <= now.saturating_add(MAX_OPEN))
    }

    fn open_time(&self) -> Option<Duration> {
        let beyond = self.failures.checked_sub(FAILURES_TO_OPEN)?;
        Some(Duration::from_secs(1_u64 << beyond.min(5)).min(MAX_OPEN))
    }
}

/// Asked for at most `limit` ago. A call that read the clock a second earlier may see a later time.
fn is_young(at: UnixSeconds, now: UnixSeconds, limit: Duration) -> bool {
    at <= now.saturating_add(Duration::from_secs(1)) && now <= at.saturating_add(limit)
}

fn key(kind: Kind, issuer: &str, id: &str) -> Key {
    let kind = match kind {
        Kind::Badge => b'b',
        Kind::Subject => b's',
    };
    let length = u64::try_from(issuer.len()).unwrap_or(u64::MAX).to_be_bytes();
    Sha256::new().chain_update([kind]).chain_update(length).chain_update(issuer).chain_update(id).finalize().into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change under a lock is one insertion, removal or assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StatusSource for OnlineStatus {
    fn badge_status<'a>(&'a self, issuer: &'a str, jti: &'a str, now: UnixSeconds) -> MaybeReady<'a, RevocationStatus> {
        let question = |key| Question::badge(key, issuer, jti);
        self.ask(Kind::Badge, issuer, jti, now, question, |standing| match standing {
            Some(Standing::Good) => RevocationStatus::Good,
            Some(Standing::Bad) => RevocationStatus::Revoked,
            None => RevocationStatus::Unknown,
        })
    }

    fn agent_status<'a>(&'a self, issuer: &'a str, subject: &'a Did, now: UnixSeconds) -> MaybeReady<'a, AgentStatus> {
        let question = |key| Question::subject(key, issuer, subject);
        self.ask(Kind::Subject, issuer, subject.as_str(), now, question, |standing| match standing {
            Some(Standing::Good) => AgentStatus::Active,
            Some(Standing::Bad) => AgentStatus::Disabled,
            None => AgentStatus::Unknown,
        })
    }
}

impl fmt::Debug for OnlineStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnlineStatus").field("lifetime", &self.0.lifetime).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::test_util::TEST_NOW;

    /// Attack: the issuer is cut off and our clock is set back, until it says again what it said at the last good answer.
    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_keeps_no_answer_alive() {
        let issuer = "https://registry.example.com";
        // Resolves nothing and connects to nothing: what is not at hand is asked for, and that takes time.
        let source = OnlineStatus::new(Fetcher::new().unwrap());
        let question = Question::badge(key(Kind::Badge, issuer, "j"), issuer, "j").unwrap();
        source.0.note(&question, Ok(Standing::Good), TEST_NOW, Instant::now());
        let at_hand = || source.badge_status(issuer, "j", TEST_NOW).now_or_never();
        assert_eq!(at_hand(), Some(RevocationStatus::Good));
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(at_hand(), None, "it has to be asked for again");
    }
}
