//! What a file server is: a tree of nodes with a handful of operations.
//!
//! A [`Tree`] is called by one [`crate::server::Session`] per connection. Nodes
//! are small `Copy` names that the tree hands out; sessions keep them behind fids
//! and give each back with [`Tree::forget`]. A read or write may answer
//! [`Reply::Later`]: the session keeps the request, and asks again when it is told
//! that the node woke.
//!
//! A session has checked what the protocol says before it calls: names are not
//! empty, no `.` or `..` but in a walk, and hold no slash; an open file is open for
//! what is asked; and [`Tree::may`] has been asked who may do it.

use crate::access::{User, Want, allowed, owns};
use crate::fault::{Errno, Fault};
use crate::msg::put_qid;
use crate::once::Once;
use crate::types::{Lock, LockStatus, OpId, OpenFlags, Qid, SetAttr, Stat, StatFs, dirent_type};
use crate::wire::{MAX_NAME, Writer};

/// Who attaches, as far as the protocol tells.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The name given.
    pub uname: &'a str,
    /// Who it is, as far as the session's transport tells.
    pub user: User,
    /// The tree asked for: a path from the root.
    pub aname: &'a str,
}

/// The answer to a read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// So many bytes.
    Done(usize),
    /// Nothing yet: ask again when the node wakes.
    Later,
}

/// A file to be made.
#[derive(Clone, Copy, Debug)]
pub struct Make<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is to be.
    pub kind: MakeKind<'a>,
    /// Its permissions ([`crate::types::mode::PERM`]).
    pub mode: u32,
    /// Who makes it, and so owns it.
    pub user: User,
    /// The group it is to have.
    pub gid: u32,
}

/// What is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MakeKind<'a> {
    /// A plain file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link to this.
    Symlink(&'a str),
    /// A device, pipe or socket: its bits of [`crate::types::mode::TYPE`], major and minor.
    Special(u32, u32, u32),
}

/// What is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remove {
    /// Anything but a directory.
    File,
    /// An empty directory.
    Dir,
}

/// A file tree.
pub trait Tree {
    /// Names a file. Ordered only so that sessions can keep waiters by node.
    type Node: Copy + Ord;
    /// What an open file needs beside its node: a cursor, a snapshot, a handle.
    type Open;

    /// Whether no client can ever make, link, move or remove a file here. What a
    /// session has for that is then left out of the program, which tells in a kernel.
    const FIXED: bool = false;

