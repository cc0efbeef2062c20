//! Replays the corpora of the fuzz targets.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

#[path = "../../../tests/fuzz/bodies/port_url.rs"]
mod port_url;
#[path = "../../../tests/fuzz/bodies/telnet.rs"]
mod telnet;

fn replay(target: &str, run: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target);
    let mut files = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        eprintln!("{}", path.display());
        run(&fs::read(path).unwrap());
        files += 1;
    }
    assert!(files > 5, "{} is empty", dir.display());
}

#[test]
fn corpus_of_the_port_url() {
    replay("port_url", port_url::run);
}

#[test]
fn corpus_of_telnet() {
    replay("telnet", telnet::run);
}
