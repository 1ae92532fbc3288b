//! Calls == records when the server is killed, and when its disk becomes full: a guarded server in a process of its own,
//! under the load of a stock client.
//!
//! The page cache outlives kill -9, so it shows what still stands in the process alone. The disk is made full by a limit
//! on the length of files (`ulimit -f`), at which a file that must grow cannot: the log then gets no further segment, as
//! on a disk without room, and no root is needed for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use rmcp::model::*;
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt as _};
use rmcp_guard::enforce::Principal;
use rmcp_guard::evidence::verify::{Verdict, Verifier};
use rmcp_guard::evidence::{EvidenceLog, EvidenceMode, Receipt, read_records};
use rmcp_guard::layer::guard::{GuardLayer, META_DENIAL};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tower::Layer as _;

use crate::common::{Client, Credential, LEVELS, badge, config};

/// Far beyond what a loaded machine needs; no test passes by waiting for it.
const PATIENCE: Duration = Duration::from_secs(120);
/// Calls in flight.
const CALLERS: usize = 16;
/// Longest file of a server whose disk becomes full: two segments of a log are as long, the next would be longer.
const FILE_LIMIT_KIB: u64 = 1024;
/// More than fit into the segments that there are.
const TOO_MANY: usize = 50_000;

const MODES: [EvidenceMode; 3] = [EvidenceMode::Strict, EvidenceMode::Bounded, EvidenceMode::BestEffort];

const fn name(mode: EvidenceMode) -> &'static str {
    match mode {
        EvidenceMode::Strict => "strict",
        EvidenceMode::Bounded => "bounded",
        EvidenceMode::BestEffort => "best-effort",
    }
}

/// Where a server has its log, and where it says what happened; each file is written with one write(2) a line.
#[derive(Clone)]
struct Place(PathBuf);

impl Place {
    fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// Calls that the tool has run, each with the id of its decision.
    fn ran(&self) -> PathBuf {
        self.0.join("ran")
    }

    /// What the log says of itself at the end.
    fn health(&self) -> PathBuf {
        self.0.join("health")
    }
}

/// Says that it ran, and answers.
#[derive(Clone)]
struct Tool(Arc<Mutex<File>>);

impl ServerHandler for Tool {
    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let number = request.arguments.unwrap()["number"].as_u64().unwrap();
        let decision = context.extensions.get::<Principal>().unwrap().evidence_id;
        let id = decision.map(|id| id.to_string()).unwrap_or_default();
        self.0.lock().unwrap().write_all(format!("{number} {id}\n").as_bytes()).unwrap();
        Ok(CallToolResult::success(vec![ContentBlock::text(number.to_string())]).into())
    }

    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the server process of the other tests"]
async fn child_server() {
    let text = |name: &str| std::env::var_os(name).and_then(|value| value.into_string().ok()).unwrap();
    let place = Place(PathBuf::from(text("SERVER_PLACE")));
    let mode = MODES.into_iter().find(|mode| name(*mode) == text("SERVER_MODE")).unwrap();
    let address: SocketAddr = text("SERVER_CLIENT").parse().unwrap();
    // how long a loaded machine takes to write is not what is tested here
    let options = EvidenceLog::options().mode(mode).wait_limit(PATIENCE);
    let log = options.create_or_open(place.log()).unwrap();
    let rules = config(&log);
    let rules = if mode == EvidenceMode::BestEffort { rules.dangerous_dev_profile() } else { rules };
    let guard = GuardLayer::new(rules.build().unwrap());
    let ran = OpenOptions::new().append(true).create_new(true).open(place.ran()).unwrap();
    let server = guard.layer(Tool(Arc::new(Mutex::new(ran))));
    let running = server.serve(TcpStream::connect(address).await.unwrap()).await.unwrap();
    running.waiting().await.unwrap();
    log.close();
    let health = log.health();
    let said = json!({"failed": health.failed, "dropped": health.dropped, "coalesced": health.coalesced});
    std::fs::write(place.health(), said.to_string()).unwrap();
}

/// Ends with its test, however that ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server in a process of its own, and a client of it.
struct Served {
    process: Process,
    client: Client,
    place: Place,
    _directory: tempfile::TempDir,
}

