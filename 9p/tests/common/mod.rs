//! A scripted client, and a tree that counts what it hands out.
#![allow(dead_code, unreachable_pub, missing_docs)] // each test file uses its own part

use std::collections::{BTreeMap, BTreeSet};

use atoll_9p::access::Identity;
use atoll_9p::fault::{Errno, Fault};
use atoll_9p::msg::{Names, Rmsg, SetAttr, Tmsg, encode_walk};
use atoll_9p::server::{Limits, Session};
use atoll_9p::tree::{Entries, Reply, Tree, Who, slice_at};
use atoll_9p::types::{OpId, OpenFlags, Qid, Stat, mode, qid_type};
use atoll_9p::wire::{NOFID, NOTAG};

pub mod joint;

/// Cuts bytes into frames. Panics when they are not whole.
pub fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let n = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
        out.push(bytes[..n].to_vec());
        bytes = &bytes[n..];
    }
    out
}

/// The message as a frame.
pub fn frame(tag: u16, m: &Tmsg<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    m.encode(tag, &mut out);
    out
}

/// A frame of any bytes, with the right size.
pub fn raw(ty: u8, tag: u16, body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32 + 7).to_le_bytes().to_vec();
    out.push(ty);
    out.extend(tag.to_le_bytes());
    out.extend(body);
    out
}

/// A Twalk with any names, also those that a client of ours would not send.
pub fn walk_frame(tag: u16, fid: u32, newfid: u32, names: &[&[u8]]) -> Vec<u8> {
    let mut body = fid.to_le_bytes().to_vec();
    body.extend(newfid.to_le_bytes());
    body.extend((names.len() as u16).to_le_bytes());
    for name in names {
        body.extend((name.len() as u16).to_le_bytes());
        body.extend(*name);
    }
    raw(110, tag, &body)
}

/// No names: a walk that copies a fid.
pub fn no_names() -> Names<'static> {
    static FRAME: [u8; 17] = [17, 0, 0, 0, 110, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    match Tmsg::decode(&FRAME) {
        Ok(Tmsg::Walk { names, .. }) => names,
        other => panic!("{other:?}"),
    }
}

pub fn tag_of(frame: &[u8]) -> u16 {
    u16::from_le_bytes([frame[5], frame[6]])
}

/// The error number in a frame, 0 when it is no Rlerror.
pub fn errno(frame: &[u8]) -> u32 {
    match Rmsg::decode(frame).unwrap() {
        Rmsg::Lerror { errno, .. } => errno,
        _ => 0,
    }
}

/// One connection to a tree, driven by hand.
pub struct Peer<T: Tree> {
    pub s: Session<T>,
}

impl<T: Tree> Peer<T> {
    pub fn new(limits: Limits) -> Self {
        Peer { s: Session::new(limits) }
    }

    /// Attached as a user whom the client only claims to be; fid 0 is the root.
    pub fn claiming(tree: &mut T, uid: u32) -> Self {
        let mut p = Peer { s: Session::serving(Limits::default(), Identity::Claimed) };
        p.greet(tree, 8192, "9P2000.L");
        let m = Tmsg::Attach { fid: 0, afid: NOFID, uname: "u", aname: "", n_uname: uid };
        assert_eq!(p.errno(tree, &m), 0);
        p
    }

    /// Greeted and attached: fid 0 is the root.
    pub fn attached(tree: &mut T, limits: Limits) -> Self {
        let mut p = Peer::new(limits);
        p.greet(tree, 8192, "9P2000.L");
        assert_eq!(p.errno(tree, &attach(0)), 0);
        p
    }

    pub fn greet(&mut self, tree: &mut T, msize: u32, version: &str) -> Vec<u8> {
        self.one(tree, &frame(NOTAG, &Tmsg::Version { msize, version }))
    }

    /// Feeds bytes, steps until nothing is left, and takes the answers.
    pub fn raw(&mut self, tree: &mut T, mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        loop {
            let n = self.s.feed(bytes);
            bytes = &bytes[n..];
            let stepped = self.s.step(tree);
            out.extend_from_slice(self.s.output());
            self.s.sent(self.s.output().len());
            if !stepped && n == 0 {
                return frames(&out);
            }
        }
    }

    /// The one answer to a frame.
    pub fn one(&mut self, tree: &mut T, frame: &[u8]) -> Vec<u8> {
        let mut answers = self.raw(tree, frame);
        assert_eq!(answers.len(), 1, "answers to {frame:?}: {answers:?}");
        answers.remove(0)
    }

    /// The one answer to a message under tag 1.
    pub fn ask(&mut self, tree: &mut T, m: &Tmsg<'_>) -> Vec<u8> {
        self.one(tree, &frame(1, m))
    }

    pub fn errno(&mut self, tree: &mut T, m: &Tmsg<'_>) -> u32 {
        errno(&self.ask(tree, m))
    }

