//! Replays the corpus of the fuzz target.

#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use hilrig_tests::{replay, seeds};
use proptest::prelude::*;

#[path = "../../../tests/fuzz/bodies/telegram.rs"]
mod telegram;

#[test]
fn corpus_of_the_telegrams() {
    replay("telegram", telegram::run);
}

#[test]
fn every_device_answers_after_nothing_and_after_rubbish() {
    for device in 0..12 {
        telegram::run(&[device]);
        let mut rubbish = vec![device];
        for n in 0..40_u8 {
            rubbish.extend([n.wrapping_mul(37), 20]);
            rubbish.extend((0..20).map(|i: u8| i.wrapping_mul(n).wrapping_add(device)));
        }
        telegram::run(&rubbish);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    /// Seeds that are cut, bent and put together: what a fuzzer does, for those who have none.
    #[test]
    fn bent_seeds(
        device in 0_u8..12,
        parts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
        bends in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(0), Just(2), Just(3), Just(0x10), Just(b'\r')]), 0..8),
    ) {
        static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| seeds("telegram").into_iter().map(|(_, seed)| seed).collect());
        let mut data = vec![device];
        for (seed, from, to) in parts {
            let seed = seed.get(&SEEDS[..]);
            let (a, b) = (from.index(seed.len()), to.index(seed.len()));
            data.extend(&seed[a.min(b)..=a.max(b)]);
        }
        for (at, byte) in bends {
            let at = at.index(data.len());
            data[at] = byte;
        }
        telegram::run(&data);
    }
}
