//! Plays the tables, and holds them to their word.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;

use futures_util::StreamExt as _;

use crate::attacker::{Played, play, works};
use crate::case::{Case, Mode, Round, Want};
use crate::table::{self, Family, NOT_COVERED};
use crate::world::{Setup, World};

/// Servers under attack at once: enough that one waits while another works.
const AT_ONCE: usize = 16;

/// Attacks of a single message that one server takes one after the other. Its clock stands still, so its budgets for
/// strangers do not fill up again.
const ON_ONE_SERVER: usize = 6;

/// The attacks that share a server, by their configuration and round.
fn servers(cases: &[Case]) -> Vec<(Setup, Round, Vec<&Case>)> {
    let mut servers: Vec<(Setup, Round, Vec<&Case>)> = Vec::new();
    for round in Round::everywhere() {
        for case in cases.iter().filter(|case| case.is_tried_in(&round)) {
            let alone = case.steps.len() > 1;
            let fits = |(setup, at, on): &&mut (Setup, Round, Vec<&Case>)| {
                *setup == case.setup
                    && *at == round
                    && on.len() < ON_ONE_SERVER
                    && on.iter().all(|it| it.steps.len() == 1)
            };
            match servers.iter_mut().find(fits).filter(|_| !alone) {
                Some((_, _, on)) => on.push(case),
                None => servers.push((case.setup, round.clone(), vec![case])),
            }
        }
    }
    servers
}

async fn play_all(cases: &[Case]) -> (usize, Vec<String>) {
    let played: Vec<_> = futures_util::stream::iter(servers(cases))
        .map(async |(setup, round, cases)| {
            let world = World::new(setup, &round).await;
            let mut played = Vec::new();
            for case in cases {
                played.push((case.id, play(case, &world).await));
            }
            (played, round)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut problems = Vec::new();
    let mut held = 0;
    for (id, result, round) in
        played.iter().flat_map(|(played, round)| played.iter().map(move |(id, it)| (id, it, round)))
    {
        match result {
            Ok(Played::Held) => held += 1,
            Ok(Played::NotThere) => {}
            Err(problem) => problems.push(format!("{id} [{round}]: {problem}")),
        }
    }
    problems.sort();
    (held, problems)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Plays one family; what does not hold is told all at once.
pub fn hold(family: &Family) {
    let cases = (family.cases)();
    let (held, problems) = runtime().block_on(play_all(&cases));
    say(&format!("{}: {} attacks, held in {held} runs", family.name, cases.len()));
    assert!(problems.is_empty(), "{} runs did not hold:\n{}", problems.len(), problems.join("\n"));
}

fn say(line: &str) {
    // Past the harness, which would hold it back: the summary is what an outsider wants to see.
    let _ = writeln!(std::io::stderr(), "{line}");
}

macro_rules! families {
    ($($test:ident => $family:expr),* $(,)?) => { $(
        #[test]
        fn $test() {
            hold(&$family);
        }
    )* };
}

families! {
    message => table::MESSAGE,
    method => table::METHOD,
    name => table::NAME,
    meta => table::META,
    headers => table::HEADERS,
    credentials => table::CREDENTIALS,
    signature => table::SIGNATURE,
    claims => table::CLAIMS,
    request_id => table::REQUEST_ID,
    tasks => table::TASKS,
    sessions => table::SESSIONS,
    handshake => table::HANDSHAKE,
    reading => table::READING,
    rounds => table::ROUNDS,
    evidence => table::EVIDENCE,
}

/// The bytes that the attacks vary do run the tool when the credential is good, and what is one's own is given: a guard that
/// refused everything, or an attacker that reached nobody, would hold against every attack.
#[test]
fn the_same_with_a_permit_runs() {
    let (held, problems) = runtime().block_on(play_all(&table::with_a_permit()));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let calls = 5 + 4 + 2 * (5 + 5);
    let (rounds, tasks) = (3, 5 + 4 + 2);
    assert_eq!(held, calls + rounds + tasks, "stdio, sessions, both without sessions; in both places where both count");
}

/// What the guard holds against: on the same server with nothing around it, attacks come to something. Those that do not
/// are about the guard itself, or rmcp refuses them.
#[test]
fn without_a_guard_the_attacks_work() {
    let rounds: Vec<_> = Round::all()
        .into_iter()
        .filter(|round| {
            let version = if round.mode == Mode::HttpStatelessJson { "2026-07-28" } else { "2025-06-18" };
            round.mode != Mode::HttpStatelessSse && round.version.as_str() == version
        })
        .collect();
    let cases: Vec<Case> = table::FAMILIES.iter().flat_map(|family| (family.cases)()).collect();
    let tried = cases.iter().flat_map(|case| rounds.iter().map(move |round| (case, round)));
    let working: BTreeSet<&str> = runtime().block_on(
        futures_util::stream::iter(tried)
            .map(async |(case, round)| works(case, &World::unguarded(round).await).await.then_some(case.id))
            .buffer_unordered(AT_ONCE)
            .filter_map(std::future::ready)
            .collect(),
    );
    let holding: Vec<&str> = cases.iter().map(|case| case.id).filter(|id| !working.contains(id)).collect();
    say(&format!(
        "without a guard {} of {} attacks come to something; not these: {}",
        working.len(),
        cases.len(),
        holding.join(", ")
    ));
    assert!(working.len() > cases.len() / 2, "{} of {} attacks", working.len(), cases.len());
}

/// Counts attacks, not runs: a revision or a transport more makes no attack more.
#[test]
fn the_corpus_has_what_it_says() {
    let mut ids = BTreeSet::new();
    let mut text = String::new();
    for family in table::FAMILIES {
        let cases = (family.cases)();
        let (mut runs, mut absent) = (0, BTreeMap::<_, BTreeSet<_>>::new());
        for case in &cases {
            assert!(ids.insert(case.id), "{} is there twice", case.id);
            assert!(case.id.starts_with(&format!("{}/", family.name)), "{} is no id of {}", case.id, family.name);
            assert!(case.attack.ends_with('.'), "{} is said in a sentence", case.id);
            for round in case.rounds() {
                match case.want_in(&round) {
                    Some(Want::Held { .. }) => runs += 1,
                    Some(Want::NotThere(why)) => drop(absent.entry(*why).or_default().insert(case.id)),
                    None => panic!("{} says nothing about {round}", case.id),
                }
            }
        }
        writeln!(text, "{:12} {:4} attacks {runs:6} runs   {}", family.name, cases.len(), family.about).unwrap();
        for (why, ids) in absent {
            writeln!(text, "    not everywhere, since {why}: {}", ids.into_iter().collect::<Vec<_>>().join(", "))
                .unwrap();
        }
    }
    writeln!(text, "{} attacks. Not covered:", ids.len()).unwrap();
    for (what, why) in NOT_COVERED {
        writeln!(text, "    {what}: {why}").unwrap();
    }
    say(&text);
    assert!(ids.len() >= 200, "{} attacks", ids.len());
    let readme = include_str!("README.md");
    for (what, why) in NOT_COVERED {
        assert!(readme.contains(&format!("| {what} | {why} |")), "the README says that `{what}` is not covered");
    }
    for family in table::FAMILIES {
        assert!(readme.contains(&format!("| {} | ", family.name)), "the README has the family `{}`", family.name);
    }
}
