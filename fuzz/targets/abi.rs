//! libFuzzer's program for the target `abi`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atoll_fuzz::abi::run(bytes));
