//! A file tree in memory, which does everything that a [`crate::tree::Tree`] can.
//!
//! It is what tests serve when they want ordinary files, and the example of a whole
//! tree: how nodes are counted, what a rename has to check, when a version changes,
//! and how a peer is kept from filling the memory. Like all logic here it knows no
//! time: tell it with [`Ram::set_now`].
//!
//! ```
//! use atoll_9p::ram::{Budget, Ram};
//!
//! let mut ram = Ram::new(Budget { bytes: 1 << 20, files: 1000 });
//! ram.put("etc/motd", b"Welcome.\n")?;
//! assert_eq!(ram.content("etc/motd")?, b"Welcome.\n");
//! # Ok::<(), atoll_9p::fault::Fault>(())
//! ```

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::fault::{Errno, Fault};
use crate::locks::Locks;
use crate::once::Once;
use crate::tree::{Make, MakeKind};
use crate::types::{Time, mode};

mod content;
mod dir;
mod inode;
mod names;
mod serve;

use content::Content;
use dir::Dir;
use inode::{Body, Inode};
pub use serve::Open;

/// A file of a [`Ram`]: the path of its qid, never used for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(u64);

const ROOT: Node = Node(1);
/// Bytes that a name is charged beside its own.
const NAME: u64 = 64;
/// The longest text of a symbolic link: Linux's `PATH_MAX`.
const MAX_TARGET: usize = 4096;
/// Ranges that may be locked at one time.
const LOCKS: usize = 4096;

/// How much a [`Ram`] may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of content, names and link texts; a name is charged 64 more.
    pub bytes: u64,
    /// Files and directories, with those that are open still and have no name.
    pub files: u64,
}

impl Default for Budget {
    /// 64 MiB and 65,536 files.
    fn default() -> Budget {
        Budget { bytes: 64 << 20, files: 1 << 16 }
    }
}

/// The tree.
#[derive(Debug)]
pub struct Ram {
    inodes: BTreeMap<Node, Inode>,
    last: u64,
    now: Time,
    budget: Budget,
    bytes: u64,
    locks: Locks<Node>,
    last_open: u64,
    once: Once,
}

impl Default for Ram {
    fn default() -> Ram {
        Ram::new(Budget::default())
    }
}

impl Ram {
    /// A tree with nothing but a root that belongs to user 0 and lets everybody in,
    /// mode 755.
    pub fn new(budget: Budget) -> Ram {
        let mut ram = Ram {
            inodes: BTreeMap::new(),
            last: ROOT.0,
            now: Time::default(),
            budget,
            bytes: 0,
            locks: Locks::new(LOCKS),
            last_open: 0,
            once: Once::default(),
        };
        let mut root = ram.inode(Body::Dir(Dir::default()), 0o755, ROOT);
        (root.nlink, root.refs) = (2, 1); // always there
        ram.inodes.insert(ROOT, root);
        ram
    }

    /// Says what time it is: what changes from now on has changed now.
    pub fn set_now(&mut self, now: Time) {
        self.now = now;
    }

    /// The root.
    pub fn root(&self) -> Node {
        ROOT
    }

    /// What is held now.
    pub fn used(&self) -> Budget {
        Budget { bytes: self.bytes, files: self.inodes.len() as u64 }
    }

    /// The file at a path from the root. Counts no reference.
    pub fn find(&self, path: &str) -> Result<Node, Fault> {
        let mut names = path.split('/').filter(|n| !n.is_empty());
        names.try_fold(ROOT, |at, name| self.get(at)?.dir()?.get(name).ok_or(Errno::ENOENT.into()))
    }

    /// Makes a directory at a path, mode 755, and those above it, where there are none.
    pub fn mkdir(&mut self, path: &str) -> Result<Node, Fault> {
        let mut at = ROOT;
        for name in path.split('/').filter(|n| !n.is_empty()) {
            at = match self.get(at)?.dir()?.get(name) {
                Some(node) => node,
                None => self.make(at, &Ram::plain(name, MakeKind::Dir, 0o755))?,
            };
        }
        self.get(at)?.dir().map(|_| at)
    }

