#![no_main]

#[path = "../bodies/ascii_frame.rs"]
mod body;
#[path = "../bodies/pass.rs"]
mod pass;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
