//! The supervisor from end to end: real images, booted by the real `atoll`, on
//! QEMU and as processes, with nothing left behind.
//!
//! Images are built by `cargo xtask build`, which is run as a program. Every test
//! has a folder of its own for its sockets, and at its end nothing may be in it
//! and no process may know of it. A test that cannot run here says why.

mod atoms;
mod checkpoint;
mod clients;
mod ends;
mod fixture;
mod killed;
mod plan9;
mod serve;
mod shim;
mod stored;
mod trees;
