//! Ages that no clock can stop, and how long to wait after a failure.

use std::time::{Duration, Instant, SystemTime};

use crate::clock::{Clock, UnixSeconds};

/// A point in time on two clocks: the wall clock, which a suspended machine does not stop, and the monotonic one, which
/// nobody sets back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    wall: SystemTime,
    monotonic: Instant,
}

impl Moment {
    pub(super) fn now(clock: &dyn Clock) -> Self {
        Self { wall: clock.now(), monotonic: Instant::now() }
    }

    /// The longer of the two ages: a wall clock that is set back keeps nothing alive, one that is set forward only makes
    /// us ask early.
    pub(super) fn elapsed(&self, clock: &dyn Clock) -> Duration {
        let wall = clock.now().duration_since(self.wall).unwrap_or_default();
        wall.max(self.monotonic.elapsed())
    }

    pub(super) fn wall(&self) -> UnixSeconds {
        self.wall.into()
    }
}

/// The longest wait between two attempts while all of them fail.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// How long to wait after this many failures in a row: 1 s, doubled each time up to [`MAX_BACKOFF`], the half of it
/// random, so that verifiers that lost an issuer together do not come back together.
pub(super) fn backoff(failures: u32) -> Duration {
    let full = Duration::from_secs(1).saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(MAX_BACKOFF);
    let half = full.mul_f64(0.5);
    half.saturating_add(random_below(half))
}

/// A random part of `limit`.
pub(super) fn random_below(limit: Duration) -> Duration {
    // Spreads load and protects nothing: without randomness nothing is spread.
    let random = getrandom::u32().unwrap_or(0);
    limit.mul_f64(f64::from(random) / (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::UNIX_EPOCH;

    use super::*;

    #[derive(Debug)]
    struct Set(Mutex<SystemTime>);

    impl Clock for Set {
        fn now(&self) -> SystemTime {
            *self.0.lock().unwrap()
        }
    }

    #[test]
    fn an_age_follows_the_wall_clock_forward_and_never_back() {
        let hour = Duration::from_secs(3600);
        let clock = Set(Mutex::new(UNIX_EPOCH + hour * 10));
        let mut then = Moment::now(&clock);
        *clock.0.lock().unwrap() += hour;
        assert!(then.elapsed(&clock) >= hour);
        // ten minutes pass while the wall clock is set back by two hours
        *clock.0.lock().unwrap() -= hour * 2;
        then.monotonic -= Duration::from_secs(600);
        assert!(then.elapsed(&clock) >= Duration::from_secs(600));
    }

    #[test]
    fn backoff_grows_to_its_limit_and_keeps_a_half_random() {
        for (failures, least, most) in
            [(1, 0.5, 1.0), (2, 1.0, 2.0), (5, 8.0, 16.0), (7, 30.0, 60.0), (u32::MAX, 30.0, 60.0)]
        {
            for _ in 0..50 {
                let wait = backoff(failures).as_secs_f64();
                assert!((least..=most).contains(&wait), "{failures}: {wait}");
            }
        }
    }
}
