//! libFuzzer's program for the target `decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atoll_fuzz::decode::run(bytes));
