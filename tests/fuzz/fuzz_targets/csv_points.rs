#![no_main]

#[path = "../bodies/csv_points.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
