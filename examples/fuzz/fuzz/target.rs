//! The target that has the program's name, for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::check(env!("CARGO_BIN_NAME"), data));
