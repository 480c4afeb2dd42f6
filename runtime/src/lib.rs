//! Guests as data: dispatch, sponsors, components, namespace.
//!
//! No machine is in here. Everything that a runtime needs of the world comes
//! through [`platform::Platform`], so that the same code runs in a kernel, in a
//! sandboxed process, and in a test with simulated time. No statics: a runtime
//! is a value, and several live in one process.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod platform;
