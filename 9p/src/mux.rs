//! Many clients of one server, over the server's one connection.
//!
//! A guest's `control` stream carries one connection at a time, and many people
//! want its tree. A [`Mux`] is a server to each of them and one client to the
//! guest: it gives every request a tag and fids of its own, checks it before it
//! goes on, and undoes at the guest what a client that is gone has left there. It
//! never waits, and a client that does not read its answers stops itself alone.
//!
//! Longer than most files here because forwarding a request, taking its answer and
//! undoing it have to agree on who owns a fid, and are read together.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::client::Broken;
use crate::dialect::Dialect;
use crate::fault::{Errno, Fault};
use crate::frames::{Incoming, Outgoing};
use crate::msg::{self, Rmsg, Tmsg, ty};
use crate::server::clip;
use crate::wire::{HEADER, MIN_MSIZE, NOFID, NOTAG, READ_OVERHEAD, Writer, patch};

/// One of the clients. A number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// What one client may hold at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Fids in use.
    pub fids: usize,
    /// Requests without an answer.
    pub requests: usize,
    /// Bytes of answers that it has not read.
    pub unread: usize,
}

impl Default for Share {
    fn default() -> Share {
        Share { fids: 1024, requests: 64, unread: 1 << 20 }
    }
}

#[derive(Debug)]
struct Port {
    rx: Incoming,
    tx: Outgoing,
    msize: u32,
    dialect: Dialect,
    /// The client's fids and the server's for them, from the request on that makes
    /// one: what follows it without waiting for the answer finds it.
    fids: BTreeMap<u32, u32>,
    /// The client's outstanding tags and the server's for them.
    tags: BTreeMap<u16, u16>,
    dead: bool,
}

/// A request at the server.
#[derive(Debug)]
struct Asked {
    /// Who asked, and under what tag; nobody when the client is gone.
    client: Option<(ClientId, u16)>,
    /// The type of the request.
    ty: u8,
    /// Never used again, as its tag is.
    serial: u64,
    /// The server's fid that it is about.
    on: Option<u32>,
    effect: Effect,
}

/// What the answer will change here.
#[derive(Clone, Copy, Debug)]
enum Effect {
    None,
    Version,
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
    /// The request of this tag and serial number ends.
    Flush {
        tag: u16,
        serial: u64,
    },
    /// The data may be no more than this.
    Read {
        count: u32,
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
    asked: BTreeMap<u16, Asked>,
    next_client: u64,
    next_tag: u16,
    next_serial: u64,
    next_fid: u32,
    free_fids: Vec<u32>,
    /// How many requests at the server are about a fid.
    users: BTreeMap<u32, u32>,
    /// Fids that are free once those requests are answered.
    late: BTreeSet<u32>,
    /// Fids to clunk when there is a tag for it.
    owed: Vec<u32>,
}

impl Mux {
    /// A joint that proposes a message size to the server.
    pub fn new(msize: u32, share: Share) -> Mux {
        let msize = msize.max(MIN_MSIZE);
        let mut tx = Outgoing::default();
        Tmsg::Version { msize, version: Dialect::Atoll.name() }.encode(NOTAG, &mut tx.bytes);
        let version =
            Asked { client: None, ty: ty::TVERSION, serial: 0, on: None, effect: Effect::Version };
        Mux {
            share,
            rx: Incoming::default(),
            tx,
            msize,
            dialect: None,
            ports: BTreeMap::new(),
            asked: BTreeMap::from([(NOTAG, version)]),
            next_client: 0,
            next_tag: 0,
            next_serial: 1,
            next_fid: 0,
            free_fids: Vec::new(),
            users: BTreeMap::new(),
            late: BTreeSet::new(),
            owed: Vec::new(),
        }
    }

    /// A client has come.
    pub fn open(&mut self) -> ClientId {
        let id = ClientId(self.next_client);
        self.next_client += 1;
        let port = Port {
            rx: Incoming::default(),
            tx: Outgoing::default(),
            msize: 0,
            dialect: Dialect::L,
            fids: BTreeMap::new(),
            tags: BTreeMap::new(),
            dead: false,
        };
        self.ports.insert(id, port);
        id
    }

    /// A client is gone: its requests are flushed and its fids clunked.
    pub fn close(&mut self, id: ClientId) {
        self.undo(id);
        self.ports.remove(&id);
    }

