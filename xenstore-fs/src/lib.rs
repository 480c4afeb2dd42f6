//! A XenStore as a file tree.
//!
//! XenStore is a tree already, with a protocol of its own; shown as one over 9P it can be
//! read by `cat`, listed by `ls`, mounted, and given to a guest or a client in part. A node
//! is a directory with the files `value`, `perms` and `watch` and a directory for each
//! child; a transaction is a directory that exists as long as somebody has it open
//! (`docs/xenstore.md` has the table).
//!
//! The tree is logic over a [`Backend`], which answers at once: xenstored does one request
//! after the other and answers each within microseconds, so nothing is gained by not
//! waiting for it, and everything that a client does stays in the order in which it was
//! done. What waits are the `watch` files alone. A [`Link`] is the backend that asks a real
//! xenstored; it bounds how long one that hangs is waited for.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::unwrap_used))]

mod backend;
mod fs;
mod link;
mod list;
mod names;
mod node;
mod places;
mod serve;
mod transactions;
mod tree;
mod watches;

#[cfg(test)]
mod tests;

pub use backend::{Backend, Failed};
pub use fs::{Limits, XenStoreFs};
pub use link::{Link, Target};
pub use serve::serve;
