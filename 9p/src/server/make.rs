//! Making, linking, moving and removing files, as 9P2000.L asks for it.

use super::Session;
use super::fids::{Opened, State};
use super::io::wanted;
use super::place::Place;
use super::walk::name_is_free;
use crate::access::{User, Want};
use crate::fault::{Errno, Fault};
use crate::msg::{Tmsg, put_qid, ty};
use crate::tree::{Make, MakeKind, Remove, Tree};
use crate::types::{OpenFlags, Qid, mode, unlink};

/// To change what a directory holds.
const CHANGE: Want = Want(Want::WRITE.0 | Want::SEARCH.0);

/// Says that no file is ever made or removed here.
#[cold]
pub(super) fn fixed() -> Fault {
    Errno::EPERM.into()
}

impl<T: Tree, const PLAIN: bool> Session<T, PLAIN> {
    /// Handles one of the messages that change directories.
    pub(super) fn change(&mut self, tree: &mut T, tag: u16, m: Tmsg<'_>) -> Result<(), Fault> {
        let t = m.ty();
        if T::FIXED {
            return Err(fixed());
        }
        match m {
            Tmsg::Lcreate { fid, name, flags, mode, gid } => {
                let qid = self.lcreate(tree, fid, name, flags, mode, self.identity.group(gid))?;
                let iounit = self.iounit();
                let mut w = self.reply(t, tag);
                put_qid(&mut w, qid);
                w.u32(iounit);
                w.finish();
                return Ok(());
            }
            Tmsg::Symlink { fid, name, target, gid } => {
                let kind = MakeKind::Symlink(target);
                return self.make(tree, t, tag, fid, (name, kind, 0o777, gid));
            }
            Tmsg::Mknod { dfid, name, mode, major, minor, gid } => {
                let kind = match mode & mode::TYPE {
                    0 | mode::FILE => MakeKind::File,
                    ty @ (mode::CHAR | mode::BLOCK | mode::PIPE | mode::SOCKET) => {
                        MakeKind::Special(ty, major, minor)
                    }
                    _ => return Err(Fault::new(Errno::EINVAL, "no such kind of file is made so")),
                };
                return self.make(tree, t, tag, dfid, (name, kind, mode, gid));
            }
            Tmsg::Mkdir { dfid, name, mode, gid } => {
                return self.make(tree, t, tag, dfid, (name, MakeKind::Dir, mode, gid));
            }
            Tmsg::Link { dfid, fid, name } => {
                let dir = self.dir(tree, dfid)?.0;
                let node = self.fids.get(fid)?.node;
                name_is_free(name)?;
                if tree.qid(node)?.is_dir() {
                    return Err(Fault::new(Errno::EPERM, "a directory has one name"));
                }
                tree.link(node, dir, name)?;
            }
            Tmsg::Rename { fid, dfid, name } => self.rename(tree, fid, dfid, name)?,
            Tmsg::Renameat { olddirfid, oldname, newdirfid, newname } => {
                let (from, to) = (self.dir(tree, olddirfid)?.0, self.dir(tree, newdirfid)?.0);
                name_is_free(oldname)?;
                name_is_free(newname)?;
                tree.rename(from, oldname, to, newname)?;
            }
            Tmsg::Unlinkat { dirfd, name, flags } => {
                let dir = self.dir(tree, dirfd)?.0;
                name_is_free(name)?;
                let what = match flags {
                    0 => Remove::File,
                    unlink::DIR => Remove::Dir,
                    _ => return Err(Fault::new(Errno::EINVAL, "unknown flags")),
                };
                tree.remove(dir, name, what)?;
            }
            _ => return Err(Errno::EOPNOTSUPP.into()),
        }
        self.done(t, tag)
    }

    /// The directory behind a fid, if its user may change it.
    pub(super) fn dir(&mut self, tree: &mut T, fid: u32) -> Result<(T::Node, User), Fault> {
        let (node, user) = self.node(fid)?;
        if !tree.qid(node)?.is_dir() {
            return Err(Errno::ENOTDIR.into());
        }
        tree.may(node, user, CHANGE)?;
        Ok((node, user))
    }

