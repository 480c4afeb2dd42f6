//! libFuzzer's program for the target `xenstore`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atoll_fuzz::xenstore::run(bytes));
