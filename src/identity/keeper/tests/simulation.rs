//! The schedule and the rules for badges, driven through simulated time with seeded randomness.
#![expect(clippy::arithmetic_side_effects, reason = "simulated times of a few months")]

use std::time::Duration;

use crate::clock::UnixSeconds;
use crate::identity::badge::{BadgeIssuer, BadgeRequest};
use crate::identity::keeper::RenewError;
use crate::identity::keeper::held::Held;
use crate::identity::keeper::schedule::{
    MAX_ATTEMPT, MAX_BACKOFF, MAX_PERMANENT_BACKOFF, MAX_RETRY_AFTER, MAX_SLEEP, Reading, Schedule, patience,
};
use crate::identity::key::SigningKey;
use crate::identity::trust_level::TrustLevel;

const EPOCH: i64 = 1_760_000_000;

/// The renewer of the simulation answers within this, when it answers.
const LATENCY: Duration = Duration::from_secs(4);

/// An outage that ends this long before a badge expires leaves no gap: the attempt that hangs in it is given up, and the
/// next one follows, within it.
const NO_GAP: Duration = Duration::from_secs(60);

/// `SplitMix64`: reproducible, and no other randomness in these tests.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn seconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from * 1000 + self.below((to - from) * 1000))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Outage {
    Refuses,
    Hangs,
    AsksToWait(Duration),
}

/// What may happen in one simulated world.
#[derive(Clone, Copy)]
struct Weather {
    jumps: bool,
    asks_to_wait: bool,
}

struct World {
    random: Random,
    weather: Weather,
    issuer: BadgeIssuer,
    agent: SigningKey,
    /// Badges are dated by the local clock, as by a holder that signs for itself, and not by the issuer's own.
    local_dates: bool,
    steady: Duration,
    /// The local wall clock less the true one.
    offset: i64,
    outage: Option<Outage>,
    next_outage: Duration,
    next_jump: Duration,
    held: Option<Held>,
    /// Until then the law allows that no badge is at hand.
    excused_until: Duration,
    /// When the renewer was last out.
    last_out: Option<Duration>,
    lost_at: Option<Duration>,
    renewals: usize,
    gaps: usize,
    looks: usize,
}

impl World {
    fn new(seed: u64, weather: Weather) -> Self {
        let mut random = Random(seed);
        Self {
            weather,
            issuer: BadgeIssuer::new("https://ca.example.test", "k", SigningKey::from_seed(&[1; 32]).into()).unwrap(),
            agent: SigningKey::from_seed(&[2; 32]),
            local_dates: random.below(2) == 0,
            steady: Duration::ZERO,
            offset: 0,
            outage: None,
            next_outage: random.seconds(0, 600),
            next_jump: random.seconds(0, 600),
            held: None,
            excused_until: Duration::from_secs(10),
            last_out: None,
            lost_at: None,
            renewals: 0,
            gaps: 0,
            looks: 0,
            random,
        }
    }

    fn now(&self) -> Reading {
        let seconds = i64::try_from(self.steady.as_secs()).unwrap();
        Reading { wall: UnixSeconds::new(EPOCH + seconds + self.offset), steady: self.steady }
    }

    fn left(&self) -> Duration {
        self.held.as_ref().map_or(Duration::ZERO, |held| held.left(self.now()))
    }

    fn excuse(&mut self, delay: Duration) {
        self.excused_until = self.excused_until.max(self.steady + delay);
    }

    /// Moves time on in steps of at most a second, and looks at the badge after each, as callers do.
    fn pass(&mut self, mut time: Duration) {
        while !time.is_zero() {
            let step = time.min(Duration::from_secs(1));
            self.steady += step;
            time -= step;
            self.change_weather();
            self.look();
        }
    }

    fn change_weather(&mut self) {
        if self.steady >= self.next_outage {
            let kind = match self.random.below(3) {
                0 => Outage::Refuses,
                1 => Outage::Hangs,
                _ if self.weather.asks_to_wait => Outage::AsksToWait(self.random.seconds(0, 120)),
                _ => Outage::Refuses,
            };
            self.outage = self.outage.is_none().then_some(kind);
            let long = if self.random.below(10) == 0 { 2000 } else { 120 };
            self.next_outage = self.steady + self.random.seconds(1, long);
        }
        if self.outage.is_some() {
            self.last_out = Some(self.steady);
            // an attempt may hang from the last moment on, and the next follows after a backoff
            self.excuse(MAX_ATTEMPT + MAX_BACKOFF + LATENCY + MAX_SLEEP);
        }
        if self.weather.jumps && self.steady >= self.next_jump {
            self.next_jump = self.steady + self.random.seconds(1, 900);
            // an issuer's badges are good only while our clock is less than a lifetime ahead of it
            let ahead = if self.local_dates { 100_000 } else { 40 };
            let behind = if self.random.below(2) == 0 { 30 } else { 100_000 };
            self.offset = i64::try_from(self.random.below(ahead + behind)).unwrap() - i64::try_from(behind).unwrap();
            self.excuse(MAX_ATTEMPT + MAX_BACKOFF + LATENCY + MAX_SLEEP);
        }
    }