    fn make(
        &mut self,
        tree: &mut T,
        t: u8,
        tag: u16,
        dfid: u32,
        (name, kind, mode, gid): (&str, MakeKind<'_>, u32, u32),
    ) -> Result<(), Fault> {
        let (dir, user) = self.dir(tree, dfid)?;
        name_is_free(name)?;
        let gid = self.identity.group(gid);
        let made = tree.create(dir, &Make { name, kind, mode: mode & mode::PERM, user, gid })?;
        let qid = tree.qid(made);
        tree.forget(made);
        let qid = qid?;
        let mut w = self.reply(t, tag);
        put_qid(&mut w, qid);
        w.finish();
        Ok(())
    }

    /// Makes a file, and lets the directory's fid be the open file.
    fn lcreate(
        &mut self,
        tree: &mut T,
        fid: u32,
        name: &str,
        flags: OpenFlags,
        mode: u32,
        gid: u32,
    ) -> Result<Qid, Fault> {
        let want = wanted(flags)?;
        let (dir, user) = self.fresh_dir(tree, fid, name)?;
        let bare = flags.without(OpenFlags::CREATE | OpenFlags::EXCL);
        let make = Make { name, kind: MakeKind::File, mode: mode & mode::PERM, user, gid };
        let (node, open) = match tree.create_open(dir, &make, bare) {
            Ok(made) => made,
            // Somebody else was quicker, which is good enough for who did not ask to be first.
            Err(fault) if fault.errno == Errno::EEXIST && !flags.has(OpenFlags::EXCL) => {
                self.there(tree, dir, name, user, bare, want)?
            }
            Err(fault) => return Err(fault),
        };
        self.became(tree, fid, name, node, open, bare)
    }

    /// A directory's fid that is about to be the fid of a file made in it.
    pub(super) fn fresh_dir(
        &mut self,
        tree: &mut T,
        fid: u32,
        name: &str,
    ) -> Result<(T::Node, User), Fault> {
        if !self.fids.get(fid)?.is_idle() {
            return Err(Fault::new(Errno::EBADF, "this fid is open already"));
        }
        name_is_free(name)?;
        self.dir(tree, fid)
    }

    /// Opens a file that was to be made, but is there.
    fn there(
        &mut self,
        tree: &mut T,
        dir: T::Node,
        name: &str,
        user: User,
        flags: OpenFlags,
        want: Want,
    ) -> Result<(T::Node, T::Open), Fault> {
        let (mut node, qid) = tree.walk(dir, name)?;
        let open = match qid.is_dir() {
            true => Err(Errno::EISDIR.into()),
            false => tree.may(node, user, want).and_then(|()| tree.open(&mut node, flags)),
        };
        match open {
            Ok(open) => Ok((node, open)),
            Err(fault) => {
                tree.forget(node);
                Err(fault)
            }
        }
    }

    /// The fid of a directory becomes that of an open file in it.
    pub(super) fn became(
        &mut self,
        tree: &mut T,
        fid: u32,
        name: &str,
        node: T::Node,
        open: T::Open,
        flags: OpenFlags,
    ) -> Result<Qid, Fault> {
        let qid = match tree.qid(node) {
            Ok(qid) => qid,
            Err(fault) => {
                tree.close(node, open);
                tree.forget(node);
                return Err(fault);
            }
        };
        let f = self.fids.get(fid)?;
        let dir = core::mem::replace(&mut f.node, node);
        f.state =
            State::Open(Opened { open, flags, dir: qid.is_dir(), short: (0, 0), plain: None });
        tree.forget(dir);
        self.named(fid, name);
        Ok(qid)
    }

    /// Says what a fid's file is called.
    pub(super) fn named(&mut self, fid: u32, name: &str) {
        if let Some(known) = self.fids.name(fid) {
            known.clear();
            known.push_str(name);
        }
    }

    fn rename(&mut self, tree: &mut T, fid: u32, dfid: u32, name: &str) -> Result<(), Fault> {
        name_is_free(name)?;
        let to = self.dir(tree, dfid)?.0;
        let user = self.node(fid)?.1;
        let Place { dir, name: old, .. } = self.place(tree, fid)?;
        let done = tree.may(dir, user, CHANGE).and_then(|()| tree.rename(dir, &old, to, name));
        tree.forget(dir);
        done?;
        self.named(fid, name);
        Ok(())
    }

    /// Tremove ends the fid whether or not the file goes.
    pub(super) fn remove(&mut self, tree: &mut T, tag: u16, fid: u32) -> Result<(), Fault> {
        let gone = self.take_away(tree, fid);
        self.drop_fid(tree, fid)?;
        gone?;
        self.done(ty::TREMOVE, tag)
    }

    /// A clunk of a fid whose file is to go with it (open(5), ORCLOSE).
    #[cold]
    pub(super) fn remove_on_close(
        &mut self,
        tree: &mut T,
        tag: u16,
        fid: u32,
    ) -> Result<(), Fault> {
        // Who clunks is told of no error: the fid is gone either way.
        let _ = self.take_away(tree, fid);
        self.drop_fid(tree, fid)?;
        self.done(ty::TCLUNK, tag)
    }

    /// The same for all fids of a connection that is gone.
    #[cold]
    pub(super) fn remove_all_on_close(&mut self, tree: &mut T) {
        if T::FIXED {
            return;
        }
        for fid in self.fids.removed_on_close() {
            let _ = self.take_away(tree, fid);
        }
    }

    /// Removes a fid's file.
    fn take_away(&mut self, tree: &mut T, fid: u32) -> Result<(), Fault> {
        if T::FIXED {
            return Err(fixed());
        }
        let user = self.node(fid)?.1;
        let Place { dir, name, qid } = self.place(tree, fid)?;
        let what = if qid.is_dir() { Remove::Dir } else { Remove::File };
        let gone = tree.may(dir, user, CHANGE).and_then(|()| tree.remove(dir, &name, what));
        tree.forget(dir);
        gone
    }

    /// Whether a fid's file could be removed by its user.
    pub(super) fn may_remove(&mut self, tree: &mut T, fid: u32) -> Result<(), Fault> {
        if T::FIXED {
            return Err(fixed());
        }
        let user = self.node(fid)?.1;
        let dir = self.place(tree, fid)?.dir;
        let may = tree.may(dir, user, CHANGE);
        tree.forget(dir);
        may
    }
}
