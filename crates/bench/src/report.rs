//! Tables in Markdown, and one plot.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::alone::{Alone, Nanos};
use crate::connect::Transport;
use crate::curves::Curve;
use crate::grid::{Cell, Round, Spread};

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
    out.push_str(
        "| | evidence | calls/s | of bare | p50 us | p99 us | CPU us/call | of bare | added us | writer, tiles us |\n",
    );
    out.push_str("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    let Some(bare) = cells.first() else { return out };
    let server = bare.group.own_process || bare.group.transport == Transport::Stdio;
    for cell in cells {
        let cpu = |round: &Round| if server { round.server_cpu } else { round.cpu };
        let _ = writeln!(
            out,
            "| {} | {} | {:.0} | {} | {:.0} | {:.0} | {:.1} | {} | {} | {:.1}, {:.1} |",
            cell.variant.name(),
            cell.variant.evidence_name(),
            cell.spread(|it| it.calls_per_second).median,
            spread(cell.ratio(bare, |it| it.calls_per_second), 2),
            cell.spread(|it| it.p50).median,
            cell.spread(|it| it.p99).median,
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
    fn rows(&self) -> [(&'static str, Nanos); 6] {
        [
            ("decision", self.decision),
            ("badge, signature remembered", self.verify_cached),
            ("badge, signature checked", self.verify_cold),
            ("`verify_strict` of the same bytes by ed25519-dalek", self.verify_strict),
            ("guarded call, signature remembered", self.call_cached),
            ("guarded call, signature checked", self.call_cold),
        ]
    }

    pub fn json(&self) -> Value {
        self.rows()
            .iter()
            .map(|(name, nanos)| json!({ "of": name, "least": nanos.least, "median": nanos.median }))
            .collect()
    }
}

pub fn alone(alone: &Alone) -> String {
    let mut out = String::from(
        "\n## Parts alone\n\nOne thread, no transport, records forgotten.\n\n| | ns, least of 9 | ns, median |\n|---|---:|---:|\n",
    );
    for (name, nanos) in alone.rows() {
        let _ = writeln!(out, "| {name} | {:.0} | {:.0} |", nanos.least, nanos.median);
    }
    let sum = alone.verify_strict.least + alone.call_cached.least;
    let _ = writeln!(
        out,
        "\nA guarded call with a cold badge costs {:.2} times one strict verification and a guarded call with a remembered badge.",
        alone.call_cold.least / sum
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

pub fn curves(curves: &[Curve]) -> String {
    let mut out = String::from(
        "\n## Cost by size\n\nMicroseconds of processor time for each call.\n\n| | | dearest by cheapest |\n|---|---|---:|\n",
    );
    for curve in curves {
        let points: Vec<_> = curve.points.iter().map(|(size, cost)| format!("{}: {cost:.1}", short(*size))).collect();
        let _ = writeln!(out, "| {} | {} | {:.2} |", curve.name, points.join(", "), curve.steepness());
    }
    out
}

fn spread(spread: Spread, digits: usize) -> String {
    format!("**{:.digits$}** ({:.digits$}..{:.digits$})", spread.median, spread.least, spread.greatest)
}

pub fn bytes(bytes: usize) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

/// Lines over sizes, both on logarithmic scales, as SVG.
pub fn plot(curves: &[Curve]) -> String {
    const COLOURS: [&str; 6] = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b"];
    const LEFT: f64 = 60.0;
    const RIGHT: f64 = 560.0;
    const TOP: f64 = 20.0;
    const BOTTOM: f64 = 280.0;
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let most = points().map(|(size, _)| *size).max().unwrap_or(1).max(10) as f64;
    let dearest = points().map(|(_, cost)| *cost).fold(1.0, f64::max);
    let tops: Vec<f64> = (0..8).map(|exponent| 10_f64.powi(exponent)).collect();
    let top = tops.iter().copied().find(|top| *top >= dearest).unwrap_or(dearest);
    let x = |size: u64| LEFT + (RIGHT - LEFT) * (size.max(1) as f64).log10() / most.log10();
    let y = |cost: f64| BOTTOM - (BOTTOM - TOP) * cost.max(1.0).log10() / top.log10().max(1.0);

    let mut out = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 330\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"760\" height=\"330\" fill=\"white\"/>\n",
    );
    for line in tops.iter().copied().take_while(|line| *line <= top) {
        let at = y(line);
        let _ = writeln!(out, "<path d=\"M{LEFT} {at:.1}H{RIGHT}\" stroke=\"#ddd\"/>");
        let _ = writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{line} us</text>", LEFT - 6.0, at + 4.0);
    }
    let mut decade = 1;
    while decade as f64 <= most {
        let at = x(decade);
        let _ = writeln!(out, "<path d=\"M{at:.1} {TOP}V{BOTTOM}\" stroke=\"#eee\"/>");
        let _ = writeln!(
            out,
            "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            BOTTOM + 18.0,
            short(decade)
        );
        decade *= 10;
    }
    for ((number, curve), colour) in curves.iter().enumerate().zip(COLOURS) {
        let line: Vec<_> = curve.points.iter().map(|(size, cost)| format!("{:.1},{:.1}", x(*size), y(*cost))).collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        for (size, cost) in &curve.points {
            let _ = writeln!(out, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>", x(*size), y(*cost));
        }
        let at = TOP + 20.0 + 20.0 * number as f64;
        let _ = writeln!(out, "<text x=\"575\" y=\"{at}\" fill=\"{colour}\">{}</text>", curve.name);
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"318\" text-anchor=\"middle\">how many, or bytes of content</text>",
        LEFT.midpoint(RIGHT)
    );
    out.push_str("</svg>\n");
    out
}

fn short(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{}k", number / 1_000),
        _ => format!("{}M", number / 1_000_000),
    }
}
