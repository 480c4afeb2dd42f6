//! Twalk: from one file to another, by up to sixteen names.

use super::Session;
use super::fids::{Fid, State};
use crate::access::{User, Want};
use crate::fault::{Errno, Fault};
use crate::msg::{Names, put_qid, ty};
use crate::tree::Tree;
use crate::types::{Qid, qid_type};
use crate::wire::MAX_NAME;

impl<T: Tree, const PLAIN: bool> Session<T, PLAIN> {
    pub(super) fn walk(
        &mut self,
        tree: &mut T,
        tag: u16,
        fid: u32,
        newfid: u32,
        names: Names<'_>,
    ) -> Result<(), Fault> {
        let f = self.fids.get(fid)?;
        match f.state {
            State::Attributes => return Err(Errno::EBADF.into()),
            State::Open(_) if newfid == fid => {
                return Err(Fault::new(Errno::EBUSY, "an open fid cannot be walked"));
            }
            _ => {}
        }
        let (from, root, uid) = (f.node, f.root, f.uid);
        if newfid != fid {
            self.fids.vacant(newfid, self.limits.fids)?;
        }
        let user = self.identity.user(uid);
        let mut w = self.tx.frame(ty::TWALK + 1, tag);
        w.u16(0);
        let (mut at, mut walked, mut last) = (None, 0u16, "");
        for name in names.iter() {
            match step(tree, from, at, root, user, name) {
                Ok(next) => {
                    if let Some((node, _)) = at.replace(next) {
                        tree.forget(node);
                    }
                    put_qid(&mut w, next.1);
                    walked += 1;
                    last = name;
                }
                Err(fault) if walked == 0 => return Err(fault),
                // Part of the way: the client learns how far, and newfid stays unused.
                Err(_) => {
                    w.patch_u16(7, walked);
                    w.finish();
                    if let Some((node, _)) = at {
                        tree.forget(node);
                    }
                    return Ok(());
                }
            }
        }
        w.patch_u16(7, walked);
        w.finish();
        match at {
            None if newfid == fid => {}
            None => self.copy(tree, fid, newfid, Fid::new(from, root, uid)),
            Some((node, _)) => {
                let name = if newfid == fid {
                    tree.forget(from);
                    self.fids.get(fid)?.node = node;
                    self.fids.name(fid)
                } else {
                    self.fids.insert(newfid, Fid::new(node, root, uid))
                };
                if let Some(name) = name.filter(|_| Self::NAMED) {
                    name.clear();
                    name.push_str(if last == ".." { "" } else { last });
                }
            }
        }
        Ok(())
    }

    /// A second fid for the same file.
    fn copy(&mut self, tree: &mut T, fid: u32, newfid: u32, mut new: Fid<T>) {
        new.node = tree.again(new.node);
        if !Self::NAMED {
            self.fids.insert(newfid, new);
            return;
        }
        let name = self.fids.name(fid).map(core::mem::take).unwrap_or_default();
        if let Some(to) = self.fids.insert(newfid, new) {
            to.push_str(&name);
        }
        if let Some(place) = self.fids.name(fid) {
            *place = name;
        }
    }
}

/// One name of a walk, with the checks that no tree has to repeat.
fn step<T: Tree>(
    tree: &mut T,
    from: T::Node,
    at: Option<(T::Node, Qid)>,
    root: u64,
    user: User,
    name: &str,
) -> Result<(T::Node, Qid), Fault> {
    name_is_one(name)?;
    let here = at.map_or(from, |(node, _)| node);
    // Who owns everything has the key to every directory.
    if !user.owner {
        tree.may(here, user, Want::SEARCH)?;
    }
    if name == ".." {
        let qid = match at {
            Some((_, qid)) => qid,
            None => tree.qid(here)?,
        };
        // A tree can say where a file lies, but a client may ask it of directories only.
        if qid.ty & qid_type::DIR == 0 {
            return Err(Errno::ENOTDIR.into());
        }
        if qid.path == root {
            return Ok((tree.again(here), qid));
        }
    }
    tree.walk(here, name)
}

/// Whether a name may stand in a walk: a file's own, or `..`.
pub(super) fn name_is_one(name: &str) -> Result<(), Fault> {
    if name.len() > MAX_NAME {
        return Err(Errno::ENAMETOOLONG.into());
    }
    if name.is_empty() || name == "." || name.bytes().any(|b| matches!(b, b'/' | 0)) {
        return Err(Fault::new(Errno::EINVAL, "a name is empty, a dot, or holds a slash"));
    }
    Ok(())
}

/// Whether a file may be called so.
pub(crate) fn name_is_free(name: &str) -> Result<(), Fault> {
    match name {
        ".." => Err(Fault::new(Errno::EINVAL, "no file can be called so")),
        _ => name_is_one(name),
    }
}
