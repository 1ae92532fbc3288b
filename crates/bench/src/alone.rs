//! Parts of a guarded call alone, on one thread and without a transport.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use ed25519_dalek::{Signature, VerifyingKey};
use rmcp_guard::encoding::base64url_decode;
use rmcp_guard::enforce::{Call, CallerCredential, Enforcer, GuardConfigBuilder, Outcome, PresentedCredential};
use rmcp_guard::evidence::EvidenceLog;
use rmcp_guard::identity::badge::{BadgeContext, VerifiedBadge};
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::policy::{self, Decision};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use crate::files::TOOL;
use crate::grid::Spread;
use crate::usage;
use crate::world::{Caller, Evidence, badge, config, now, open_log, registry};

/// Nanoseconds that one piece of work takes, in each of some runs that alternate with those of other work.
#[derive(Clone, Debug)]
pub struct Nanos(Vec<f64>);

impl Nanos {
    pub fn spread(&self) -> Spread {
        Spread::of(self.0.iter().copied())
    }

    /// Run by run beside `base`, since the speed of a shared processor changes between runs.
    pub fn ratio(&self, base: &Self) -> Spread {
        Spread::of(self.0.iter().zip(&base.0).map(|(nanos, base)| nanos / base))
    }

    /// Run by run beside the sum of two others.
    pub fn ratio_to_sum(&self, one: &Self, other: &Self) -> Spread {
        let sums = Self(one.0.iter().zip(&other.0).map(|(one, other)| one + other).collect());
        self.ratio(&sums)
    }
}

/// How often each piece of work has its turn.
const RUNS: u32 = 9;

/// What each of `works` takes once, on this thread. `time` is for one of them, all its runs together.
pub fn in_turn(time: Duration, works: &mut [&mut dyn FnMut()]) -> Vec<Nanos> {
    let often: Vec<u64> = works
        .iter_mut()
        .map(|work| {
            let mut times = 1_u64;
            loop {
                let begun = Instant::now();
                (0..times).for_each(|_| work());
                // as often as fills a run
                if begun.elapsed() >= time / RUNS / 2 {
                    break times;
                }
                times *= 2;
            }
        })
        .collect();
    let mut found = vec![Nanos(Vec::new()); works.len()];
    for _ in 0..RUNS {
        for ((work, times), found) in works.iter_mut().zip(&often).zip(&mut found) {
            let begun = usage::thread();
            (0..*times).for_each(|_| work());
            found.0.push(usage::thread().saturating_sub(begun).as_nanos() as f64 / *times as f64);
        }
    }
    found
}

/// A badge and all that is needed to check it by hand.
#[derive(Debug)]
pub struct Signed {
    pub token: String,
    message: Vec<u8>,
    signature: Signature,
    key: VerifyingKey,
}

impl Signed {
    pub fn new() -> Self {
        let token = badge(&registry());
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = Signature::from_slice(&base64url_decode(signature).unwrap()).unwrap();
        let key = VerifyingKey::from_bytes(SigningKey::from_seed(&[1; 32]).public_key().as_bytes()).unwrap();
        Self { message: message.as_bytes().to_vec(), signature, key, token }
    }

    /// One strict verification of the badge's very bytes, by the crate that does it in the end.
    pub fn verify_strict(&self) {
        self.key.verify_strict(black_box(&self.message), &self.signature).unwrap();
    }
}

impl Default for Signed {
    fn default() -> Self {
        Self::new()
    }
}

/// The enforcer of a server, and a call for it.
#[derive(Debug)]
pub struct Desk {
    pub enforcer: Enforcer,
    arguments: Map<String, Value>,
    runtime: Runtime,
}

impl Desk {
    pub fn new(
        log: &EvidenceLog,
        outcomes: bool,
        change: impl FnOnce(GuardConfigBuilder) -> GuardConfigBuilder,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let config = change(config(log, Caller::Badge, outcomes)).build().unwrap();
        let arguments = json!({ "path": "/srv/files/reports/2026/third-quarter.txt", "content": "x".repeat(100) });
        let Value::Object(arguments) = arguments else { panic!() };
        Self { enforcer: Enforcer::new(config), arguments, runtime }
    }

    /// The guarded call without a transport and with a tool that does nothing.
    pub fn call(&self, credential: &PresentedCredential) {
        self.runtime.block_on(async {
            let permit = self.enforcer.authorize(&Call::tool(TOOL, Some(&self.arguments)), credential).await.unwrap();
            permit.finish(Outcome::Ok, None).await.unwrap();
        });
    }

    pub fn verify(&self, token: &str) -> VerifiedBadge {
        self.verify_on(&self.runtime, token)
    }

    /// The same on another thread's runtime.
    pub fn verify_on(&self, runtime: &Runtime, token: &str) -> VerifiedBadge {
        let verifier = self.enforcer.config().verifier();
        runtime.block_on(async { verifier.verify(token, &BadgeContext::at(now())).await.unwrap() })
    }

    /// The decision: the rule of the tool, the caller, the answer.
    pub fn decide(&self, badge: &VerifiedBadge) {
        let policy = self.enforcer.config().policy();
        let answer = policy.evaluate(black_box(TOOL), policy::Caller::Badge(black_box(badge)), None);
        assert_eq!(answer.decision, Decision::Allow);
    }
}

/// What [`measure`] found, in nanoseconds.
#[derive(Debug)]
pub struct Alone {
    pub decision: Nanos,
    pub verify_cached: Nanos,
    pub verify_cold: Nanos,
    pub verify_strict: Nanos,
    pub call_cached: Nanos,
    pub call_cold: Nanos,
}

impl Alone {
    /// A guarded call with a badge never seen, beside one strict verification and a guarded call with a remembered one.
    pub fn cold(&self) -> Spread {
        self.call_cold.ratio_to_sum(&self.verify_strict, &self.call_cached)
    }
}

pub fn measure(time: Duration) -> Alone {
    let signed = Signed::new();
    let desk = Desk::new(&open_log(Evidence::Nowhere, Path::new("")), true, |config| config);
    let verified = desk.verify(&signed.token);
    let cached: PresentedCredential = Ok(CallerCredential::badge(signed.token.clone()));

    // without a memory every badge is one that was never seen
    let forgetful = Desk::new(&open_log(Evidence::Nowhere, Path::new("")), true, |config| config.signature_cache(0));
    let found = in_turn(
        time,
        &mut [
            &mut || desk.decide(&verified),
            &mut || drop(black_box(desk.verify(&signed.token))),
            &mut || drop(black_box(forgetful.verify(&signed.token))),
            &mut || signed.verify_strict(),
            &mut || desk.call(&cached),
            &mut || forgetful.call(&cached),
        ],
    );
    let [decision, verify_cached, verify_cold, verify_strict, call_cached, call_cold] = found.try_into().unwrap();
    Alone { decision, verify_cached, verify_cold, verify_strict, call_cached, call_cold }
}
