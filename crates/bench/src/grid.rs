//! Groups of variants that are measured together: round after round, one variant after the other, all beside bare rmcp.

use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use serde_json::{Value, json};

use crate::connect::Transport;
use crate::load::{Slice, World};
use crate::peers::Peer;
use crate::world::{Around, Caller, Evidence, Variant};

/// Variants that are compared with each other, the first of which is bare rmcp.
#[derive(Clone, Debug)]
pub struct Group {
    pub transport: Transport,
    /// Whether the server has a process of its own.
    pub own_process: bool,
    /// Whether client and server share the one thread of their runtime.
    pub one_thread: bool,
    pub in_flight: usize,
    /// Bytes of the tool's argument, which comes back as its answer.
    pub content: usize,
    pub variants: Vec<Variant>,
}

/// How long everything is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    pub rounds: usize,
    pub slice: Duration,
    /// Where logs go, and stay.
    pub logs: PathBuf,
}

/// One variant of one group, round by round.
#[derive(Clone, Debug)]
pub struct Cell {
    pub group: Group,
    pub variant: Variant,
    pub rounds: Vec<Round>,
}

#[derive(Clone, Debug)]
pub struct Round {
    pub calls_per_second: f64,
    /// Microseconds.
    pub p50: f64,
    pub p99: f64,
    /// Microseconds of processor time for each call, of everything in this process.
    pub cpu: f64,
    /// Of `cpu`, the one thread of client and server, where they share one.
    pub thread: f64,
    /// The same of the server's process.
    pub server_cpu: f64,
    /// Of `cpu`, the log's writing thread and its tiler.
    pub writer: f64,
    pub tiler: f64,
}

impl Round {
    fn of(slice: &Slice) -> Self {
        let calls = slice.calls.max(1) as f64;
        let per_call = |time: Duration| time.as_secs_f64() * 1e6 / calls;
        let at = |share: f64| {
            let place = (slice.latencies.len().saturating_sub(1) as f64 * share) as usize;
            slice.latencies.get(place).map_or(0.0, |nanos| *nanos as f64 / 1e3)
        };
        let thread = |name: &str| {
            per_call(slice.threads.iter().filter(|(other, _)| other.starts_with(name)).map(|(_, time)| *time).sum())
        };
        Self {
            calls_per_second: slice.calls as f64 / slice.time.as_secs_f64(),
            p50: at(0.5),
            p99: at(0.99),
            cpu: per_call(slice.cpu),
            thread: per_call(slice.thread_cpu),
            server_cpu: per_call(slice.server_cpu),
            writer: thread("rmcp-guard-evid"),
            tiler: thread("rmcp-guard-tile"),
        }
    }
}

/// Median, least and greatest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub greatest: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let Some((&least, &greatest)) = values.first().zip(values.last()) else { return Self::default() };
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Self { median: f64::midpoint(low, high), least, greatest }
    }

    pub fn json(self) -> Value {
        json!([self.median, self.least, self.greatest])
    }
}

impl Cell {
    pub fn spread(&self, of: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(of))
    }

    /// Round by round beside `base`: the ratio of a figure.
    pub fn ratio(&self, base: &Self, of: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().zip(&base.rounds).map(|(round, base)| of(round) / of(base)))
    }

    /// Round by round beside `base`: the difference of a figure.
    pub fn added(&self, base: &Self, of: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().zip(&base.rounds).map(|(round, base)| of(round) - of(base)))
    }

    /// The server without a check that this one's framework has, where it is not rmcp's.
    pub fn own_bare<'a>(&self, cells: &'a [Self]) -> Option<&'a Self> {
        let Around::Peer(peer) = self.variant.around else { return None };
        let bare = Variant::peer(peer.own_bare()?);
        cells.iter().find(|cell| cell.variant == bare)
    }

    pub fn json(&self, base: &Self) -> Value {
        json!({
            "transport": self.group.transport.name(),
            "own_process": self.group.own_process,
            "one_thread": self.group.one_thread,
            "in_flight": self.group.in_flight,
            "content_bytes": self.group.content,
            "variant": self.variant.name(),
            "evidence": self.variant.evidence_name(),
            "calls_per_second": self.spread(|it| it.calls_per_second).json(),
            "throughput_ratio": self.ratio(base, |it| it.calls_per_second).json(),
            "p50_us": self.spread(|it| it.p50).json(),
            "p99_us": self.spread(|it| it.p99).json(),
            "cpu_us": self.spread(|it| it.cpu).json(),
            "cpu_ratio": self.ratio(base, |it| it.cpu).json(),
            "cpu_added_us": self.added(base, |it| it.cpu).json(),
            "thread_us": self.spread(|it| it.thread).json(),
            "thread_added_us": self.added(base, |it| it.thread).json(),
            "server_cpu_us": self.spread(|it| it.server_cpu).json(),
            "server_cpu_ratio": self.ratio(base, |it| it.server_cpu).json(),
            "writer_us": self.spread(|it| it.writer).json(),
            "tiler_us": self.spread(|it| it.tiler).json(),
        })
    }
}

