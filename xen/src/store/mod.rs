//! XenStore: what its clients and xenstored say to each other, without I/O.
//!
//! The same messages go through a domain's ring and through xenstored's socket, so they
//! are made and read here once: a [`Client`] takes typed requests and gives bytes, takes
//! bytes and gives typed answers and events. What comes from the other end is a claim:
//! its sizes are bounded, its answers have to be answers to something that was asked, and
//! one that breaks the protocol ends the connection and nothing else.
//!
//! ```
//! use atoll_xen::store::{Answer, Client, Incoming, Limits, NO_TRANSACTION, Request};
//!
//! let mut client = Client::new(Limits::default());
//! let id = client.submit(NO_TRANSACTION, &Request::Read("domid")).unwrap();
//! assert_eq!(&client.output()[16..], b"domid\0");
//! client.sent(client.output().len());
//! // XS_READ, request 1, no transaction, one byte: "7".
//! client.received(&[2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'7']).unwrap();
//! assert_eq!(client.take(), Some(Incoming::Answer(id, Ok(Answer::Value(b"7".to_vec())))));
//! ```
//!
//! Sources: `xen/io/xs_wire.h` and `docs/misc/xenstore.txt` of Xen 4.17.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::unwrap_used))]

mod answer;
mod client;
mod error;
mod path;
mod perms;
mod request;
mod wire;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Part};
pub use client::{Broken, Client, Incoming, Limits, Refused, RequestId};
pub use error::Error;
pub use path::{ABS_PATH_MAX, BadPath, REL_PATH_MAX, check_name, check_path};
pub use perms::{Access, BadPerms, MAX_PERMS, Perm, format_perms, parse_perms};
pub use request::Request;
pub use wire::{HEADER, Header, Kind, PAYLOAD_MAX};

/// A transaction's number, as xenstored gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TxId(pub u32);

/// Of a request that belongs to no transaction.
pub const NO_TRANSACTION: TxId = TxId(0);
