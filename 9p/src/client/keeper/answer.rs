//! From the server to the asker: what an answer says about the files that are kept.

use alloc::string::String;
use core::ops::Range;

use super::file::{File, Reading, Resume, Root, cloned};
use super::held::{Opened, Place};
use super::{Keeper, Local, Origin, join};
use crate::client::{Broken, Tag};
use crate::fault::Errno;
use crate::fids;
use crate::msg::{Rmsg, Tmsg};
use crate::types::{LockKind, LockStatus, Qid, qid_type, seq};
use crate::wire::NOFID;

/// Bytes that are read of a file to learn its number.
const NUMBER: u32 = 64;

/// What is of interest in an answer, without its payload.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fact {
    Failed(Errno),
    Qid { qid: Qid, iounit: u32 },
    Walk { count: u16, last: Option<Qid> },
    Read { next: Option<u64>, last: Option<u8> },
    Lock(LockStatus),
    Other,
}

impl Fact {
    pub(super) fn of(answer: &Rmsg<'_>) -> Fact {
        match *answer {
            Rmsg::Lerror { errno, .. } => Fact::Failed(Errno(errno)),
            Rmsg::Attach { qid } | Rmsg::Auth { qid } => Fact::Qid { qid, iounit: 0 },
            Rmsg::Lopen { qid, iounit } | Rmsg::Lcreate { qid, iounit } => {
                Fact::Qid { qid, iounit }
            }
            Rmsg::Walk { count, last } => Fact::Walk { count, last },
            Rmsg::Read { data, next } => Fact::Read { next, last: data.last().copied() },
            Rmsg::Lock { status } => Fact::Lock(status),
            _ => Fact::Other,
        }
    }
}

impl Keeper {
    /// Takes an answer of the server's; says for which of the asker's requests it is.
    pub(super) fn take(&mut self, up: u16, range: Range<usize>) -> Result<Option<u16>, Broken> {
        let Some(origin) = self.origins.get_mut(usize::from(up)) else { return Ok(None) };
        let origin = core::mem::replace(origin, Origin::None);
        let fact = Rmsg::decode(self.client.at(range.clone())).map(|m| Fact::of(&m));
        let fact = fact.map_err(Broken::Frame)?;
        match origin {
            Origin::None => Ok(None),
            Origin::User(tag) => Ok(self.answered(tag, fact)),
            Origin::Look { tag, number } => {
                self.looked(tag, number, fact, range);
                Ok(None)
            }
            Origin::Flush { by, of } => {
                self.flushed(by, of);
                Ok(None)
            }
            Origin::Greeting => {
                self.met();
                Ok(None)
            }
            Origin::Attach | Origin::Walk(_) | Origin::Open(_) => {
                self.restored(origin, fact)?;
                Ok(None)
            }
        }
    }

    fn answered(&mut self, tag: u16, fact: Fact) -> Option<u16> {
        let held = self.held.get_mut(usize::from(tag))?;
        held.place = Place::Done;
        let named = held.seq.is_some();
        let frame = core::mem::take(&mut held.frame);
        let (mut given, mut changed, mut again) = (Some(tag), None, false);
        if let Ok(m) = Tmsg::decode(&frame) {
            changed = fids::of(&m).changed();
            match self.learn(tag, &m, fact) {
                Learnt::All => {}
                Learnt::More => (given, changed) = (None, None),
                Learnt::Again => (given, again) = (None, true),
            }
        }
        if let Some(held) = self.held.get_mut(usize::from(tag)) {
            held.frame = frame;
        }
        if again {
            self.submit(tag);
        }
        // The server is one that answers: the next break is not an attempt that failed.
        self.wait = 0;
        if let Some(fid) = changed {
            self.settle(fid);
        }
        if named {
            self.unname();
        }
        given
    }

