//! libFuzzer's program for the target `module`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atoll_fuzz::module::run(bytes));
