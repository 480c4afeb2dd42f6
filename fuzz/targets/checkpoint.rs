//! libFuzzer's program for the target `checkpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atoll_fuzz::checkpoint::run(bytes));
