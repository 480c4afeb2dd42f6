//! What a file server is: a tree of nodes with a handful of operations.
//!
//! A [`Tree`] is called by one [`crate::server::Session`] per connection. Nodes
//! are small `Copy` names that the tree hands out; sessions keep them behind fids
//! and give each back with [`Tree::forget`]. A read or write may answer
//! [`Reply::Later`]: the session keeps the request, and asks again when it is told
//! that the node woke.

use crate::fault::{Errno, Fault};
use crate::msg::{SetAttr, put_qid};
use crate::types::{OpenFlags, Qid, Stat, StatFs, dirent_type};
use crate::wire::Writer;

/// Who attaches, as far as the protocol tells.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The name given.
    pub uname: &'a str,
    /// The user number given; 0xffff_ffff when there was none.
    pub uid: u32,
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

/// A file tree.
pub trait Tree {
    /// Names a file. Ordered only so that sessions can keep waiters by node.
    type Node: Copy + Ord;
    /// What an open file needs beside its node: a cursor, a snapshot, a handle.
    type Open;

    /// The node that a client of this name starts from.
    fn attach(&mut self, who: &Who<'_>) -> Result<Self::Node, Fault>;

    /// The file of that name in a directory. `..` at the root is the root.
    fn walk(&mut self, at: Self::Node, name: &str) -> Result<Self::Node, Fault>;

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

    /// Changes attributes.
    fn set(&mut self, node: Self::Node, set: &SetAttr) -> Result<(), Fault> {
        let _ = (node, set);
        Err(Errno::EPERM.into())
    }

    /// Opens a node, a directory too.
    fn open(&mut self, node: Self::Node, flags: OpenFlags) -> Result<Self::Open, Fault>;

    /// Reads into `buf`. `Done(0)` is the end.
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

    /// Lists a directory from a cookie on: 0 is the start, any other is the
    /// cookie of the last entry that the client has.
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

    /// What there is to know about the whole.
    fn statfs(&mut self) -> StatFs {
        StatFs { bsize: 4096, ..StatFs::default() }
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