    /// Puts a file with this content at a path, mode 644, in directories that are made
    /// where there are none. A file that is there keeps its mode.
    pub fn put(&mut self, path: &str, data: &[u8]) -> Result<Node, Fault> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = self.mkdir(dir)?;
        let node = match self.get(dir)?.dir()?.get(name) {
            Some(node) => node,
            None => self.make(dir, &Ram::plain(name, MakeKind::File, 0o644))?,
        };
        self.resize(node, 0)?;
        self.write_at(node, 0, data)?;
        Ok(node)
    }

    /// What is in the file at a path.
    pub fn content(&self, path: &str) -> Result<Vec<u8>, Fault> {
        match &self.get(self.find(path)?)?.body {
            Body::File(content) => {
                let mut data = alloc::vec![0; content.size() as usize];
                content.read(0, &mut data);
                Ok(data)
            }
            _ => Err(Fault::new(Errno::EINVAL, "not a plain file")),
        }
    }

    fn plain<'a>(name: &'a str, kind: MakeKind<'a>, mode: u32) -> Make<'a> {
        let user = crate::access::User { uid: 0, gid: 0, owner: true };
        Make { name, kind, mode, user, gid: 0 }
    }

    fn inode(&self, body: Body, perm: u32, parent: Node) -> Inode {
        Inode {
            body,
            perm,
            uid: 0,
            gid: 0,
            nlink: 0,
            refs: 0,
            version: 0,
            parent,
            atime: self.now,
            mtime: self.now,
            ctime: self.now,
        }
    }

    fn get(&self, node: Node) -> Result<&Inode, Fault> {
        self.inodes.get(&node).ok_or(Errno::ESTALE.into())
    }

    fn get_mut(&mut self, node: Node) -> Result<&mut Inode, Fault> {
        self.inodes.get_mut(&node).ok_or(Errno::ESTALE.into())
    }

    /// Whether so many bytes more may be held.
    fn room(&self, bytes: u64) -> Result<(), Fault> {
        match self.bytes.checked_add(bytes).is_some_and(|sum| sum <= self.budget.bytes) {
            true => Ok(()),
            false => Err(Errno::ENOSPC.into()),
        }
    }

    /// Ends a file that has neither name nor reference.
    fn reap(&mut self, node: Node) {
        if self.inodes.get(&node).is_some_and(|i| i.nlink == 0 && i.refs == 0)
            && let Some(inode) = self.inodes.remove(&node)
        {
            self.bytes -= inode.held();
        }
    }

    fn write_at(&mut self, node: Node, offset: u64, data: &[u8]) -> Result<(), Fault> {
        let len = data.len() as u64;
        if offset.checked_add(len).is_none_or(|end| end > content::MAX_SIZE) {
            return Err(Errno::EFBIG.into());
        }
        let grows = self.get_mut(node)?.file_mut()?.growth(offset, len);
        self.room(grows)?;
        if len > 0 {
            let now = self.now;
            let inode = self.get_mut(node)?;
            inode.file_mut()?.write(offset, data);
            inode.changed(now);
            self.bytes += grows;
        }
        Ok(())
    }

    fn resize(&mut self, node: Node, size: u64) -> Result<(), Fault> {
        if size > content::MAX_SIZE {
            return Err(Errno::EFBIG.into());
        }
        let now = self.now;
        let inode = self.get_mut(node)?;
        let content = inode.file_mut()?;
        if content.size() != size {
            let before = content.held();
            content.resize(size);
            let freed = before - content.held();
            inode.changed(now);
            self.bytes -= freed;
        }
        Ok(())
    }

    /// Makes a file of any kind.
    fn make(&mut self, dir: Node, make: &Make<'_>) -> Result<Node, Fault> {
        let above = self.get(dir)?;
        if above.dir()?.get(make.name).is_some() {
            return Err(Errno::EEXIST.into());
        }
        let is_dir = make.kind == MakeKind::Dir;
        // A directory with the set-group-id bit hands its group on (`mkdir(2)`).
        let group = above.perm & 0o2000 != 0;
        let gid = if group { above.gid } else { make.gid };
        let mut perm = make.mode & mode::PERM;
        if group && is_dir {
            perm |= 0o2000;
        }
        let body = match make.kind {
            MakeKind::File => Body::File(Content::default()),
            MakeKind::Dir => Body::Dir(Dir::default()),
            MakeKind::Symlink(to) if to.len() > MAX_TARGET => {
                return Err(Errno::ENAMETOOLONG.into());
            }
            MakeKind::Symlink(to) => {
                perm = 0o777;
                Body::Symlink(to.into())
            }
            MakeKind::Special(ty, major, minor) => special(ty & mode::TYPE, major, minor)?,
        };
        let inode = Inode { uid: make.user.uid, gid, ..self.inode(body, perm, dir) };
        if self.inodes.len() as u64 >= self.budget.files {
            return Err(Fault::new(Errno::ENOSPC, "as many files as there may be"));
        }
        let held = inode.held();
        self.room(held + cost(make.name))?;
        self.last += 1;
        let node = Node(self.last);
        self.inodes.insert(node, inode);
        self.bytes += held;
        self.attach_name(dir, make.name, node)?;
        if is_dir {
            self.get_mut(node)?.nlink = 2;
        }
        Ok(node)
    }
}

/// What a name is charged.
fn cost(name: &str) -> u64 {
    NAME + name.len() as u64
}

fn special(ty: u32, major: u32, minor: u32) -> Result<Body, Fault> {
    let (major, minor) = (u64::from(major), u64::from(minor));
    match ty {
        mode::PIPE | mode::SOCKET => Ok(Body::Special(ty, 0)),
        // As glibc's `makedev` has it.
        mode::BLOCK | mode::CHAR => Ok(Body::Special(
            ty,
            (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32,
        )),
        _ => Err(Fault::new(Errno::EINVAL, "neither a device nor a pipe nor a socket")),
    }
}
