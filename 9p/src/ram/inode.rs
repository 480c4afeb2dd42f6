//! What there is to know about a file.

use alloc::boxed::Box;

use super::Node;
use super::content::Content;
use super::dir::Dir;
use crate::fault::{Errno, Fault};
use crate::types::{Qid, Stat, Time, mode, qid_type};

/// What a file is.
#[derive(Debug)]
pub(super) enum Body {
    File(Content),
    Dir(Dir),
    Symlink(Box<str>),
    /// Its type in the bits of a mode, and its device.
    Special(u32, u64),
}

/// A file of any kind.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) body: Body,
    pub(super) perm: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Names of it; a directory has two more than directories in it, or none when it
    /// is removed.
    pub(super) nlink: u64,
    /// References that sessions hold.
    pub(super) refs: u64,
    /// Changes when the content does.
    pub(super) version: u32,
    /// The directory where it was last given a name.
    pub(super) parent: Node,
    pub(super) atime: Time,
    pub(super) mtime: Time,
    pub(super) ctime: Time,
}

impl Inode {
    pub(super) fn is_dir(&self) -> bool {
        matches!(self.body, Body::Dir(_))
    }

    pub(super) fn dir(&self) -> Result<&Dir, Fault> {
        match &self.body {
            Body::Dir(dir) => Ok(dir),
            _ => Err(Errno::ENOTDIR.into()),
        }
    }

    pub(super) fn dir_mut(&mut self) -> Result<&mut Dir, Fault> {
        match &mut self.body {
            Body::Dir(dir) => Ok(dir),
            _ => Err(Errno::ENOTDIR.into()),
        }
    }

    pub(super) fn file_mut(&mut self) -> Result<&mut Content, Fault> {
        match &mut self.body {
            Body::File(content) => Ok(content),
            Body::Dir(_) => Err(Errno::EISDIR.into()),
            _ => Err(Fault::new(Errno::EINVAL, "not a plain file")),
        }
    }

    /// Its content has changed.
    pub(super) fn changed(&mut self, now: Time) {
        self.version = self.version.wrapping_add(1);
        (self.mtime, self.ctime) = (now, now);
    }

    /// Bytes that it takes beside its names.
    pub(super) fn held(&self) -> u64 {
        match &self.body {
            Body::File(content) => content.held(),
            Body::Symlink(to) => to.len() as u64,
            Body::Dir(_) | Body::Special(..) => 0,
        }
    }

    pub(super) fn qid(&self, node: Node) -> Qid {
        let ty = match self.body {
            Body::Dir(_) => qid_type::DIR,
            Body::Symlink(_) => qid_type::SYMLINK,
            Body::File(_) | Body::Special(..) => qid_type::FILE,
        };
        Qid { ty, version: self.version, path: node.0 }
    }

    pub(super) fn stat(&self, node: Node) -> Stat {
        let (ty, size, rdev) = match &self.body {
            Body::File(content) => (mode::FILE, content.size(), 0),
            Body::Dir(_) => (mode::DIR, 0, 0),
            Body::Symlink(to) => (mode::SYMLINK, to.len() as u64, 0),
            Body::Special(ty, rdev) => (*ty, 0, *rdev),
        };
        Stat {
            qid: self.qid(node),
            mode: ty | self.perm,
            uid: self.uid,
            gid: self.gid,
            nlink: self.nlink,
            rdev,
            size,
            blocks: self.held().div_ceil(512),
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.ctime,
        }
    }
}
