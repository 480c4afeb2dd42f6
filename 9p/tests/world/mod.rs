//! A small server that lives on while its connections come and go: a plain file, slots
//! to write into, a ctl file, a stream, clones, and a directory to change.
//!
//! It is written by hand, not made of the crate's own server, so that what the
//! client relies on is said twice and independently.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::collections::BTreeMap;

use atoll_9p::dialect::Dialect;
use atoll_9p::fault::Errno;
use atoll_9p::msg::{Rmsg, Tmsg, ty};
use atoll_9p::types::{OpId, OpenFlags, qid_type, seq};
use atoll_9p::wire::{Front, NOTAG, Writer, front};

pub const ROOT: u64 = 0;
pub const PLAIN: u64 = 1;
pub const CTL: u64 = 2;
pub const LOG: u64 = 3;
pub const CLONES: u64 = 4;
pub const CLONE: u64 = 5;
pub const MANY: u64 = 6;
pub const MADE: u64 = 7;
pub const SLOTS: u64 = 8;
pub const DEEP: u64 = 300;
/// Lines that the stream keeps.
pub const KEPT: usize = 6;

pub fn content() -> Vec<u8> {
    (0..700u32).map(|i| (i * 7 % 251) as u8).collect()
}

/// What outlives connections.
pub struct World {
    pub dialect: Dialect,
    pub msize: u32,
    pub slots: Vec<u8>,
    /// Commands that were done, in order.
    pub done: Vec<String>,
    once: BTreeMap<u64, BTreeMap<u64, u32>>,
    pub lines: Vec<String>,
    /// The position of the stream's first line; other than 0 after it began anew.
    pub base: u64,
    pub clones: u64,
    pub said: BTreeMap<u64, Vec<String>>,
    /// Made names and their numbers.
    pub made: BTreeMap<String, u64>,
    next: u64,
    /// What is added to the plain file's number: other than 0 when it was replaced.
    pub replaced: u64,
}

impl World {
    pub fn new(dialect: Dialect) -> World {
        World {
            dialect,
            msize: 1024,
            slots: vec![0; 80],
            done: Vec::new(),
            once: BTreeMap::new(),
            lines: Vec::new(),
            base: 0,
            clones: 0,
            said: BTreeMap::new(),
            made: BTreeMap::new(),
            next: 2000,
            replaced: 0,
        }
    }

    pub fn push(&mut self) {
        self.lines.push(format!("line {}\n", self.lines.len()));
    }

    fn child(&self, dir: u64, name: &str) -> Option<u64> {
        Some(match (dir, name) {
            (_, "..") => ROOT,
            (ROOT, "plain") => PLAIN + self.replaced,
            (ROOT, "ctl") => CTL,
            (ROOT, "log") => LOG,
            (ROOT, "c") => CLONES,
            (ROOT, "many") => MANY,
            (ROOT, "made") => MADE,
            (ROOT, "slots") => SLOTS,
            (ROOT, "deep") => DEEP,
            (DEEP..340, "x") => dir + 1,
            (CLONES, "clone") => CLONE,
            (CLONES, n) => 100 + n.parse::<u64>().ok().filter(|n| *n < self.clones)?,
            (100..200, "ctl") => dir + 100,
            (MANY, n) => 1000 + n.strip_prefix('e')?.parse::<u64>().ok().filter(|n| *n < 40)?,
            (MADE, n) => *self.made.get(n)?,
            _ => return None,
        })
    }

    fn qid_ty(node: u64) -> u8 {
        match node {
            ROOT | CLONES | MANY | MADE | 100..200 | DEEP..=340 => qid_type::DIR,
            CTL | LOG | 200..300 => qid_type::APPEND,
            _ => qid_type::FILE,
        }
    }

    fn make(&mut self, name: &str) -> Result<u64, Errno> {
        if self.made.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.next += 1;
        self.made.insert(name.into(), self.next);
        Ok(self.next)
    }

