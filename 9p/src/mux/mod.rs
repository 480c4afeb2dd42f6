//! Many clients of one server, over the server's one connection.
//!
//! A guest's `control` stream carries one connection at a time, and many people
//! want its tree. A [`Mux`] is a server to each of them and one client to the
//! guest: it gives every request a tag and fids of its own, checks it before it
//! goes on, and undoes at the guest what a client that is gone has left there. It
//! never waits, and a client that does not read its answers stops itself alone.
//!
//! A request of a client's that would have to wait and is one too many is held back, not
//! refused (see `held`). How many a client may have at the server shrinks as the server's
//! places to wait fill up: nobody can take them all.
//!
//! A server speaks 9P2000.L, and to a client of 9P2000 the joint is one of that: see
//! `plain`.
//!
//! Whole frames are handled where they were received, and buffers that are empty
//! go to a pool: a client that does nothing holds none.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use crate::client::Broken;
use crate::client::tags::{self, Tags};
use crate::dialect::Dialect;
use crate::fault::{Errno, Fault};
use crate::frames::{Incoming, Outgoing};
use crate::msg::{self, Rmsg, Tmsg, ty};
use crate::server::clip;
use crate::wire::{Front, HEADER, MIN_MSIZE, NOTAG, Writer, front, patch};
use fids::Fids;
use port::{At, Port};
use rest::Rest;

mod fids;
mod forward;
mod held;
mod plain;
mod port;
mod rest;
mod undo;

/// Empty buffers that are kept for the next answers, and how large they may be.
const POOL: usize = 8;
const KEEP: usize = 64 << 10;

/// One of the clients. A number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// What one client may hold at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Fids in use.
    pub fids: usize,
    /// Requests without an answer. More are held back.
    pub requests: usize,
    /// Bytes of answers that it has not read.
    pub unread: usize,
    /// Requests of all clients together that the server lets wait
    /// ([`crate::server::Limits::blocked`]).
    pub waiting: usize,
}

impl Default for Share {
    fn default() -> Share {
        Share { fids: 1024, requests: 64, unread: 1 << 20, waiting: 256 }
    }
}

/// A request at the server.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// Who asked, and under what tag; nobody when the client is gone.
    client: Option<(ClientId, u16)>,
    /// The type of the request.
    ty: u8,
    /// The server's fids that it is about.
    on: Option<u32>,
    also: Option<u32>,
    effect: Effect,
}

/// What the answer will change here.
#[derive(Clone, Copy, Debug)]
enum Effect {
    None,
    /// A failure leaves the server's `at`, which the client calls `fid`, free. A
    /// walk must get `names` far.
    Bind {
        fid: u32,
        at: u32,
        names: Option<u16>,
    },
    /// Whatever the answer, the server's fid is free.
    Free {
        at: u32,
    },
    /// The server's fid becomes that of a file that goes with its client, who is gone.
    Made {
        at: u32,
    },
    /// The request of this tag ends.
    Flush {
        tag: u16,
    },
    /// The data may be no more than this, and a position comes with it or not.
    Read {
        count: u32,
        sequenced: bool,
        rest: Option<Rest>,
    },
}

/// The joint.
#[derive(Debug)]
pub struct Mux {
    share: Share,
    rx: Incoming,
    tx: Outgoing,
    msize: u32,
    /// The server's dialect, once it has answered.
    dialect: Option<Dialect>,
    ports: BTreeMap<ClientId, Port>,
    next_client: u64,
    /// Requests at the server by their tags.
    tags: Tags,
    asked: Vec<Option<Asked>>,
    /// How many of them are of clients, and no Tflush.
    waiting: usize,
    fids: Fids,
    /// Fids to clunk when there is a tag for it, or to remove with their files.
    owed: Vec<(u32, bool)>,
    /// Clients of which requests are held back.
    thirsty: BTreeSet<ClientId>,
    pool: Vec<Vec<u8>>,
}

impl Mux {
    /// A joint that proposes a message size to the server.
    pub fn new(msize: u32, share: Share) -> Mux {
        let msize = msize.max(MIN_MSIZE);
        let mut tx = Outgoing::default();
        Tmsg::Version { msize, version: Dialect::Atoll.name() }.encode(NOTAG, &mut tx.bytes);
        Mux {
            share,
            rx: Incoming::default(),
            tx,
            msize,
            dialect: None,
            ports: BTreeMap::new(),
            next_client: 0,
            tags: Tags::default(),
            asked: Vec::new(),
            waiting: 0,
            fids: Fids::default(),
            owed: Vec::new(),
            thirsty: BTreeSet::new(),
            pool: Vec::new(),
        }
    }

