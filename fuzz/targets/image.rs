//! libFuzzer's program for the target `image`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| atoll_fuzz::image::run(bytes));
