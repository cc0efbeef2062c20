#![no_main]

#[path = "../bodies/rtu_slave.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