    /// A client has come.
    pub fn open(&mut self) -> ClientId {
        let id = ClientId(self.next_client);
        self.next_client += 1;
        self.ports.insert(id, Port::new());
        id
    }

    /// A client is gone: its requests are flushed and its fids clunked.
    pub fn close(&mut self, id: ClientId) {
        self.undo(id);
        self.ports.remove(&id);
    }

    /// Whether a client's bytes are to be read now: it has read its answers, not too
    /// much of it is held back already, it has not flooded the server with flushes, and
    /// the server's greeting is over.
    pub fn wants(&self, id: ClientId) -> bool {
        self.dialect.is_some() && self.ports.get(&id).is_some_and(|p| p.wants(&self.share))
    }

    /// Takes bytes from a client. Only when it is [wanted](Mux::wants).
    pub fn from_client(&mut self, id: ClientId, bytes: &[u8]) {
        if self.is_dead(id) {
            return;
        }
        self.lend(id);
        if self.ports.get(&id).is_some_and(|p| p.rx.rest().is_empty()) {
            let used = self.serve(id, bytes);
            if let Some(port) = self.ports.get_mut(&id).filter(|_| used < bytes.len()) {
                port.rx.extend(bytes.get(used..).unwrap_or_default());
            }
        } else {
            if let Some(port) = self.ports.get_mut(&id) {
                port.rx.extend(bytes);
            }
            self.pump(id);
        }
        self.give_back(id);
    }

    /// Bytes for a client.
    pub fn to_client(&self, id: ClientId) -> &[u8] {
        self.ports.get(&id).map(|p| p.tx.rest()).unwrap_or_default()
    }

    /// Says that the first `n` of them were sent.
    pub fn sent_to_client(&mut self, id: ClientId, n: usize) {
        if let Some(port) = self.ports.get_mut(&id) {
            port.tx.sent(n);
        }
        self.unhold(id);
        self.pump(id);
        self.give_back(id);
    }

    /// Whether a client broke the framing: close it once its answers were sent.
    pub fn is_dead(&self, id: ClientId) -> bool {
        self.ports.get(&id).is_none_or(|p| p.dead)
    }

    /// Bytes for the server.
    pub fn to_server(&self) -> &[u8] {
        self.tx.rest()
    }

    /// Says that the first `n` of them were sent.
    pub fn sent_to_server(&mut self, n: usize) {
        self.tx.sent(n);
        self.tx.trim(self.keep());
    }

    /// Whether the server has greeted.
    pub fn is_ready(&self) -> bool {
        self.dialect.is_some()
    }

    /// Requests at the server that have no answer yet.
    pub fn outstanding(&self) -> usize {
        self.tags.outstanding() + usize::from(self.dialect.is_none())
    }