    pub fn walk(&mut self, tree: &mut T, fid: u32, newfid: u32, path: &str) -> u32 {
        let mut out = Vec::new();
        encode_walk(1, fid, newfid, path, &mut out).unwrap();
        errno(&self.one(tree, &out))
    }

    /// Walks from fid 0 and opens; panics on an error.
    pub fn open(&mut self, tree: &mut T, fid: u32, path: &str, flags: OpenFlags) {
        assert_eq!(self.walk(tree, 0, fid, path), 0, "walk {path}");
        assert_eq!(self.errno(tree, &Tmsg::Lopen { fid, flags }), 0, "open {path}");
    }

    /// Sends a read and says what came: nothing while it is blocked.
    pub fn read(&mut self, tree: &mut T, tag: u16, fid: u32) -> Option<Vec<u8>> {
        let m = Tmsg::Read { fid, offset: 0, count: 4096 };
        self.raw(tree, &frame(tag, &m)).first().map(|f| data(f))
    }

    /// What comes now, without a request.
    pub fn late(&mut self, tree: &mut T) -> Vec<Vec<u8>> {
        self.raw(tree, &[])
    }
}

/// The data of an Rread.
pub fn data(frame: &[u8]) -> Vec<u8> {
    match Rmsg::decode(frame).unwrap() {
        Rmsg::Read { data, .. } => data.to_vec(),
        other => panic!("no Rread: {other:?}"),
    }
}

pub fn attach(fid: u32) -> Tmsg<'static> {
    Tmsg::Attach { fid, afid: NOFID, uname: "u", aname: "", n_uname: NOFID }
}

/// `/` (0), `/d` (1), `/d/e` (2), `/d/e/f` (3), `/file` (4), `/blk` (5) whose reads
/// and writes wait, `/bad` (6) whose qid fails, `/many` (7) with entries, and
/// `/wild` (8) that claims more than it was asked for.
pub const NAMES: [(&str, u32, u32); 8] = [
    ("d", 0, 1),
    ("e", 1, 2),
    ("f", 2, 3),
    ("file", 0, 4),
    ("blk", 0, 5),
    ("bad", 0, 6),
    ("many", 0, 7),
    ("wild", 0, 8),
];
pub const BLK: u32 = 5;

/// Counts nodes and opens; panics when one is used that was given back.
#[derive(Default)]
pub struct Counting {
    pub nodes: BTreeMap<u32, u32>,
    pub opens: BTreeSet<u64>,
    pub next_open: u64,
    /// Reads and writes of `/blk` that will be answered.
    pub ready: u32,
    pub written: Vec<u8>,
    /// Entries of `/many`.
    pub many: u64,
    /// The numbers of the named writes that it was asked for.
    pub ops: Vec<u64>,
}

impl Counting {
    fn hold(&mut self, node: u32) -> u32 {
        *self.nodes.entry(node).or_default() += 1;
        node
    }

    fn check(&self, node: u32) {
        assert!(self.nodes.contains_key(&node), "node {node} is used but nobody holds it");
    }

    fn pass(&mut self, node: u32) -> bool {
        if node != BLK {
            return true;
        }
        let pass = self.ready > 0;
        self.ready = self.ready.saturating_sub(1);
        pass
    }

    pub fn assert_empty(&self) {
        assert!(self.nodes.is_empty(), "nodes left: {:?}", self.nodes);
        assert!(self.opens.is_empty(), "opens left: {:?}", self.opens);
    }
}

impl Tree for Counting {
    type Node = u32;
    type Open = u64;

    fn attach(&mut self, who: &Who<'_>) -> Result<u32, Fault> {
        match who.aname {
            "" => Ok(self.hold(0)),
            "d" => Ok(self.hold(1)),
            "bad" => Ok(self.hold(6)),
            _ => Err(Errno::ENOENT.into()),
        }
    }

    fn walk(&mut self, at: u32, name: &str) -> Result<(u32, Qid), Fault> {
        self.check(at);
        assert!(!name.is_empty() && name.len() <= 255 && !name.contains(['/', '\0']));
        if name == ".." {
            let up = NAMES.iter().find(|n| n.2 == at).map_or(0, |n| n.1);
            self.hold(up);
            return Ok((up, self.stat(up)?.qid));
        }
        if !matches!(at, 0 | 1 | 2 | 7) {
            return Err(Errno::ENOTDIR.into());
        }
        let found = NAMES.iter().find(|n| n.0 == name && n.1 == at).map(|n| n.2);
        let found = found.ok_or(Errno::ENOENT)?;
        self.hold(found);
        match self.stat(found) {
            Ok(stat) => Ok((found, stat.qid)),
            Err(fault) => {
                self.forget(found);
                Err(fault)
            }
        }
    }

    fn again(&mut self, node: u32) -> u32 {
        self.check(node);
        self.hold(node)
    }

    fn forget(&mut self, node: u32) {
        self.check(node);
        let n = self.nodes.get_mut(&node).unwrap();
        *n -= 1;
        if *n == 0 {
            self.nodes.remove(&node);
        }
    }

