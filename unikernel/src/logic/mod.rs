//! What the kernel decides without touching the machine.
//!
//! Everything here takes bytes and numbers and gives values back, so it is
//! compiled for the host as well and tested there; the modules of the kernel
//! itself only carry out what is decided here.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod areas;
pub mod clock;
pub mod devices;
pub mod lines;
pub mod ports;
pub mod ram;
pub mod record;
