//! A client's connection.
//!
//! It begins when the server is free, which the page says with a 2 (see [`super::server`]):
//! from then on no byte in the rings is another client's. libxenvchan's own server says that
//! only once, to its first client, and has a 0 there for all others.
//!
//! The server's domain may end, move or lie at any time. What can be seen of that in the
//! page ends the connection here; that a domain is no more cannot be seen in it, since its
//! memory stays as long as somebody maps it: whoever owns a client watches the domain.

use core::fmt;
use core::ops::Deref;
use core::sync::atomic::Ordering;

use super::end::{End, Role, Wish};
use super::page::Page;
use super::ring::Bytes;

const GONE: u8 = 0;
const LIVE: u8 = 1;
const AWAITED: u8 = 2;

/// Which servers a client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// One that says that it has forgotten the client before: ours.
    Fresh,
    /// Also one that only says that there is no other client now: libxenvchan's.
    Any,
}

/// Why a connection did not begin. It can be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotYet {
    /// The server does not serve.
    Down,
    /// It has another client, or has not forgotten it yet.
    Taken,
    /// The rings are not of the lengths that rings have.
    Rings,
}

impl fmt::Display for NotYet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotYet::Down => "the vchan's server does not serve",
            NotYet::Taken => "the vchan has another client",
            NotYet::Rings => "the vchan's rings are of no length that rings have",
        })
    }
}

/// Why a connection is over. It stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The server ended it, or has begun anew.
    Closed,
    /// The server's index cannot be.
    Lie,
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Over::Closed => "the domain ended the vchan",
            Over::Lie => "the domain has written an index into the vchan's page that cannot be",
        })
    }
}

/// The client's end.
#[derive(Debug)]
pub struct Client<P, B> {
    end: End<P, B>,
    over: Option<Over>,
    /// The server must look, whatever it wished.
    news: bool,
}

impl<P: Deref<Target = Page>, B: Bytes> Client<P, B> {
    /// Begins a connection, if the server is free. The rings are those that the page names.
    pub fn connect(page: P, left: B, right: B, takes: Takes) -> Result<Client<P, B>, NotYet> {
        if !left.len().is_power_of_two() || !right.len().is_power_of_two() {
            return Err(NotYet::Rings);
        }
        if page.srv_live.load(Ordering::Acquire) != LIVE {
            return Err(NotYet::Down);
        }
        let take = |from| {
            let live = &page.cli_live;
            live.compare_exchange(from, LIVE, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        if !(take(AWAITED) || takes == Takes::Any && take(GONE)) {
            return Err(NotYet::Taken);
        }
        page.srv_notify.store(Wish::Written as u8, Ordering::SeqCst);
        let end = End::new(Role::Client, page, left, right).ok_or(NotYet::Rings)?;
        Ok(Client { end, over: None, news: true })
    }

    /// The page.
    pub fn page(&self) -> &P {
        &self.end.page
    }

    /// Receives what there is and fits, and says how many bytes: 0 when there are none yet.
    /// What was sent before the end is received before it.
    pub fn recv(&mut self, out: &mut [u8]) -> Result<usize, Over> {
        if self.over == Some(Over::Lie) {
            return Err(Over::Lie);
        }
        // Before the ring: what the server sends, it sends before it goes.
        let live = self.is_live();
        match self.end.recv(out) {
            Ok(0) if !live && !out.is_empty() => Err(self.end_with(Over::Closed)),
            Ok(n) => Ok(n),
            Err(_) => Err(self.end_with(Over::Lie)),
        }
    }

    /// Sends as many bytes as there is room for, and says how many.
    pub fn send(&mut self, bytes: &[u8]) -> Result<usize, Over> {
        if let Some(over) = self.over {
            return Err(over);
        }
        if !self.is_live() {
            return Err(self.end_with(Over::Closed));
        }
        let sent = self.end.send(bytes);
        sent.map_err(|_| self.end_with(Over::Lie))
    }

    /// Whether a `recv` would give bytes or an end.
    pub fn can_recv(&self) -> bool {
        !self.is_live() || self.end.ready().unwrap_or(1) != 0
    }

    /// Whether a `send` would take bytes or give an end.
    pub fn can_send(&self) -> bool {
        !self.is_live() || self.end.room().unwrap_or(1) != 0
    }

    /// Asks to be told of this, besides of the end. Look once more before sleeping.
    pub fn listen(&self, wish: Wish) {
        self.end.listen(wish);
    }

    /// Whether an event must be sent for what was done since the last call.
    #[must_use = "the server sleeps until it gets the event"]
    pub fn flush(&mut self) -> bool {
        let wished = self.end.flush();
        core::mem::take(&mut self.news) || wished
    }

    /// Ends the connection. An event must be sent. Who has left it to the kernel to say so
    /// when the page is unmapped does not call this: the next client may be there by then.
    pub fn leave(self) {
        let live = &self.end.page.cli_live;
        let _ = live.compare_exchange(LIVE, GONE, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Whether both ends are there. A server that begins anew, as in a domain that was moved,
    /// has taken our byte back.
    fn is_live(&self) -> bool {
        self.over.is_none()
            && self.end.page.srv_live.load(Ordering::Acquire) == LIVE
            && self.end.page.cli_live.load(Ordering::Acquire) == LIVE
    }

    fn end_with(&mut self, over: Over) -> Over {
        *self.over.get_or_insert(over)
    }
}
