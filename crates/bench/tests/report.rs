//! What the tool does with figures, on figures that are given.

#![expect(clippy::indexing_slicing, clippy::float_cmp, reason = "a test fails by panicking")]

use rmcp_guard_bench::connect::Transport;
use rmcp_guard_bench::curves::{Curve, Point, payload};
use rmcp_guard_bench::grid::{Cell, Group, Round, Spread, bounded, callers, evidence, peers};
use rmcp_guard_bench::plot::plot;
use rmcp_guard_bench::targets::{Bar, Target, judge, table};
use rmcp_guard_bench::world::{Evidence, Variant};
use rmcp_guard_bench::{peers::Peer, report};
use serde_json::{Value, json};

fn round(cpu: f64, calls_per_second: f64) -> Round {
    Round {
        calls_per_second,
        p50: 1.0,
        p99: 2.0,
        cpu,
        thread: cpu / 2.0,
        server_cpu: cpu / 4.0,
        writer: 0.0,
        tiler: 0.0,
    }
}

fn cell(group: &Group, variant: Variant, rounds: &[(f64, f64)]) -> Cell {
    let rounds = rounds.iter().map(|(cpu, calls)| round(*cpu, *calls)).collect();
    Cell { group: group.clone(), variant, rounds }
}

fn decisions() -> Variant {
    Variant { outcomes: false, ..Variant::CACHED }
}

fn curve(name: &'static str, points: &[(u64, f64)]) -> Curve {
    let first = points[0].1;
    let point = |&(size, us): &(u64, f64)| Point { size, us, ratio: Spread::of([us / first]) };
    Curve { name, points: points.iter().map(point).collect() }
}

#[test]
fn spread_is_the_median_with_its_least_and_greatest() {
    let odd = Spread::of([5.0, 1.0, 3.0]);
    assert_eq!((odd.median, odd.least, odd.greatest), (3.0, 1.0, 5.0));
    assert_eq!(Spread::of([4.0, 1.0, 2.0, 10.0]).median, 3.0);
    assert_eq!(Spread::of([]).median, 0.0);
}

/// A machine that is twice as slow in one round is so for both: the ratio does not see it.
#[test]
fn a_ratio_is_that_of_rounds_and_not_of_medians() {
    let group = bounded(Transport::Memory);
    let bare = cell(&group, Variant::BARE, &[(10.0, 100.0), (20.0, 50.0), (30.0, 40.0)]);
    let guarded = cell(&group, decisions(), &[(20.0, 50.0), (22.0, 45.0), (33.0, 36.0)]);
    let ratio = guarded.ratio(&bare, |round| round.cpu);
    assert!((ratio.median - 1.1).abs() < 1e-9 && ratio.greatest == 2.0, "{ratio:?}");
    let added = guarded.added(&bare, |round| round.cpu);
    assert_eq!((added.median, added.least, added.greatest), (3.0, 2.0, 10.0));
    // of the medians it would be 22 / 20
    let throughput = guarded.ratio(&bare, |round| round.calls_per_second);
    assert!((throughput.median - 0.9).abs() < 1e-9, "{throughput:?}");
}

#[test]
fn tables_have_as_many_columns_in_each_row() {
    let group = bounded(Transport::Memory);
    let cells = [cell(&group, Variant::BARE, &[(10.0, 100.0)]), cell(&group, decisions(), &[(15.0, 80.0)])];
    for table in [report::table(&cells), report::threads(&cells), report::peers(&cells)] {
        let rows: Vec<_> = table.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(rows.len(), 4, "{table}");
        assert!(rows.iter().all(|row| row.matches('|').count() == rows[0].matches('|').count()), "{table}");
    }
    let table = report::table(&cells);
    assert!(table.contains("**in memory, 32 in flight, 100 B**"), "{table}");
    assert!(
        table.contains("| 80 | **0.80** (0.80..0.80) |") && table.contains("| **1.500** (1.500..1.500) |"),
        "{table}"
    );
}

/// A server in its own process is judged by that process, not by the client beside it.
#[test]
fn own_process_is_compared_by_the_server() {
    let group = evidence(Transport::HttpJson2026, true);
    let mut cells = [cell(&group, Variant::BARE, &[(10.0, 100.0)]), cell(&group, decisions(), &[(10.0, 100.0)])];
    cells[1].rounds[0].server_cpu = 5.0;
    assert!(report::table(&cells).contains("| 5.0 | **2.000** (2.000..2.000) |"));
}

#[test]
fn a_peer_is_beside_bare_rmcp_and_beside_its_own_server() {
    let group = peers(Transport::HttpJson2026);
    let cells = [
        cell(&group, Variant::BARE, &[(10.0, 100.0)]),
        cell(&group, Variant::peer(Peer::KitHooks), &[(12.0, 90.0)]),
        cell(&group, Variant::peer(Peer::TowerBare), &[(20.0, 50.0)]),
        cell(&group, Variant::peer(Peer::TowerGuard), &[(22.0, 45.0)]),
    ];
    let table = report::peers(&cells);
    let row = |name: &str| table.lines().find(|line| line.contains(name)).unwrap();
    assert!(row(Peer::KitHooks.name()).ends_with("**1.20** (1.20..1.20) |  |"), "{table}");
    assert!(row(Peer::TowerGuard.name()).ends_with("**2.20** (2.20..2.20) | **1.10** (1.10..1.10) |"), "{table}");
}

