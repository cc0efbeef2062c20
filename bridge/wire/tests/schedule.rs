//! Replays the corpus of the fuzz target, and lets chance write more of it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use proptest::prelude::*;

#[path = "../../../tests/fuzz/bodies/fault_schedule.rs"]
mod body;

#[test]
fn corpus() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/fault_schedule");
    let mut files = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        eprintln!("{}", path.display());
        body::run(&fs::read(path).unwrap());
        files += 1;
    }
    assert!(files > 5, "{} is empty", dir.display());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_rules_keep_the_account(data in proptest::collection::vec(any::<u8>(), 10..300)) {
        body::run(&data);
    }
}
