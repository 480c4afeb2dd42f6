//! What a guest is, as data.
//!
//! A guest is written as TOML, checked into a [`payload::Payload`], and carried
//! by an image. The `no_std` half of this crate (the payload, the table of
//! built-in component kinds, atoms and their native code, the launch line) is what
//! a running guest reads; the
//! `std` half (TOML, diagnostics, image files) is what hosts use. Neither half
//! knows how a guest is run.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod atom;
#[cfg(feature = "checkpoint")]
pub mod checkpoint;
pub mod code;
#[cfg(feature = "std")]
pub mod image;
#[cfg(feature = "checkpoint")]
pub mod kept;
pub mod kinds;
pub mod launch;
#[cfg(feature = "checkpoint")]
pub mod packed;
pub mod payload;
pub mod rules;
#[cfg(feature = "std")]
pub mod text;
#[cfg(feature = "std")]
pub mod xl;
