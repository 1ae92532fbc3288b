//! Tables in Markdown.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::alone::{Alone, Nanos};
use crate::connect::Transport;
use crate::curves::{Curve, Point};
use crate::grid::{Cell, Round, Spread};

/// The columns that every table of whole calls begins with.
const HEAD: &str = "| | evidence | calls/s | of bare | p50 us | p99 us |";
const RULE: &str = "|---|---|---:|---:|---:|---:|";

fn start_of_row(cell: &Cell, bare: &Cell) -> String {
    format!(
        "| {} | {} | {:.0} | {} | {:.0} | {:.0} |",
        cell.variant.name(),
        cell.variant.evidence_name(),
        cell.spread(|it| it.calls_per_second).median,
        spread(cell.ratio(bare, |it| it.calls_per_second), 2),
        cell.spread(|it| it.p50).median,
        cell.spread(|it| it.p99).median,
    )
}

/// A table of cells beside the first of their group, which is bare rmcp.
pub fn table(cells: &[Cell]) -> String {
    let mut out = String::new();
    let title = cells.first().map_or_else(String::new, |cell| {
        let place = if cell.group.own_process { ", server in its own process" } else { "" };
        format!(
            "{}{place}, {} in flight, {}",
            cell.group.transport.name(),
            cell.group.in_flight,
            bytes(cell.group.content)
        )
    });
    let _ = writeln!(out, "\n**{title}**\n");
    let _ = writeln!(out, "{HEAD} CPU us/call | of bare | added us | writer, tiles us |");
    let _ = writeln!(out, "{RULE}---:|---:|---:|---:|");
    let Some(bare) = cells.first() else { return out };
    let server = bare.group.own_process || bare.group.transport == Transport::Stdio;
    for cell in cells {
        let cpu = |round: &Round| if server { round.server_cpu } else { round.cpu };
        let _ = writeln!(
            out,
            "{} {:.1} | {} | {} | {:.1}, {:.1} |",
            start_of_row(cell, bare),
            cell.spread(cpu).median,
            spread(cell.ratio(bare, cpu), 3),
            spread(cell.added(bare, cpu), 1),
            cell.spread(|it| it.writer).median,
            cell.spread(|it| it.tiler).median,
        );
    }
    out
}

/// Client, server and guard on one thread.
pub fn threads(cells: &[Cell]) -> String {
    let mut out = String::new();
    let Some(bare) = cells.first() else { return out };
    let _ = writeln!(out, "\n**in memory, one thread, {} in flight**\n", bare.group.in_flight);
    out.push_str("| | evidence | the thread us/call | added us | whole process us/call | added us |\n|---|---|---:|---:|---:|---:|\n");
    for cell in cells {
        let _ = writeln!(
            out,
            "| {} | {} | {:.1} | {} | {:.1} | {} |",
            cell.variant.name(),
            cell.variant.evidence_name(),
            cell.spread(|it| it.thread).median,
            spread(cell.added(bare, |it| it.thread), 1),
            cell.spread(|it| it.cpu).median,
            spread(cell.added(bare, |it| it.cpu), 1),
        );
    }
    out
}

impl Alone {
    fn rows(&self) -> [(&'static str, &Nanos); 6] {
        [
            ("decision", &self.decision),
            ("badge, signature remembered", &self.verify_cached),
            ("badge, signature checked", &self.verify_cold),
            ("`verify_strict` of the same bytes by ed25519-dalek", &self.verify_strict),
            ("guarded call, signature remembered", &self.call_cached),
            ("guarded call, signature checked", &self.call_cold),
        ]
    }

    pub fn json(&self) -> Value {
        self.rows().iter().map(|(name, nanos)| json!({ "of": name, "spread": nanos.spread().json() })).collect()
    }
}

pub fn alone(alone: &Alone) -> String {
    let mut out = String::from(
        "\n## Parts alone\n\nOne thread, no transport, records forgotten.\n\n| | ns, median | least | greatest of 9 |\n|---|---:|---:|---:|\n",
    );
    for (name, nanos) in alone.rows() {
        let spread = nanos.spread();
        let _ = writeln!(out, "| {name} | **{:.0}** | {:.0} | {:.0} |", spread.median, spread.least, spread.greatest);
    }
    let _ = writeln!(
        out,
        "\nA guarded call with a cold badge costs {} times one strict verification and a guarded call with a remembered badge.",
        spread(alone.cold(), 2)
    );
    out
}

pub fn allocations(counted: &Value) -> String {
    let mut out = String::from(
        "\n## Allocations\n\nOn the thread of client, server and guard; not on the log's.\n\n| | allocations | bytes |\n|---|---:|---:|\n",
    );
    for (name, counted) in counted.as_object().into_iter().flatten() {
        let _ = writeln!(
            out,
            "| {name} | {:.1} | {:.0} |",
            counted["allocations"].as_f64().unwrap_or(-1.0),
            counted["bytes"].as_f64().unwrap_or(-1.0)
        );
    }
    out
}

/// `by_bytes` are the bare and the guarded call, or nothing.
pub fn curves(by_number: &[Curve], by_bytes: &[Curve]) -> String {
    let mut out = String::from(
        "\n## Cost by size\n\nMicroseconds of processor time for each call; in brackets beside the first point.\n\n| | | dearest |\n|---|---|---:|\n",
    );
    for curve in by_number.iter().chain(by_bytes).filter(|curve| !curve.points.is_empty()) {
        let point = |point: &Point| format!("{}: {:.1} ({:.2})", short(point.size), point.us, point.ratio.median);
        let points: Vec<_> = curve.points.iter().map(point).collect();
        let _ = writeln!(out, "| {} | {} | **{:.2}** |", curve.name, points.join(", "), curve.steepness());
    }
    out.push_str("\n![Cost by size](performance.svg)\n");
    out
}

/// Other frameworks beside bare rmcp, and beside their own bare servers.
pub fn peers(cells: &[Cell]) -> String {
    let mut out = String::new();
    let Some(bare) = cells.first() else { return out };
    let title = bare.group.transport.name();
    let _ = writeln!(out, "\n**{title}, {} in flight, beside bare rmcp**\n", bare.group.in_flight);
    let _ = writeln!(out, "{HEAD} server CPU us/call | of bare | of its own bare |");
    let _ = writeln!(out, "{RULE}---:|---:|---:|");
    for cell in cells {
        let own = cell.own_bare(cells).map_or_else(String::new, |own| spread(cell.ratio(own, |it| it.server_cpu), 2));
        let _ = writeln!(
            out,
            "{} {:.1} | {} | {own} |",
            start_of_row(cell, bare),
            cell.spread(|it| it.server_cpu).median,
            spread(cell.ratio(bare, |it| it.server_cpu), 2),
        );
    }
    out
}

pub(crate) fn spread(spread: Spread, digits: usize) -> String {
    format!("**{:.digits$}** ({:.digits$}..{:.digits$})", spread.median, spread.least, spread.greatest)
}

pub fn bytes(bytes: usize) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

pub(crate) fn short(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{}k", number / 1_000),
        _ => format!("{}M", number / 1_000_000),
    }
}