#[test]
fn the_grid_has_every_caller_under_every_kind_of_evidence() {
    let group = callers(Transport::HttpJson2026, 32);
    for evidence in [Evidence::Nowhere, Evidence::Bounded, Evidence::Strict] {
        let guarded = group.variants.iter().filter(|it| !it.is_bare() && it.evidence == evidence);
        let names: Vec<_> = guarded.map(Variant::name).collect();
        let all =
            ["guard, anonymous", "guard, cached badge", "guard, cold badge", "guard, cached badge, identity, sessions"];
        assert_eq!(names, all);
    }
    assert_eq!(group.variants[0], Variant::BARE);
    // the badge of a session cannot be another one on each call
    assert_eq!(callers(Transport::HttpStateful, 1).variants.len(), group.variants.len() - 3);
}

#[test]
fn a_variant_reaches_a_child_process_as_one_word() {
    for transport in Transport::ALL {
        for variant in callers(transport, 1).variants.into_iter().chain(evidence(transport, false).variants) {
            assert_eq!(Variant::from_word(&variant.to_word()), Some(variant));
        }
    }
    assert_eq!(Variant::from_word("Nothing"), None);
}

#[test]
fn targets_are_judged_by_the_median_and_what_was_not_measured_is_not_held() {
    let target = |bar, measured| Target { what: String::new(), bar, unit: "", measured };
    let spread = |values: [f64; 3]| Some(Spread::of(values));
    assert_eq!(target(Bar::AtMost(1.06), spread([1.0, 1.06, 2.0])).held(), Some(true));
    assert_eq!(target(Bar::AtMost(1.06), spread([1.0, 1.07, 1.07])).held(), Some(false));
    assert_eq!(target(Bar::AtLeast(0.93), spread([0.5, 0.93, 1.0])).held(), Some(true));
    assert_eq!(target(Bar::AtLeast(0.93), spread([0.5, 0.92, 1.0])).held(), Some(false));
    assert_eq!(target(Bar::AtMost(1.0), None).held(), None);
    assert_eq!(target(Bar::AtMost(0.0), Some(Spread::of([0.0]))).held(), Some(true));

    let judged = judge(&[], None, &Value::Null, &[]);
    assert_eq!(judged.len(), 22);
    assert!(judged.iter().all(|target| target.held().is_none()));
    assert_eq!(table(&judged).matches("not measured").count(), judged.len());
}

#[test]
fn targets_find_their_cells() {
    let (memory, http) = (bounded(Transport::Memory), bounded(Transport::HttpJson2026));
    let of =
        |group: &Group, bare, guarded| vec![cell(group, Variant::BARE, &[bare]), cell(group, decisions(), &[guarded])];
    let groups = [of(&memory, (30.0, 100.0), (41.0, 80.0)), of(&http, (100.0, 100.0), (107.0, 95.0))];
    let curves = [curve("rules", &[(1, 5.0), (10_000, 8.0)])];
    let judged = judge(&groups, None, &json!({ "decision": { "allocations": 0.0 } }), &curves);
    let found: Vec<_> = judged.iter().filter_map(|target| Some((target.what.as_str(), target.held()?))).collect();
    assert_eq!(
        found,
        [
            ("HTTP stateless JSON, processor time of a call beside the bare one, decisions", false),
            ("HTTP stateless JSON, throughput beside the bare server's, decisions", true),
            ("in memory, processor time added to a call, decisions", true),
            ("decision alone, allocations", true),
            ("guarded call by rules, up to 10000, the dearest beside the first", false),
        ]
    );
}

#[test]
fn a_curve_is_as_steep_as_its_dearest_point_beside_its_first() {
    assert_eq!(curve("rules", &[(1, 5.0), (10, 10.0), (100, 4.0)]).steepness(), 2.0);
    let cells = |content, bare, guarded| {
        let group = Group { content, ..bounded(Transport::Memory) };
        vec![cell(&group, Variant::BARE_BADGE, &[(bare, 1.0)]), cell(&group, Variant::CACHED, &[(guarded, 1.0)])]
    };
    let [bare, guarded] = payload(&[cells(100, 10.0, 20.0), cells(1_000, 20.0, 30.0)]);
    assert_eq!((bare.steepness(), guarded.steepness()), (2.0, 1.5));
    let table = report::curves(&[], &[bare]);
    assert!(table.contains("100: 10.0 (1.00), 1k: 20.0 (2.00) | **2.00** |"), "{table}");
}

/// Every point lies inside its diagram, zero has a place of its own, and nothing is not a number.
#[test]
fn the_plot_shows_every_point() {
    let by_number = [curve("rules", &[(1, 5.0), (10_000, 5.5)]), curve("revocations", &[(0, 5.0), (10_000_000, 7.0)])];
    let by_bytes = [curve("bare", &[(100, 30.0), (1_000_000, 9_000.0)])];
    let svg = plot(&by_number, &by_bytes);
    assert_eq!(svg.matches("<polyline").count(), 3);
    assert_eq!(svg.matches("<circle").count(), 6);
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    for word in ["us</text>", "10M", ">0<", "1M", "rules: dearest 1.10 of the first", "how many", "bytes of content"] {
        assert!(svg.contains(word), "no {word}");
    }
    for circle in svg.split("<circle cx=\"").skip(1) {
        let (x, rest) = circle.split_once('"').unwrap();
        let y = rest.trim_start_matches(" cy=\"").split('"').next().unwrap();
        let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
        assert!((70.0..=430.0).contains(&x) || (510.0..=870.0).contains(&x), "{x}");
        assert!((84.0..=330.0).contains(&y), "{y}");
    }
    assert!(plot(&[], &[]).ends_with("</svg>\n"));
}
