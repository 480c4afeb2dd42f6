//! Clients of 9P2000 at a server of 9P2000.L.
//!
//! Most of what such a client asks has no message of its own there. The joint does it
//! as a script: one request at the server after the other, until there is an answer.
//!
//! A client has one script at a time, and its requests are done in the order in which
//! they came, as in a session. Only reads and writes of files, which may have to wait,
//! go on as they are and pass one another. So no step of a script waits for anything
//! but the server's turn: a Tflush of one is answered when it has ended. And a
//! script takes one place at the server, so that it never stops half-way.
//!
//! To others a script is several requests, and they may come between. What is then
//! done differently from a session that speaks 9P2000 itself is said where it is done.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::forward::no_auth;
use super::{Asked, ClientId, Effect, Mux};
use crate::fault::{Errno, Fault};
use crate::fids::{self, Change};
use crate::msg::{Rmsg, Tmsg, encode_walk, put_qid, ty};
use crate::types::Qid;
use crate::wire::{NOFID, Writer};

mod create;
mod end;
mod list;
mod open;
mod place;
mod stat;
mod walk;
mod wstat;

/// What the joint knows of a client of 9P2000.
#[derive(Debug, Default)]
pub(super) struct Plain {
    /// Its fids; what the server calls them is in [`super::port::Port::fids`].
    files: BTreeMap<u32, File>,
    /// The server's fids of where it attached: to find the directory of a file, they
    /// are kept as long as there are fids that came from there.
    roots: BTreeMap<u32, Root>,
    script: Option<Script>,
}

#[derive(Debug)]
struct Root {
    /// Its qid's path.
    path: u64,
    /// How many of `files` came from there.
    users: usize,
}

/// What a fid of a client's stands for.
#[derive(Clone, Debug)]
struct File {
    /// Where it was attached: one of [`Plain::roots`].
    root: u32,
    /// The names from there to it, between slashes.
    path: String,
    qid: Qid,
    opened: Option<Opened>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Opened {
    /// Whether the file goes when the fid does.
    remove: bool,
    /// How far a directory was read.
    read: list::Read,
}

/// A request of a client's that is being done.
#[derive(Debug)]
struct Script {
    tag: u16,
    /// The tags of Tflushes that wait for its end.
    flushes: Vec<u16>,
    /// Fids at the server that go when it ends.
    temps: Vec<u32>,
    work: Work,
}

/// What the answer that is awaited is for.
#[derive(Debug, Default)]
enum Work {
    #[default]
    Nothing,
    Attach(walk::Attach),
    Walk(walk::Walk),
    Place(place::Search),
    Open(open::Open),
    Create(create::Create),
    Stat {
        fid: u32,
    },
    Wstat(Box<wstat::Change>),
    Read(list::Piece),
    End(end::End),
}

/// What comes after an answer: more to do, or the client has its own.
type Turn = Result<Option<Work>, Fault>;
/// An answer of the server's.
type Got<'a> = Result<Rmsg<'a>, Fault>;

impl Plain {
    /// Whether it has a request that must end before the next one begins.
    pub(super) fn is_busy(&self) -> bool {
        self.script.is_some()
    }

    /// Whether the answer to what has this tag is a step of its script.
    pub(super) fn awaits(&self, tag: u16) -> bool {
        self.script.as_ref().is_some_and(|s| s.tag == tag)
    }

    /// Whether a request means the same to the server.
    pub(super) fn passes(&self, m: &Tmsg<'_>) -> bool {
        match m {
            Tmsg::Write { .. } => true,
            Tmsg::Read { fid, .. } => {
                let file = self.files.get(fid);
                !file.is_some_and(|f| f.opened.is_some() && f.qid.is_dir())
            }
            _ => false,
        }
    }

    /// Lets a Tflush wait for the end of the request that it names, if that is underway.
    pub(super) fn flush(&mut self, tag: u16, oldtag: u16) -> bool {
        match &mut self.script {
            Some(s) if s.tag == oldtag || s.flushes.contains(&oldtag) => {
                s.flushes.push(tag);
                true
            }
            _ => false,
        }
    }

    /// A fid at the server that was to be made for its script was not.
    pub(super) fn unbind(&mut self, at: u32) -> bool {
        self.script.as_mut().is_some_and(|s| s.keep(at))
    }

