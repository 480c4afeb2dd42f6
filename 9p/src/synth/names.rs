//! Directories whose entries functions know, and those in which clients make and remove
//! them.
//!
//! An entry has a name for people and a number for nodes. A program that lets nobody make
//! files serves [`Files`], which says so to its sessions and leaves their code for that
//! out; one that does serves a [`Growing`].

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::kinds::{Kind, Many};
use super::many::MAX_ID;
use super::{Face, Files, Node, Open};
use crate::access::{User, Want};
use crate::fault::{Errno, Fault};
use crate::once::Once;
use crate::tree::{Entries, Make, MakeKind, Remove, Reply, Tree, Who};
use crate::types::{OpenFlags, Qid, SetAttr, Stat};

type Lookup<'a, S> = Box<dyn Fn(&mut S, &str) -> Option<u64> + 'a>;
type List<'a, S> = Box<dyn Fn(&mut S, u64, &mut dyn FnMut(u64, &str) -> bool) + 'a>;
type Create<'a, S> = Box<dyn Fn(&mut S, &str) -> Result<u64, Fault> + 'a>;
type Removal<'a, S> = Box<dyn Fn(&mut S, u64) -> Result<(), Fault> + 'a>;

/// Entries that functions know.
pub struct Names<'a, S> {
    lookup: Lookup<'a, S>,
    list: List<'a, S>,
    create: Option<Create<'a, S>>,
    remove: Option<Removal<'a, S>>,
    /// Changes with which there are, as far as clients change it.
    version: u32,
}

impl<'a, S> Names<'a, S> {
    /// `lookup` knows the number of a name. `list` tells number and name of all entries
    /// from a number on, in the order of the numbers, until one is not taken. A number is
    /// never that of another entry, and less than 2^40.
    pub fn new(
        lookup: impl Fn(&mut S, &str) -> Option<u64> + 'a,
        list: impl Fn(&mut S, u64, &mut dyn FnMut(u64, &str) -> bool) + 'a,
    ) -> Names<'a, S> {
        let (lookup, list) = (Box::new(lookup), Box::new(list));
        Names { lookup, list, create: None, remove: None, version: 0 }
    }

    /// Lets clients make entries, with mkdir: the number of the new one, or why not. It is
    /// called for no name that there is.
    #[must_use]
    pub fn create(self, f: impl Fn(&mut S, &str) -> Result<u64, Fault> + 'a) -> Self {
        Names { create: Some(Box::new(f)), ..self }
    }

    /// Lets clients remove entries, with rmdir, though there are files in them.
    #[must_use]
    pub fn remove(self, f: impl Fn(&mut S, u64) -> Result<(), Fault> + 'a) -> Self {
        Names { remove: Some(Box::new(f)), ..self }
    }

    pub(super) fn perm(&self) -> u16 {
        if self.create.is_some() || self.remove.is_some() { 0o755 } else { 0o555 }
    }
}

impl<S> Many<S> for Names<'_, S> {
    fn find(&self, s: &mut S, name: &str) -> Option<u64> {
        (self.lookup)(s, name).filter(|id| *id <= MAX_ID)
    }

    fn list(&self, s: &mut S, from: u64, each: &mut dyn FnMut(u64, &str) -> bool) {
        (self.list)(s, from, &mut |id, name| id <= MAX_ID && each(id, name));
    }

    fn create(&mut self, s: &mut S, name: &str) -> Result<u64, Fault> {
        let create = self.create.as_ref().ok_or_else(never_made)?;
        let id = create(s, name)?;
        self.version = self.version.wrapping_add(1);
        Ok(id)
    }

    fn remove(&mut self, s: &mut S, id: u64) -> Result<(), Fault> {
        let remove = self.remove.as_ref().ok_or_else(never_removed)?;
        remove(s, id)?;
        self.version = self.version.wrapping_add(1);
        Ok(())
    }

    fn version(&self) -> u32 {
        self.version
    }
}

fn never_made() -> Fault {
    Fault::new(Errno::EPERM, "no files can be made here")
}

fn never_removed() -> Fault {
    Fault::new(Errno::EPERM, "no files can be removed here")
}

/// Whether somebody may attach.
type Gate<'a, S> = Box<dyn Fn(&mut S, &Who<'_>) -> Result<(), Fault> + 'a>;
/// Which nodes have news, as the state knows.
type News<'a, S> = Box<dyn Fn(&mut S) -> Vec<Node> + 'a>;

/// A [`Synth`](super::Synth) and its state, as a [`Tree`] in which clients make and remove
/// the entries of those directories that let them.
pub struct Growing<'a, S> {
    /// The files.
    pub files: Files<'a, S>,
    gate: Option<Gate<'a, S>>,
    news: Option<News<'a, S>>,
}