    /// Whether a client's bytes are to be read now: it has read its answers, it has
    /// not flooded the server with flushes, and the server's greeting is over.
    pub fn wants(&self, id: ClientId) -> bool {
        self.dialect.is_some()
            && self.ports.get(&id).is_some_and(|p| {
                !p.dead
                    && p.tx.rest().len() < self.share.unread
                    && p.tags.len() < 2 * self.share.requests.max(1)
            })
    }

    /// Takes bytes from a client. Only when it is [wanted](Mux::wants).
    pub fn from_client(&mut self, id: ClientId, bytes: &[u8]) {
        if let Some(port) = self.ports.get_mut(&id).filter(|p| !p.dead) {
            port.rx.extend(bytes);
        }
        self.pump(id);
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
        self.pump(id);
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
    }

    /// Whether the server has greeted.
    pub fn is_ready(&self) -> bool {
        self.dialect.is_some()
    }

    /// Requests at the server that have no answer yet.
    pub fn outstanding(&self) -> usize {
        self.asked.len()
    }

    /// Clients that are joined now.
    pub fn clients(&self) -> impl Iterator<Item = ClientId> + '_ {
        self.ports.keys().copied()
    }

    /// Takes bytes from the server. An error means that it is of no further use.
    pub fn from_server(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let mut rx = core::mem::take(&mut self.rx);
        rx.extend(bytes);
        let done = loop {
            match rx.take(self.msize) {
                Ok(Some(frame)) => {
                    if let Err(e) = self.answer(frame) {
                        break Err(e);
                    }
                }
                Ok(None) => break Ok(()),
                Err(n) => break Err(Broken::Size(n)),
            }
        };
        self.rx = rx;
        while let Some(&at) = self.owed.last()
            && self.asked.len() < usize::from(NOTAG)
        {
            self.owed.pop();
            self.clunk(at);
        }
        done
    }

    /// Handles the requests of a client that are here.
    fn pump(&mut self, id: ClientId) {
        while self.wants(id) {
            let Some(port) = self.ports.get_mut(&id) else {
                return;
            };
            let mut rx = core::mem::take(&mut port.rx);
            let max = if port.msize == 0 { self.msize.min(8192) } else { port.msize };
            let taken = match rx.take(max) {
                Ok(Some(frame)) => {
                    self.request(id, frame);
                    true
                }
                Ok(None) => false,
                Err(n) => {
                    let tag = msg::tag(rx.rest());
                    let text = alloc::format!("a message of {n} bytes, but 7 to {max} are allowed");
                    self.refuse(id, tag, &Fault::new(Errno::EMSGSIZE, text));
                    if let Some(port) = self.ports.get_mut(&id) {
                        port.dead = true;
                    }
                    false
                }
            };
            if let Some(port) = self.ports.get_mut(&id) {
                port.rx = rx;
            }
            if !taken {
                return;
            }
        }
    }

    fn refuse(&mut self, id: ClientId, tag: u16, fault: &Fault) {
        let Some(port) = self.ports.get_mut(&id) else {
            return;
        };
        let mut w = Writer::new(&mut port.tx.bytes, ty::RLERROR, tag);
        w.u32(fault.errno.0);
        if port.dialect == Dialect::Atoll && port.msize != 0 {
            w.str(fault.text());
        }
        w.finish();
    }

    fn request(&mut self, id: ClientId, frame: &[u8]) {
        let tag = msg::tag(frame);
        let done = match Tmsg::decode(frame) {
            Ok(Tmsg::Version { msize, version }) => self.version(id, tag, msize, version),
            Ok(m) => self.forward(id, tag, m, frame),
            Err(bad) => Err(bad.into()),
        };
        if let Err(fault) = done {
            self.refuse(id, tag, &fault);
        }
    }

    fn version(&mut self, id: ClientId, tag: u16, msize: u32, v: &str) -> Result<(), Fault> {
        if msize < MIN_MSIZE {
            let text = alloc::format!("msize {msize} is too small: at least {MIN_MSIZE}");
            return Err(Fault::new(Errno::EMSGSIZE, text));
        }
        self.undo(id);
        let msize = msize.min(self.msize);
        let Some(port) = self.ports.get_mut(&id) else {
            return Ok(());
        };
        let chosen = Dialect::choose(v).filter(|d| d.is_linux());
        port.msize = chosen.map_or(0, |_| msize);
        port.dialect = chosen.unwrap_or(Dialect::L);
        let mut w = Writer::new(&mut port.tx.bytes, ty::TVERSION + 1, tag);
        w.u32(msize);
        w.str(chosen.map_or("unknown", Dialect::name));
        w.finish();
        Ok(())
    }

