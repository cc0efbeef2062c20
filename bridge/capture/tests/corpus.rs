//! Replays the corpus of the fuzz target.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

#[path = "../../../tests/fuzz/bodies/pcapng.rs"]
mod pcapng;

#[test]
fn corpus_of_pcapng() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/pcapng");
    let mut files = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        eprintln!("{}", path.display());
        pcapng::run(&fs::read(path).unwrap());
        files += 1;
    }
    assert!(files > 5, "{} is empty", dir.display());
}
