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
//! ```no_run
//! use atoll_9p::server::{Limits, Session};
//! use atoll_9p::synth::{Files, Synth};
//! use std::io::{Read, Write};
//!
//! let mut synth = Synth::new();
//! let root = synth.root();
//! synth.text(root, "reads", |n: &mut u64, out| { *n += 1; *out += &format!("{n}\n"); Ok(()) });
//! let mut files = Files { synth, state: 0 };
//! for stream in std::os::unix::net::UnixListener::bind("reads.sock")?.incoming() {
//!     let (mut stream, mut session) = (stream?, Session::new(Limits::default()));
//!     while !session.is_dead() {
//!         match stream.read(session.spare()) {
//!             Ok(n) if n > 0 => session.received(n),
//!             _ => break,
//!         }
//!         while session.is_ready() || !session.output().is_empty() {
//!             session.step(&mut files);
//!             let _ = stream.write_all(session.output()); // the next read fails too
//!             session.sent(session.output().len());
//!         }
//!     }
//!     session.close(&mut files);
//! }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # A client
//!
//! ```no_run
//! use atoll_9p::{client::Client, msg::Tmsg, ops::{Op, What}, wire::NOFID};
//! use std::io::{Read, Write};
//!
//! let mut stream = std::os::unix::net::UnixStream::connect("reads.sock")?;
//! let (mut client, mut buf) = (Client::new(8192), [0; 8192]);
//! client.send(&Tmsg::Attach { fid: 0, afid: NOFID, uname: "me", aname: "", n_uname: NOFID });
//! let mut op = Op::start(&mut client, 0, 1, "reads", What::Read { max: 100 })?;
//! let text = 'done: loop {
//!     stream.write_all(client.output())?;
//!     client.sent(client.output().len());
//!     let n = stream.read(&mut buf)?;
//!     client.feed(&buf[..n]);
//!     while let Some((tag, answer)) = client.poll()? {
//!         if tag != op.tag() { continue }
//!         op.answer(&answer);
//!         if let Some(done) = op.next(&mut client) { break 'done done? }
//!     }
//! };
//! # let _ = text;
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
pub mod ram;
pub mod record;
pub mod server;
pub mod stream;
pub mod synth;
pub mod tree;
pub mod types;
pub mod wire;
