//! 9P2000.L without I/O.
//!
//! Everything here takes bytes and gives bytes: a [`server::Session`] is fed what a
//! socket, a virtual queue or a test received, is stepped against a [`tree::Tree`],
//! and its output is taken away. A [`client::Client`] is the same from the other
//! end, and a [`mux::Mux`] joins many clients to one server. No part knows what
//! carries its bytes or what time it is, so a test drives all of them from a seed.
//!
//! What most people want is in [`synth`]: files made of functions.
//!
//! ```
//! use atoll_9p::synth::{Synth, Verb};
//!
//! struct Counter { n: u64 }
//! const VERBS: &[Verb] = &[Verb::new("add", "N", 1), Verb::new("reset", "", 0)];
//!
//! let mut tree = Synth::new();
//! let root = tree.root();
//! tree.bytes(root, "README", b"A counter.\n");
//! tree.text(root, "count", |s: &mut Counter, out| { *out += &format!("{}\n", s.n); Ok(()) });
//! tree.ctl(root, "ctl", VERBS, |s, c| {
//!     s.n = if c.verb == "add" { s.n + c.number(0)? } else { 0 };
//!     Ok(())
//! });
//! ```
//!
//! Sources: the manual pages of section 5 of Plan 9 for the protocol, and diod's
//! `protocol.md` for the `.L` messages, as the Linux client (`net/9p`) sends them.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::unwrap_used))]

extern crate alloc;

pub mod client;
pub mod fault;
mod frames;
pub mod msg;
pub mod mux;
pub mod ops;
pub mod server;
pub mod stream;
pub mod synth;
pub mod tree;
pub mod types;
pub mod wire;