impl Served {
    async fn start(mode: EvidenceMode, file_limit_kib: Option<u64>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Place(directory.path().to_owned());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let program = std::env::current_exe().unwrap();
        let mut command = match file_limit_kib {
            None => Command::new(program),
            // without the trap the process would die of a signal instead of being told
            Some(kib) => {
                let mut shell = Command::new("sh");
                let limit = format!("trap '' XFSZ && ulimit -f {} && exec \"$0\" \"$@\"", kib * 2);
                shell.arg("-c").arg(limit).arg(program);
                shell
            }
        };
        command.args(["crash::child_server", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env("SERVER_PLACE", directory.path()).env("SERVER_MODE", name(mode));
        command.env("SERVER_CLIENT", listener.local_addr().unwrap().to_string());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await;
        let (stream, _) = accepted.expect("the server opens its log and comes").unwrap();
        stream.set_nodelay(true).unwrap();
        let credential = Credential::meta(&badge(10, LEVELS[2]));
        let client = crate::common::connect::client_over(stream, &ProtocolVersion::V_2026_07_28, credential).await;
        Self { process: Process(child), client, place, _directory: directory }
    }

    /// Calls from [`CALLERS`] at once until `is_over`, or until the connection is.
    async fn load(&self, is_over: impl Fn(&Answers) -> bool) -> Answers {
        let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let answers = Mutex::new(Answers::default());
        join_all((0..CALLERS).map(async |_| {
            while !over.load(Ordering::SeqCst) {
                let number = next.fetch_add(1, Ordering::SeqCst);
                // begun after somebody had been denied, as far as this client can know
                let late = !answers.lock().unwrap().denied.is_empty();
                let answer = self.call(number).await;
                let mut answers = answers.lock().unwrap();
                answers.sent += 1;
                answers.late.extend(late.then_some(number));
                match answer {
                    None => over.store(true, Ordering::SeqCst),
                    Some(Answer::Allowed(receipt)) => drop(answers.allowed.insert(number, receipt)),
                    Some(Answer::Denied(reason, id)) => drop(answers.denied.insert(number, (reason, id))),
                }
                if is_over(&answers) {
                    over.store(true, Ordering::SeqCst);
                }
            }
        }))
        .await;
        answers.into_inner().unwrap()
    }

    /// `None` when the connection is gone.
    async fn call(&self, number: usize) -> Option<Answer> {
        let arguments = json!({"number": number}).as_object().unwrap().clone();
        let params = CallToolRequestParams::new("level2").with_arguments(arguments);
        let mut request = ClientRequest::from(CallToolRequest::new(params));
        request.get_meta_mut().extend(RequestMetaObject(MetaObject(self.client.meta.clone())));
        let ServerResult::CallToolResult(result) = self.client.service.send_request(request).await.ok()? else {
            panic!("an answer of another kind")
        };
        let meta = result.meta.map(|meta| Value::Object(meta.0)).unwrap_or_default();
        if let Some(denial) = meta.get(META_DENIAL) {
            let id = denial["evidence_id"].as_str().map(str::to_owned);
            return Some(Answer::Denied(denial["reason"].as_str().unwrap().to_owned(), id));
        }
        assert_eq!(result.content[0].as_text().unwrap().text, number.to_string());
        Some(Answer::Allowed(meta.get(Receipt::META_KEY).map(|receipt| Receipt::from_json(receipt).unwrap())))
    }
}

enum Answer {
    Allowed(Option<Receipt>),
    /// Reason, and the record that the caller was referred to.
    Denied(String, Option<String>),
}

/// What calls came to, by their number.
#[derive(Default)]
struct Answers {
    sent: usize,
    allowed: BTreeMap<usize, Option<Receipt>>,
    denied: BTreeMap<usize, (String, Option<String>)>,
    late: BTreeSet<usize>,
}

/// What the log and the tool have when the server is gone.
struct Left {
    decisions: BTreeSet<String>,
    /// The decisions that have an outcome.
    concluded: BTreeSet<String>,
    /// Numbers of calls that ran, with their decisions.
    ran: BTreeMap<usize, String>,
}

impl Left {
    /// Opens the log once more, as the next process would, and has it verified.
    fn of(place: &Place) -> Self {
        let log = EvidenceLog::create_or_open(place.log()).unwrap();
        let verifier = Verifier::new([log.verifier_key().unwrap()]);
        log.publish(PATIENCE).unwrap();
        log.close();
        drop(log);
        for report in verifier.verify_set(place.log(), &mut |_, _| {}) {
            assert_eq!(report.verdict, Verdict::Intact, "{report:#?}");
        }
        let records = read_records(place.log()).unwrap();
        let of_kind = |kind: &str, member: &str| {
            let records: Vec<_> = records.iter().filter(|record| record["rmcp_guard.kind"] == kind).collect();
            let ids: BTreeSet<_> = records.iter().map(|it| it[member].as_str().unwrap().to_owned()).collect();
            assert_eq!(ids.len(), records.len(), "each {kind} once");
            ids
        };
        let refused = records.iter().filter(|record| record["capiscio.decision"] == "DENY").count();
        assert_eq!(refused, 0, "the rule allows all of these calls");
        Self {
            decisions: of_kind("decision", "id"),
            concluded: of_kind("outcome", "rmcp_guard.decision_id"),
            ran: ran(&place.ran()),
        }
    }
}

fn ran(file: &Path) -> BTreeMap<usize, String> {
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| line.split_once(' ').unwrap());
    let ran: BTreeMap<usize, String> = lines.map(|(number, id)| (number.parse().unwrap(), id.to_owned())).collect();
    assert_eq!(ran.len(), text.lines().count(), "no call runs twice");
    ran
}

/// What holds of every call that was answered as allowed, in the modes that promise something.
fn assert_answered_calls_are_recorded(mode: EvidenceMode, answers: &Answers, left: &Left) {
    for (number, receipt) in &answers.allowed {
        let context = format!("{mode:?} {number}");
        let receipt = receipt.as_ref().unwrap_or_else(|| panic!("{context}: a receipt"));
        assert_eq!(left.ran.get(number).map(String::as_str), Some(&*receipt.id), "{context}");
        assert!(left.decisions.contains(&*receipt.id), "{context}: the decision is lost");
        if mode == EvidenceMode::Strict {
            assert!(receipt.durable && left.concluded.contains(&*receipt.id), "{context}: the outcome is lost");
        }
    }
    if mode == EvidenceMode::Strict {
        // also of calls that nobody got an answer to
        let unrecorded: Vec<_> = left.ran.iter().filter(|(_, id)| !left.decisions.contains(*id)).collect();
        assert!(unrecorded.is_empty(), "{mode:?}: ran before their decision was on disk: {unrecorded:?}");
    }
}

/// Stops a server that is killed under load from having answered a call that its log knows nothing of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_has_a_record_of_every_call_that_it_answered() {
    for mode in MODES {
        for answered in [1, 100, 400] {
            let mut served = Served::start(mode, None).await;
            let pid = served.process.0.id();
            let killed = AtomicBool::new(false);
            let answers = served
                .load(|answers| {
                    let enough = answers.allowed.len() >= answered;
                    if enough && !killed.swap(true, Ordering::SeqCst) {
                        kill(pid);
                    }
                    // the others go on until the connection ends
                    false
                })
                .await;
            let status = served.process.0.wait().unwrap();
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{mode:?}");
            assert!(answers.denied.is_empty() && answers.allowed.len() >= answered, "{mode:?}");
            let left = Left::of(&served.place);
            let known: BTreeSet<_> = left.concluded.difference(&left.decisions).collect();
            assert!(known.is_empty(), "{mode:?}: outcomes without their decision: {known:?}");
            assert!(left.decisions.len() <= answers.sent, "{mode:?}: more decisions than calls");
            if mode != EvidenceMode::BestEffort {
                assert_answered_calls_are_recorded(mode, &answers, &left);
            }
        }
    }
}

