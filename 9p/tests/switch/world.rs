//! Trees to mount and to be mounted in, and what carries bytes between a switch and them.
#![allow(unreachable_pub, missing_docs)]

use std::collections::BTreeMap;

use atoll_9p::access::{Identity, User, Want};
use atoll_9p::fault::{Errno, Fault};
use atoll_9p::ram::{self, Ram};
use atoll_9p::server::{Limits, Session};
use atoll_9p::switch::{Switch, UpId, Wish};
use atoll_9p::tree::{Entries, Make, Remove, Reply, Tree, Who};
use atoll_9p::types::{Lock, LockStatus, OpenFlags, Qid, SetAttr, Stat, StatFs, qid_type};

use crate::common::*;

/// Several trees: those behind the first are mounted in it. They are one tree, or the first
/// alone in which the mount points are marked.
pub struct World {
    pub trees: Vec<Ram>,
    /// The mount points, which the world holds a reference to, and the paths of their qids.
    pub mounts: Vec<(ram::Node, u64)>,
    pub joined: bool,
}

pub type At = (usize, ram::Node);

/// A tree with some files, whose numbers are those of no other but for the root's.
fn furnished(seed: &str, from: usize) -> Ram {
    let mut ram = Ram::default();
    for _ in 0..from {
        ram.put("f", b"").unwrap();
        let root = ram.root();
        ram.remove(root, "f", Remove::File).unwrap();
    }
    ram.put("x/y/z", format!("{seed}: a file that lies deep\n").as_bytes()).unwrap();
    ram.put("x/f", &[seed.as_bytes()[0]; 700]).unwrap();
    ram.put("f", b"short").unwrap();
    ram
}

impl World {
    /// `g/a/fs` and `g/b/fs` are mount points, of what [`World::guests`] gives.
    pub fn new() -> World {
        let mut here = furnished("here", 0);
        let mut mounts = vec![];
        for name in ["g/a/fs", "g/b/fs"] {
            let node = here.mkdir(name).unwrap();
            mounts.push((here.again(node), here.qid(node).unwrap().path));
            here.put(&name.replace("fs", "f"), b"beside it").unwrap();
        }
        World { trees: vec![here], mounts, joined: false }
    }

    pub fn guests() -> Vec<Ram> {
        vec![furnished("a", 100), furnished("b", 200)]
    }

    /// All in one: what a client of the switch ought to see.
    pub fn joined() -> World {
        let mut world = World::new();
        world.trees.extend(World::guests());
        world.joined = true;
        world
    }

    fn tree(&mut self, at: At) -> &mut Ram {
        &mut self.trees[at.0]
    }

    fn seen(&self, at: At, qid: Qid) -> Qid {
        if !self.joined {
            return qid;
        }
        let path = match at.0 {
            i @ 1.. if self.trees[i].root() == at.1 => self.mounts[i - 1].1,
            _ => qid.path,
        };
        Qid { path, ..qid }
    }

    /// Which mount point a name leads to.
    fn is_mount(&mut self, dir: At, name: &str) -> bool {
        dir.0 == 0
            && self.trees[0].walk(dir.1, name).is_ok_and(|(node, _)| {
                self.trees[0].forget(node);
                self.mounts.iter().any(|m| m.0 == node)
            })
    }

    /// What users have of it.
    pub fn references(&self) -> usize {
        self.trees.iter().map(references).sum()
    }
}

/// What users have of a tree.
pub fn references(tree: &Ram) -> usize {
    let held = format!("{tree:?}");
    let counts = held.match_indices("refs: ");
    counts.map(|(i, _)| held[i + 6..].split(',').next().unwrap().parse::<usize>().unwrap()).sum()
}

impl Tree for World {
    type Node = At;
    type Open = ram::Open;

    fn attach(&mut self, who: &Who<'_>) -> Result<At, Fault> {
        self.trees[0].attach(who).map(|node| (0, node))
    }

    fn walk(&mut self, at: At, name: &str) -> Result<(At, Qid), Fault> {
        if name == ".." && at.0 > 0 && at.1 == self.trees[at.0].root() {
            return self.walk((0, self.mounts[at.0 - 1].0), "..");
        }
        let (node, mut qid) = self.tree(at).walk(at.1, name)?;
        let mut to = (at.0, node);
        if at.0 == 0
            && let Some(i) = self.mounts.iter().position(|m| m.0 == node)
        {
            if !self.joined {
                qid.ty |= qid_type::MOUNT;
                return Ok((to, qid));
            }
            self.trees[0].forget(node);
            let root = self.trees[i + 1].root();
            to = (i + 1, self.trees[i + 1].again(root));
            qid = self.trees[i + 1].qid(root)?;
        }
        Ok((to, self.seen(to, qid)))
    }

    fn again(&mut self, at: At) -> At {
        (at.0, self.tree(at).again(at.1))
    }

