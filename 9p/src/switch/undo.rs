//! What is taken back: what was flushed, what was at a server that is gone, and all of it.

use alloc::vec::Vec;

use super::{Effect, Place, Switch, UpId};
use crate::fault::Fault;
use crate::msg::ty;
use crate::tree::Tree;

impl<T: Tree> Switch<T> {
    /// A Tflush was answered. If the request that it named was not, it never will be.
    pub(super) fn flushed(&mut self, tree: &mut T, tag: u16) {
        let Some(old) = self.asked.remove(&tag) else { return };
        let fid = match old.effect {
            Effect::Make { fid, born, .. } => {
                self.unbind_if(fid, born);
                fid
            }
            Effect::End { fid } => fid,
            Effect::Move { fid, born, .. } | Effect::Open { fid, born } => {
                return self.moved(fid, born);
            }
            _ => return,
        };
        // Nobody can tell whether it was done. What was made since has shown that it was.
        if !self.fids.contains_key(&fid) {
            self.own_clunk(tree, old.up, fid);
        }
    }

    /// Says that a server is gone, or was never reached, and why.
    pub fn lost(&mut self, tree: &mut T, id: UpId, why: &Fault) {
        let Some(up) = self.ups.remove(&id) else { return };
        self.mounts.remove(&up.mount);
        for root in &up.roots {
            self.drop_anchor(tree, root.anchor);
        }
        for fid in self.fids.values_mut() {
            if fid.place.is_at(id) {
                fid.place = Place::Gone;
            }
        }
        let asked: Vec<_> = self.asked.extract_if(.., |_, asked| asked.up == id).collect();
        // A Tflush is answered behind what it names.
        let (flushes, others): (Vec<_>, Vec<_>) =
            asked.into_iter().partition(|(_, asked)| asked.ty == ty::TFLUSH);
        for (tag, asked) in others {
            match asked.effect {
                Effect::Step { .. } => continue,
                Effect::Make { fid, born, .. } => self.unbind_if(fid, born),
                _ => {}
            }
            match asked.ty {
                ty::TCLUNK => self.done(ty::TCLUNK, tag),
                _ => self.refuse(tag, why),
            }
        }
        flushes.into_iter().for_each(|(tag, _)| self.done(ty::TFLUSH, tag));
        let jobs: Vec<_> = self.jobs.extract_if(.., |_, job| job.here.up() == id).collect();
        for (tag, job) in jobs {
            self.refuse(tag, why);
            self.ended(tree, job);
        }
        self.unhold(tree);
        self.pump(tree);
    }

    /// Gives a local fid of the switch's own back.
    pub(super) fn drop_anchor(&mut self, tree: &mut T, anchor: u32) {
        self.local_clunk(tree, anchor);
        self.anchors.give_back(anchor);
    }

    /// Forgets a fid that was not made, if it is that one still.
    pub(super) fn unbind_if(&mut self, fid: u32, born: u64) {
        if self.fids.get(&fid).is_some_and(|f| f.born == born) {
            self.unbind(fid);
        }
    }

    /// A new beginning: every server is left, and the local session was reset.
    pub(super) fn forget_all(&mut self) {
        for (id, _) in core::mem::take(&mut self.ups) {
            self.wishes.push_back(super::Wish::Close(id));
        }
        self.mounts.clear();
        self.fids.clear();
        self.users.clear();
        self.asked.clear();
        self.jobs.clear();
        self.held.clear();
        self.held_bytes = 0;
        self.anchors = super::Numbers::default();
        self.last = None;
    }
}
