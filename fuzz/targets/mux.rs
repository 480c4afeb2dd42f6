//! libFuzzer's program for the target `mux`.
#![no_main]

use libfuzzer_sys::{fuzz_crossover, fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|bytes: &[u8]| atoll_fuzz::mux::run(bytes));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    atoll_fuzz::mutate(data, size, max_size, seed, atoll_fuzz::mux::fresh, fuzzer_mutate)
});

fuzz_crossover!(|one: &[u8], other: &[u8], out: &mut [u8], seed: u32| {
    atoll_fuzz::cross(one, other, out, seed)
});
