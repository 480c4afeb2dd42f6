//! Wasm to machine code, for the builder.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use wasmtime::{Engine, OptLevel};

use crate::config::config;

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
        let module = b"\0asm\x01\0\0\0\x05\x03\x01\0\x01";
        assert_eq!(compile(module).unwrap(), compile(module).unwrap());
        let cut = compile(&module[..10]).unwrap_err();
        assert!(cut.0.contains("unexpected end"), "{cut}");
        let shared = b"\0asm\x01\0\0\0\x05\x04\x01\x03\x01\x02";
        assert!(compile(shared).unwrap_err().0.contains("threads"));
    }
}
