//! A vchan: two byte streams between two domains, in memory that they share.
//!
//! The format is libxenvchan's (`xen/include/public/io/libxenvchan.h`), so programs
//! that were made for it can be the other end; `vchan-socket-proxy` of Xen's own tools
//! is one. A server lends one page and, for each direction, a ring of further pages,
//! and writes where they are into XenStore; a client of another domain takes them.
//!
//! All of it is written by somebody else too. So each end keeps its own indices to
//! itself and only ever tells them; the other's index is a claim, and one that cannot
//! be ends the connection ([`Lie`]). What is read from a ring was read once.
//!
//! This is logic on memory: nothing here maps a page, sends an event or waits. Who
//! does tells [`Server::turn`] or an [`End`] that something may have happened, and
//! sends the event that `flush` asks for.

mod client;
mod end;
mod page;
mod raw;
mod ring;
mod server;

pub use client::{Client, NotYet, Over, Takes};
pub use end::{End, Lie, Role, Wish};
pub use page::{GRANTS, ORDERS, Page, ring_pages};
pub use raw::Raw;
pub use ring::Bytes;
pub use server::{Change, Server};

/// The name in XenStore, below the server's own path, of the page's grant reference.
pub const RING_REF: &str = "ring-ref";
/// The name of the event channel's port there. A server writes it last: where it is,
/// everything else is.
pub const EVENT_CHANNEL: &str = "event-channel";

#[cfg(test)]
mod client_tests;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
