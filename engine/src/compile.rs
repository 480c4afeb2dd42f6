//! Wasm to machine code, for the builder.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use wasmtime::{Engine, OptLevel};

use crate::config::config;
use crate::trip::with_tripwire;

/// What [`crate::CPU`] has beyond the first x86-64.
const FEATURES: [&str; 5] = ["has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"];

/// A module that cannot be compiled, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError(pub String);

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for CompileError {}

/// Compiles a module for [`crate::CPU`], whatever processor this runs on. The same
/// bytes give the same code.
pub fn compile(wasm: &[u8]) -> Result<Vec<u8>, CompileError> {
    match with_tripwire(wasm) {
        Some(more) => machine_code(&more),
        // Whatever is wrong with it is said about the module as it came.
        None => {
            machine_code(wasm).and_then(|_| Err(CompileError("the module has no function".into())))
        }
    }
}

fn machine_code(wasm: &[u8]) -> Result<Vec<u8>, CompileError> {
    let compiled = || {
        let mut c = config();
        c.target("x86_64-unknown-linux-gnu")?.cranelift_opt_level(OptLevel::Speed);
        for feature in FEATURES {
            // SAFETY: the code is not run by this engine; whoever loads it checks
            // that the processor has what it needs.
            unsafe { c.cranelift_flag_enable(feature) };
        }
        Engine::new(&c)?.precompile_module(wasm)
    };
    compiled().map_err(|e: wasmtime::Error| CompileError(alloc::format!("{e:#}")))
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[test]
    fn the_same_bytes_give_the_same_code_and_bad_ones_the_reason() {
        let module = |text: &str| wat::parse_str(text).unwrap();
        let good = module("(module (memory (export \"memory\") 1) (func))");
        assert_eq!(compile(&good).unwrap(), compile(&good).unwrap());
        for (bad, why) in [
            (good[..good.len() - 1].to_vec(), "unexpected end"),
            (module("(module (memory 1 2 shared) (func))"), "threads"),
            (module("(module (memory i64 1) (func))"), "memory64"),
            (module("(module (memory 1) (memory 1) (func))"), "multi"),
            (module("(module (memory 1))"), "no function"),
        ] {
            let error = compile(&bad).unwrap_err();
            assert!(error.0.contains(why), "{error}");
        }
    }
}