    fn forget(&mut self, at: At) {
        self.tree(at).forget(at.1);
    }

    fn stat(&mut self, at: At) -> Result<Stat, Fault> {
        let stat = self.tree(at).stat(at.1)?;
        Ok(Stat { qid: self.seen(at, stat.qid), ..stat })
    }

    fn may(&mut self, at: At, user: User, want: Want) -> Result<(), Fault> {
        self.tree(at).may(at.1, user, want)
    }

    fn set(&mut self, at: At, set: &SetAttr) -> Result<(), Fault> {
        self.tree(at).set(at.1, set)
    }

    fn may_set(&mut self, at: At, user: User) -> Result<(), Fault> {
        self.tree(at).may_set(at.1, user)
    }

    fn open(&mut self, at: &mut At, flags: OpenFlags) -> Result<ram::Open, Fault> {
        self.trees[at.0].open(&mut at.1, flags)
    }

    fn read(
        &mut self,
        at: At,
        open: &mut ram::Open,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault> {
        self.tree(at).read(at.1, open, offset, buf)
    }

    fn write(
        &mut self,
        at: At,
        open: &mut ram::Open,
        offset: u64,
        data: &[u8],
    ) -> Result<Reply, Fault> {
        self.tree(at).write(at.1, open, offset, data)
    }

    fn list(
        &mut self,
        at: At,
        open: &mut ram::Open,
        cookie: u64,
        sink: &mut Entries<'_>,
    ) -> Result<(), Fault> {
        self.tree(at).list(at.1, open, cookie, sink)
    }

    fn close(&mut self, at: At, open: ram::Open) {
        self.tree(at).close(at.1, open);
    }

    fn create(&mut self, dir: At, make: &Make<'_>) -> Result<At, Fault> {
        self.tree(dir).create(dir.1, make).map(|node| (dir.0, node))
    }

    fn create_open(
        &mut self,
        dir: At,
        make: &Make<'_>,
        flags: OpenFlags,
    ) -> Result<(At, ram::Open), Fault> {
        let (node, open) = self.tree(dir).create_open(dir.1, make, flags)?;
        Ok(((dir.0, node), open))
    }

    fn link(&mut self, at: At, dir: At, name: &str) -> Result<(), Fault> {
        if at.0 != dir.0 {
            return Err(Errno::EXDEV.into());
        }
        self.tree(at).link(at.1, dir.1, name)
    }

    fn readlink(&mut self, at: At, out: &mut String) -> Result<(), Fault> {
        self.tree(at).readlink(at.1, out)
    }

    fn rename(&mut self, from: At, name: &str, to: At, newname: &str) -> Result<(), Fault> {
        if self.is_mount(from, name) || self.is_mount(to, newname) {
            return Err(Errno::EBUSY.into());
        }
        if from.0 != to.0 {
            return Err(Errno::EXDEV.into());
        }
        self.tree(from).rename(from.1, name, to.1, newname)
    }

    fn remove(&mut self, dir: At, name: &str, what: Remove) -> Result<(), Fault> {
        if self.is_mount(dir, name) {
            return Err(Errno::EBUSY.into());
        }
        self.tree(dir).remove(dir.1, name, what)
    }

    fn lock(&mut self, at: At, open: &mut ram::Open, lock: &Lock<'_>) -> Result<LockStatus, Fault> {
        self.tree(at).lock(at.1, open, lock)
    }

    fn test_lock(
        &mut self,
        at: At,
        open: &mut ram::Open,
        lock: &Lock<'_>,
    ) -> Result<Option<Lock<'static>>, Fault> {
        self.tree(at).test_lock(at.1, open, lock)
    }

    fn statfs(&mut self, at: At) -> Result<StatFs, Fault> {
        self.tree(at).statfs(at.1)
    }
}

/// A switch, its tree, the servers, and the bytes between them.
pub struct Net<L: Tree, U: Tree> {
    pub sw: Switch<L>,
    pub here: L,
    pub guests: Vec<U>,
    /// The paths of the mount points' qids, in the order of the guests.
    pub mounts: Vec<u64>,
    pub conns: BTreeMap<UpId, (usize, Session<U>)>,
    /// What the servers agree to.
    pub limits: Limits,
    /// Bytes that are carried at a time.
    pub chunk: usize,
    /// Bytes that the servers may still send and be sent before all of their connections end.
    pub left: Option<usize>,
    /// Connections that were asked for.
    pub connects: usize,
    /// No server can be reached, for this reason.
    pub down: Option<Fault>,
    /// The tree of each server that is mounted.
    pub part: &'static str,
    /// Whatever comes in from now on is kept waiting.
    pub stopped: bool,
}

impl Net<World, Ram> {
    pub fn of_world(limits: Limits) -> Net<World, Ram> {
        let here = World::new();
        let mounts = here.mounts.iter().map(|m| m.1).collect();
        Net::new(here, World::guests(), mounts, limits)
    }
}

