//! What only 9P2000 has: open and create with modes of their own, stat and wstat,
//! directories that are read, and errors in words. Section 5 of Plan 9's manual.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::Session;
use super::attr::may_change;
use super::fids::Plain;
use super::make::fixed;
use super::place::Place;
use crate::access::Want;
use crate::fault::{Errno, Fault};
use crate::msg::{Tmsg, Wstat, entries, put_qid, ty};
use crate::plain::{Made, ORCLOSE, changes, flags_of, piece, put_stat9, unseen};
use crate::tree::{Entries, Make, MakeKind, Tree};
use crate::types::{OpenFlags, Qid};
use crate::wire::{HEADER, Writer};

impl<T: Tree, const PLAIN: bool> Session<T, PLAIN> {
    /// Handles one of the messages that 9P2000.L does not have.
    #[cold]
    pub(super) fn plain(&mut self, tree: &mut T, tag: u16, m: Tmsg<'_>) -> Result<(), Fault> {
        let t = m.ty();
        let qid = match m {
            Tmsg::Open { fid, mode } => self.topen(tree, fid, mode)?,
            Tmsg::Create { fid, name, perm, mode } => self.tcreate(tree, fid, name, perm, mode)?,
            Tmsg::Stat { fid } => return self.tstat(tree, tag, fid),
            Tmsg::Wstat { fid, stat } => {
                self.twstat(tree, fid, &stat)?;
                return self.done(t, tag);
            }
            _ => return Err(Errno::EOPNOTSUPP.into()),
        };
        let iounit = self.iounit();
        let mut w = self.reply(t, tag);
        put_qid(&mut w, qid);
        w.u32(iounit);
        w.finish();
        Ok(())
    }

    fn topen(&mut self, tree: &mut T, fid: u32, mode: u8) -> Result<Qid, Fault> {
        let (flags, want) = flags_of(mode)?;
        let remove = mode & ORCLOSE != 0;
        if remove {
            if self.fids.get(fid)?.is_idle() && tree.qid(self.fids.get(fid)?.node)?.is_dir() {
                return Err(Errno::EISDIR.into());
            }
            self.may_remove(tree, fid)?;
        }
        let qid = self.open(tree, fid, flags, want)?;
        self.opened_plainly(fid, remove)?;
        Ok(qid)
    }

    fn opened_plainly(&mut self, fid: u32, remove: bool) -> Result<(), Fault> {
        if let Some(opened) = self.fids.get(fid)?.opened()
            && (remove || opened.dir)
        {
            opened.plain = Some(Box::new(Plain { remove, ..Plain::default() }));
        }
        Ok(())
    }

    fn tcreate(
        &mut self,
        tree: &mut T,
        fid: u32,
        name: &str,
        perm: u32,
        mode: u8,
    ) -> Result<Qid, Fault> {
        if T::FIXED {
            return Err(fixed());
        }
        let (flags, want) = flags_of(mode)?;
        let (dir, user) = self.fresh_dir(tree, fid, name)?;
        let above = tree.stat(dir)?;
        let gid = above.gid;
        let bare = flags.without(OpenFlags::TRUNC);
        let made = Made::of(perm, mode, want, above.mode)?;
        let (node, open) = if made.dir {
            let make = Make { name, kind: MakeKind::Dir, mode: made.mode, user, gid };
            let mut node = tree.create(dir, &make)?;
            let open = tree.open(&mut node, bare).inspect_err(|_| tree.forget(node))?;
            (node, open)
        } else {
            let make = Make { name, kind: MakeKind::File, mode: made.mode, user, gid };
            tree.create_open(dir, &make, bare)?
        };
        let qid = self.became(tree, fid, name, node, open, bare)?;
        self.opened_plainly(fid, mode & ORCLOSE != 0)?;
        Ok(qid)
    }

    fn tstat(&mut self, tree: &mut T, tag: u16, fid: u32) -> Result<(), Fault> {
        let f = self.fids.get(fid)?;
        let (node, root) = (f.node, f.root);
        let stat = tree.stat(node)?;
        let mut name = self.fids.name(fid).map(|n| n.clone()).unwrap_or_default();
        if stat.qid.path == root {
            name = String::from("/");
        } else if name.is_empty() {
            let place = self.place(tree, fid)?;
            tree.forget(place.dir);
            name = place.name;
        }
        let mut w = self.reply(ty::TSTAT, tag);
        let at = w.len();
        w.u16(0);
        put_stat9(&mut w, &stat, &name);
        let size = w.len() - at - 2;
        w.patch_u16(at, size as u16);
        w.finish();
        Ok(())
    }