    fn forward(&mut self, id: ClientId, tag: u16, m: Tmsg<'_>, frame: &[u8]) -> Result<(), Fault> {
        let share = self.share;
        let Some(port) = self.ports.get(&id) else {
            return Ok(());
        };
        if port.msize == 0 {
            return Err(Fault::new(Errno::EPROTO, "the first message must be Tversion"));
        }
        if port.tags.contains_key(&tag) {
            return Err(Fault::new(Errno::EINVAL, "this tag has a request outstanding"));
        }
        let client_msize = port.msize;
        let fid_of = |fid: u32| port.fids.get(&fid).copied().ok_or(Fault::from(Errno::EBADF));
        let vacant = |fid: u32| {
            if port.fids.contains_key(&fid) || fid == NOFID {
                Err(Fault::new(Errno::EBADF, "this fid is in use"))
            } else if port.fids.len() >= share.fids {
                Err(Errno::EMFILE.into())
            } else {
                Ok(())
            }
        };
        if port.tags.len() >= share.requests && !matches!(m, Tmsg::Flush { .. }) {
            return Err(Errno::ENOBUFS.into());
        }
        // The frame goes on as it is, but for its tag, its fids and its count.
        let mut fields: [Option<(usize, u32)>; 3] = [None; 3];
        let mut gone = None;
        let effect = match m {
            Tmsg::Version { .. } | Tmsg::Auth { .. } => return Err(Errno::ENOENT.into()),
            Tmsg::Attach { fid, afid, .. } => {
                vacant(fid)?;
                if afid != NOFID {
                    return Err(Fault::new(Errno::EBADF, "there is no authentication here"));
                }
                let at = self.new_fid();
                fields[0] = Some((7, at));
                Effect::Bind { fid, at, names: None }
            }
            Tmsg::Walk { fid, newfid, names } => {
                let from = fid_of(fid)?;
                let names = names.len() as u16;
                fields[0] = Some((7, from));
                if newfid == fid {
                    fields[1] = Some((11, from));
                    Effect::None
                } else {
                    vacant(newfid)?;
                    let at = self.new_fid();
                    fields[1] = Some((11, at));
                    Effect::Bind { fid: newfid, at, names: Some(names) }
                }
            }
            Tmsg::Xattrwalk { fid, .. } => {
                fid_of(fid)?;
                return Err(Errno::ENODATA.into());
            }
            Tmsg::Flush { oldtag } => {
                let Some(&old) = port.tags.get(&oldtag) else {
                    if let Some(port) = self.ports.get_mut(&id) {
                        Writer::new(&mut port.tx.bytes, ty::TFLUSH + 1, tag).finish();
                    }
                    return Ok(());
                };
                let serial = self.asked.get(&old).map_or(0, |a| a.serial);
                let up = self.new_tag()?;
                Tmsg::Flush { oldtag: old }.encode(up, &mut self.tx.bytes);
                let effect = Effect::Flush { tag: old, serial };
                self.ask(up, Some((id, tag)), ty::TFLUSH, None, effect);
                return Ok(());
            }
            Tmsg::Clunk { fid } | Tmsg::Remove { fid } => {
                let at = fid_of(fid)?;
                fields[0] = Some((7, at));
                gone = Some(fid);
                Effect::Free { at }
            }
            Tmsg::Read { fid, count, .. } | Tmsg::Readdir { fid, count, .. } => {
                let count = count.min(client_msize - READ_OVERHEAD);
                fields[0] = Some((7, fid_of(fid)?));
                fields[2] = Some((19, count));
                Effect::Read { count }
            }
            Tmsg::Lopen { fid, .. }
            | Tmsg::Getattr { fid, .. }
            | Tmsg::Setattr { fid, .. }
            | Tmsg::Fsync { fid }
            | Tmsg::Statfs { fid }
            | Tmsg::Write { fid, .. } => {
                fields[0] = Some((7, fid_of(fid)?));
                Effect::None
            }
            _ => return Err(Errno::EOPNOTSUPP.into()),
        };
        let up = match self.new_tag() {
            Ok(up) => up,
            Err(fault) => {
                if let Effect::Bind { at, .. } = effect {
                    self.free_fids.push(at);
                }
                return Err(fault);
            }
        };
        if let Some(port) = self.ports.get_mut(&id) {
            if let Some(fid) = gone {
                port.fids.remove(&fid);
            }
            if let Effect::Bind { fid, at, .. } = effect {
                port.fids.insert(fid, at);
            }
        }
        let start = self.tx.bytes.len();
        self.tx.bytes.extend_from_slice(frame);
        if let Some(copy) = self.tx.bytes.get_mut(start..) {
            retag(copy, up);
            for (at, v) in fields.into_iter().flatten() {
                patch(copy, at, v);
            }
        }
        let on = fields.first().copied().flatten().map(|f| f.1);
        self.ask(up, Some((id, tag)), m.ty(), on, effect);
        Ok(())
    }

