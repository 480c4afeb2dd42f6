//! The daemon.

pub mod front;
