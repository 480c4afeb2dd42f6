//! The kernel's FUSE protocol, as values: what `/dev/fuse` gives and takes.
//!
//! This is our own and not the crate `fuser`, because of one message: fuser (0.18)
//! answers every FUSE_INTERRUPT with ENOSYS, upon which the kernel never sends one
//! again, and then a reader of a file that blocks can be ended by nothing, not even
//! by SIGKILL. Here an interrupt becomes a Tflush. Requests are values, so that
//! each can wait for its 9P answers on the one thread that there is.
//!
//! Source: `linux/fuse.h`, version 7.38; all numbers are in the machine's order.

pub mod abi;
pub mod device;
pub mod reply;
pub mod request;

pub use reply::Reply;
pub use request::{Head, Request};
