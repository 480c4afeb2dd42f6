//! The atom ABI.
//!
//! `ABI.md`, beside this crate, is the specification. [`abi`] is the same for a
//! program: numbers, and the imports behind safe functions.
#![no_std]

pub mod abi;