    /// Whether a fid's file goes when its client does.
    pub(super) fn is_removed_on_close(&self, fid: u32) -> bool {
        self.files.get(&fid).and_then(|f| f.opened).is_some_and(|o| o.remove)
    }

    /// The server's fids that it has beside its client's.
    pub(super) fn temps(self) -> impl Iterator<Item = u32> {
        self.roots.into_keys().chain(self.script.into_iter().flat_map(|s| s.temps))
    }

    /// Bytes that its script holds.
    pub(super) fn held(&self) -> usize {
        match self.script.as_ref().map(|s| &s.work) {
            Some(Work::Read(piece)) => piece.held(),
            _ => 0,
        }
    }
}

impl Script {
    /// A fid at the server does not end with the script; false if it would not have.
    fn keep(&mut self, at: u32) -> bool {
        let found = self.temps.iter().position(|t| *t == at);
        found.map(|i| self.temps.swap_remove(i)).is_some()
    }
}

impl Mux {
    /// Begins what a client of 9P2000 asks.
    pub(super) fn begin(&mut self, id: ClientId, tag: u16, m: Tmsg<'_>) -> Result<(), Fault> {
        let (flushes, temps) = (Vec::new(), Vec::new());
        let mut s = Script { tag, flushes, temps, work: Work::Nothing };
        let begun = match m {
            Tmsg::Auth { .. } => Err(no_auth()),
            Tmsg::Attach { fid, afid, uname, aname, .. } => {
                self.attach(id, &mut s, (fid, afid), uname, aname)
            }
            Tmsg::Walk { fid, newfid, names } => self.walk(id, &mut s, fid, newfid, names),
            Tmsg::Open { fid, mode } => self.topen(id, &mut s, fid, mode),
            Tmsg::Create { fid, name, perm, mode } => {
                self.tcreate(id, &mut s, fid, name, (perm, mode))
            }
            Tmsg::Read { fid, offset, count } => self.read_dir(id, &mut s, fid, offset, count),
            Tmsg::Stat { fid } => self.tstat(id, &mut s, fid),
            Tmsg::Wstat { fid, stat } => self.twstat(id, &mut s, fid, &stat),
            Tmsg::Clunk { fid } => self.end(id, &mut s, fid, ty::TCLUNK),
            Tmsg::Remove { fid } => self.end(id, &mut s, fid, ty::TREMOVE),
            _ => Err(Errno::EOPNOTSUPP.into()),
        };
        match (begun, self.plain(id)) {
            (Ok(work), Some(plain)) => {
                s.work = work;
                plain.script = Some(s);
                Ok(())
            }
            (begun, _) => {
                s.temps.into_iter().for_each(|at| self.clunk(at));
                begun.map(drop)
            }
        }
    }

    /// Goes on with a client's script.
    pub(super) fn turn(&mut self, id: ClientId, got: Got<'_>, frame: &[u8]) {
        let Some(mut s) = self.plain(id).and_then(|p| p.script.take()) else { return };
        let next = match core::mem::take(&mut s.work) {
            Work::Nothing => Ok(None),
            Work::Attach(at) => self.attached(id, &mut s, at, got),
            Work::Walk(walk) => self.walked(id, &mut s, walk, got, frame),
            Work::Place(search) => self.searched(id, &mut s, search, got),
            Work::Open(open) => self.opened(id, &mut s, open, got),
            Work::Create(create) => self.created(id, &mut s, create, got),
            Work::Stat { fid } => self.known(id, &mut s, fid, got),
            Work::Wstat(change) => self.changed(id, &mut s, change, got),
            Work::Read(piece) => self.listed(id, &mut s, piece, got),
            Work::End(end) => self.ended(id, &mut s, end, got),
        };
        let Some(port) = self.ports.get_mut(&id) else { return };
        match (next, &mut port.plain) {
            (Ok(Some(work)), Some(plain)) => {
                s.work = work;
                plain.script = Some(s);
                return;
            }
            (Err(fault), _) => port.refuse(s.tag, &fault),
            _ => {}
        }
        port.sent -= s.flushes.len();
        for tag in s.flushes {
            Writer::new(&mut port.tx.bytes, ty::TFLUSH + 1, tag).finish();
        }
        s.temps.into_iter().for_each(|at| self.clunk(at));
    }

