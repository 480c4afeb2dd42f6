//! The page that tells where everything is and how far each side has come.

use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, Ordering};

/// Grant references that the page has room for.
pub const GRANTS: usize = (4096 - 24) / 4;

/// Orders of a ring, each of 2^order bytes. The format knows smaller ones too, which
/// lie in the page itself; those are 80 times slower, and neither made nor taken here.
pub const ORDERS: RangeInclusive<u16> = 12..=20;

/// Pages of a ring of that order, if it is one of [`ORDERS`].
pub fn ring_pages(order: u16) -> Option<usize> {
    ORDERS.contains(&order).then(|| 1 << (order - 12))
}

/// How far a ring was written and read: bytes since its beginning, modulo 2^32.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Indices {
    pub(super) cons: AtomicU32,
    pub(super) prod: AtomicU32,
}

/// `struct vchan_interface`. Either side may change any of it at any time.
#[repr(C)]
#[derive(Debug)]
pub struct Page {
    /// From the client to the server.
    pub(super) left: Indices,
    /// From the server to the client.
    pub(super) right: Indices,
    left_order: AtomicU16,
    right_order: AtomicU16,
    /// 1 while there is a client, 0 when it has gone, 2 when the server waits for one.
    pub(super) cli_live: AtomicU8,
    /// 1 while the server serves, 0 when it ends the connection.
    pub(super) srv_live: AtomicU8,
    /// What the server wants to be told of by the client.
    pub(super) cli_notify: AtomicU8,
    /// What the client wants to be told of by the server.
    pub(super) srv_notify: AtomicU8,
    grants: [AtomicU32; GRANTS],
}

const _: () = assert!(size_of::<Page>() == 4096 && align_of::<Page>() == 4);

impl Default for Page {
    fn default() -> Page {
        Page {
            left: Indices::default(),
            right: Indices::default(),
            left_order: AtomicU16::new(0),
            right_order: AtomicU16::new(0),
            cli_live: AtomicU8::new(0),
            srv_live: AtomicU8::new(0),
            cli_notify: AtomicU8::new(0),
            srv_notify: AtomicU8::new(0),
            grants: [const { AtomicU32::new(0) }; GRANTS],
        }
    }
}

impl Page {
    /// The orders of the left and of the right ring: claims of the server.
    pub fn orders(&self) -> (u16, u16) {
        (self.left_order.load(Ordering::Relaxed), self.right_order.load(Ordering::Relaxed))
    }

    /// Whether it says that there is a client.
    pub fn has_client(&self) -> bool {
        self.cli_live.load(Ordering::Acquire) == 1
    }

    /// The grant references that begin with number `from`: claims of the server. The
    /// left ring's pages come first, then the right one's.
    pub fn grants(&self, from: usize) -> impl Iterator<Item = u32> {
        self.grants.iter().skip(from).map(|g| g.load(Ordering::Relaxed))
    }

    /// The server is no more, and could not say so by its [`super::Server`]: whoever reads on
    /// gets to the end. The client must be sent an event.
    pub fn abandon(&self) {
        self.srv_live.store(0, Ordering::Release);
    }

    /// Writes what stays as it is: the orders, and the grant references of both rings.
    pub(super) fn lay_out(&self, order: u16, grants: impl Iterator<Item = u32>) {
        self.left_order.store(order, Ordering::Relaxed);
        self.right_order.store(order, Ordering::Relaxed);
        for (at, grant) in self.grants.iter().zip(grants) {
            at.store(grant, Ordering::Relaxed);
        }
    }
}
