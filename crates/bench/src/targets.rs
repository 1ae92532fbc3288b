//! What the guard may cost, and whether it does.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::alone::Alone;
use crate::connect::Transport;
use crate::curves::Curve;
use crate::grid::{Cell, Spread};
use crate::report::spread;
use crate::world::{Around, Caller, Evidence, Variant};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

/// One target, judged by the median; `measured` is `None` where this run did not look.
#[derive(Clone, Debug)]
pub struct Target {
    pub what: String,
    pub bar: Bar,
    pub unit: &'static str,
    pub measured: Option<Spread>,
}

impl Target {
    pub fn held(&self) -> Option<bool> {
        let median = self.measured?.median;
        Some(match self.bar {
            Bar::AtMost(bar) => median <= bar,
            Bar::AtLeast(bar) => median >= bar,
        })
    }

    fn verdict(&self) -> &'static str {
        match self.held() {
            Some(true) => "held",
            Some(false) => "**missed**",
            None => "not measured",
        }
    }

    pub fn json(&self) -> Value {
        let (bar, at_least) = match self.bar {
            Bar::AtMost(bar) => (bar, false),
            Bar::AtLeast(bar) => (bar, true),
        };
        json!({
            "target": self.what,
            "bar": bar,
            "at_least": at_least,
            "unit": self.unit,
            "measured": self.measured.map(Spread::json),
            "held": self.held(),
        })
    }
}

/// All targets, judged by what one run found; `groups` are its cells.
pub fn judge(groups: &[Vec<Cell>], alone: Option<&Alone>, allocations: &Value, curves: &[Curve]) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut add = |what: String, bar, unit, measured| targets.push(Target { what, bar, unit, measured });
    let forms = [("decisions", false, 1.06, 12.0), ("decisions and outcomes", true, 1.10, 22.0)];
    for (receipts, name) in [(true, ""), (false, ", no receipts")] {
        for (records, outcomes, ratio, us) in forms {
            let variant = Variant {
                around: Around::Guard,
                caller: Caller::Badge,
                evidence: Evidence::Bounded,
                outcomes,
                receipts,
            };
            let http = beside_bare(groups, Transport::HttpJson2026, false, variant);
            let memory = beside_bare(groups, Transport::Memory, false, variant);
            let thread = beside_bare(groups, Transport::Memory, true, variant);
            add(
                format!("HTTP stateless JSON, processor time of a call beside the bare one, {records}{name}"),
                Bar::AtMost(ratio),
                "",
                http.map(|(cell, bare)| cell.ratio(bare, |it| it.cpu)),
            );
            add(
                format!("HTTP stateless JSON, throughput beside the bare server's, {records}{name}"),
                Bar::AtLeast(0.93),
                "",
                http.map(|(cell, bare)| cell.ratio(bare, |it| it.calls_per_second)),
            );
            add(
                format!("in memory, processor time added to a call, {records}{name}"),
                Bar::AtMost(us),
                "us",
                memory.map(|(cell, bare)| cell.added(bare, |it| it.cpu)),
            );
            add(
                format!("in memory, of that on the caller's thread, {records}{name}"),
                Bar::AtMost(6.0),
                "us",
                thread.map(|(cell, bare)| cell.added(bare, |it| it.thread)),
            );
        }
    }
    let decision = alone.map(|alone| alone.decision.spread());
    let micros =
        |nanos: Spread| Spread { median: nanos.median / 1e3, least: nanos.least / 1e3, greatest: nanos.greatest / 1e3 };
    add("decision alone".to_owned(), Bar::AtMost(2.0), "us", decision.map(micros));
    let counted = allocations["decision"]["allocations"].as_f64().map(|counted| Spread::of([counted]));
    add("decision alone, allocations".to_owned(), Bar::AtMost(0.0), "", counted);
    add(
        "guarded call with a cold badge beside one strict verification and a guarded call".to_owned(),
        Bar::AtMost(1.2),
        "",
        alone.map(Alone::cold),
    );
    for name in ["rules", "remembered badges", "revocations"] {
        let curve = curves.iter().find(|curve| curve.name == name);
        let last = curve.and_then(|curve| curve.points.last()).map_or(0, |point| point.size);
        let dearest = curve.and_then(|curve| {
            let ratios = curve.points.iter().map(|point| point.ratio);
            ratios.max_by(|one, other| one.median.total_cmp(&other.median))
        });
        add(
            format!("guarded call by {name}, up to {last}, the dearest beside the first"),
            Bar::AtMost(1.5),
            "",
            dearest,
        );
    }
    targets
}

/// The cell of `variant` with 32 in flight, and that of the bare call beside it.
fn beside_bare(
    groups: &[Vec<Cell>],
    transport: Transport,
    one_thread: bool,
    variant: Variant,
) -> Option<(&Cell, &Cell)> {
    let fits = |cell: &&Cell| {
        let group = &cell.group;
        let place = group.transport == transport && group.in_flight == 32 && !group.own_process;
        place && group.one_thread == one_thread && cell.variant == variant
    };
    groups.iter().find_map(|cells| Some((cells.iter().find(fits)?, cells.first()?)))
}

pub fn table(targets: &[Target]) -> String {
    let mut out =
        String::from("\n## Targets\n\nEach judged by the median.\n\n| | bar | measured | |\n|---|---:|---:|---|\n");
    for target in targets {
        let (sign, bar) = match target.bar {
            Bar::AtMost(bar) => ("<=", bar),
            Bar::AtLeast(bar) => (">=", bar),
        };
        let measured = target.measured.map_or_else(String::new, |measured| spread(measured, 2));
        let _ = writeln!(out, "| {} | {sign} {bar} {} | {measured} | {} |", target.what, target.unit, target.verdict());
    }
    out
}
