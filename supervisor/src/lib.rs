//! The supervisor: boots a guest, gives its tree to whoever asks, and sees to it
//! that nothing is left behind.
//!
//! What a guest is made of lies in other crates; what runs it lies in other
//! programs (QEMU, the tender). Between them this crate does the input and
//! output: [`joint`] moves bytes between clients and a guest through the sans-I/O
//! [`atoll_9p::mux::Mux`], [`backend`] starts machines, [`hostdir`] shows host
//! folders to a guest, and [`guard`] cleans up behind a supervisor that was killed.
//! [`cli`] is the command line. All on one thread: there is nothing to compute.
#![forbid(unsafe_code)]

pub mod address;
pub mod backend;
pub mod checkpoint;
pub mod cli;
pub mod conn;
pub mod core;
pub mod doctor;
pub mod domain;
mod exchange;
pub mod foreign;
pub mod guard;
pub mod guestlog;
pub mod hostdir;
pub mod joint;
pub mod mount;
pub mod namespace;
pub mod record;
pub mod run;
pub mod serve;
pub mod shim;
pub mod show;
pub mod socket;
pub mod store;
pub mod stored;
pub mod stream;
