//! What compiled code and whoever runs it have to agree on.
//!
//! One machine code serves every platform, so the builder that compiles, the tender
//! and the kernel all start from this one configuration. wasmtime compares the
//! parts that matter when it loads code, and refuses what differs.

use wasmtime::{Config, ModuleVersionStrategy, WasmFeatures};

/// Names compiler and settings. Code that another one made is not loaded. Raise the
/// last number whenever [`config`] changes what is compiled.
pub const COMPILER: &str = "wasmtime-48.0.8-atoll-1";

/// The processors that compiled code runs on: the psABI's level, without what a
/// kernel would have to save besides SSE.
pub const CPU: &str = "x86-64-v2";

/// Bytes of native stack that an atom may use. A deeper one traps.
pub const MAX_STACK: usize = 256 << 10;

/// The configuration of compiler and runtime. A kernel adds how it publishes code
/// and finds out about its processor.
///
/// No instrumentation: memory accesses are checked by guard pages, and time by a
/// watchdog outside of the code. No threads and no relaxed SIMD, since their
/// results are not the same everywhere; one memory of 32 bits, since that is what
/// a checkpoint holds.
pub fn config() -> Config {
    let mut c = Config::new();
    c.signals_based_traps(true)
        .memory_reservation(4 << 30)
        .memory_guard_size(32 << 20)
        .memory_reservation_for_growth(0)
        .memory_may_move(false)
        .memory_init_cow(true)
        .epoch_interruption(false)
        .consume_fuel(false)
        .max_wasm_stack(MAX_STACK)
        // A backtrace would make each kill a hundred times dearer.
        .wasm_backtrace_max_frames(None)
        .wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Disable)
        .generate_address_map(false)
        .debug_symbols(false);
    for refused in [
        WasmFeatures::THREADS,
        WasmFeatures::RELAXED_SIMD,
        WasmFeatures::MULTI_MEMORY,
        WasmFeatures::MEMORY64,
        WasmFeatures::GC_TYPES,
        WasmFeatures::EXCEPTIONS,
    ] {
        c.wasm_features(refused, false);
    }
    // A constant of few characters is always accepted.
    let _ = c.module_version(ModuleVersionStrategy::Custom(COMPILER.into()));
    c
}
