//! Replays the corpus of the fuzz target.

#![allow(clippy::expect_used, clippy::unwrap_used)] // test code

#[path = "../../../tests/fuzz/bodies/model_file.rs"]
mod model_file;

#[test]
fn corpus_of_the_model_file() {
    hilrig_tests::replay("model_file", model_file::run);
}