impl<L: Tree, U: Tree> Net<L, U> {
    pub fn new(here: L, guests: Vec<U>, mounts: Vec<u64>, limits: Limits) -> Net<L, U> {
        Net {
            sw: Switch::new(Limits { msize: 8192, ..Limits::default() }, Identity::Owner),
            here,
            guests,
            mounts,
            conns: BTreeMap::new(),
            limits,
            chunk: usize::MAX,
            left: None,
            connects: 0,
            down: None,
            part: "",
            stopped: false,
        }
    }

    /// Says that a server's connection is gone.
    pub fn lose(&mut self, id: UpId) {
        if let Some((i, mut session)) = self.conns.remove(&id) {
            session.close(&mut self.guests[i]);
        }
        self.sw.lost(&mut self.here, id, &Errno::EIO.into());
    }

    fn wishes(&mut self) -> bool {
        let mut any = false;
        while let Some(wish) = self.sw.wish() {
            any = true;
            match wish {
                Wish::Connect(id, mount) => {
                    self.connects += 1;
                    let i = self.mounts.iter().position(|m| *m == mount).unwrap();
                    match &self.down {
                        Some(fault) => self.sw.lost(&mut self.here, id, &fault.clone()),
                        None => {
                            self.sw.mounts(id, self.part);
                            self.conns.insert(id, (i, Session::new(self.limits)));
                        }
                    }
                }
                Wish::Close(id) => {
                    if let Some((i, mut session)) = self.conns.remove(&id) {
                        session.close(&mut self.guests[i]);
                    }
                }
            }
        }
        any
    }

    /// Carries bytes until there are none.
    pub fn run(&mut self) {
        loop {
            let mut any = self.wishes();
            let ids: Vec<_> = if self.stopped { vec![] } else { self.sw.upstreams().collect() };
            for id in ids {
                let left = self.left.unwrap_or(usize::MAX);
                let Some((i, session)) = self.conns.get_mut(&id) else { continue };
                let n = self.sw.to_upstream(id).len().min(self.chunk).min(left);
                let fed = session.feed(&self.sw.to_upstream(id)[..n]);
                self.sw.sent_to_upstream(&mut self.here, id, fed);
                let stepped = session.step(&mut self.guests[*i]);
                let m = session.output().len().min(self.chunk).min(left - fed);
                let bytes = session.output()[..m].to_vec();
                session.sent(m);
                if m > 0 {
                    self.sw.from_upstream(&mut self.here, id, &bytes);
                }
                any |= stepped || fed + m > 0;
                if let Some(left) = &mut self.left {
                    *left -= fed + m;
                    if *left == 0 {
                        self.left = None;
                        self.sw
                            .upstreams()
                            .collect::<Vec<_>>()
                            .into_iter()
                            .for_each(|id| self.lose(id));
                        break;
                    }
                }
            }
            if !any {
                return;
            }
        }
    }

    /// Feeds bytes, and takes the answers.
    pub fn raw(&mut self, mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        loop {
            if self.sw.wants() && !bytes.is_empty() {
                let n = bytes.len().min(self.chunk);
                self.sw.from_client(&mut self.here, &bytes[..n]);
                bytes = &bytes[n..];
            }
            self.run();
            let said = self.sw.to_client().to_vec();
            out.extend_from_slice(&said);
            self.sw.sent_to_client(&mut self.here, said.len());
            if said.is_empty() && (bytes.is_empty() || !self.sw.wants()) {
                return frames(&out);
            }
        }
    }

    pub fn greet(&mut self, msize: u32, version: &str) -> Vec<u8> {
        let hello = atoll_9p::msg::Tmsg::Version { msize, version };
        self.raw(&frame(atoll_9p::wire::NOTAG, &hello)).remove(0)
    }

    pub fn attached(mut self, version: &str) -> Self {
        assert_eq!(self.greet(8192, version)[4], 101);
        assert_eq!(self.ask(&attach(0))[4], 105);
        self
    }

    /// The one answer to a message under tag 1.
    pub fn ask(&mut self, m: &atoll_9p::msg::Tmsg<'_>) -> Vec<u8> {
        self.one(&frame(1, m))
    }

    pub fn one(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut answers = self.raw(frame);
        assert_eq!(answers.len(), 1, "answers to {frame:?}: {answers:?}");
        answers.remove(0)
    }

    pub fn walk(&mut self, fid: u32, newfid: u32, path: &str) -> Vec<u8> {
        let names: Vec<&[u8]> =
            path.split('/').filter(|n| !n.is_empty()).map(str::as_bytes).collect();
        self.one(&walk_frame(1, fid, newfid, &names))
    }

    /// The client and all connections end.
    pub fn close(&mut self) {
        self.sw.close(&mut self.here);
        for (i, mut session) in std::mem::take(&mut self.conns).into_values() {
            session.close(&mut self.guests[i]);
        }
    }
}
