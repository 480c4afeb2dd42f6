//! Guests as data: dispatch, sponsors, components, namespace.
//!
//! No machine is in here. Everything that a runtime needs of the world comes
//! through [`platform::Platform`], so that the same code runs in a kernel, in a
//! sandboxed process, and in a test with simulated time. No statics: a runtime
//! is a value, and several live in one process.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::unwrap_used))]

extern crate alloc;

mod abandon;
#[cfg(feature = "atoms")]
pub mod atoms;
pub mod component;
pub mod core;
mod counters;
mod effects;
pub mod engine;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod guest;
mod inspect;
mod load;
mod namespace;
pub mod native;
pub mod pace;
pub mod platform;
mod random;
pub mod records;
mod runtime;
mod say;
pub mod sched;
mod slots;
#[cfg(feature = "atoms")]
pub mod snapshot;
pub mod sponsor;
mod start;
mod timers;
mod tree;

pub use crate::core::StartError;
pub use crate::runtime::{GuestId, Runtime, run, run_with};
