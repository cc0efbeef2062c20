//! What the tests of whole processes share: a sandbox, a client that takes nothing for granted, and serial lines
//! as a program at the far end sees them. Asserts nothing about an app.

#![allow(clippy::unwrap_used, clippy::expect_used)] // the whole crate is test code

mod allocations;
mod bin;
mod check;
mod conn;
mod corpus;
mod line;
mod sandbox;
mod tarpit;

pub use allocations::{Counting, allocator_calls};
pub use bin::{hilrig, missing, need, repository};
pub use check::*;
pub use conn::{Conn, Read};
pub use corpus::{replay, seeds};
pub use line::{Line, pattern};
pub use sandbox::{Daemon, Links, Output, Process, Sandbox, end_of, finish, memory, signal, text};
pub use tarpit::Tarpit;

use std::time::{Duration, Instant};

/// How long anything may take that is not itself under test: far above what it takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Looks until `found` gives something.
///
/// # Panics
/// After [`PATIENCE`], with `what`.
#[track_caller]
pub fn wait_for<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, found)
}

/// Looks until `found` gives something, at most for `patience`.
///
/// # Panics
/// After it, with `what`.
#[track_caller]
pub fn wait_within<T>(patience: Duration, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < end, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A Modbus RTU frame: unit id and PDU with their CRC, made in another way than ours.
#[must_use]
pub fn with_crc(body: &[u8]) -> Vec<u8> {
    let crc = body.iter().fold(0xFFFFu16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xA001 } else { c >> 1 })
    });
    [body, &crc.to_le_bytes()].concat()
}

/// Numbers for choices that only have to vary; the same seed gives the same numbers.
#[derive(Debug)]
pub struct Seeded(pub u64);

impl Seeded {
    /// From `HILRIG_TEST_SEED`, or from the clock; printed, so that a failure can be repeated.
    pub fn from_env() -> Self {
        let seed = std::env::var("HILRIG_TEST_SEED").ok().and_then(|s| s.parse().ok());
        let clock = || std::time::UNIX_EPOCH.elapsed().map_or(1, |t| t.as_nanos() as u64);
        let seed = seed.unwrap_or_else(clock);
        println!("seed: HILRIG_TEST_SEED={seed}");
        Self(seed)
    }

    /// Numbers for another thread.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.below(u64::MAX))
    }

    /// Any number below `limit` (splitmix64).
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    /// A place in what has so many.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }

    /// Lets a random time below `limit` pass: the moment of a kill.
    pub fn pause(&mut self, limit: Duration) {
        std::thread::sleep(Duration::from_nanos(self.below(limit.as_nanos() as u64)));
    }
}