    fn plain(&mut self, id: ClientId) -> Option<&mut Plain> {
        self.ports.get_mut(&id)?.plain.as_deref_mut()
    }

    /// What a client's fid stands for, and the server's fid for it.
    fn file(&mut self, id: ClientId, fid: u32) -> Result<(u32, &mut File), Fault> {
        let port = self.ports.get_mut(&id).ok_or(Errno::EBADF)?;
        let at = port.fids.get(&fid).ok_or(Errno::EBADF)?;
        let file = port.plain.as_mut().and_then(|p| p.files.get_mut(&fid));
        Ok((*at, file.ok_or(Errno::EBADF)?))
    }

    /// Whether a file is where its client attached.
    fn is_root(&mut self, id: ClientId, file: &File) -> bool {
        let root = self.plain(id).and_then(|p| p.roots.get(&file.root));
        file.path.is_empty() || root.is_some_and(|r| r.path == file.qid.path)
    }

    /// A client has a new fid.
    fn bind(&mut self, id: ClientId, fid: u32, at: u32, file: File) {
        let Some(port) = self.ports.get_mut(&id) else { return };
        port.fids.insert(fid, at);
        if let Some(plain) = &mut port.plain {
            if let Some(root) = plain.roots.get_mut(&file.root) {
                root.users += 1;
            }
            plain.files.insert(fid, file);
        }
    }

    /// A fid at the server for as long as a script lasts.
    fn temp(&mut self, s: &mut Script) -> u32 {
        let at = self.fids.take();
        s.temps.push(at);
        at
    }

    /// It goes now.
    fn drop_temp(&mut self, s: &mut Script, at: u32) {
        if s.keep(at) {
            self.clunk(at);
        }
    }

    /// Sends the next request of a script.
    fn put(&mut self, id: ClientId, s: &Script, m: &Tmsg<'_>) -> Result<(), Fault> {
        let about = fids::of(m);
        let on = about.on.map(|o| o.fid);
        let effect = match (m, about.new, about.change, on) {
            (Tmsg::Walk { names, .. }, Some(new), ..) => {
                Effect::Bind { fid: NOFID, at: new.fid, names: Some(names.len() as u16) }
            }
            (_, Some(new), ..) => Effect::Bind { fid: NOFID, at: new.fid, names: None },
            (.., Change::End, Some(at)) => Effect::Free { at },
            (Tmsg::Readdir { count, .. }, ..) => {
                Effect::Read { count: *count, sequenced: false, rest: None }
            }
            _ => Effect::None,
        };
        let (client, also) = (Some((id, s.tag)), about.also.map(|a| a.fid));
        let up = self.ask(Asked { client, ty: m.ty(), on, also, effect })?;
        m.encode(up, &mut self.tx.bytes);
        Ok(())
    }

    /// Sends a walk by the names of a path.
    fn put_walk(
        &mut self,
        id: ClientId,
        s: &Script,
        from: u32,
        to: u32,
        path: &str,
    ) -> Result<(), Fault> {
        let mut frame = Vec::new();
        encode_walk(0, from, to, path, &mut frame)?;
        self.put(id, s, &Tmsg::decode(&frame)?)
    }

    /// Writes a client's answer: what stands behind the header of an answer to `t`.
    fn reply(&mut self, id: ClientId, s: &Script, t: u8, body: impl FnOnce(&mut Writer<'_>)) {
        if let Some(port) = self.ports.get_mut(&id) {
            let mut w = Writer::new(&mut port.tx.bytes, t + 1, s.tag);
            body(&mut w);
            w.finish();
        }
    }

    /// The answer to Topen and Tcreate.
    fn reply_opened(&mut self, id: ClientId, s: &Script, t: u8, qid: Qid, iounit: u32) {
        let most = self.ports.get(&id).map_or(0, |p| p.msize.saturating_sub(24));
        self.reply(id, s, t, |w| {
            put_qid(w, qid);
            w.u32(iounit.min(most));
        });
    }
}

/// An answer that is not one to what was asked.
fn odd() -> Fault {
    Fault::new(Errno::EPROTO, "the server has answered something else")
}