    /// Everything is looked at before anything is changed.
    fn twstat(&mut self, tree: &mut T, fid: u32, wstat: &Wstat<'_>) -> Result<(), Fault> {
        let (node, user) = self.node(fid)?;
        if wstat.is_sync() {
            return tree.sync(node);
        }
        let stat = tree.stat(node)?;
        let set = changes(wstat, &stat)?;
        if set.valid != 0 {
            may_change(tree, node, user, &set)?;
        }
        let place = match wstat.name {
            Some(new) => self.new_place(tree, fid, new)?,
            None => None,
        };
        let (Some(at), Some(new)) = (place, wstat.name) else {
            return if set.valid == 0 { Ok(()) } else { tree.set(node, &set) };
        };
        let mut done = tree.rename(at.dir, &at.name, at.dir, new);
        if done.is_ok() && set.valid != 0 {
            done = tree.set(node, &set);
            if done.is_err() {
                // Either all is changed or nothing is.
                let _ = tree.rename(at.dir, new, at.dir, &at.name);
            }
        }
        tree.forget(at.dir);
        done?;
        self.named(fid, new);
        Ok(())
    }

    /// Where a file lies that is to get a new name there, if that is new and free.
    fn new_place(
        &mut self,
        tree: &mut T,
        fid: u32,
        new: &str,
    ) -> Result<Option<Place<T::Node>>, Fault> {
        if T::FIXED {
            return Err(fixed());
        }
        super::walk::name_is_free(new)?;
        let user = self.node(fid)?.1;
        let place = self.place(tree, fid)?;
        let free = if place.name == new {
            Ok(None)
        } else {
            tree.may(place.dir, user, Want::WRITE.and(Want::SEARCH)).and_then(|()| {
                match tree.walk(place.dir, new) {
                    Ok((other, _)) => {
                        tree.forget(other);
                        Err(Errno::EEXIST.into())
                    }
                    Err(fault) if fault.errno == Errno::ENOENT => Ok(Some(())),
                    Err(fault) => Err(fault),
                }
            })
        };
        match free {
            Ok(Some(())) => Ok(Some(place)),
            other => {
                tree.forget(place.dir);
                other.map(|_| None)
            }
        }
    }

    /// Reads a directory: whole entries, from its start or where the last read ended.
    pub(super) fn read_dir(
        &mut self,
        tree: &mut T,
        tag: u16,
        fid: u32,
        offset: u64,
        count: u32,
    ) -> Result<(), Fault> {
        let f = self.fids.get(fid)?;
        let node = f.node;
        let Some(opened) = f.opened() else { return Err(Errno::EBADF.into()) };
        let Some(at) = &mut opened.plain else { return Err(Errno::EBADF.into()) };
        if offset == 0 {
            (at.offset, at.cookie) = (0, 0);
        } else if offset != at.offset {
            return Err(Fault::new(Errno::EINVAL, "bad offset in directory read"));
        }
        let mut w = self.tx.frame(ty::TREAD + 1, tag);
        let count_at = w.len();
        w.u32(0);
        let data_at = w.len();
        let most = data_at + count as usize;
        let piece = piece(count);
        let (mut list, mut cookie, mut full) = (Vec::new(), at.cookie, false);
        let mut sink = Entries::new(Writer::new(&mut list, ty::TREADDIR, 0), HEADER + piece);
        tree.list(node, &mut opened.open, cookie, &mut sink)?;
        sink.finish().finish();
        for entry in entries(list.get(HEADER..).unwrap_or_default()) {
            let stat = match tree.walk(node, entry.name) {
                Ok((child, _)) => {
                    let stat = tree.stat(child);
                    tree.forget(child);
                    stat
                }
                Err(fault) => Err(fault),
            };
            let before = w.len();
            put_stat9(&mut w, &stat.unwrap_or_else(|_| unseen(entry.qid)), entry.name);
            if w.len() > most {
                w.shorten(before);
                full = true;
                break;
            }
            cookie = entry.cookie;
        }
        let data = w.len() - data_at;
        // Linux's client asks for the rest of its buffer until nothing comes, as of a
        // file; an error there would be one of the whole read.
        let (end, asked) = core::mem::take(&mut opened.short);
        let fills_up = end == offset && count < asked;
        if data == 0 && !fills_up && full {
            return Err(Fault::new(Errno::EINVAL, "the count is too small for the next entry"));
        }
        w.patch_u32(count_at, data as u32);
        w.finish();
        at.cookie = cookie;
        at.offset += data as u64;
        if data > 0 {
            opened.short = (at.offset, count);
        }
        Ok(())
    }
}