    /// Clients that are joined now.
    pub fn clients(&self) -> impl Iterator<Item = ClientId> + '_ {
        self.ports.keys().copied()
    }

    /// Bytes of memory behind a client's buffers.
    pub fn held(&self, id: ClientId) -> usize {
        self.ports.get(&id).map_or(0, |p| p.held())
    }

    /// Takes bytes from the server. An error means that it is of no further use.
    pub fn from_server(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let done = if self.rx.rest().is_empty() {
            self.answers(bytes).map(|used| {
                self.rx.extend(bytes.get(used..).unwrap_or_default());
            })
        } else {
            self.rx.extend(bytes);
            let mut rx = core::mem::take(&mut self.rx);
            let done = self.answers(rx.rest()).map(|used| rx.consume(used));
            self.rx = rx;
            done
        };
        if self.rx.rest().is_empty() && self.rx.capacity() > self.keep() {
            self.rx.trim();
        }
        while let Some(&(at, remove)) = self.owed.last()
            && !self.tags.is_full()
        {
            self.owed.pop();
            self.give_up(at, remove);
        }
        if !self.thirsty.is_empty() {
            let thirsty: Vec<_> = self.thirsty.iter().copied().collect();
            thirsty.into_iter().for_each(|id| self.unhold(id));
        }
        done
    }

    /// Takes the answers at the front of some bytes; says how many bytes they were.
    fn answers(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            match front(rest, self.msize) {
                Front::Frame(n) if n <= rest.len() => {
                    self.answer(rest.get(..n).unwrap_or_default())?;
                    used += n;
                }
                Front::Bad(n) => return Err(Broken::Size(n)),
                _ => return Ok(used),
            }
        }
    }

    /// Handles the requests of a client that are here.
    fn pump(&mut self, id: ClientId) {
        let Some(port) = self.ports.get_mut(&id).filter(|p| !p.rx.rest().is_empty()) else {
            return;
        };
        let mut rx = core::mem::take(&mut port.rx);
        let used = self.serve(id, rx.rest());
        rx.consume(used);
        rx.trim();
        if let Some(port) = self.ports.get_mut(&id) {
            port.rx = rx;
        }
    }

    /// Gives a client a buffer for its answers, if it has none.
    fn lend(&mut self, id: ClientId) {
        if let Some(port) = self.ports.get_mut(&id).filter(|p| p.tx.bytes.capacity() == 0) {
            port.tx.bytes = self.pool.pop().unwrap_or_default();
        }
    }

    /// Bytes of a buffer towards the server that are kept: a few messages.
    fn keep(&self) -> usize {
        KEEP.max(4 * self.msize as usize)
    }

    /// Takes it back when there are none. One that many or large answers made large stays
    /// if all of them together hold no more than as many of the usual size would.
    fn give_back(&mut self, id: ClientId) {
        if let Some(port) = self.ports.get_mut(&id).filter(|p| p.tx.rest().is_empty()) {
            let bytes = core::mem::take(&mut port.tx.bytes);
            let pooled: usize = self.pool.iter().map(Vec::capacity).sum();
            let room = POOL * KEEP - pooled.min(POOL * KEEP);
            if (1..=room).contains(&bytes.capacity()) && self.pool.len() < POOL {
                self.pool.push(bytes);
            }
        }
    }

    /// Makes a request known that goes to the server; says under what tag.
    fn ask(&mut self, asked: Asked) -> Result<u16, Fault> {
        let oldtag = match asked.effect {
            Effect::Flush { tag } => Some(tag),
            _ => None,
        };
        let up = tags::Asked { ty: asked.ty, oldtag, ..tags::Asked::default() };
        let up = self.tags.ask(up).ok_or(Errno::ENOBUFS)?;
        if let Some((id, tag)) = asked.client
            && let Some(port) = self.ports.get_mut(&id)
        {
            let waits = asked.ty != ty::TFLUSH;
            port.tags.insert(tag, At::Server(up));
            port.sent += 1;
            port.waiting += usize::from(waits);
        }
        self.waiting += usize::from(asked.ty != ty::TFLUSH && asked.ty != ty::TCLUNK);
        asked.fids().for_each(|at| self.fids.enter(at));
        let at = usize::from(up);
        if self.asked.len() <= at {
            self.asked.resize(at + 1, None);
        }
        if let Some(slot) = self.asked.get_mut(at) {
            *slot = Some(asked);
        }
        Ok(up)
    }

    /// A request is no longer at the server: what it was about has a user less.
    fn unask(&mut self, up: u16) -> Option<Asked> {
        let asked = self.asked.get_mut(usize::from(up))?.take()?;
        self.waiting -= usize::from(asked.ty != ty::TFLUSH && asked.ty != ty::TCLUNK);
        asked.fids().for_each(|at| self.fids.leave(at));
        Some(asked)
    }

    fn greeted(&mut self, frame: &[u8]) -> Result<(), Broken> {
        match Rmsg::decode(frame).map_err(Broken::Frame)? {
            Rmsg::Version { msize, version } if (MIN_MSIZE..=self.msize).contains(&msize) => {
                self.msize = msize;
                let dialect = Dialect::choose(version).filter(|d| d.is_linux());
                self.dialect = Some(dialect.ok_or(Broken::Version)?);
            }
            _ => return Err(Broken::Version),
        }
        let waiting: Vec<_> = self.clients().collect();
        waiting.into_iter().for_each(|id| self.pump(id));
        Ok(())
    }

    fn answer(&mut self, frame: &[u8]) -> Result<(), Broken> {
        let up = msg::tag(frame);
        if self.dialect.is_none() && up == NOTAG {
            return self.greeted(frame);
        }
        let got = frame.get(4).copied().unwrap_or_default();
        let asked = self.tags.answered(up, got).and_then(|_| self.unask(up).ok_or(Broken::Unasked));
        let asked = asked?;
        let answer = Rmsg::decode(frame).map_err(Broken::Frame)?;
        let failed = matches!(answer, Rmsg::Lerror { .. });
        let client = asked.client.filter(|(id, _)| self.ports.contains_key(id));
        match asked.effect {
            Effect::None => {}
            Effect::Bind { fid, at, names } => {
                let bound = match answer {
                    Rmsg::Walk { count, .. } => names == Some(count),
                    _ => !failed,
                };
                if !bound {
                    self.unbind(client, fid, at);
                } else if self.fids.revive(at) {
                    // It was clunked before it was there.
                    self.clunk(at);
                }
            }
            Effect::Free { at } => self.fids.free(at),
            Effect::Made { at } => self.give_up(at, !failed),
            Effect::Flush { tag } if !failed => self.flushed(tag),
            Effect::Flush { .. } => {}
            Effect::Read { count, sequenced, .. } => match answer {
                Rmsg::Read { data, .. } | Rmsg::Readdir { data } if data.len() > count as usize => {
                    return Err(Broken::TooMuch);
                }
                Rmsg::Read { next, .. } if next.is_some() != sequenced => {
                    return Err(Broken::Unasked);
                }
                _ => {}
            },
        }
        asked.fids().for_each(|at| self.fids.settle(at));
        let Some((id, tag)) = client else { return Ok(()) };
        self.lend(id);
        let Some(port) = self.ports.get_mut(&id) else { return Ok(()) };
        port.answered(tag, asked.ty);
        port.held.forget(tag);
        let start = port.tx.bytes.len();
        if port.plain.as_ref().is_some_and(|p| p.awaits(tag)) {
            let got = match answer {
                Rmsg::Lerror { errno, text } => Err(told(errno, text)),
                answer => Ok(answer),
            };
            self.turn(id, got, frame);
            self.unhold(id);
            self.pump(id);
            return Ok(());
        }
        match answer {
            Rmsg::Lerror { errno, text } if port.plain.is_some() => {
                port.refuse(tag, &told(errno, text));
            }
            // Whoever has not asked for the text of an error gets its number alone,
            // and nobody more than a message of theirs holds.
            Rmsg::Lerror { errno, text } => {
                let mut w = Writer::new(&mut port.tx.bytes, ty::RLERROR, tag);
                w.u32(errno);
                if let Some(text) = text.filter(|_| port.dialect == Dialect::Atoll) {
                    w.str(clip(text, (port.msize as usize).saturating_sub(HEADER + 6)));
                }
                w.finish();
            }
            Rmsg::Read { data, .. }
                if let Effect::Read { count, rest: Some(rest), .. } = asked.effect
                    && let Some(at) = asked.on =>
            {
                port.has_read(rest, at, data.len(), count);
                port.tx.bytes.extend_from_slice(frame);
            }
            _ if frame.len() > port.msize as usize => {
                port.refuse(tag, &Fault::new(Errno::EMSGSIZE, "the answer fits no message"));
            }
            _ => port.tx.bytes.extend_from_slice(frame),
        }
        if let Some(copy) = port.tx.bytes.get_mut(start..) {
            retag(copy, tag);
            if let Rmsg::Lopen { iounit, .. } | Rmsg::Lcreate { iounit, .. } = answer {
                patch(copy, 20, iounit.min(port.msize.saturating_sub(24)));
            }
        }
        self.unhold(id);
        self.pump(id);
        Ok(())
    }
}

impl Asked {
    /// The server's fids that it is about.
    fn fids(&self) -> impl Iterator<Item = u32> + use<> {
        let made = match self.effect {
            Effect::Bind { at, .. } => Some(at),
            _ => None,
        };
        let also = self.also.filter(|a| self.on != Some(*a));
        [self.on, also, made].into_iter().flatten()
    }
}

/// A fault of which a server has told.
fn told(errno: u32, text: Option<&str>) -> Fault {
    match text {
        Some(text) => Fault::new(Errno(errno), String::from(text)),
        None => Errno(errno).into(),
    }
}

fn retag(frame: &mut [u8], tag: u16) {
    if let Some(slot) = frame.get_mut(5..7) {
        slot.copy_from_slice(&tag.to_le_bytes());
    }
}
