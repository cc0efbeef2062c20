//! Replays the corpus of the fuzz target.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

#[path = "../../../tests/fuzz/bodies/telegram.rs"]
mod telegram;

#[test]
fn corpus_of_the_telegrams() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/telegram");
    let mut files = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        eprintln!("{}", path.display());
        telegram::run(&fs::read(path).unwrap());
        files += 1;
    }
    assert!(files > 12, "{} is empty", dir.display());
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