    /// The node that a client of this name starts from.
    fn attach(&mut self, who: &Who<'_>) -> Result<Self::Node, Fault>;

    /// The file of that name in a directory, and its qid; ENOTDIR for what is none.
    /// `..` at the root is the root, and of a plain file where it lies. The qid has
    /// [`crate::types::qid_type::MOUNT`] where a [`crate::switch::Switch`] is to go on in
    /// another server.
    fn walk(&mut self, at: Self::Node, name: &str) -> Result<(Self::Node, Qid), Fault>;

    /// A second reference to a node. A tree that counts references counts here.
    fn again(&mut self, node: Self::Node) -> Self::Node {
        node
    }

    /// One reference fewer: the session's fid is gone.
    fn forget(&mut self, node: Self::Node) {
        let _ = node;
    }

    /// The node's qid.
    fn qid(&mut self, node: Self::Node) -> Result<Qid, Fault> {
        self.stat(node).map(|s| s.qid)
    }

    /// What there is to know about a node.
    fn stat(&mut self, node: Self::Node) -> Result<Stat, Fault>;

    /// Whether a user may do something with a node. What the mode says, unless the
    /// tree knows better, or asks somebody who does anyhow.
    fn may(&mut self, node: Self::Node, user: User, want: Want) -> Result<(), Fault> {
        allowed(&self.stat(node)?, user, want)
    }

    /// Changes attributes. The length only of what the user may write; all else
    /// only by whom [`Tree::may_set`] lets.
    fn set(&mut self, node: Self::Node, set: &SetAttr) -> Result<(), Fault> {
        let _ = (node, set);
        Err(Errno::EPERM.into())
    }

    /// Whether a user may change a node's attributes.
    fn may_set(&mut self, node: Self::Node, user: User) -> Result<(), Fault> {
        owns(&self.stat(node)?, user)
    }

    /// Opens a node, a directory too. A file that makes another when it is opened
    /// (a clone file) puts that one in the place of `node`: the reference to the
    /// old is the tree's again, and that to the new is the session's.
    fn open(&mut self, node: &mut Self::Node, flags: OpenFlags) -> Result<Self::Open, Fault>;

    /// Reads into `buf`, whatever that held before. `Done(0)` is the end.
    fn read(
        &mut self,
        node: Self::Node,
        open: &mut Self::Open,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault>;

    /// Writes.
    fn write(
        &mut self,
        node: Self::Node,
        open: &mut Self::Open,
        offset: u64,
        data: &[u8],
    ) -> Result<Reply, Fault> {
        let _ = (node, open, offset, data);
        Err(Errno::EPERM.into())
    }

    /// How the latest named writes ended, where the tree remembers that.
    fn once(&mut self) -> Option<&mut Once> {
        None
    }

    /// Writes under a name that the client gave the write: one that was done already
    /// is answered as it was then, and not done again. One without data does nothing: it
    /// makes its client known ([`Once`]), and never waits.
    fn write_once(
        &mut self,
        node: Self::Node,
        open: &mut Self::Open,
        op: OpId,
        offset: u64,
        data: &[u8],
    ) -> Result<Reply, Fault> {
        let known = self.once().map(|once| once.begin(op, data));
        match known {
            Some(Some(answer)) => return answer,
            None if data.is_empty() => return Ok(Reply::Done(0)),
            None if op.again => {
                return Err(Fault::new(Errno::ESTALE, "nobody knows whether this write was done"));
            }
            _ => {}
        }
        let result = self.write(node, open, offset, data);
        if let Some(once) = self.once() {
            once.end(op, &result);
        }
        result
    }

    /// Puts the reader of a stream to a position that it had been told: what it
    /// reads next is what follows it there, or a `gap` where that is lost.
    fn seek(&mut self, node: Self::Node, open: &mut Self::Open, to: u64) -> Result<(), Fault> {
        let _ = (node, open, to);
        Err(Fault::new(Errno::EINVAL, "not a stream: it has no positions"))
    }

    /// Where the reader of a stream stands; nothing for what is no stream.
    fn position(&mut self, node: Self::Node, open: &mut Self::Open) -> Option<u64> {
        let _ = (node, open);
        None
    }

    /// Lists a directory from a cookie on: 0 is the start, any other is the
    /// cookie of the last entry that the client has. Neither `.` nor `..` is listed.
    fn list(
        &mut self,
        node: Self::Node,
        open: &mut Self::Open,
        cookie: u64,
        sink: &mut Entries<'_>,
    ) -> Result<(), Fault>;

    /// Ends the use of an open file.
    fn close(&mut self, node: Self::Node, open: Self::Open) {
        let _ = (node, open);
    }

    /// Makes sure that what was written lasts.
    fn sync(&mut self, node: Self::Node) -> Result<(), Fault> {
        let _ = node;
        Ok(())
    }

    /// Makes a file in a directory, which has none of that name.
    fn create(&mut self, dir: Self::Node, make: &Make<'_>) -> Result<Self::Node, Fault> {
        let _ = (dir, make);
        Err(Fault::new(Errno::EPERM, "no files can be made here"))
    }

    /// Makes a plain file and opens it, whatever its mode would let the user do later.
    fn create_open(
        &mut self,
        dir: Self::Node,
        make: &Make<'_>,
        flags: OpenFlags,
    ) -> Result<(Self::Node, Self::Open), Fault> {
        let mut node = self.create(dir, make)?;
        match self.open(&mut node, flags) {
            Ok(open) => Ok((node, open)),
            Err(fault) => {
                self.forget(node);
                Err(fault)
            }
        }
    }

    /// Gives a file another name beside those that it has.
    fn link(&mut self, node: Self::Node, dir: Self::Node, name: &str) -> Result<(), Fault> {
        let _ = (node, dir, name);
        Err(Errno::EOPNOTSUPP.into())
    }

    /// What a symbolic link leads to: its text goes into `out`, which is empty.
    fn readlink(&mut self, node: Self::Node, out: &mut alloc::string::String) -> Result<(), Fault> {
        let _ = (node, out);
        Err(Fault::new(Errno::EINVAL, "not a symbolic link"))
    }

    /// Moves a name, and with it what it names, over one that may be there.
    fn rename(
        &mut self,
        from: Self::Node,
        name: &str,
        to: Self::Node,
        newname: &str,
    ) -> Result<(), Fault> {
        let _ = (from, name, to, newname);
        Err(Fault::new(Errno::EPERM, "no files can be renamed here"))
    }

    /// Takes a name out of a directory. Who has the file open keeps it.
    fn remove(&mut self, dir: Self::Node, name: &str, what: Remove) -> Result<(), Fault> {
        let _ = (dir, name, what);
        Err(Fault::new(Errno::EPERM, "no files can be removed here"))
    }

    /// Takes or releases a lock on an open file. Never waits: who is in the way
    /// makes it [`LockStatus::Blocked`], and the client asks again. Locks end when
    /// the open file that took them is closed.
    fn lock(
        &mut self,
        node: Self::Node,
        open: &mut Self::Open,
        lock: &Lock<'_>,
    ) -> Result<LockStatus, Fault> {
        let _ = (node, open, lock);
        Err(Errno::EOPNOTSUPP.into())
    }

    /// Whether a lock could be taken: nothing, or the kind, start, length and
    /// process of one that is in its way.
    fn test_lock(
        &mut self,
        node: Self::Node,
        open: &mut Self::Open,
        lock: &Lock<'_>,
    ) -> Result<Option<Lock<'static>>, Fault> {
        let _ = (node, open, lock);
        Err(Errno::EOPNOTSUPP.into())
    }

    /// What there is to know about the file system that a node lies in.
    fn statfs(&mut self, node: Self::Node) -> Result<StatFs, Fault> {
        let _ = node;
        let ty = 0x0102_1997; // V9FS_MAGIC
        Ok(StatFs { ty, bsize: 4096, namelen: MAX_NAME as u32, ..StatFs::default() })
    }

    /// Tells which nodes have something new for requests that wait, since this was
    /// last called. Whoever serves the tree passes it on to [`crate::server::Session::wake`].
    fn woken(&mut self, wake: &mut dyn FnMut(Self::Node)) {
        let _ = wake;
    }
}

/// Takes the entries of a directory into an answer.
#[derive(Debug)]
pub struct Entries<'a> {
    out: Writer<'a>,
    max: usize,
    full: bool,
}

