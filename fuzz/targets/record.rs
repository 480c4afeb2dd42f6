//! libFuzzer's program for the target `record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atoll_fuzz::record::run(bytes));
