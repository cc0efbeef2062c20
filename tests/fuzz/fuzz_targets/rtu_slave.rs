#![no_main]

#[path = "../bodies/rtu_slave.rs"]
mod body;
#[path = "../bodies/pass.rs"]
mod pass;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
