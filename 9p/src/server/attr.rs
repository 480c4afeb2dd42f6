//! What there is to know about a file, and changing it: attributes, locks, links' texts.

use alloc::string::String;

use super::Session;
use super::fids::{Fid, State};
use crate::access::{User, Want};
use crate::fault::{Errno, Fault};
use crate::msg::{SetAttr, put_stat, ty};
use crate::tree::Tree;
use crate::types::{Lock, LockKind, LockStatus, setattr};
use crate::wire::HEADER;

impl<T: Tree, const PLAIN: bool> Session<T, PLAIN> {
    pub(super) fn getattr(&mut self, tree: &mut T, tag: u16, fid: u32) -> Result<(), Fault> {
        let stat = tree.stat(self.fids.get(fid)?.node)?;
        let mut w = self.reply(ty::TGETATTR, tag);
        put_stat(&mut w, &stat);
        w.finish();
        Ok(())
    }

    pub(super) fn setattr(
        &mut self,
        tree: &mut T,
        tag: u16,
        fid: u32,
        set: &SetAttr,
    ) -> Result<(), Fault> {
        let (node, user) = self.node(fid)?;
        // That the file changed now is what the tree says of any change.
        if set.valid & !setattr::CTIME != 0 {
            may_change(tree, node, user, set)?;
            tree.set(node, set)?;
        }
        self.done(ty::TSETATTR, tag)
    }

    pub(super) fn statfs(&mut self, tree: &mut T, tag: u16, fid: u32) -> Result<(), Fault> {
        let fs = tree.statfs(self.fids.get(fid)?.node)?;
        let mut w = self.reply(ty::TSTATFS, tag);
        w.u32(fs.ty);
        w.u32(fs.bsize);
        for v in [fs.blocks, fs.bfree, fs.bavail, fs.files, fs.ffree, fs.fsid] {
            w.u64(v);
        }
        w.u32(fs.namelen);
        w.finish();
        Ok(())
    }

    pub(super) fn fsync(&mut self, tree: &mut T, tag: u16, fid: u32) -> Result<(), Fault> {
        tree.sync(self.fids.get(fid)?.node)?;
        self.done(ty::TFSYNC, tag)
    }

    pub(super) fn readlink(&mut self, tree: &mut T, tag: u16, fid: u32) -> Result<(), Fault> {
        let mut target = String::new();
        tree.readlink(self.fids.get(fid)?.node, &mut target)?;
        if target.len() + 2 + HEADER > self.msize as usize || target.len() > u16::MAX.into() {
            return Err(Errno::ENAMETOOLONG.into());
        }
        let mut w = self.reply(ty::TREADLINK, tag);
        w.str(&target);
        w.finish();
        Ok(())
    }

    /// A client that asks for the list of extended attributes gets an empty one.
    pub(super) fn xattrwalk(
        &mut self,
        tree: &mut T,
        tag: u16,
        fid: u32,
        newfid: u32,
        name: &str,
    ) -> Result<(), Fault> {
        let f = self.fids.get(fid)?;
        if !name.is_empty() {
            return Err(Errno::ENODATA.into());
        }
        if newfid == fid {
            return Err(Fault::new(Errno::EBADF, "this fid is in use"));
        }
        let mut new = Fid::new(f.node, f.root, f.uid);
        self.fids.vacant(newfid, self.limits.fids)?;
        new.node = tree.again(new.node);
        new.state = State::Attributes;
        self.fids.insert(newfid, new);
        let mut w = self.reply(ty::TXATTRWALK, tag);
        w.u64(0);
        w.finish();
        Ok(())
    }

    pub(super) fn lock(
        &mut self,
        tree: &mut T,
        tag: u16,
        fid: u32,
        lock: &Lock<'_>,
    ) -> Result<(), Fault> {
        let f = self.fids.get(fid)?;
        let node = f.node;
        let opened = f.opened().ok_or(Errno::EBADF)?;
        let status = match tree.lock(node, &mut opened.open, lock)? {
            LockStatus::Success => 0,
            LockStatus::Blocked => 1,
            LockStatus::Error => 2,
            LockStatus::Grace => 3,
        };
        let mut w = self.reply(ty::TLOCK, tag);
        w.u8(status);
        w.finish();
        Ok(())
    }

    pub(super) fn getlock(
        &mut self,
        tree: &mut T,
        tag: u16,
        fid: u32,
        lock: &Lock<'_>,
    ) -> Result<(), Fault> {
        let f = self.fids.get(fid)?;
        let node = f.node;
        let opened = f.opened().ok_or(Errno::EBADF)?;
        let other = tree.test_lock(node, &mut opened.open, lock)?;
        // Nothing in its way: what was asked for comes back, as one that is released.
        let free = Lock { kind: LockKind::Unlock, ..*lock };
        let lock = other.unwrap_or(free);
        let mut w = self.reply(ty::TGETLOCK, tag);
        w.u8(lock.kind.to_wire());
        w.u64(lock.start);
        w.u64(lock.length);
        w.u32(lock.pid);
        w.str(lock.client);
        w.finish();
        Ok(())
    }
}

/// Whether a user may change these attributes of a node: the length who may write
/// the file, the rest who owns it, but nobody gives a file away (`chown(2)`).
pub(super) fn may_change<T: Tree>(
    tree: &mut T,
    node: T::Node,
    user: User,
    set: &SetAttr,
) -> Result<(), Fault> {
    if set.valid & setattr::SIZE != 0 {
        if tree.qid(node)?.is_dir() {
            return Err(Errno::EISDIR.into());
        }
        tree.may(node, user, Want::WRITE)?;
    }
    // A new length brings a new time with it.
    let rest = match set.valid & setattr::SIZE {
        0 => set.valid & !setattr::CTIME,
        _ => set.valid & !(setattr::SIZE | setattr::CTIME | setattr::MTIME),
    };
    if rest == 0 {
        return Ok(());
    }
    if let Err(fault) = tree.may_set(node, user) {
        // Who may write a file may say that it was read or written now.
        if rest & !(setattr::ATIME | setattr::MTIME) != 0 {
            return Err(fault);
        }
        tree.may(node, user, Want::WRITE)?;
    }
    if set.valid & (setattr::UID | setattr::GID) != 0 && !user.owner && user.uid != 0 {
        let stat = tree.stat(node)?;
        let uid = set.valid & setattr::UID == 0 || set.uid == stat.uid;
        let gid = set.valid & setattr::GID == 0 || set.gid == stat.gid || set.gid == user.gid;
        if !uid || !gid {
            return Err(Fault::new(Errno::EPERM, "only user 0 gives files away"));
        }
    }
    Ok(())
}
