//! The tender: one guest in one sandboxed Linux process.
//!
//! Where there is no hypervisor, the kernel's part is played by this process. It
//! reads an image, takes from the system what the guest will need (its two
//! sockets, its memory, a clock), gives up everything else, and only then lets
//! the guest run. A guest that breaks out of the runtime finds a process that can
//! read and write the sockets it already has, and nothing more.
//!
//! Unsafe code is in the modules that touch the system: the allocator, the
//! signal handlers, the sandbox and the loading of atoms' code.

pub mod alloc;
pub mod args;
pub mod atoms;
pub mod plat;
pub mod record;
pub mod sandbox;
pub mod signal;
pub mod wire;