    fn learn(&mut self, tag: u16, m: &Tmsg<'_>, fact: Fact) -> Learnt {
        match (*m, fact) {
            (Tmsg::Clunk { fid } | Tmsg::Remove { fid }, _) => {
                self.files.remove(&fid);
            }
            (Tmsg::Attach { fid, afid, uname, aname, n_uname }, Fact::Qid { qid, .. }) => {
                let root = self.root(uname, aname, n_uname);
                let mut file = File::new(root, String::new(), qid);
                if afid != NOFID {
                    file.opaque = Some("what was attached with an authentication is not again");
                }
                self.files.insert(fid, file);
            }
            (Tmsg::Walk { newfid, names, .. }, Fact::Walk { count, last })
                if usize::from(count) == names.len() =>
            {
                let held = self.held.get_mut(usize::from(tag));
                if let Some(mut file) = held.and_then(|h| h.leads.take()) {
                    file.qid = last.unwrap_or(file.qid);
                    self.files.insert(newfid, *file);
                }
            }
            (Tmsg::Lopen { fid, flags }, Fact::Qid { qid, iounit }) => {
                return self.opened(tag, Opened { fid, flags, qid, iounit });
            }
            (Tmsg::Lcreate { fid, name, flags, .. }, Fact::Qid { qid, .. }) => {
                if let Some(file) = self.files.get_mut(&fid) {
                    file.path = join(&file.path, name);
                    (file.qid, file.open) = (qid, Some(flags));
                }
            }
            (Tmsg::Rename { fid, dfid, name }, Fact::Other) => {
                let from = self.files.get(&fid).map(|f| (f.root, f.path.clone()));
                let to = self.files.get(&dfid).map(|f| join(&f.path, name));
                self.moved(from, to);
            }
            (Tmsg::Renameat { olddirfid, oldname, newdirfid, newname }, Fact::Other) => {
                let from = self.files.get(&olddirfid).map(|f| (f.root, join(&f.path, oldname)));
                let to = self.files.get(&newdirfid).map(|f| join(&f.path, newname));
                self.moved(from, to);
            }
            (Tmsg::Auth { afid, .. }, Fact::Qid { qid, .. }) => self.opaque(afid, qid),
            (Tmsg::Xattrwalk { newfid, .. }, Fact::Other) => self.opaque(newfid, Qid::default()),
            (Tmsg::Xattrcreate { fid, .. }, Fact::Other) => self.opaque(fid, Qid::default()),
            (Tmsg::Lock { fid, lock, .. }, Fact::Lock(LockStatus::Success)) => {
                if let Some(file) = self.files.get_mut(&fid) {
                    let all = lock.start == 0 && lock.length == 0;
                    file.locked = match lock.kind {
                        LockKind::Unlock => file.locked && !all,
                        LockKind::Read | LockKind::Write => true,
                    };
                }
            }
            (Tmsg::Read { fid, .. }, fact) => return self.read(tag, fid, fact),
            _ => {}
        }
        Learnt::All
    }

    fn root(&mut self, uname: &str, aname: &str, n_uname: u32) -> usize {
        let root = Root { uname: uname.into(), aname: aname.into(), n_uname };
        if let Some(at) = self.roots.iter().position(|r| *r == root) {
            return at;
        }
        let used = |at: &usize| self.files.values().any(|f| f.root == *at);
        match (0..self.roots.len()).find(|at| !used(at)) {
            Some(at) => {
                if let Some(slot) = self.roots.get_mut(at) {
                    *slot = root;
                }
                at
            }
            None => {
                self.roots.push(root);
                self.roots.len() - 1
            }
        }
    }

    fn moved(&mut self, from: Option<(usize, String)>, to: Option<String>) {
        if let (Some((root, from)), Some(to)) = (from, to) {
            self.files.values_mut().for_each(|f| f.moved(root, &from, &to));
        }
    }

    fn opaque(&mut self, fid: u32, qid: Qid) {
        let mut file = File::new(0, String::new(), qid);
        file.opaque = Some("an attribute or authentication does not outlive its connection");
        self.files.insert(fid, file);
    }

