//! Replays the corpora of the fuzz targets.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;

#[path = "../../../tests/fuzz/bodies/csv_points.rs"]
mod csv_points;
#[path = "../../../tests/fuzz/bodies/expression.rs"]
mod expression;

fn replay(target: &str, body: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target);
    let mut files = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        eprintln!("{}", path.display());
        body(&fs::read(path).unwrap());
        files += 1;
    }
    assert!(files > 5, "{} is empty", dir.display());
}

#[test]
fn corpus_of_csv_files() {
    replay("csv_points", csv_points::run);
}

#[test]
fn corpus_of_expressions() {
    replay("expression", expression::run);
}
