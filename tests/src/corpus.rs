//! The corpora of the fuzz targets, for ordinary tests.

use std::path::PathBuf;

use crate::repository;

/// The seeds of a fuzz target with their files, in the order of their names.
///
/// # Panics
/// There are fewer than six.
#[must_use]
pub fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = repository().join("tests/fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 5, "{} is empty", folder.display());
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Runs the body of a fuzz target on its seeds; the last file named is the one that failed.
pub fn replay(target: &str, body: fn(&[u8])) {
    for (path, seed) in seeds(target) {
        eprintln!("{}", path.display());
        body(&seed);
    }
}
