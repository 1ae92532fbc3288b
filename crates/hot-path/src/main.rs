//! Does one part of a guarded call so many times: `rmcp-guard-hot-path PART TIMES`. `count.sh` counts its instructions.
//!
//! It has few dependencies, so that it is built in a minute, and no input that changes, so that the count hardly does.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a world that cannot be built fails the gate")]

use std::hint::black_box;
use std::sync::Arc;

use rmcp_guard::clock::Clock as _;
use rmcp_guard::enforce::{Call, CallerCredential, Enforcer, GuardConfig, Outcome};
use rmcp_guard::evidence::{
    AppendError, EvidenceLog, EvidenceMode, EvidenceStore, OpenError, Reservation, Room, RoomFreed, StoreHealth, Ticket,
};
use rmcp_guard::identity::badge::{BadgeContext, Revocations};
use rmcp_guard::identity::resolve::StatusList;
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::policy::{Caller, Decision, ToolRequirement};
use rmcp_guard::test_util::TestIssuer;
use serde_json::{Value, json};

const AUDIENCE: &str = "https://files.example.com";
const TOOL: &str = "read_file";

/// Takes records and forgets them: threads that write them would be counted too, and never alike.
#[derive(Debug)]
struct Forgotten(Arc<Room>);

impl EvidenceStore for Forgotten {
    fn reserve(&self, records: u32) -> Result<Reservation, AppendError> {
        self.0.reserve(records)
    }

    fn append(&self, reservation: &mut Reservation, event: Vec<u8>) -> Result<Ticket, AppendError> {
        reservation.take(&self.0)?;
        self.0.give_back(1);
        drop(black_box(event));
        Ok(Ticket::kept())
    }

    fn reserve_unauthenticated(&self, records: u32) -> Result<Reservation, AppendError> {
        self.0.reserve_unauthenticated(records)
    }

    fn room_freed(&self) -> RoomFreed {
        self.0.freed()
    }

    fn records(&self) -> Result<Vec<Value>, OpenError> {
        Ok(Vec::new())
    }

    fn health(&self) -> StoreHealth {
        StoreHealth::default()
    }

    fn close(&self) {}
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, part, times] = arguments.as_slice() else { panic!("PART TIMES") };
    let times: u32 = times.parse().unwrap();

    let issuer = TestIssuer::new().unwrap();
    let clock = issuer.clock();
    let log = EvidenceLog::with_store(Arc::new(Forgotten(Room::new(64))), EvidenceMode::Bounded).unwrap();
    let config = GuardConfig::builder()
        .audience(AUDIENCE)
        .trusted_issuer(issuer.issuer().unwrap())
        .revocations(Revocations::offline(Arc::new(StatusList::new(clock.now_unix()))))
        .tool("list_*", ToolRequirement::authenticated())
        .tool(TOOL, ToolRequirement::min_trust(TrustLevel::DomainValidated))
        .evidence(log)
        .clock(clock.clone());
    let enforcer = Enforcer::new(config.build().unwrap());
    let token = issuer.badge(TrustLevel::DomainValidated, AUDIENCE).unwrap();
    let credential = Ok(CallerCredential::badge(token.clone()));
    let arguments = json!({ "path": "/srv/files/reports/2026/third-quarter.txt", "content": "x".repeat(100) });
    let verifier = enforcer.config().verifier();
    let context = BadgeContext::at(clock.now_unix());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let badge = runtime.block_on(verifier.verify(&token, &context)).unwrap();

    for _ in 0..times {
        match part.as_str() {
            "decision" => {
                let answer =
                    enforcer.config().policy().evaluate(black_box(TOOL), Caller::Badge(black_box(&badge)), None);
                assert_eq!(answer.decision, Decision::Allow);
            }
            "badge" => drop(black_box(runtime.block_on(verifier.verify(black_box(&token), &context)).unwrap())),
            "call" => runtime.block_on(async {
                let call = Call::tool(black_box(TOOL), arguments.as_object());
                let permit = enforcer.authorize(&call, &credential).await.unwrap();
                permit.finish(Outcome::Ok, None).await.unwrap();
            }),
            other => panic!("no part {other}"),
        }
    }
}