    fn command(&mut self, node: u64, op: Option<OpId>, data: &[u8]) -> Result<u32, Errno> {
        if let Some(op) = op {
            if data.is_empty() {
                assert!(!op.again, "a greeting is for who has nothing in doubt");
                self.once.entry(op.client).or_default();
                return Ok(0);
            }
            match self.once.get(&op.client) {
                Some(seqs) => {
                    if let Some(n) = seqs.get(&op.seq) {
                        return Ok(*n);
                    }
                }
                None if op.again => return Err(Errno::ESTALE),
                None => {}
            }
            self.once.entry(op.client).or_default().insert(op.seq, data.len() as u32);
        }
        let text = String::from_utf8(data.to_vec()).unwrap();
        match node {
            CTL => self.done.push(text),
            _ => self.said.entry(node).or_default().push(text),
        }
        Ok(data.len() as u32)
    }
}

struct Fid {
    node: u64,
    open: Option<OpenFlags>,
    cursor: u64,
}

/// One connection.
pub struct Conn {
    rx: Vec<u8>,
    pub tx: Vec<u8>,
    fids: BTreeMap<u32, Fid>,
    dialect: Dialect,
    msize: u32,
    blocked: Vec<(u16, u32, bool, u32)>,
}

type Done = Result<Option<Vec<u8>>, Errno>;

impl Conn {
    pub fn new() -> Conn {
        Conn {
            rx: Vec::new(),
            tx: Vec::new(),
            fids: BTreeMap::new(),
            dialect: Dialect::L,
            msize: 8192,
            blocked: Vec::new(),
        }
    }

    pub fn fids(&self) -> usize {
        self.fids.len()
    }

    pub fn feed(&mut self, w: &mut World, bytes: &[u8]) {
        self.rx.extend_from_slice(bytes);
        while let Front::Frame(n) = front(&self.rx, self.msize) {
            if n > self.rx.len() {
                break;
            }
            let frame: Vec<u8> = self.rx.drain(..n).collect();
            let tag = u16::from_le_bytes([frame[5], frame[6]]);
            let m = Tmsg::decode_in(self.dialect, &frame).unwrap();
            let done = self.handle(w, tag, &m);
            self.answer(tag, m.ty(), done);
        }
        assert!(!matches!(front(&self.rx, self.msize), Front::Bad(_)), "an impossible frame");
    }

    fn answer(&mut self, tag: u16, ty: u8, done: Done) {
        match done {
            Ok(Some(body)) => {
                let mut w = Writer::new(&mut self.tx, ty + 1, tag);
                w.raw(&body);
                w.finish();
            }
            Ok(None) => {}
            Err(e) => {
                let mut w = Writer::new(&mut self.tx, ty::RLERROR, tag);
                w.u32(e.0);
                w.finish();
            }
        }
    }

    /// Asks reads that wait again.
    pub fn wake(&mut self, w: &mut World) {
        for (tag, fid, sequenced, count) in std::mem::take(&mut self.blocked) {
            let done = self.lines(w, tag, fid, sequenced, count);
            self.answer(tag, ty::TREAD, done);
        }
    }

    /// Whole lines from where the fid stands on.
    fn lines(&mut self, w: &World, tag: u16, fid: u32, sequenced: bool, count: u32) -> Done {
        let f = self.fids.get_mut(&fid).unwrap();
        let end = w.base + w.lines.len() as u64;
        let first = w.base + w.lines.len().saturating_sub(KEPT) as u64;
        let mut data = Vec::new();
        if f.cursor < first {
            data = format!("gap {}\n", first - f.cursor).into_bytes();
            f.cursor = first;
        } else {
            while f.cursor < end {
                let line = &w.lines[(f.cursor - w.base) as usize];
                if data.len() + line.len() > count as usize {
                    break;
                }
                data.extend(line.bytes());
                f.cursor += 1;
            }
            if data.is_empty() && count > 0 {
                self.blocked.push((tag, fid, sequenced, count));
                return Ok(None);
            }
        }
        Ok(Some(read_body(&data, sequenced.then_some(f.cursor))))
    }