/// Measures one group; its cells in the order of its variants.
///
/// In a box, so that this is compiled here and not again in each program.
pub fn measure<'a>(group: &'a Group, plan: &'a Plan) -> Pin<Box<dyn Future<Output = Vec<Cell>> + 'a>> {
    Box::pin(measure_now(group, plan))
}

async fn measure_now(group: &Group, plan: &Plan) -> Vec<Cell> {
    let mut worlds = Vec::new();
    for variant in &group.variants {
        let mut world = World::start(group.transport, *variant, group.own_process, group.content, &plan.logs).await;
        world.slice(group.in_flight, plan.slice / 4).await;
        worlds.push(world);
    }
    let mut cells: Vec<_> = group
        .variants
        .iter()
        .map(|variant| Cell { group: group.clone(), variant: *variant, rounds: Vec::new() })
        .collect();
    for number in 0..plan.rounds {
        // to and fro, so that nobody always comes after the same neighbour
        let mut order: Vec<_> = (0..worlds.len()).collect();
        if number % 2 == 1 {
            order.reverse();
        }
        for place in order {
            let slice = worlds[place].slice(group.in_flight, plan.slice).await;
            cells[place].rounds.push(Round::of(&slice));
        }
    }
    for world in worlds {
        world.stop().await;
    }
    cells
}

/// Who calls, on every transport: beside the bare call, and with records forgotten, kept in the background, and waited for.
pub fn callers(transport: Transport, in_flight: usize) -> Group {
    let mut variants = vec![Variant::BARE, Variant::BARE_BADGE];
    for evidence in [Evidence::Nowhere, Evidence::Bounded, Evidence::Strict] {
        let with = |around, caller| Variant { around, caller, evidence, ..Variant::CACHED };
        variants.extend([with(Around::Guard, Caller::Anonymous), with(Around::Guard, Caller::Badge)]);
        // a session's badge stands in a header that its client sends each time, so it cannot be another one on each call
        if transport != Transport::HttpStateful {
            variants.push(with(Around::Guard, Caller::ColdBadge));
        }
        variants.push(with(Around::Everything, Caller::Badge));
    }
    Group { transport, own_process: false, one_thread: false, in_flight, content: 100, variants }
}

/// Where records go, and which.
pub fn evidence(transport: Transport, own_process: bool) -> Group {
    let modes = [Evidence::Nowhere, Evidence::BestEffort, Evidence::Bounded, Evidence::Strict];
    let modes = modes
        .into_iter()
        .flat_map(|evidence| [false, true].map(|outcomes| Variant { evidence, outcomes, ..Variant::CACHED }));
    let bounded = [false, true].map(|outcomes| Variant { outcomes, receipts: false, ..Variant::CACHED });
    let guarded = modes.chain(bounded);
    let shown = |it: &Variant| !own_process || it.evidence == Evidence::Bounded;
    let variants = [Variant::BARE, Variant::BARE_BADGE].into_iter().chain(guarded.filter(shown)).collect();
    Group { transport, own_process, one_thread: false, in_flight: 32, content: 100, variants }
}

/// Of [`evidence`], what the targets are about.
pub fn bounded(transport: Transport) -> Group {
    let mut group = evidence(transport, false);
    group.variants.retain(|it| *it == Variant::BARE || (!it.is_bare() && it.evidence == Evidence::Bounded));
    group
}

/// Other frameworks beside ours, servers in processes of their own.
pub fn peers(transport: Transport) -> Group {
    let decisions = Variant { outcomes: false, receipts: false, ..Variant::CACHED };
    let forgotten = Variant { evidence: Evidence::Nowhere, ..decisions };
    let ours = [
        Variant::BARE,
        Variant { caller: Caller::Anonymous, ..forgotten },
        forgotten,
        decisions,
        Variant { receipts: true, ..decisions },
        Variant::CACHED,
    ];
    let variants = ours.into_iter().chain(Peer::over(transport).map(Variant::peer)).collect();
    Group { transport, own_process: true, one_thread: false, in_flight: 32, content: 100, variants }
}

/// Client, server and guard on one thread: what a guarded call takes of its caller's thread.
pub fn thread(in_flight: usize) -> Group {
    let decisions = Variant { outcomes: false, ..Variant::CACHED };
    let without = |variant| Variant { receipts: false, ..variant };
    let variants = vec![
        Variant::BARE,
        Variant::BARE_BADGE,
        without(decisions),
        without(Variant::CACHED),
        decisions,
        Variant::CACHED,
    ];
    Group { transport: Transport::Memory, own_process: false, one_thread: true, in_flight, content: 100, variants }
}

/// The bare and the guarded call with more to carry.
pub fn payload(content: usize) -> Group {
    let variants = vec![Variant::BARE_BADGE, Variant::CACHED];
    Group { transport: Transport::Memory, own_process: false, one_thread: false, in_flight: 1, content, variants }
}