    fn stat(&mut self, node: u32) -> Result<Stat, Fault> {
        self.check(node);
        if node == 6 {
            return Err(Errno::EIO.into());
        }
        let dir = matches!(node, 0 | 1 | 2 | 7);
        let ty = if dir { qid_type::DIR } else { qid_type::FILE };
        let qid = Qid { ty, version: 0, path: node.into() };
        let mode = if dir { mode::DIR | 0o755 } else { mode::FILE | 0o644 };
        Ok(Stat { qid, mode, nlink: 1, ..Stat::default() })
    }

    fn set(&mut self, node: u32, _: &SetAttr) -> Result<(), Fault> {
        self.check(node);
        Ok(())
    }

    fn open(&mut self, node: &mut u32, _: OpenFlags) -> Result<u64, Fault> {
        self.check(*node);
        if *node == 3 {
            return Err(Errno::EACCES.into());
        }
        self.next_open += 1;
        self.opens.insert(self.next_open);
        Ok(self.next_open)
    }

    fn read(&mut self, node: u32, o: &mut u64, off: u64, buf: &mut [u8]) -> Result<Reply, Fault> {
        self.check(node);
        assert!(self.opens.contains(o));
        if node == 8 {
            buf.fill(b'w');
            return Ok(Reply::Done(usize::MAX));
        }
        if !self.pass(node) {
            return Ok(Reply::Later);
        }
        Ok(Reply::Done(slice_at(b"content", off, buf)))
    }

    fn write(&mut self, node: u32, o: &mut u64, _: u64, data: &[u8]) -> Result<Reply, Fault> {
        self.check(node);
        assert!(self.opens.contains(o));
        if node == 8 {
            return Ok(Reply::Done(usize::MAX));
        }
        if !self.pass(node) {
            return Ok(Reply::Later);
        }
        self.written.extend_from_slice(data);
        Ok(Reply::Done(data.len()))
    }

    fn write_once(
        &mut self,
        node: u32,
        o: &mut u64,
        op: OpId,
        off: u64,
        data: &[u8],
    ) -> Result<Reply, Fault> {
        if data.is_empty() {
            return Ok(Reply::Done(0));
        }
        self.ops.push(op.seq);
        self.write(node, o, off, data)
    }

    fn list(
        &mut self,
        node: u32,
        o: &mut u64,
        cookie: u64,
        sink: &mut Entries<'_>,
    ) -> Result<(), Fault> {
        self.check(node);
        assert!(self.opens.contains(o));
        for i in cookie..if node == 7 { self.many } else { 0 } {
            let name = format!("{i}-{}", "n".repeat((i % 200) as usize));
            if !sink.push(Qid { ty: 0, version: 0, path: 100 + i }, i + 1, &name) {
                break;
            }
        }
        Ok(())
    }

    fn close(&mut self, node: u32, open: u64) {
        self.check(node);
        assert!(self.opens.remove(&open), "open {open} is closed twice");
    }
}

/// A request made of small numbers: mostly sensible, sometimes not.
pub fn any_request(kind: u8, tag: u16, fid: u32, newfid: u32, pick: u8) -> Vec<u8> {
    const WALKS: [&[&[u8]]; 14] = [
        &[],
        &[b"d"],
        &[b"e"],
        &[b"d", b"e", b"f"],
        &[b"file"],
        &[b"blk"],
        &[b"blk"],
        &[b"bad"],
        &[b"d", b"..", b"many"],
        &[b".."],
        &[b"d", b"no"],
        &[b"wild"],
        &[b"d", b""],
        &[b"many"],
    ];
    let count = [0, 1, 40, 300, 500, 8000, u32::MAX][usize::from(pick) % 7];
    let offset = [0, 0, 3, u64::MAX][usize::from(pick) % 4];
    let m = match kind % 18 {
        0..=3 => return walk_frame(tag, fid, newfid, WALKS[usize::from(pick) % WALKS.len()]),
        4..=5 => Tmsg::Lopen { fid, flags: OpenFlags(u32::from(pick) % 4) },
        6..=7 => Tmsg::Read { fid, offset, count },
        8 => Tmsg::Write { fid, offset, data: &[b'w'; 300][..usize::from(pick)], op: None },
        9 => Tmsg::Readdir { fid, offset: u64::from(pick % 9), count },
        10..=11 => Tmsg::Clunk { fid },
        12 => Tmsg::Remove { fid },
        13 => {
            let aname = ["", "d", "bad", "no"][usize::from(pick) % 4];
            Tmsg::Attach { fid, afid: NOFID, uname: "u", aname, n_uname: 0 }
        }
        14 => Tmsg::Flush { oldtag: u16::from(pick) % 12 },
        15 => Tmsg::Getattr { fid, mask: 0 },
        16 => Tmsg::Setattr { fid, set: SetAttr { valid: 8, ..SetAttr::default() } },
        _ => Tmsg::Xattrwalk { fid, newfid, name: "x" },
    };
    frame(tag, &m)
}
