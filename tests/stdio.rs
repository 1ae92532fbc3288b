//! The matrix over real standard streams: this program runs itself again as the guarded server.
//!
//! It is its own test harness, because a server that speaks on standard output must not share it with one.

#![expect(unreachable_pub, reason = "what stories share is public to them")]
#![expect(clippy::disallowed_methods, reason = "servers under test run in tasks of their own")]
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed step fails the test")]
#![expect(clippy::wildcard_imports, reason = "modules made for the other test binary")]
#![expect(clippy::arithmetic_side_effects, reason = "counters of a few hundred")]
#![expect(clippy::wildcard_enum_match_arm, reason = "an answer of another kind fails the test")]
#![expect(clippy::print_stdout, reason = "it reports like a test harness")]

#[path = "it/common/mod.rs"]
mod common;
#[path = "it/matrix.rs"]
mod matrix;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rmcp::ServiceExt as _;
use rmcp::model::ProtocolVersion;
use rmcp::transport::TokioChildProcess;
use rmcp_guard::evidence::EvidenceLog;
use rmcp_guard::layer::guard::GuardLayer;
use tower::Layer as _;

use common::{Credential, Demo, Transport, config, connect};

/// Set for the child: the directory of its evidence, and whether it accepts level 0.
const EVIDENCE: &str = "RMCP_GUARD_TEST_EVIDENCE";
const LEVEL_ZERO: &str = "RMCP_GUARD_TEST_LEVEL_ZERO";

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(directory) = std::env::var_os(EVIDENCE) {
        runtime.block_on(serve(Path::new(&directory), std::env::var_os(LEVEL_ZERO).is_some()));
        return ExitCode::SUCCESS;
    }
    // libtest's protocol, as far as `cargo test` and filters use it.
    let filter: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let name = "the_matrix_is_the_same_over_stdio";
    if std::env::args().any(|argument| argument == "--list") {
        println!("{name}: test");
        return ExitCode::SUCCESS;
    }
    if !filter.is_empty() && !filter.iter().any(|filter| name.contains(filter)) {
        println!("\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out");
        return ExitCode::SUCCESS;
    }
    println!("\nrunning 1 test");
    runtime.block_on(every_revision());
    println!("test {name} ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
    ExitCode::SUCCESS
}

async fn serve(directory: &Path, accepts_level_zero: bool) {
    // a busy machine is no failing log
    let evidence = EvidenceLog::options().wait_limit(Duration::from_secs(10)).create_or_open(directory).unwrap();
    let guard = GuardLayer::new(matrix::rules(config(&evidence), accepts_level_zero).build().unwrap());
    let running = guard.layer(Demo::default()).serve(rmcp::transport::stdio()).await.unwrap();
    running.waiting().await.unwrap();
    evidence.close();
}

async fn every_revision() {
    for version in ProtocolVersion::KNOWN_VERSIONS {
        for accepts_level_zero in [false, true] {
            let name = format!("stdio {version} level 0 {accepts_level_zero}");
            let folder = tempfile::tempdir().unwrap();
            let child = tokio::sync::Mutex::new(0_usize);
            let connect = async |credential: Credential| {
                // One child at a time: its log has one writer, and the next child continues it.
                let mut number = child.lock().await;
                *number += 1;
                let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
                command.env(EVIDENCE, folder.path().join(number.to_string()));
                if accepts_level_zero {
                    command.env(LEVEL_ZERO, "1");
                }
                connect::client_over(TokioChildProcess::new(command).unwrap(), version, credential).await
            };
            let result = matrix::play(&name, Transport::Duplex, accepts_level_zero, connect).await;
            let mut records = Vec::new();
            for number in 1..=*child.lock().await {
                let folder = folder.path().join(number.to_string());
                records.extend(EvidenceLog::create_or_open(folder).unwrap().records().unwrap());
            }
            matrix::check_evidence(&name, &records, result);
        }
    }
}