    fn opened(&mut self, tag: u16, opened: Opened) -> Learnt {
        let atoll = self.is_atoll();
        let Opened { fid, flags, qid, .. } = opened;
        let Some(file) = self.files.get_mut(&fid) else { return Learnt::All };
        let number = qid.path != file.qid.path;
        let stream = qid.ty & qid_type::APPEND != 0 && atoll;
        let look = match number {
            true => Tmsg::Read { fid, offset: 0, count: NUMBER },
            // Nothing is read, and so nothing waited for, but where the reader stands.
            false => Tmsg::Read { fid, offset: seq::READ | seq::HERE, count: 0 },
        };
        if !flags.reads() || !(number || stream) {
            if number {
                file.opaque = Some("it cannot be found again: it was not opened for reading");
            }
            (file.qid, file.open) = (qid, Some(flags));
            return Learnt::All;
        }
        let up = self.client.send(&look);
        self.origin(up, Origin::Look { tag, number });
        if let Some(held) = self.held.get_mut(usize::from(tag)) {
            held.place = Place::Looking { up: up.0 };
            held.opened = Some(opened);
        }
        Learnt::More
    }

    fn looked(&mut self, tag: u16, number: bool, fact: Fact, range: Range<usize>) {
        let opened = self.held.get_mut(usize::from(tag)).and_then(|h| h.opened.take());
        let Some(Opened { fid, flags, qid, iounit }) = opened else { return };
        if let Some(file) = self.files.get_mut(&fid) {
            (file.qid, file.open) = (qid, Some(flags));
            match (number, fact) {
                (false, Fact::Read { next: Some(next), .. }) => {
                    file.reading = Reading::sequence(next);
                }
                (false, _) => {}
                (true, _) => {
                    let path = match Rmsg::decode(self.client.at(range)) {
                        Ok(Rmsg::Read { data, .. }) => cloned(&file.path, data),
                        _ => None,
                    };
                    match path {
                        Some(path) => file.path = path,
                        None => file.opaque = Some("it cannot be found again: it has no number"),
                    }
                }
            }
        }
        self.finish(tag, Local::Open { qid, iounit });
        self.settle(fid);
    }

    fn read(&mut self, tag: u16, fid: u32, fact: Fact) -> Learnt {
        let resumed = self.held.get(usize::from(tag)).is_some_and(|h| h.resumes);
        let Some(File { reading: Reading::Sequence { next, resume, inside, .. }, .. }) =
            self.files.get_mut(&fid)
        else {
            return Learnt::All;
        };
        match fact {
            Fact::Read { next: Some(at), last } => {
                *next = Some(at);
                *inside = last.map_or(*inside, |b| b != b'\n');
            }
            // The server does not know where that was.
            Fact::Failed(Errno::ESTALE | Errno::EINVAL) if resumed => {
                (*resume, *next) = (Resume::Gap, None);
                if let Some(held) = self.held.get_mut(usize::from(tag)) {
                    held.place = Place::Waiting;
                }
                return Learnt::Again;
            }
            Fact::Failed(_) if resumed => *resume = Resume::At,
            _ => {}
        }
        Learnt::All
    }

    fn flushed(&mut self, by: u16, of: u16) {
        let serial = self.held.get(usize::from(by)).and_then(|h| h.flushes).map(|f| f.1);
        if let Some(old) = self.held.get(usize::from(of)).filter(|h| Some(h.serial) == serial) {
            let (place, named) = (old.place, old.seq.is_some());
            let m = Tmsg::decode(&old.frame);
            let changed = m.ok().and_then(|m| fids::of(&m).changed());
            match place {
                Place::Sent { up, .. } => {
                    self.origin(Tag(up), Origin::None);
                    self.release(of);
                    if let Some(fid) = changed {
                        self.settle(fid);
                    }
                    if named {
                        self.unname();
                    }
                }
                // It was opened: what is not known is where it is to be found again.
                Place::Looking { up } => {
                    self.origin(Tag(up), Origin::None);
                    self.looked(of, true, Fact::Other, 0..0);
                }
                _ => {}
            }
        }
        self.finish(by, Local::Flush);
    }
}

/// What is to become of an answer.
enum Learnt {
    /// It goes to the asker.
    All,
    /// More is to be found out first.
    More,
    /// The request is to be made again.
    Again,
}
