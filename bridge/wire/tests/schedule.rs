//! Replays the corpus of the fuzz target, and lets chance write more of it.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

#[path = "../../../tests/fuzz/bodies/fault_schedule.rs"]
mod body;

#[test]
fn corpus() {
    hilrig_tests::replay("fault_schedule", body::run);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_rules_keep_the_account(data in proptest::collection::vec(any::<u8>(), 10..300)) {
        body::run(&data);
    }
}
