//! Many clients of one server, over the server's one connection.
//!
//! A guest's `control` stream carries one connection at a time, and many people
//! want its tree. A [`Mux`] is a server to each of them and one client to the
//! guest: it gives every request a tag and fids of its own, checks it before it
//! goes on, and undoes at the guest what a client that is gone has left there. It
//! never waits, and a client that does not read its answers stops itself alone.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::client::Broken;
use crate::fault::{Errno, Fault};
use crate::frames::{Incoming, Outgoing};
use crate::msg::{self, Rmsg, Tmsg, ty};
use crate::server::Dialect;
use crate::wire::{MIN_MSIZE, NOFID, NOTAG, READ_OVERHEAD, Writer, patch};

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
    /// The client's fids and the server's for them.
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
    effect: Effect,
}

/// What the answer will change here.
#[derive(Clone, Copy, Debug)]
enum Effect {
    None,
    Version,
    /// A success makes `fid` name the server's `at`. A walk must get `names` far.
    Bind {
        fid: u32,
        at: u32,
        names: Option<u16>,
    },
    /// Whatever the answer, the server's fid is free.
    Free {
        at: u32,
    },
    /// The request under this tag of the server's ends.
    Flush {
        tag: u16,
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
    next_fid: u32,
    free_fids: Vec<u32>,
}

impl Mux {
    /// A joint that proposes a message size to the server.
    pub fn new(msize: u32, share: Share) -> Mux {
        let mut tx = Outgoing::default();
        Tmsg::Version { msize, version: Dialect::Atoll.name() }.encode(NOTAG, &mut tx.bytes);
        let version = Asked { client: None, effect: Effect::Version };
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
            next_fid: 0,
            free_fids: Vec::new(),
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

    /// Whether a client's bytes are to be read now: it has read its answers, and
    /// the server's greeting is over.
    pub fn wants(&self, id: ClientId) -> bool {
        self.dialect.is_some()
            && self.ports.get(&id).is_some_and(|p| !p.dead && p.tx.rest().len() < self.share.unread)
    }

    /// Takes bytes from a client. Only when it is [wanted](Mux::wants).
    pub fn from_client(&mut self, id: ClientId, bytes: &[u8]) {
        if let Some(port) = self.ports.get_mut(&id) {
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
        let chosen = Dialect::choose(v);
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
            } else if port.fids.len() + port.tags.len() >= share.fids + share.requests {
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
            Tmsg::Xattrwalk { .. } => return Err(Errno::ENODATA.into()),
            Tmsg::Flush { oldtag } => {
                let Some(&old) = port.tags.get(&oldtag) else {
                    if let Some(port) = self.ports.get_mut(&id) {
                        Writer::new(&mut port.tx.bytes, ty::TFLUSH + 1, tag).finish();
                    }
                    return Ok(());
                };
                let up = self.new_tag()?;
                Tmsg::Flush { oldtag: old }.encode(up, &mut self.tx.bytes);
                self.ask(up, Some((id, tag)), Effect::Flush { tag: old });
                return Ok(());
            }
            Tmsg::Clunk { fid } | Tmsg::Remove { fid } => {
                let at = fid_of(fid)?;
                fields[0] = Some((7, at));
                if let Some(port) = self.ports.get_mut(&id) {
                    port.fids.remove(&fid);
                }
                Effect::Free { at }
            }
            Tmsg::Read { fid, count, .. } | Tmsg::Readdir { fid, count, .. } => {
                fields[0] = Some((7, fid_of(fid)?));
                fields[2] = Some((19, count.min(client_msize - READ_OVERHEAD)));
                Effect::None
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
        let start = self.tx.bytes.len();
        self.tx.bytes.extend_from_slice(frame);
        if let Some(copy) = self.tx.bytes.get_mut(start..) {
            retag(copy, up);
            for (at, v) in fields.into_iter().flatten() {
                patch(copy, at, v);
            }
        }
        self.ask(up, Some((id, tag)), effect);
        Ok(())
    }

    fn ask(&mut self, up: u16, client: Option<(ClientId, u16)>, effect: Effect) {
        if let Some((id, tag)) = client
            && let Some(port) = self.ports.get_mut(&id)
        {
            port.tags.insert(tag, up);
        }
        self.asked.insert(up, Asked { client, effect });
    }

    fn answer(&mut self, frame: &[u8]) -> Result<(), Broken> {
        let up = msg::tag(frame);
        let asked = self.asked.remove(&up).ok_or(Broken::Unasked)?;
        let answer = Rmsg::decode(frame).map_err(Broken::Frame)?;
        let failed = matches!(answer, Rmsg::Lerror { .. });
        let client = asked.client.filter(|(id, _)| self.ports.contains_key(id));
        match asked.effect {
            Effect::None => {}
            Effect::Version => match answer {
                Rmsg::Version { msize, version } if (MIN_MSIZE..=self.msize).contains(&msize) => {
                    self.msize = msize;
                    self.dialect = Some(Dialect::choose(version).ok_or(Broken::Version)?);
                    return Ok(());
                }
                _ => return Err(Broken::Version),
            },
            Effect::Bind { fid, at, names } => {
                let bound = match answer {
                    Rmsg::Walk { count, .. } => names == Some(count),
                    _ => !failed,
                };
                let port = client.and_then(|(id, _)| self.ports.get_mut(&id));
                match port {
                    // Two requests may have raced for one fid: the first has it.
                    Some(port) if bound && !port.fids.contains_key(&fid) => {
                        port.fids.insert(fid, at);
                    }
                    _ if bound => self.clunk(at),
                    _ => self.free_fids.push(at),
                }
            }
            Effect::Free { at } => self.free_fids.push(at),
            Effect::Flush { tag } => self.flushed(tag),
        }
        let Some((id, tag)) = client else {
            return Ok(());
        };
        let Some(port) = self.ports.get_mut(&id) else {
            return Ok(());
        };
        port.tags.remove(&tag);
        let start = port.tx.bytes.len();
        match answer {
            // Whoever has not asked for the text of an error gets its number alone.
            Rmsg::Lerror { errno, text: Some(_) } if port.dialect == Dialect::L => {
                let mut w = Writer::new(&mut port.tx.bytes, ty::RLERROR, tag);
                w.u32(errno);
                w.finish();
            }
            _ => port.tx.bytes.extend_from_slice(frame),
        }
        if let Some(copy) = port.tx.bytes.get_mut(start..) {
            retag(copy, tag);
            if let Rmsg::Lopen { iounit, .. } = answer {
                patch(copy, 20, iounit.min(port.msize - 24));
            }
        }
        Ok(())
    }

    /// A Tflush was answered and the request it named was not: it never will be.
    fn flushed(&mut self, tag: u16) {
        let Some(old) = self.asked.remove(&tag) else {
            return;
        };
        if let Effect::Bind { at, .. } | Effect::Free { at } = old.effect {
            self.free_fids.push(at);
        }
        if let Some((id, tag)) = old.client
            && let Some(port) = self.ports.get_mut(&id)
        {
            port.tags.remove(&tag);
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
            if !matches!(asked.effect, Effect::Flush { .. })
                && let Ok(flush) = self.new_tag()
            {
                Tmsg::Flush { oldtag: up }.encode(flush, &mut self.tx.bytes);
                self.ask(flush, None, Effect::Flush { tag: up });
            }
        }
        fids.into_values().for_each(|at| self.clunk(at));
    }

    fn clunk(&mut self, at: u32) {
        // Without a tag to be had the fid stays in use at the server: 65,535
        // requests are outstanding then, and the server has worse trouble.
        if let Ok(up) = self.new_tag() {
            Tmsg::Clunk { fid: at }.encode(up, &mut self.tx.bytes);
            self.ask(up, None, Effect::Free { at });
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

fn retag(frame: &mut [u8], tag: u16) {
    if let Some(slot) = frame.get_mut(5..7) {
        slot.copy_from_slice(&tag.to_le_bytes());
    }
}