    fn ask(
        &mut self,
        up: u16,
        client: Option<(ClientId, u16)>,
        ty: u8,
        on: Option<u32>,
        effect: Effect,
    ) {
        if let Some((id, tag)) = client
            && let Some(port) = self.ports.get_mut(&id)
        {
            port.tags.insert(tag, up);
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        let asked = Asked { client, ty, serial, on, effect };
        asked.fids().for_each(|at| *self.users.entry(at).or_default() += 1);
        self.asked.insert(up, asked);
    }

    /// A request is no longer at the server: what it was about has a user less.
    fn unask(&mut self, tag: u16) -> Option<Asked> {
        let asked = self.asked.remove(&tag)?;
        for at in asked.fids() {
            if let Some(n) = self.users.get_mut(&at) {
                *n -= 1;
                if *n == 0 {
                    self.users.remove(&at);
                }
            }
        }
        Some(asked)
    }

    /// A fid of the server's is free, but is not used again while a request that is
    /// about it is still there: it might be handled after a new fid was made.
    fn free(&mut self, at: u32) {
        if self.users.contains_key(&at) {
            self.late.insert(at);
        } else {
            self.free_fids.push(at);
        }
    }

    /// What a request was about is free now, if it waited for that.
    fn free_late(&mut self, asked: &Asked) {
        for at in asked.fids() {
            if !self.users.contains_key(&at) && self.late.remove(&at) {
                self.free_fids.push(at);
            }
        }
    }

    fn answer(&mut self, frame: &[u8]) -> Result<(), Broken> {
        let up = msg::tag(frame);
        let asked = self.unask(up).ok_or(Broken::Unasked)?;
        let answer = Rmsg::decode(frame).map_err(Broken::Frame)?;
        let failed = matches!(answer, Rmsg::Lerror { .. });
        if !failed && frame.get(4) != Some(&(asked.ty + 1)) {
            return Err(Broken::Unasked);
        }
        let client = asked.client.filter(|(id, _)| self.ports.contains_key(id));
        match asked.effect {
            Effect::None => {}
            Effect::Version => match answer {
                Rmsg::Version { msize, version } if (MIN_MSIZE..=self.msize).contains(&msize) => {
                    self.msize = msize;
                    self.dialect = Some(linux(version)?);
                    let waiting: Vec<_> = self.clients().collect();
                    waiting.into_iter().for_each(|id| self.pump(id));
                    return Ok(());
                }
                _ => return Err(Broken::Version),
            },
            Effect::Bind { fid, at, names } => {
                let bound = match answer {
                    Rmsg::Walk { count, .. } => names == Some(count),
                    _ => !failed,
                };
                if !bound {
                    self.unbind(client, fid, at);
                } else if self.late.remove(&at) {
                    // It was clunked before it was there.
                    self.clunk(at);
                }
            }
            Effect::Free { at } => self.free(at),
            Effect::Flush { tag, serial } => self.flushed(tag, serial),
            Effect::Read { count } => {
                if let Rmsg::Read { data, .. } | Rmsg::Readdir { data } = answer
                    && data.len() > count as usize
                {
                    return Err(Broken::Size(frame.len() as u32));
                }
            }
        }
        self.free_late(&asked);
        let Some((id, tag)) = client else {
            return Ok(());
        };
        let Some(port) = self.ports.get_mut(&id) else {
            return Ok(());
        };
        port.tags.remove(&tag);
        let start = port.tx.bytes.len();
        match answer {
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
            _ => port.tx.bytes.extend_from_slice(frame),
        }
        if let Some(copy) = port.tx.bytes.get_mut(start..) {
            retag(copy, tag);
            if let Rmsg::Lopen { iounit, .. } = answer {
                patch(copy, 20, iounit.min(port.msize.saturating_sub(24)));
            }
        }
        self.pump(id);
        Ok(())
    }

    /// A Tflush was answered and the request it named was not: it never will be.
    fn flushed(&mut self, tag: u16, serial: u64) {
        if self.asked.get(&tag).is_none_or(|a| a.serial != serial) {
            return;
        }
        let Some(old) = self.unask(tag) else {
            return;
        };
        match old.effect {
            Effect::Bind { fid, at, .. } => self.unbind(old.client, fid, at),
            // Nobody can tell whether it was done: do it again.
            Effect::Free { at } => self.clunk(at),
            _ => {}
        }
        if let Some((id, tag)) = old.client
            && let Some(port) = self.ports.get_mut(&id)
        {
            port.tags.remove(&tag);
        }
        self.free_late(&old);
    }

    /// A fid was not made. Who clunked it meanwhile, or is gone, has a Tclunk
    /// underway for it, and that one frees it.
    fn unbind(&mut self, client: Option<(ClientId, u16)>, fid: u32, at: u32) {
        if let Some((id, _)) = client
            && let Some(port) = self.ports.get_mut(&id)
            && port.fids.get(&fid) == Some(&at)
        {
            port.fids.remove(&fid);
            self.free(at);
        }
    }

    /// Undoes at the server what a client holds there.
    fn undo(&mut self, id: ClientId) {
        let Some(port) = self.ports.get_mut(&id) else {
            return;
        };
        let fids = core::mem::take(&mut port.fids);
        let tags = core::mem::take(&mut port.tags);
        for up in tags.into_values() {
            let Some(asked) = self.asked.get_mut(&up) else {
                continue;
            };
            asked.client = None;
            let serial = asked.serial;
            if !matches!(asked.effect, Effect::Flush { .. } | Effect::Free { .. })
                && let Ok(flush) = self.new_tag()
            {
                Tmsg::Flush { oldtag: up }.encode(flush, &mut self.tx.bytes);
                let effect = Effect::Flush { tag: up, serial };
                self.ask(flush, None, ty::TFLUSH, None, effect);
            }
        }
        fids.into_values().for_each(|at| self.clunk(at));
    }

    fn clunk(&mut self, at: u32) {
        match self.new_tag() {
            Ok(up) => {
                Tmsg::Clunk { fid: at }.encode(up, &mut self.tx.bytes);
                self.ask(up, None, ty::TCLUNK, Some(at), Effect::Free { at });
            }
            Err(_) => self.owed.push(at),
        }
    }

    fn new_tag(&mut self) -> Result<u16, Fault> {
        if self.asked.len() >= usize::from(NOTAG) {
            return Err(Errno::ENOBUFS.into());
        }
        while self.next_tag == NOTAG || self.asked.contains_key(&self.next_tag) {
            self.next_tag = self.next_tag.wrapping_add(1);
        }
        let tag = self.next_tag;
        self.next_tag = tag.wrapping_add(1);
        Ok(tag)
    }

    fn new_fid(&mut self) -> u32 {
        self.free_fids.pop().unwrap_or_else(|| {
            self.next_fid += 1;
            self.next_fid - 1
        })
    }
}

impl Asked {
    /// The server's fids that it is about.
    fn fids(&self) -> impl Iterator<Item = u32> + use<> {
        let made = match self.effect {
            Effect::Bind { at, .. } => Some(at).filter(|_| self.on != Some(at)),
            _ => None,
        };
        self.on.into_iter().chain(made)
    }
}

/// The dialect of a server's answer, if it is one that carries error numbers.
fn linux(version: &str) -> Result<Dialect, Broken> {
    Dialect::choose(version).filter(|d| d.is_linux()).ok_or(Broken::Version)
}

fn retag(frame: &mut [u8], tag: u16) {
    if let Some(slot) = frame.get_mut(5..7) {
        slot.copy_from_slice(&tag.to_le_bytes());
    }
}