fn kill(pid: u32) {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Stops a server without room for records from running tools as if they were recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_disk_is_full_denies_and_has_a_record_of_every_call_that_it_answered() {
    for mode in [EvidenceMode::Strict, EvidenceMode::Bounded] {
        let mut served = Served::start(mode, Some(FILE_LIMIT_KIB)).await;
        let answers = served.load(|answers| answers.late.len() >= 200 || answers.sent >= TOO_MANY).await;
        served.client.service.cancel().await.unwrap();
        assert!(served.process.0.wait().unwrap().success(), "{mode:?}");
        assert!(answers.late.len() >= 200, "{mode:?}: the disk does not fill");
        let left = Left::of(&served.place);
        assert!(answers.allowed.len() > 100, "{mode:?}: {}", answers.allowed.len());
        assert_answered_calls_are_recorded(mode, &answers, &left);
        assert_eq!(answers.sent, answers.allowed.len() + answers.denied.len(), "{mode:?}: every call has its answer");
        for (number, (reason, id)) in &answers.denied {
            assert_eq!(reason, "evidence_unavailable", "{mode:?} {number}");
            // an id is handed out where it leads to a record: the call ran, and its answer was withheld
            let ran = left.ran.get(number);
            if let Some(id) = id {
                assert!(ran == Some(id) && left.decisions.contains(id), "{mode:?} {number}");
            } else if mode == EvidenceMode::Strict {
                assert_eq!(ran, None, "{mode:?} {number}: ran without its decision");
            }
        }
        let ran_late: Vec<_> = answers.late.iter().filter(|number| left.ran.contains_key(number)).collect();
        assert!(ran_late.is_empty(), "{mode:?}: ran when nothing could be recorded: {ran_late:?}");
        let health: Value = serde_json::from_slice(&std::fs::read(served.place.health()).unwrap()).unwrap();
        assert_eq!(health, json!({"failed": true, "dropped": 0, "coalesced": 0}), "{mode:?}");
    }
}

/// In best-effort mode a full disk stops no call, and each record that it costs is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_best_effort_mode_a_full_disk_costs_records_that_are_counted() {
    let mut served = Served::start(EvidenceMode::BestEffort, Some(FILE_LIMIT_KIB)).await;
    let answers = served.load(|answers| answers.sent >= 6_000).await;
    served.client.service.cancel().await.unwrap();
    assert!(served.process.0.wait().unwrap().success());
    assert!(answers.denied.is_empty());
    let left = Left::of(&served.place);
    assert_eq!((answers.allowed.len(), left.ran.len()), (answers.sent, answers.sent));
    let health: Value = serde_json::from_slice(&std::fs::read(served.place.health()).unwrap()).unwrap();
    assert_eq!(health["failed"], true, "the disk does not fill");
    let told =
        left.decisions.len() + left.concluded.len() + usize::try_from(health["dropped"].as_u64().unwrap()).unwrap();
    assert_eq!(told, 2 * answers.sent, "a decision and an outcome of each call, on record or counted: {health}");
}
