//! Closed loops of calls for a while, and what they took.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::connect::{Client, Server, Transport};
use crate::usage;
use crate::world::{Caller, Variant, badge, registry};

/// One variant, ready to be called.
#[derive(Debug)]
pub struct World {
    pub variant: Variant,
    pub transport: Transport,
    server: Server,
    client: Arc<Client>,
    content: Arc<str>,
}

/// What one slice of calls took.
#[derive(Clone, Debug, Default)]
pub struct Slice {
    pub calls: u64,
    pub time: Duration,
    /// Of this process: client, server, and the log until it is at rest.
    pub cpu: Duration,
    /// Of the thread that measures, which is the only one where the runtime has one thread.
    pub thread_cpu: Duration,
    /// Of the server's process, where it has its own.
    pub server_cpu: Duration,
    pub threads: BTreeMap<String, Duration>,
    /// Nanoseconds of each call.
    pub latencies: Vec<u64>,
}

impl World {
    /// Its log is a directory in `logs` and stays there: a file system that has just removed thousands of files is slow to
    /// make new ones, which whoever is measured next would pay for.
    pub fn start(
        transport: Transport,
        variant: Variant,
        own_process: bool,
        content: usize,
        logs: &Path,
    ) -> Pin<Box<dyn Future<Output = Self> + '_>> {
        Box::pin(Self::start_now(transport, variant, own_process, content, logs))
    }

    async fn start_now(transport: Transport, variant: Variant, own_process: bool, content: usize, logs: &Path) -> Self {
        let log = tempfile::tempdir_in(logs).unwrap().keep().join("log");
        let badge = (variant.caller != Caller::Anonymous).then(|| badge(&registry()));
        let mut server = Server::start(transport, variant, own_process, &log).await;
        let client = server.connect(transport, variant, &log, badge.as_deref()).await;
        Self { variant, transport, server, client: Arc::new(client), content: "x".repeat(content).into() }
    }

    /// `in_flight` loops of calls, each waiting for its answer, until `time` is over.
    pub fn slice(&mut self, in_flight: usize, time: Duration) -> Pin<Box<dyn Future<Output = Slice> + '_>> {
        Box::pin(self.slice_now(in_flight, time))
    }

    async fn slice_now(&mut self, in_flight: usize, time: Duration) -> Slice {
        let cold = self.cold_badges(time);
        let next = Arc::new(AtomicUsize::new(0));
        let threads = usage::by_thread(None);
        let server = self.server.process.map(|id| usage::by_thread(Some(id)));
        let (cpu, thread_cpu) = (usage::process(), usage::thread());
        let start = Instant::now();
        let loops: Vec<_> = (0..in_flight)
            .map(|_| {
                let (client, content, cold) = (Arc::clone(&self.client), Arc::clone(&self.content), Arc::clone(&cold));
                let next = Arc::clone(&next);
                tokio::spawn(async move {
                    let mut latencies = Vec::with_capacity(1 << 14);
                    while start.elapsed() < time {
                        let badge = cold.get(next.fetch_add(1, Ordering::Relaxed)).map(String::as_str);
                        if badge.is_none() && !cold.is_empty() {
                            break; // none is used twice
                        }
                        let begun = Instant::now();
                        client.call(&content, badge).await;
                        latencies.push(u64::try_from(begun.elapsed().as_nanos()).unwrap());
                    }
                    latencies
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for one in loops {
            latencies.append(&mut one.await.unwrap());
        }
        let time = start.elapsed();
        let thread_cpu = usage::thread().saturating_sub(thread_cpu);
        self.server.rest().await;
        let cpu = usage::process().saturating_sub(cpu);
        let server_cpu = match server {
            Some(before) => difference(&usage::by_thread(self.server.process), &before).into_values().sum(),
            None => Duration::ZERO,
        };
        let threads = difference(&usage::by_thread(None), &threads);
        latencies.sort_unstable();
        Slice { calls: latencies.len() as u64, time, cpu, thread_cpu, server_cpu, threads, latencies }
    }

    /// `calls` calls, one after the other.
    pub fn calls(&self, calls: u64) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async move {
            for _ in 0..calls {
                self.client.call(&self.content, None).await;
            }
        })
    }

    /// Badges that were never seen, more than there will be calls.
    fn cold_badges(&self, time: Duration) -> Arc<[String]> {
        if self.variant.caller != Caller::ColdBadge {
            return Arc::default();
        }
        let issuer = registry();
        let per_second = if self.transport.is_http() { 15_000.0 } else { 30_000.0 };
        let most = (time.as_secs_f64() * per_second) as usize + 100;
        (0..most).map(|_| badge(&issuer)).collect()
    }

    pub async fn stop(self) {
        if let Some(client) = Arc::into_inner(self.client) {
            client.close().await;
        }
        self.server.stop().await;
    }
}

fn difference(now: &BTreeMap<String, Duration>, before: &BTreeMap<String, Duration>) -> BTreeMap<String, Duration> {
    now.iter()
        .map(|(name, time)| (name.clone(), time.saturating_sub(before.get(name).copied().unwrap_or_default())))
        .collect()
}
