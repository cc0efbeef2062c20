//! Replays the corpus of the fuzz target.

#![allow(clippy::expect_used, clippy::unwrap_used)] // test code

#[path = "../../../tests/fuzz/bodies/rig_file.rs"]
mod rig_file;

#[test]
fn corpus_of_the_rig_file() {
    hilrig_tests::replay("rig_file", rig_file::run);
}
