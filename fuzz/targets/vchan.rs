//! libFuzzer's program for the target `vchan`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atoll_fuzz::vchan::run(bytes));
