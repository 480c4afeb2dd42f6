//! A server's connections: one client after another over the same rings.
//!
//! libxenvchan has one byte for "there is a client", which is 0 when one has gone and 1
//! when the next has come. A server that sleeps while both happen sees nothing, and the
//! next client would get what was meant for the last. So this server says when it has
//! seen the end: it empties both rings and turns the byte from 0 to 2, the value that
//! stands there before the first client. A client that waits for a 2 before it writes
//! its 1 can be sure that no byte of another reaches it. One that does not wait
//! (libxenvchan's own) is served all the same.

use core::ops::Deref;
use core::sync::atomic::Ordering;

use super::end::{End, Lie, Role, Wish};
use super::page::{Page, ring_pages};
use super::ring::Bytes;

const GONE: u8 = 0;
const LIVE: u8 = 1;
const AWAITED: u8 = 2;

/// What has happened to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// One began.
    Opened,
    /// It is over; what was not received yet is gone.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Open,
    /// The client's index cannot be; nothing is read or written any more.
    Broken,
    /// The server has ended the connection, and waits until the client sees it.
    Leaving,
}

/// The server's end.
#[derive(Debug)]
pub struct Server<P, B> {
    end: End<P, B>,
    phase: Phase,
    order: u16,
    /// The client must look, whatever it wished.
    news: bool,
}

impl<P: Deref<Target = Page>, B: Bytes> Server<P, B> {
    /// A server on a page and two rings of 2^order bytes that nobody else knows yet,
    /// lent out under these references, those of the left ring first. None where the
    /// rings are of other lengths, or there are fewer references than pages.
    pub fn new(
        page: P,
        left: B,
        right: B,
        order: u16,
        grants: impl ExactSizeIterator<Item = u32>,
    ) -> Option<Server<P, B>> {
        let pages = ring_pages(order)?;
        if left.len() != 1 << order || right.len() != 1 << order || grants.len() < 2 * pages {
            return None;
        }
        let end = End::new(Role::Server, page, left, right)?;
        let mut server = Server { end, phase: Phase::Waiting, order, news: false };
        server.restart(grants);
        Some(server)
    }

    /// Begins anew with other references, when what was lent is lent no more: a domain
    /// that was moved keeps its memory and nothing else.
    pub fn restart(&mut self, grants: impl Iterator<Item = u32>) {
        let page = &*self.end.page;
        page.lay_out(self.order, grants);
        for indices in [&page.left, &page.right] {
            indices.cons.store(0, Ordering::Relaxed);
            indices.prod.store(0, Ordering::Relaxed);
        }
        (self.end.rx.index, self.end.tx.index) = (0, 0);
        page.srv_notify.store(0, Ordering::Relaxed);
        page.cli_notify.store(Wish::Written as u8, Ordering::Relaxed);
        page.cli_live.store(AWAITED, Ordering::Relaxed);
        page.srv_live.store(LIVE, Ordering::Release);
        self.phase = Phase::Waiting;
        self.news = false;
    }

    /// Looks what the client has done to the connection. Again, until there is no change.
    pub fn turn(&mut self) -> Option<Change> {
        let live = self.end.page.cli_live.load(Ordering::Acquire);
        match self.phase {
            Phase::Waiting if live == LIVE => {
                self.phase = Phase::Open;
                Some(Change::Opened)
            }
            Phase::Waiting if live == GONE => {
                self.empty();
                None
            }
            Phase::Open if live != LIVE => {
                self.empty();
                Some(Change::Closed)
            }
            Phase::Broken => {
                self.leave();
                Some(Change::Closed)
            }
            Phase::Leaving if live != LIVE => {
                self.empty();
                None
            }
            _ => None,
        }
    }

    /// Whether [`Server::turn`] has something to do. Changes nothing.
    pub fn changed(&self) -> bool {
        let live = self.end.page.cli_live.load(Ordering::Acquire);
        match self.phase {
            Phase::Waiting => live != AWAITED,
            Phase::Open | Phase::Leaving => live != LIVE,
            Phase::Broken => true,
        }
    }

    /// Whether there is a connection.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Ends the connection from this side; the client can still read what was sent.
    pub fn close(&mut self) {
        if self.is_open() {
            self.leave();
        }
    }

    /// Bytes that can be received now.
    pub fn ready(&self) -> usize {
        if self.is_open() { self.end.ready().unwrap_or(1) } else { 0 }
    }

    /// Bytes that can be sent now.
    pub fn room(&self) -> usize {
        if self.is_open() { self.end.room().unwrap_or(0) } else { 0 }
    }

    /// Receives what there is and fits, and says how many bytes; 0 where there is no
    /// connection.
    pub fn recv(&mut self, out: &mut [u8]) -> usize {
        if !self.is_open() {
            return 0;
        }
        let got = self.end.recv(out);
        self.believe(got).unwrap_or(0)
    }

    /// Sends as many bytes as there is room for, and says how many. All are taken, and
    /// dropped, where there is no connection.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        if !self.is_open() {
            return bytes.len();
        }
        let sent = self.end.send(bytes);
        self.believe(sent).unwrap_or(bytes.len())
    }

    /// Asks to be told of this, besides of connections that begin or end. Look once
    /// more before sleeping.
    pub fn listen(&self, wish: Wish) {
        self.end.listen(wish);
    }

    /// Whether an event must be sent for what was done since the last call.
    #[must_use = "the client sleeps until it gets the event"]
    pub fn flush(&mut self) -> bool {
        let wished = self.end.flush();
        core::mem::take(&mut self.news) || wished
    }

    fn believe(&mut self, claim: Result<usize, Lie>) -> Option<usize> {
        if claim.is_err() {
            self.phase = Phase::Broken;
        }
        claim.ok()
    }

    fn leave(&mut self) {
        self.end.page.srv_live.store(0, Ordering::Release);
        self.phase = Phase::Leaving;
        self.news = true;
    }

    /// The client has gone: drops what is in the rings, and waits for the next.
    fn empty(&mut self) {
        let page = &*self.end.page;
        // Both are claims, and of somebody who has gone; any value will do.
        self.end.rx.index = page.left.prod.load(Ordering::Acquire);
        page.left.cons.store(self.end.rx.index, Ordering::Release);
        self.end.tx.index = page.right.cons.load(Ordering::Acquire);
        page.right.prod.store(self.end.tx.index, Ordering::Release);
        page.cli_notify.fetch_or(Wish::Written as u8, Ordering::SeqCst);
        page.srv_live.store(LIVE, Ordering::Release);
        // A client that does not wait may have come already; then the byte is a 1.
        let seen =
            page.cli_live.compare_exchange(GONE, AWAITED, Ordering::AcqRel, Ordering::Relaxed);
        self.phase = Phase::Waiting;
        self.news = seen.is_ok();
    }
}