impl<'a, S> Growing<'a, S> {
    /// A tree of these files.
    pub fn new(files: Files<'a, S>) -> Growing<'a, S> {
        Growing { files, gate: None, news: None }
    }

    /// Asks a function about everybody who attaches.
    #[must_use]
    pub fn gate(self, f: impl Fn(&mut S, &Who<'_>) -> Result<(), Fault> + 'a) -> Self {
        Growing { gate: Some(Box::new(f)), ..self }
    }

    /// Asks a function which requests that wait are to be asked again, beside those that
    /// [`Synth::wake`](super::Synth::wake) names: for functions of files, which have the
    /// state alone.
    #[must_use]
    pub fn news(self, f: impl Fn(&mut S) -> Vec<Node> + 'a) -> Self {
        Growing { news: Some(Box::new(f)), ..self }
    }
}

impl<S> Files<'_, S> {
    /// Makes an entry that a client named.
    fn make_entry(&mut self, dir: Node, make: &Make<'_>) -> Result<Node, Fault> {
        if make.kind != MakeKind::Dir {
            return Err(Fault::new(Errno::EPERM, "only directories can be made here"));
        }
        let (Kind::Many(_, like, _), Face::Plain) = (&self.synth.live(dir)?.kind, dir.face) else {
            return Err(never_made());
        };
        let like = *like;
        match self.walk(dir, make.name) {
            Err(fault) if fault.errno == Errno::ENOENT => {}
            Err(fault) => return Err(fault),
            Ok(_) => return Err(Errno::EEXIST.into()),
        }
        let many = self.synth.many_mut(dir.at).ok_or_else(never_made)?;
        let id = many.create(&mut self.state, make.name)?;
        Ok(Node { at: like, face: Face::Plain, id })
    }

    /// Removes one. Who waits in it is told.
    fn remove_entry(&mut self, dir: Node, name: &str, what: Remove) -> Result<(), Fault> {
        let (node, qid) = self.walk(dir, name)?;
        if self.synth.get(node)?.many != dir.at || dir.at == 0 || dir.face != Face::Plain {
            return Err(never_removed());
        }
        match (qid.is_dir(), what) {
            (true, Remove::File) => return Err(Errno::EISDIR.into()),
            (false, Remove::Dir) => return Err(Errno::ENOTDIR.into()),
            _ => {}
        }
        let many = self.synth.many_mut(dir.at).ok_or_else(never_removed)?;
        many.remove(&mut self.state, node.id)?;
        self.stir(node);
        Ok(())
    }
}

impl<S> Tree for Growing<'_, S> {
    type Node = Node;
    type Open = Open;

    fn attach(&mut self, who: &Who<'_>) -> Result<Node, Fault> {
        if let Some(gate) = &self.gate {
            gate(&mut self.files.state, who)?;
        }
        self.files.attach(who)
    }

    fn walk(&mut self, at: Node, name: &str) -> Result<(Node, Qid), Fault> {
        self.files.walk(at, name)
    }

    fn qid(&mut self, node: Node) -> Result<Qid, Fault> {
        self.files.qid(node)
    }

    fn stat(&mut self, node: Node) -> Result<Stat, Fault> {
        self.files.stat(node)
    }

    fn may(&mut self, node: Node, user: User, want: Want) -> Result<(), Fault> {
        self.files.may(node, user, want)
    }

    fn set(&mut self, node: Node, set: &SetAttr) -> Result<(), Fault> {
        self.files.set(node, set)
    }

    fn open(&mut self, node: &mut Node, flags: OpenFlags) -> Result<Open, Fault> {
        self.files.open(node, flags)
    }

    fn read(
        &mut self,
        node: Node,
        open: &mut Open,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault> {
        self.files.read(node, open, offset, buf)
    }

    fn write(
        &mut self,
        node: Node,
        open: &mut Open,
        offset: u64,
        data: &[u8],
    ) -> Result<Reply, Fault> {
        self.files.write(node, open, offset, data)
    }

    fn once(&mut self) -> Option<&mut Once> {
        self.files.once()
    }

    fn seek(&mut self, node: Node, open: &mut Open, to: u64) -> Result<(), Fault> {
        self.files.seek(node, open, to)
    }

    fn position(&mut self, node: Node, open: &mut Open) -> Option<u64> {
        self.files.position(node, open)
    }

    fn list(
        &mut self,
        node: Node,
        open: &mut Open,
        cookie: u64,
        sink: &mut Entries<'_>,
    ) -> Result<(), Fault> {
        self.files.list(node, open, cookie, sink)
    }

    fn close(&mut self, node: Node, open: Open) {
        self.files.close(node, open);
    }

    fn create(&mut self, dir: Node, make: &Make<'_>) -> Result<Node, Fault> {
        self.files.make_entry(dir, make)
    }

    fn remove(&mut self, dir: Node, name: &str, what: Remove) -> Result<(), Fault> {
        self.files.remove_entry(dir, name, what)
    }

    fn woken(&mut self, wake: &mut dyn FnMut(Node)) {
        if let Some(news) = &self.news {
            news(&mut self.files.state).into_iter().for_each(|node| self.files.synth.wake(node));
        }
        self.files.woken(wake);
    }
}
