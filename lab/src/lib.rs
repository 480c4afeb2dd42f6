//! Fixtures for tests that need more than this process: a whole Linux, a whole Xen,
//! a xenstored.
//!
//! What people mount our trees with is the 9P client of the Linux kernel, and it
//! cannot be had as a library. So [`linux::Linux`] boots Debian's stock kernel in
//! QEMU and gives a test a shell in it; [`door::Door`] is how that guest reaches a
//! server under test, and [`nine::Server`] serves any [`atoll_9p::tree::Tree`].
//! [`xen::Lab`] is a Xen host with its dom0.
//! Nothing of it is installed, mounted or left behind on the host. Invariant: the
//! product never depends on this crate.
#![forbid(unsafe_code)]

pub mod cpio;
pub mod door;
pub mod files;
pub mod job;
mod joint;
pub mod kernel;
mod left_out;
pub mod linux;
pub mod module;
pub mod nine;
mod qemu;
pub mod shell;
pub mod xen;
pub mod xenstored;

pub use left_out::{left_out, program};