    fn handle(&mut self, w: &mut World, tag: u16, m: &Tmsg<'_>) -> Done {
        let qid = |node: u64| {
            let mut q = vec![World::qid_ty(node), 0, 0, 0, 0];
            q.extend(node.to_le_bytes());
            q
        };
        let opened = |node: u64| [qid(node), vec![0; 4]].concat();
        let node = |c: &Conn, fid: u32| c.fids.get(&fid).map(|f| f.node).ok_or(Errno::EBADF);
        let dir = |c: &Conn, fid: u32| match node(c, fid)? {
            MADE => Ok(()),
            _ => Err(Errno::EACCES),
        };
        match *m {
            Tmsg::Version { msize, version } => {
                assert_eq!(tag, NOTAG);
                self.msize = msize.min(w.msize);
                self.dialect = match Dialect::choose(version) {
                    Some(Dialect::Atoll) => w.dialect,
                    _ => Dialect::L,
                };
                let mut out = Vec::new();
                let m = Tmsg::Version { msize: self.msize, version: self.dialect.name() };
                m.encode(NOTAG, &mut out);
                Ok(Some(out.split_off(7)))
            }
            Tmsg::Attach { fid, .. } => {
                assert!(self.fids.insert(fid, Fid { node: ROOT, open: None, cursor: 0 }).is_none());
                Ok(Some(qid(ROOT)))
            }
            Tmsg::Walk { fid, newfid, names } => {
                let mut at = node(self, fid)?;
                let mut body = Vec::new();
                for name in names.iter() {
                    let Some(to) = w.child(at, name) else { break };
                    at = to;
                    body.extend(qid(at));
                }
                let n = body.len() / 13;
                if n == 0 && !names.is_empty() {
                    return Err(Errno::ENOENT);
                }
                if n == names.len() {
                    let new = self.fids.insert(newfid, Fid { node: at, open: None, cursor: 0 });
                    assert!(new.is_none() || newfid == fid, "fid {newfid} is in use");
                }
                Ok(Some([&(n as u16).to_le_bytes()[..], &body].concat()))
            }
            Tmsg::Lopen { fid, flags } => {
                let f = self.fids.get_mut(&fid).ok_or(Errno::EBADF)?;
                assert!(f.open.is_none(), "opened twice");
                if f.node == CLONE {
                    f.node = 200 + w.clones;
                    w.clones += 1;
                }
                f.open = Some(flags);
                f.cursor = w.base + w.lines.len().saturating_sub(KEPT) as u64;
                Ok(Some(opened(f.node)))
            }
            Tmsg::Lcreate { fid, name, flags, .. } => {
                dir(self, fid)?;
                let node = w.make(name)?;
                self.fids.insert(fid, Fid { node, open: Some(flags), cursor: 0 });
                Ok(Some(opened(node)))
            }
            Tmsg::Read { fid, offset, count } => {
                let f = self.fids.get_mut(&fid).ok_or(Errno::EBADF)?;
                assert!(f.open.is_some());
                let sequenced = self.dialect == Dialect::Atoll && offset & seq::READ != 0;
                if f.node == LOG {
                    let to = offset & !seq::READ;
                    if sequenced && to != seq::HERE {
                        if to < w.base || to > w.base + w.lines.len() as u64 {
                            return Err(Errno::ESTALE);
                        }
                        f.cursor = to;
                    }
                    return self.lines(w, tag, fid, sequenced, count);
                }
                if sequenced {
                    return Err(Errno::EINVAL);
                }
                let whole = match f.node {
                    PLAIN => content(),
                    SLOTS => w.slots.clone(),
                    n @ 200..300 => format!("{}\n", n - 200).into_bytes(),
                    _ => Vec::new(),
                };
                let from = whole.get(offset as usize..).unwrap_or_default();
                Ok(Some(read_body(&from[..from.len().min(count as usize)], None)))
            }
            Tmsg::Write { fid, offset, data, op } => {
                let f = self.fids.get(&fid).ok_or(Errno::EBADF)?;
                assert!(f.open.is_some());
                let n = match f.node {
                    SLOTS => {
                        let at = offset as usize;
                        w.slots[at..at + data.len()].copy_from_slice(data);
                        data.len() as u32
                    }
                    node => w.command(node, op, data)?,
                };
                Ok(Some(n.to_le_bytes().to_vec()))
            }
            Tmsg::Readdir { fid, offset, count } => {
                assert_eq!(node(self, fid)?, MANY);
                let mut out = Vec::new();
                for i in offset..40 {
                    let mut e = qid(1000 + i);
                    e.extend((i + 1).to_le_bytes());
                    e.extend([8, 3, 0]);
                    e.extend(format!("e{i:02}").bytes());
                    if out.len() + e.len() > count as usize {
                        break;
                    }
                    out.extend(e);
                }
                Ok(Some(read_body(&out, None)))
            }
            Tmsg::Mkdir { dfid, name, .. } => {
                dir(self, dfid)?;
                Ok(Some(qid(w.make(name)?)))
            }
            Tmsg::Renameat { olddirfid, oldname, newdirfid, newname } => {
                dir(self, olddirfid)?;
                dir(self, newdirfid)?;
                let n = w.made.remove(oldname).ok_or(Errno::ENOENT)?;
                w.made.insert(newname.into(), n);
                Ok(Some(vec![]))
            }
            Tmsg::Unlinkat { dirfd, name, .. } => {
                dir(self, dirfd)?;
                w.made.remove(name).map(|_| Some(vec![])).ok_or(Errno::ENOENT)
            }
            Tmsg::Getattr { fid, .. } => {
                let mut body = vec![0; 8];
                body.extend(qid(node(self, fid)?));
                body.resize(153, 0);
                Ok(Some(body))
            }
            Tmsg::Lock { .. } => Ok(Some(vec![0])),
            Tmsg::Clunk { fid } => self.fids.remove(&fid).map(|_| Some(vec![])).ok_or(Errno::EBADF),
            Tmsg::Flush { oldtag } => {
                self.blocked.retain(|b| b.0 != oldtag);
                Ok(Some(vec![]))
            }
            _ => Err(Errno::EOPNOTSUPP),
        }
    }
}