    /// The laws, at every look:
    /// 1. A badge is handed out only before its `exp` by the wall clock, and never longer than it was to live.
    /// 2. None is handed out only until `MAX_ATTEMPT + MAX_BACKOFF` (and the latency of an answer) after the renewer
    ///    answers again, or after the time that it asked for, or after the clock jumped.
    /// 3. Without a jump, a badge is lost only when the renewer was out within `NO_GAP` of its expiry.
    fn look(&mut self) {
        self.looks += 1;
        let now = self.now();
        let live = self.held.as_ref().is_some_and(|held| held.is_live(now));
        if let Some(held) = self.held.as_ref().filter(|_| live) {
            assert!(now.wall < held.expires_at(), "an expired badge was handed out");
            self.lost_at = None;
            return;
        }
        assert!(self.steady <= self.excused_until, "no badge at {:?}, though one could be had", self.steady);
        if self.held.is_some() && self.lost_at.is_none() {
            self.lost_at = Some(self.steady);
            self.gaps += 1;
            let out = self.last_out.is_some_and(|out| out + NO_GAP >= self.steady);
            assert!(self.weather.jumps || self.weather.asks_to_wait || out, "a gap without an outage near it");
        }
    }

    /// One attempt, as `Running::keep` makes it.
    fn attempt(&mut self) -> Result<(), RenewError> {
        let patience = patience(self.left());
        match self.outage {
            Some(Outage::Refuses) => {
                self.pass(Duration::from_millis(20));
                return Err(RenewError::new("no"));
            }
            Some(Outage::Hangs) => {
                self.pass(patience);
                return Err(RenewError::new("too long"));
            }
            Some(Outage::AsksToWait(time)) => {
                self.pass(Duration::from_millis(20));
                self.excuse(time + MAX_BACKOFF.max(time / 4) + LATENCY + MAX_SLEEP);
                return Err(RenewError::new("wait").with_retry_after(time));
            }
            None => {}
        }
        let wall = EPOCH + i64::try_from(self.steady.as_secs()).unwrap();
        let dated = if self.local_dates { wall + self.offset } else { wall };
        let lifetime = Duration::from_secs([60, 90, 300, 300, 900][usize::try_from(self.random.below(5)).unwrap()]);
        let request = BadgeRequest::new(self.agent.did(), self.agent.public_key(), TrustLevel::Registered);
        let token = self.issuer.issue(&request.lifetime(lifetime), UnixSeconds::new(dated)).unwrap();
        let latency = Duration::from_millis(self.random.below(u64::try_from(LATENCY.as_millis()).unwrap()));
        self.pass(latency);
        let now = self.now();
        let new = Held::read(&token, now)?;
        new.check_replaces(self.held.as_ref(), now)?;
        self.held = Some(new);
        self.renewals += 1;
        Ok(())
    }

    fn run(&mut self, renewals: usize) {
        let random = self.random.next();
        let mut schedule = Schedule::start(self.now(), self.left(), random);
        while self.renewals < renewals {
            let (now, random) = (self.now(), self.random.next());
            if !schedule.is_due(now) {
                self.pass(schedule.sleep(now, random));
                continue;
            }
            let renewed = self.attempt();
            let (now, left) = (self.now(), self.left());
            match renewed {
                Ok(()) => schedule.renewed(now, left, random),
                Err(error) => schedule.failed(now, left, &error, random),
            }
        }
    }
}

#[test]
fn ten_thousand_renewals_hand_out_no_expired_badge_and_leave_no_gap_that_could_be_closed() {
    let (mut renewals, mut gaps, mut looks) = (0, 0, 0);
    for seed in 0..100 {
        let weather = Weather { jumps: seed % 2 == 0, asks_to_wait: seed % 3 == 0 };
        let mut world = World::new(seed, weather);
        world.run(100);
        renewals += world.renewals;
        gaps += world.gaps;
        looks += world.looks;
    }
    assert_eq!(renewals, 10_000);
    assert!(gaps > 500, "the weather was too fair to show anything: {gaps} gaps");
    assert!(looks > 1_000_000, "only {looks} looks");
}

#[test]
fn fair_weather_leaves_no_gap_at_all() {
    for seed in 0..20 {
        let mut world = World::new(seed, Weather { jumps: false, asks_to_wait: false });
        world.next_outage = Duration::MAX;
        world.run(50);
        assert_eq!(world.gaps, 0);
    }
}

/// The most that fall into any one window, of times in any order.
fn most_within(window: Duration, mut times: Vec<Duration>) -> usize {
    times.sort_unstable();
    let count = |(first, start): (usize, &Duration)| times[first..].partition_point(|time| *time < *start + window);
    times.iter().enumerate().map(count).max().unwrap()
}

