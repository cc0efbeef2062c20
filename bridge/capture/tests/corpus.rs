//! Replays the corpus of the fuzz target.

#![allow(clippy::expect_used, clippy::unwrap_used)] // test code

#[path = "../../../tests/fuzz/bodies/pcapng.rs"]
mod pcapng;

#[test]
fn corpus_of_pcapng() {
    hilrig_tests::replay("pcapng", pcapng::run);
}
