//! Random numbers that hang on (seed, name, n, i) alone, so that another rule, or another order of events, changes none.

use hilrig_wire::random::{STEP, mix};

/// The numbers of one firing, or of one look at a reply.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    pub fn new(seed: u64, name: u64, n: u64) -> Self {
        Self { state: mix(mix(seed.wrapping_add(STEP) ^ name).wrapping_add(STEP) ^ n) }
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mix(self.state)
    }

    /// Below `n`, each equally likely as far as tests can tell.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// Near to a normal distribution with mean 0 and standard deviation 1, in steps of 2^-32 and within 6: a sum of twelve
    /// even ones, which is the same to the last bit on each machine.
    pub fn normal(&mut self) -> f64 {
        let sum: i64 = (0..12).map(|_| (self.next() >> 32) as i64).sum();
        (sum - (6 << 32)) as f64 / (1u64 << 32) as f64
    }
}
