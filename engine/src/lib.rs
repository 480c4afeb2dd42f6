//! Wasm atoms as components of a guest.
//!
//! An atom arrives as machine code that the builder made (`compile`); this crate
//! loads it, and runs it without a compiler and without any instrumentation:
//! guard pages catch wild accesses, and a watchdog that changes where the machine
//! goes on catches what runs too long. The same code serves a Linux process
//! (feature `std`) and a kernel that provides mappings and traps (feature `bare`).
#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod ahead;
mod atom;
mod atoms;
mod calls;
#[cfg(feature = "compile")]
mod compile;
mod config;
mod exits;
mod guard;
mod memory;
#[cfg(test)]
mod moved;
mod pool;
mod saved;
mod state;
#[cfg(test)]
mod storm;
#[cfg(feature = "compile")]
mod trip;
#[cfg(feature = "std")]
mod watchdog;

pub use atoms::{Atoms, BadModule, LoadError, Machine};
#[cfg(feature = "compile")]
pub use compile::{CompileError, compile};
pub use config::{COMPILER, CPU, MAX_STACK, config};
pub use exits::Exits;
pub use guard::{Code, Guard};
pub use memory::{Compare, Key, Track};
#[cfg(feature = "std")]
pub use watchdog::Watchdog;
