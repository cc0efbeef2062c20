//! Latencies in fixed buckets: every power of two of nanoseconds in four steps, so each value is known to 25 %.
//! Recording is one relaxed add; no allocation, no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Up to 2^41 ns (36 minutes); what is longer counts as that.
const BUCKETS: usize = 160;

fn index(nanos: u64) -> usize {
    if nanos < 4 {
        return nanos as usize;
    }
    let exponent = 63 - nanos.leading_zeros() as usize;
    let step = (nanos >> (exponent - 2)) as usize & 3;
    ((exponent - 1) * 4 + step).min(BUCKETS - 1)
}

/// Largest value that falls into a bucket.
fn upper(index: usize) -> u64 {
    if index < 4 {
        return index as u64;
    }
    let (exponent, step) = (index / 4 + 1, index as u64 % 4);
    ((4 + step + 1) << (exponent - 2)) - 1
}

/// How often which latency was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], max: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[index(nanos)] += 1;
        self.max = self.max.max(nanos);
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The latency that the fraction `q` (0 to 1) of all values does not exceed, rounded up to its bucket's
    /// upper end; zero when nothing was recorded.
    pub fn quantile(&self, q: f64) -> Duration {
        let count = self.count();
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (i, n) in self.counts.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return Duration::from_nanos(upper(i).min(self.max));
            }
        }
        Duration::ZERO
    }

    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// What was recorded since an earlier copy of this one; the longest is known to 25 % then.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let counts: [u64; BUCKETS] =
            std::array::from_fn(|i| self.counts[i].saturating_sub(earlier.counts[i]));
        let highest = counts.iter().rposition(|n| *n > 0).map_or(0, upper);
        Self { counts, max: highest.min(self.max) }
    }

    /// Adds what another histogram saw.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.max = self.max.max(other.max);
    }
}

/// The same, written by one shard and read by anyone.
#[derive(Debug)]
pub(crate) struct AtomicHistogram {
    counts: [AtomicU64; BUCKETS],
    max: AtomicU64,
}

impl Default for AtomicHistogram {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)), max: AtomicU64::new(0) }
    }
}

impl AtomicHistogram {
    /// Called by the shard only.
    pub(crate) fn record(&self, nanos: u64) {
        let cell = &self.counts[index(nanos)];
        cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if nanos > self.max.load(Ordering::Relaxed) {
            self.max.store(nanos, Ordering::Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> Histogram {
        Histogram {
            counts: std::array::from_fn(|i| self.counts[i].load(Ordering::Relaxed)),
            max: self.max.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gap() {
        for i in 1..BUCKETS {
            assert_eq!(index(upper(i - 1)), i - 1);
            assert_eq!(index(upper(i - 1) + 1), i);
        }
        assert_eq!(index(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn what_came_later_is_told_apart() {
        let mut h = Histogram::default();
        h.record(Duration::from_millis(500));
        let before = h.clone();
        assert_eq!(h.since(&before), Histogram::default());
        h.record(Duration::from_micros(10));
        let later = h.since(&before);
        assert_eq!(later.count(), 1);
        assert!((Duration::from_micros(10)..Duration::from_micros(13)).contains(&later.max()));
    }

    #[test]
    fn quantiles_are_within_a_quarter() {
        let mut h = Histogram::default();
        assert_eq!((h.quantile(0.5), h.max(), h.count()), (Duration::ZERO, Duration::ZERO, 0));
        for n in 1..=1000u64 {
            h.record(Duration::from_micros(n));
        }
        for (q, want) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let got = h.quantile(q).as_secs_f64() * 1e6;
            assert!((want..=want * 1.25 + 0.01).contains(&got), "{q}: {got}");
        }
        assert_eq!(h.max(), Duration::from_millis(1));
    }
}
