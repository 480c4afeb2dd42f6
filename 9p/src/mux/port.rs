//! One client of the joint, and what it may hold.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use super::Share;
use super::held::Held;
use super::plain::Plain;
use super::rest::End;
use crate::dialect::Dialect;
use crate::fault::Fault;
use crate::frames::{Incoming, Outgoing};
use crate::msg::ty;
use crate::plain::ename;
use crate::server::clip;
use crate::wire::{MIN_MSIZE, Writer};

/// Where a request of a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// At the server, under this tag.
    Server(u16),
    /// Held back, as one of [`Held`].
    Here,
}

#[derive(Debug)]
pub(super) struct Port {
    pub(super) rx: Incoming,
    pub(super) tx: Outgoing,
    /// The agreed size; 0 before Tversion.
    pub(super) msize: u32,
    pub(super) dialect: Dialect,
    /// Errors in words are to be those of numbers.
    pub(super) numbers: bool,
    /// More about a client of 9P2000.
    pub(super) plain: Option<Box<Plain>>,
    /// The client's fids and the server's for them, from the request on that makes
    /// one: what follows it without waiting for the answer finds it.
    pub(super) fids: BTreeMap<u32, u32>,
    /// Where the last reads of some of its fids ended.
    pub(super) ends: BTreeMap<u32, End>,
    /// The client's outstanding tags.
    pub(super) tags: BTreeMap<u16, At>,
    /// How many of them are at the server, and how many of those are no Tflush.
    pub(super) sent: usize,
    pub(super) waiting: usize,
    /// Requests that may not go to the server yet.
    pub(super) held: Held,
    pub(super) dead: bool,
}

impl Port {
    pub(super) fn new() -> Port {
        Port {
            rx: Incoming::default(),
            tx: Outgoing::default(),
            msize: 0,
            dialect: Dialect::L,
            numbers: false,
            plain: None,
            fids: BTreeMap::new(),
            ends: BTreeMap::new(),
            tags: BTreeMap::new(),
            sent: 0,
            waiting: 0,
            held: Held::default(),
            dead: false,
        }
    }

    /// Whether it reads its answers.
    pub(super) fn reads(&self, share: &Share) -> bool {
        !self.dead && self.tx.rest().len() < share.unread
    }

    /// Whether its bytes are to be looked at: it reads its answers, has not flooded
    /// the server with flushes, and what was held back of it fits into a message.
    pub(super) fn wants(&self, share: &Share) -> bool {
        self.reads(share)
            && self.sent < 2 * share.requests.max(1)
            && (self.held.is_empty() || self.held.bytes < self.msize as usize)
    }

    /// Whether one of its requests must end before the next begins.
    pub(super) fn is_busy(&self) -> bool {
        self.plain.as_ref().is_some_and(|p| p.is_busy())
    }

    /// Bytes of memory behind its buffers.
    pub(super) fn held(&self) -> usize {
        let script = self.plain.as_ref().map_or(0, |p| p.held());
        self.rx.capacity() + self.tx.bytes.capacity() + self.held.bytes + script
    }

    /// Puts an error into its answers.
    pub(super) fn refuse(&mut self, tag: u16, fault: &Fault) {
        if self.plain.is_some() {
            let mut w = Writer::new(&mut self.tx.bytes, ty::RERROR, tag);
            w.str(clip(ename(fault, self.numbers), MIN_MSIZE as usize - 32));
            return w.finish();
        }
        let mut w = Writer::new(&mut self.tx.bytes, ty::RLERROR, tag);
        w.u32(fault.errno.0);
        if self.dialect == Dialect::Atoll && self.msize != 0 {
            w.str(fault.text());
        }
        w.finish();
    }

    /// Holds a request back.
    pub(super) fn hold(&mut self, tag: u16, frame: &[u8]) {
        self.held.push(tag, frame);
        self.tags.insert(tag, At::Here);
    }

    /// A request of its is not at the server any more.
    pub(super) fn answered(&mut self, tag: u16, ty: u8) {
        if self.tags.remove(&tag).is_some() {
            self.sent -= 1;
            self.waiting -= usize::from(ty != ty::TFLUSH);
        }
    }
}
