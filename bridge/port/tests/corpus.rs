//! Replays the corpus of the fuzz target.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

#[path = "../../../tests/fuzz/bodies/port_url.rs"]
mod port_url;

#[test]
fn corpus_of_the_port_url() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/port_url");
    let mut files = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        eprintln!("{}", path.display());
        port_url::run(&fs::read(path).unwrap());
        files += 1;
    }
    assert!(files > 5, "{} is empty", dir.display());
}