/// Runs one keeper on its own, with a renewer that answers at once outside of `outage`, until it has renewed `wanted`
/// times; tells when each attempt was made and when each renewal.
fn lone(seed: u64, left: Duration, outage: std::ops::Range<u64>, wanted: usize) -> (Vec<Duration>, Vec<Duration>) {
    let mut random = Random(seed << 32);
    let mut now = Reading { wall: UnixSeconds::new(EPOCH), steady: Duration::ZERO };
    let mut ends = left;
    let mut schedule = Schedule::start(now, left, random.next());
    let (mut attempts, mut renewals) = (Vec::new(), Vec::new());
    while renewals.len() < wanted {
        now.steady += schedule.until_due(now);
        attempts.push(now.steady);
        if outage.contains(&now.steady.as_secs()) {
            let left = ends.saturating_sub(now.steady);
            schedule.failed(now, left, &RenewError::new("no"), random.next());
        } else {
            renewals.push(now.steady);
            ends = now.steady + Duration::from_secs(300);
            schedule.renewed(now, Duration::from_secs(300), random.next());
        }
    }
    (attempts, renewals)
}

/// A registry that comes back must not be asked by everybody at once.
#[test]
fn a_thousand_keepers_spread_out() {
    struct Case {
        name: &'static str,
        left: u64,
        outage: std::ops::Range<u64>,
        window: Duration,
        most: usize,
    }
    let second = Duration::from_secs(1);
    let cases = [
        Case { name: "a fresh badge", left: 300, outage: 0..0, window: second, most: 50 },
        Case { name: "a badge that is nearly dead", left: 10, outage: 0..0, window: second, most: 300 },
        Case { name: "no badge", left: 0, outage: 0..0, window: second / 10, most: 150 },
        Case { name: "a short outage", left: 300, outage: 150..230, window: second, most: 100 },
        Case { name: "a long outage", left: 300, outage: 100..1200, window: second, most: 60 },
        Case { name: "started in an outage", left: 0, outage: 0..300, window: second, most: 60 },
    ];
    for Case { name, left, outage, window, most } in cases {
        let runs = (0..1000).map(|seed| lone(seed, Duration::from_secs(left), outage.clone(), 3));
        let (attempts, renewals): (Vec<_>, Vec<_>) = runs.unzip();
        for nth in 0..3 {
            let found = most_within(window, renewals.iter().map(|times| times[nth]).collect());
            assert!(found <= most, "{name}: {found} of 1000 in {window:?} at renewal {nth}");
        }
        // not a stampede during the outage either, once the first attempts are through
        let during = attempts.iter().flatten().filter(|time| (outage.start + 10..outage.end).contains(&time.as_secs()));
        let during: Vec<_> = during.copied().collect();
        if !during.is_empty() {
            let found = most_within(second, during);
            assert!(found <= 400, "{name}: {found} attempts in a second of the outage");
        }
    }
}

#[test]
fn a_time_that_was_asked_for_is_kept_within_bounds_and_a_permanent_failure_is_slow() {
    let now = Reading { wall: UnixSeconds::new(EPOCH), steady: Duration::from_secs(7) };
    let delay = |error: &RenewError, left: u64, random: u64| {
        let mut schedule = Schedule::start(now, Duration::ZERO, 0);
        schedule.failed(now, Duration::from_secs(left), error, random);
        schedule.until_due(now)
    };
    let plain = RenewError::new("no");
    let asked = |seconds| RenewError::new("no").with_retry_after(Duration::from_secs(seconds));
    for random in [0, u64::MAX / 3, u64::MAX] {
        assert!(delay(&plain, 0, random) <= Duration::from_secs(2));
        assert!((30..=38).contains(&delay(&asked(30), 0, random).as_secs()), "asked for outlives what is left");
        assert!((30..=38).contains(&delay(&asked(30), 20, random).as_secs()));
        assert!(delay(&asked(0), 0, random) >= Duration::from_millis(500));
        let longest = delay(&asked(u64::MAX), 0, random);
        assert!((MAX_RETRY_AFTER..=MAX_RETRY_AFTER * 5 / 4).contains(&longest));
        let slow = delay(&plain.clone().permanent(), 300, random);
        assert!((MAX_PERMANENT_BACKOFF / 2..=MAX_PERMANENT_BACKOFF).contains(&slow));
    }
}

#[test]
fn a_clock_set_forward_brings_a_renewal_forward_and_one_set_back_delays_none() {
    let start = Reading { wall: UnixSeconds::new(EPOCH), steady: Duration::ZERO };
    let schedule = Schedule::start(start, Duration::from_secs(300), 0);
    let at =
        |steady: u64, wall: i64| Reading { wall: UnixSeconds::new(EPOCH + wall), steady: Duration::from_secs(steady) };
    assert!(!schedule.is_due(at(10, 10)));
    assert!(schedule.is_due(at(10, 300)), "set forward");
    assert!(!schedule.is_due(at(100, -5000)));
    assert!(schedule.is_due(at(180, -5000)), "set back");
    assert!(schedule.sleep(at(10, 10), u64::MAX) <= MAX_SLEEP, "a jump is seen soon");
}
