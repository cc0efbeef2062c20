//! Counters with one writer (the shard) and any number of readers; a reader never waits and never delays.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// A counter with one writer: a plain load and store, no locked instruction. Whoever sees a count sees what the
/// shard published before it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Release);
    }

    /// For what goes up and down.
    pub fn set(&self, n: u64) {
        self.0.store(n, Release);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Acquire)
    }
}

/// Declares a set of live counters and the plain snapshot of it.
#[macro_export]
macro_rules! counters {
    ($(#[$live_doc:meta])* $live:ident, $(#[$plain_doc:meta])* $plain:ident:
     $($(#[$doc:meta])* $field:ident = $name:literal),* $(,)?) => {
        $(#[$live_doc])*
        #[derive(Debug, Default)]
        pub struct $live { $(pub(crate) $field: $crate::Counter),* }

        $(#[$plain_doc])*
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        pub struct $plain { $($(#[$doc])* pub $field: u64),* }

        impl $live {
            pub fn totals(&self) -> $plain {
                $plain { $($field: self.$field.get()),* }
            }
        }

        impl $plain {
            /// Name and value of each counter, for a status.
            pub fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($name, self.$field)),*].into_iter()
            }
        }
    };
}
