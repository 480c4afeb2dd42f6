//! The tree as sessions see it.

use alloc::string::String;

use super::inode::Body;
use super::{Node, Ram};
use crate::fault::{Errno, Fault};
use crate::once::Once;
use crate::tree::{Entries, Make, Remove, Reply, Tree, Who};
use crate::types::{Lock, LockStatus, OpenFlags, Qid, SetAttr, Stat, StatFs, mode, setattr};
use crate::wire::MAX_NAME;

/// An open file of a [`Ram`].
#[derive(Debug)]
pub struct Open {
    /// What its locks are kept under.
    id: u64,
    append: bool,
}

impl Ram {
    /// Counts a reference.
    fn hold(&mut self, node: Node) -> Result<Node, Fault> {
        self.get_mut(node)?.refs += 1;
        Ok(node)
    }
}

impl Tree for Ram {
    type Node = Node;
    type Open = Open;

    fn attach(&mut self, who: &Who<'_>) -> Result<Node, Fault> {
        self.hold(self.find(who.aname)?)
    }

    fn walk(&mut self, at: Node, name: &str) -> Result<(Node, Qid), Fault> {
        let inode = self.get(at)?;
        let node = match name {
            ".." => inode.parent,
            _ => inode.dir()?.get(name).ok_or(Errno::ENOENT)?,
        };
        let inode = self.get_mut(node)?;
        inode.refs += 1;
        Ok((node, inode.qid(node)))
    }

    fn again(&mut self, node: Node) -> Node {
        // Whoever has one reference to it has not lost it.
        if let Ok(inode) = self.get_mut(node) {
            inode.refs += 1;
        }
        node
    }

    fn forget(&mut self, node: Node) {
        if let Ok(inode) = self.get_mut(node) {
            inode.refs = inode.refs.saturating_sub(1);
        }
        self.reap(node);
    }

    fn qid(&mut self, node: Node) -> Result<Qid, Fault> {
        Ok(self.get(node)?.qid(node))
    }

    fn stat(&mut self, node: Node) -> Result<Stat, Fault> {
        Ok(self.get(node)?.stat(node))
    }

    fn set(&mut self, node: Node, set: &SetAttr) -> Result<(), Fault> {
        let has = |bit| set.valid & bit != 0;
        if has(setattr::SIZE) {
            self.resize(node, set.size)?; // the only one that can fail
        }
        let now = self.now;
        let inode = self.get_mut(node)?;
        if has(setattr::MODE) {
            inode.perm = set.mode & mode::PERM;
        }
        if has(setattr::UID) {
            inode.uid = set.uid;
        }
        if has(setattr::GID) {
            inode.gid = set.gid;
        }
        if has(setattr::ATIME) {
            inode.atime = if has(setattr::ATIME_SET) { set.atime } else { now };
        }
        if has(setattr::MTIME) {
            inode.mtime = if has(setattr::MTIME_SET) { set.mtime } else { now };
        }
        inode.ctime = now;
        Ok(())
    }

    fn open(&mut self, node: &mut Node, flags: OpenFlags) -> Result<Open, Fault> {
        match &self.get(*node)?.body {
            Body::Dir(_) if flags.writes() => return Err(Errno::EISDIR.into()),
            Body::Dir(_) => {}
            _ if flags.has(OpenFlags::DIRECTORY) => return Err(Errno::ENOTDIR.into()),
            Body::File(_) => {
                if flags.has(OpenFlags::TRUNC) && flags.writes() {
                    self.resize(*node, 0)?;
                }
            }
            Body::Symlink(_) => return Err(Errno::ELOOP.into()),
            Body::Special(..) => {
                return Err(Fault::new(Errno::EOPNOTSUPP, "the client has to open it itself"));
            }
        }
        self.last_open += 1;
        Ok(Open { id: self.last_open, append: flags.has(OpenFlags::APPEND) })
    }

    fn read(
        &mut self,
        node: Node,
        _: &mut Open,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault> {
        let now = self.now;
        let inode = self.get_mut(node)?;
        let n = inode.file_mut()?.read(offset, buf);
        inode.atime = now;
        Ok(Reply::Done(n))
    }

    fn write(
        &mut self,
        node: Node,
        open: &mut Open,
        offset: u64,
        data: &[u8],
    ) -> Result<Reply, Fault> {
        let offset = match open.append {
            true => self.get_mut(node)?.file_mut()?.size(),
            false => offset,
        };
        self.write_at(node, offset, data)?;
        Ok(Reply::Done(data.len()))
    }

    fn once(&mut self) -> Option<&mut Once> {
        Some(&mut self.once)
    }

    fn list(
        &mut self,
        node: Node,
        _: &mut Open,
        cookie: u64,
        sink: &mut Entries<'_>,
    ) -> Result<(), Fault> {
        for (cookie, name, node) in self.get(node)?.dir()?.after(cookie) {
            if !sink.push(self.get(node)?.qid(node), cookie, name) {
                break;
            }
        }
        Ok(())
    }

    fn close(&mut self, node: Node, open: Open) {
        self.locks.close(node, open.id);
    }

    fn create(&mut self, dir: Node, make: &Make<'_>) -> Result<Node, Fault> {
        let node = self.make_in(dir, make)?;
        self.hold(node)
    }

    fn link(&mut self, node: Node, dir: Node, name: &str) -> Result<(), Fault> {
        self.link_in(node, dir, name)
    }

    fn readlink(&mut self, node: Node, out: &mut String) -> Result<(), Fault> {
        match &self.get(node)?.body {
            Body::Symlink(to) => {
                out.push_str(to);
                Ok(())
            }
            _ => Err(Fault::new(Errno::EINVAL, "not a symbolic link")),
        }
    }

    fn rename(&mut self, from: Node, name: &str, to: Node, newname: &str) -> Result<(), Fault> {
        self.rename_in(from, name, to, newname)
    }

    fn remove(&mut self, dir: Node, name: &str, what: Remove) -> Result<(), Fault> {
        self.remove_in(dir, name, what)
    }

    fn lock(&mut self, node: Node, open: &mut Open, lock: &Lock<'_>) -> Result<LockStatus, Fault> {
        self.locks.lock(node, open.id, lock)
    }

    fn test_lock(
        &mut self,
        node: Node,
        _: &mut Open,
        lock: &Lock<'_>,
    ) -> Result<Option<Lock<'static>>, Fault> {
        self.locks.test(node, lock)
    }

    fn statfs(&mut self, _: Node) -> Result<StatFs, Fault> {
        const BLOCK: u64 = 4096;
        let free = (self.budget.bytes - self.bytes) / BLOCK;
        Ok(StatFs {
            ty: 0x0102_1997, // V9FS_MAGIC
            bsize: BLOCK as u32,
            blocks: self.budget.bytes / BLOCK,
            bfree: free,
            bavail: free,
            files: self.budget.files,
            ffree: self.budget.files.saturating_sub(self.inodes.len() as u64),
            fsid: 0,
            namelen: MAX_NAME as u32,
        })
    }
}
