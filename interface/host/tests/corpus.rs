//! Replays the corpus of the fuzz target.

#![allow(clippy::expect_used, clippy::unwrap_used)] // test code

#[path = "../../../tests/fuzz/bodies/contract_line.rs"]
mod contract_line;

#[test]
fn corpus_of_the_contract_line() {
    hilrig_tests::replay("contract_line", contract_line::run);
}
