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
//! # A file server
//!
//! With the feature `std`, `net` carries the bytes on Linux: one thread, any number
//! of clients, and whoever connects to the socket reads how often that was done.
//!
#![cfg_attr(feature = "std", doc = "```")]
#![cfg_attr(not(feature = "std"), doc = "```ignore")]
//! use atoll_9p::net::{Policy, Server};
//! use atoll_9p::synth::{Files, Synth};
//! use std::os::unix::net::UnixListener;
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("reads.sock");
//! let mut synth = Synth::new();
//! let root = synth.root();
//! synth.bytes(root, "README", b"How often `reads` was read.\n");
//! synth.text(root, "reads", |n: &mut u64, out| {
//!     *n += 1;
//!     *out += &format!("{n}\n");
//!     Ok(())
//! });
//! let mut server = Server::new(Files { synth, state: 0 })?;
//! server.listen(UnixListener::bind(&path)?, Policy::Owner)?;
//! # let handle = server.handle();
//! # let client = std::thread::spawn(move || {
//! #     let client = atoll_9p::client::blocking::Connection::unix(path)?;
//! #     let both = (client.read("README")?, client.read("reads")?);
//! #     handle.stop();
//! #     Ok::<_, atoll_9p::client::Error>(both)
//! # });
//! server.run()?; // until `server.handle().stop()`, from any thread
//! # let (readme, reads) = client.join().unwrap()?;
//! # assert_eq!((&readme[..3], &*reads), (&b"How"[..], &b"1\n"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A client
//!
//! For programs that wait for their answers; one for many tasks has the feature
//! `tokio`.
//!
#![cfg_attr(feature = "std", doc = "```")]
#![cfg_attr(not(feature = "std"), doc = "```ignore")]
//! use atoll_9p::client::blocking::Connection;
//! use atoll_9p::types::OpenFlags;
//! use std::io::Write;
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("files.sock");
//! # let listener = std::os::unix::net::UnixListener::bind(&path)?;
//! # std::thread::spawn(move || atoll_9p::net::serve(listener, atoll_9p::ram::Ram::default()));
//! let client = Connection::unix(&path)?;
//! client.mkdir("notes", 0o755)?;
//! writeln!(client.create("notes/today", OpenFlags::WRONLY, 0o644)?, "Ask for tea.")?;
//! assert_eq!(client.read("notes/today")?, b"Ask for tea.\n");
//! for name in client.list("notes")? {
//!     println!("{} {} bytes", name.name, client.stat(&format!("notes/{}", name.name))?.size);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Sources: the manual pages of section 5 of Plan 9 for the protocol, and diod's
//! `protocol.md` for the `.L` messages, as the Linux client (`net/9p`) sends them.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::unwrap_used))]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod access;
pub mod bytes;
pub mod client;
pub mod dialect;
pub mod fault;
mod fids;
mod frames;
pub mod locks;
pub mod msg;
pub mod mux;
#[cfg(all(feature = "std", target_os = "linux"))]
pub mod net;
pub mod once;
pub mod ops;
mod plain;
pub mod ram;
pub mod record;
pub mod server;
pub mod stream;
pub mod switch;
pub mod synth;
pub mod tree;
pub mod types;
pub mod wire;
