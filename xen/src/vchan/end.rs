//! What both ends do: send, receive, and say when an event is worth sending.
//!
//! An event costs a trip through the hypervisor and wakes somebody up, so it is sent
//! only where the other end has asked for it. Each end says in the page what it wants
//! to be told of, looks again, and only then sleeps; the other clears the wish when it
//! tells. That is why [`End::listen`] must be followed by one more look.

use core::ops::Deref;
use core::sync::atomic::{AtomicU8, Ordering, fence};

use super::page::Page;
use super::ring::{Bytes, Ring};

/// The other end's index cannot be: it has more bytes in a ring than fit, or has
/// read more than there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lie;

/// Which end this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Lends the memory; reads the left ring.
    Server,
    /// Takes it; reads the right one.
    Client,
}

/// What an end may want to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Wish {
    /// Bytes were written (`VCHAN_NOTIFY_WRITE`).
    Written = 1,
    /// Bytes were read, so there is room (`VCHAN_NOTIFY_READ`).
    Read = 2,
}

/// One end of a vchan.
#[derive(Debug)]
pub struct End<P, B> {
    pub(super) page: P,
    role: Role,
    pub(super) rx: Ring<B>,
    pub(super) tx: Ring<B>,
    /// What the other end was not told of yet.
    untold: u8,
}

impl<P: Deref<Target = Page>, B: Bytes> End<P, B> {
    /// An end on a page and its two rings. It goes on where the page says that the end
    /// before it has stopped, which for a new page is the beginning. None where a
    /// ring's length is no power of two.
    pub fn new(role: Role, page: P, left: B, right: B) -> Option<End<P, B>> {
        let (rx, tx) = match role {
            Role::Server => (left, right),
            Role::Client => (right, left),
        };
        let (from, to) = match role {
            Role::Server => (&page.left, &page.right),
            Role::Client => (&page.right, &page.left),
        };
        let rx = Ring::new(rx, from.cons.load(Ordering::Acquire))?;
        let tx = Ring::new(tx, to.prod.load(Ordering::Acquire))?;
        Some(End { page, role, rx, tx, untold: 0 })
    }

    /// The page.
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// Bytes that can be received now.
    pub fn ready(&self) -> Result<usize, Lie> {
        let indices = match self.role {
            Role::Server => &self.page.left,
            Role::Client => &self.page.right,
        };
        self.rx.ready(indices).map(|n| n as usize)
    }

    /// Bytes that can be sent now.
    pub fn room(&self) -> Result<usize, Lie> {
        let indices = match self.role {
            Role::Server => &self.page.right,
            Role::Client => &self.page.left,
        };
        self.tx.room(indices).map(|n| n as usize)
    }

    /// Receives what there is and fits, and says how many bytes.
    pub fn recv(&mut self, out: &mut [u8]) -> Result<usize, Lie> {
        let indices = match self.role {
            Role::Server => &self.page.left,
            Role::Client => &self.page.right,
        };
        let n = self.rx.read(indices, out)?;
        if n != 0 {
            self.untold |= Wish::Read as u8;
        }
        Ok(n)
    }

    /// Sends as many bytes as there is room for, and says how many.
    pub fn send(&mut self, bytes: &[u8]) -> Result<usize, Lie> {
        let indices = match self.role {
            Role::Server => &self.page.right,
            Role::Client => &self.page.left,
        };
        let n = self.tx.write(indices, bytes)?;
        if n != 0 {
            self.untold |= Wish::Written as u8;
        }
        Ok(n)
    }

    /// Asks to be told. Look once more before sleeping: what came before is not told.
    pub fn listen(&self, wish: Wish) {
        self.ours().fetch_or(wish as u8, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Whether an event must be sent for what was done since the last call.
    #[must_use = "the other end sleeps until it gets the event"]
    pub fn flush(&mut self) -> bool {
        let done = core::mem::take(&mut self.untold);
        if done == 0 {
            return false;
        }
        fence(Ordering::SeqCst);
        self.theirs().fetch_and(!done, Ordering::SeqCst) & done != 0
    }

    fn ours(&self) -> &AtomicU8 {
        match self.role {
            Role::Server => &self.page.cli_notify,
            Role::Client => &self.page.srv_notify,
        }
    }

    fn theirs(&self) -> &AtomicU8 {
        match self.role {
            Role::Server => &self.page.srv_notify,
            Role::Client => &self.page.cli_notify,
        }
    }
}