impl<'a> Entries<'a> {
    pub(crate) fn new(out: Writer<'a>, max: usize) -> Entries<'a> {
        Entries { out, max, full: false }
    }

    /// Adds an entry; false when it did not fit and the listing is to end.
    /// `cookie` is where it goes on after this one, never 0.
    #[must_use]
    pub fn push(&mut self, qid: Qid, cookie: u64, name: &str) -> bool {
        let size = Qid::SIZE + 8 + 1 + 2 + name.len();
        if self.out.len() + size > self.max {
            self.full = true;
            return false;
        }
        put_qid(&mut self.out, qid);
        self.out.u64(cookie);
        self.out.u8(dirent_type(qid));
        self.out.str(name);
        true
    }

    /// Whether an entry did not fit.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    pub(crate) fn finish(self) -> Writer<'a> {
        self.out
    }
}

/// Joins what a rendered text file shows to what was asked for: the bytes from
/// `offset` on that fit in `buf`.
pub fn slice_at(whole: &[u8], offset: u64, buf: &mut [u8]) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|o| whole.get(o..)).unwrap_or_default();
    let n = rest.len().min(buf.len());
    if let (Some(to), Some(from)) = (buf.get_mut(..n), rest.get(..n)) {
        to.copy_from_slice(from);
    }
    n
}
