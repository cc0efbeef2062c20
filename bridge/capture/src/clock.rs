//! Wall-clock time for records that have the time of a shard. Both clocks of the system run at one speed, so one
//! offset is enough, until somebody sets the clock: then the new offset counts, and the capture says so.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hilrig_port::Time;

/// Smaller differences are the two clocks not being read at one moment.
const NOISE: i64 = 1_000_000;
/// How often the clocks are compared.
const CHECK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct WallClock {
    /// Nanoseconds since 1970 at time 0.
    offset: i64,
    next_check: Time,
    measure: fn() -> i64,
}

impl WallClock {
    pub(crate) fn new() -> Self {
        Self::measured_by(measure)
    }

    pub(crate) fn measured_by(measure: fn() -> i64) -> Self {
        Self { offset: measure(), next_check: Time(0), measure }
    }

    /// Nanoseconds since 1970.
    pub(crate) fn at(&self, time: Time) -> u64 {
        u64::try_from(time.0.cast_signed().saturating_add(self.offset)).unwrap_or(0)
    }

    /// By how many nanoseconds the clock was set since the last look, if it was.
    pub(crate) fn check(&mut self, now: Time) -> Option<i64> {
        if now < self.next_check {
            return None;
        }
        self.next_check = now + CHECK;
        let offset = (self.measure)();
        let step = offset - self.offset;
        if step.abs() < NOISE {
            return None;
        }
        self.offset = offset;
        Some(step)
    }
}

/// The smallest of a few differences: the one that was interrupted least.
fn measure() -> i64 {
    let once = || {
        let before = Time::now().0.cast_signed();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as i64;
        let after = Time::now().0.cast_signed();
        (after - before, wall - i64::midpoint(before, after))
    };
    (0..5).map(|_| once()).min().map_or(0, |(_, offset)| offset)
}

const BEFORE: &str = "the clock was set by ";
const AFTER: &str = " ns here";

/// How a capture says that the clock was set.
pub(crate) fn step_comment(step: i64) -> String {
    format!("{BEFORE}{step:+}{AFTER}")
}

/// What such a comment says.
pub(crate) fn step_of(comment: &str) -> Option<i64> {
    comment.strip_prefix(BEFORE)?.strip_suffix(AFTER)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    #[test]
    fn a_step_of_the_clock_is_seen_once_and_noise_is_not() {
        static OFFSET: AtomicI64 = AtomicI64::new(1_000_000_000_000);
        let mut clock = WallClock::measured_by(|| OFFSET.load(Ordering::Relaxed));
        assert_eq!(clock.at(Time(5)), 1_000_000_000_005);
        assert_eq!(clock.check(Time(0)), None);
        OFFSET.fetch_add(900_000, Ordering::Relaxed);
        assert_eq!(clock.check(Time(2_000_000_000)), None);
        assert_eq!(clock.at(Time(5)), 1_000_000_000_005);
        OFFSET.fetch_sub(7_000_900_000, Ordering::Relaxed);
        assert_eq!(clock.check(Time(2_500_000_000)), None, "not looked at more than once a second");
        assert_eq!(clock.check(Time(3_000_000_000)), Some(-7_000_000_000));
        assert_eq!(clock.check(Time(4_000_000_000)), None);
        assert_eq!(clock.at(Time(5)), 993_000_000_005);
    }

    #[test]
    fn a_comment_says_how_far_the_clock_was_set() {
        for step in [-7_000_000_000, 1, i64::MAX, i64::MIN] {
            assert_eq!(step_of(&step_comment(step)), Some(step));
        }
        assert_eq!(step_of("fault"), None);
    }

    #[test]
    fn the_real_clocks_agree_within_a_second() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        assert!(WallClock::new().at(Time::now()).abs_diff(now) < 1_000_000_000);
    }
}