fn read_body(data: &[u8], next: Option<u64>) -> Vec<u8> {
    let mut out = (data.len() as u32).to_le_bytes().to_vec();
    out.extend(data);
    out.extend(next.into_iter().flat_map(u64::to_le_bytes));
    out
}

/// An answer, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Error(Errno, String),
    Data(Vec<u8>),
    Names(Vec<(u64, String)>),
    Count(u32),
    Qid(u64),
    Walked(u16),
    Done,
}

impl Got {
    pub fn of(r: &Rmsg<'_>) -> Got {
        match r {
            Rmsg::Lerror { errno, text } => {
                Got::Error(Errno(*errno), text.unwrap_or_default().into())
            }
            Rmsg::Read { data, next } => {
                assert!(next.is_none(), "the asker did not ask for it");
                Got::Data(data.to_vec())
            }
            Rmsg::Readdir { data } => Got::Names(
                atoll_9p::msg::entries(data).map(|e| (e.cookie, e.name.into())).collect(),
            ),
            Rmsg::Write { count } => Got::Count(*count),
            Rmsg::Walk { count, .. } => Got::Walked(*count),
            Rmsg::Lopen { qid, .. } | Rmsg::Lcreate { qid, .. } | Rmsg::Mkdir { qid } => {
                Got::Qid(qid.path)
            }
            Rmsg::Getattr { stat } => Got::Qid(stat.qid.path),
            _ => Got::Done,
        }
    }

    pub fn errno(&self) -> Option<Errno> {
        match self {
            Got::Error(e, _) => Some(*e),
            _ => None,
        }
    }
}
