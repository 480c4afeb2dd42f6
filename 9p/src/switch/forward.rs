//! From the client to another server: what a request becomes on its way.
//!
//! It goes on as it is, with its tag and fids. Only what the server could not take is
//! changed: more data than one of its messages holds, and what of our own dialect it does
//! not speak.

use super::{Asked, Effect, Fid, Place, Switch, UpId, Used};
use crate::dialect::Dialect;
use crate::fault::{Errno, Fault};
use crate::fids::{Change, Fids};
use crate::msg::{Tmsg, ty};
use crate::tree::Tree;
use crate::types::{OpId, qid_type, seq};
use crate::wire::{READ_OVERHEAD, WRITE_OVERHEAD, patch};

/// Where the count stands in Tread and Treaddir.
const COUNT: usize = 19;
/// Bytes of the position behind a sequenced read.
const NEXT: u32 = 8;

impl<T: Tree> Switch<T> {
    /// Sends a request to the server that has its fids.
    pub(super) fn forward(
        &mut self,
        tag: u16,
        id: UpId,
        m: Tmsg<'_>,
        about: &Fids,
        frame: &[u8],
    ) -> Result<(), Fault> {
        let full = self.fids.len() >= self.limits.fids as usize;
        let dir = about.on.is_some_and(|on| self.is_dir(on.fid));
        let on = about.on.map_or(0, |on| on.fid);
        let Some(known) = self.fids.get(&on).copied() else { return Err(Errno::EBADF.into()) };
        let born = self.born;
        let Some(up) = self.ups.get_mut(&id) else { return Err(super::request::gone()) };
        let out = &mut up.tx.bytes;
        let start = out.len();
        let effect = match m {
            Tmsg::Read { offset, count, .. } => {
                let next = up.dialect == Dialect::Atoll && offset & seq::READ != 0;
                if !next && self.dialect == Dialect::Atoll && offset & seq::READ != 0 {
                    let text = "the server below does not tell positions";
                    return Err(Fault::new(Errno::EINVAL, text));
                }
                let room = up.msize - READ_OVERHEAD - if next { NEXT } else { 0 };
                let count = count.min(room);
                out.extend_from_slice(frame);
                patch(out.get_mut(start..).unwrap_or_default(), COUNT, count);
                Effect::Read { count, dir, next }
            }
            Tmsg::Readdir { count, .. } => {
                let count = count.min(up.msize - READ_OVERHEAD);
                out.extend_from_slice(frame);
                patch(out.get_mut(start..).unwrap_or_default(), COUNT, count);
                Effect::Read { count, dir, next: false }
            }
            Tmsg::Write { fid, offset, data, op } => {
                let named = op.filter(|_| up.dialect == Dialect::Atoll);
                let room = up.msize - WRITE_OVERHEAD - named.map_or(0, |_| OpId::SIZE as u32);
                let data = data.get(..room as usize).unwrap_or(data);
                match op {
                    // Nobody remembers there how named writes ended.
                    Some(op) if named.is_none() && op.again => {
                        let text = "nobody knows whether this write was done";
                        return Err(Fault::new(Errno::ESTALE, text));
                    }
                    Some(_) if named.is_none() && data.is_empty() => {
                        let mut w =
                            crate::wire::Writer::new(&mut self.tx.bytes, ty::TWRITE + 1, tag);
                        w.u32(0);
                        w.finish();
                        return Ok(());
                    }
                    _ if frame.len() <= up.msize as usize && named.is_some() == op.is_some() => {
                        out.extend_from_slice(frame);
                    }
                    _ => {
                        let m = Tmsg::Write { fid, offset, data, op: named };
                        m.encode_in(up.dialect, tag, out);
                    }
                }
                Effect::Write { count: data.len() as u32 }
            }
            _ if frame.len() > up.msize as usize => {
                let text = "the server below takes no message as long";
                return Err(Fault::new(Errno::EMSGSIZE, text));
            }
            Tmsg::Xattrwalk { newfid, .. } if full && !self.fids.contains_key(&newfid) => {
                return Err(Errno::EMFILE.into());
            }
            _ => {
                out.extend_from_slice(frame);
                match (m, about.change) {
                    (Tmsg::Xattrwalk { newfid, .. }, _) => {
                        Effect::Make { fid: newfid, born: born + 1, names: 0 }
                    }
                    (_, Change::Turn) => Effect::Open { fid: on, born: known.born },
                    (_, Change::End) => Effect::End { fid: on },
                    _ => Effect::None,
                }
            }
        };
        match effect {
            Effect::Make { fid, born, .. } => {
                self.born = born;
                let place = match known.place {
                    Place::Up { up, ty, path, .. } => Place::Up { up, ty, path, moving: 0 },
                    other => other,
                };
                self.fids.insert(fid, Fid { born, place, used: Used::Attributes, ..known });
                self.users(id, 1);
            }
            Effect::Open { fid, .. } => self.moves(fid),
            // Whatever the answer will be.
            Effect::End { fid } => self.unbind(fid),
            _ => {}
        }
        self.asked.insert(tag, Asked { up: id, ty: m.ty(), effect });
        self.last = Some(id);
        Ok(())
    }

    /// Passes a Tflush on to where its request is.
    pub(super) fn flush(&mut self, tree: &mut T, tag: u16, oldtag: u16, frame: &[u8]) {
        if let Some(asked) = self.asked.get(&oldtag).copied()
            && !matches!(asked.effect, Effect::Step { .. })
        {
            if let Some(up) = self.ups.get_mut(&asked.up) {
                up.tx.bytes.extend_from_slice(frame);
            }
            let effect = Effect::Flush { tag: oldtag };
            self.asked.insert(tag, Asked { up: asked.up, ty: ty::TFLUSH, effect });
            self.last = Some(asked.up);
        } else if self.jobs.contains_key(&oldtag) {
            self.flush_job(tree, tag, oldtag);
        } else if self.held.iter().any(|h| h.0 == oldtag) {
            self.held.retain(|h| h.0 != oldtag);
            self.held_bytes = self.held.iter().map(|h| h.1.len()).sum();
            self.done(ty::TFLUSH, tag);
        } else {
            self.pass(tree, frame);
        }
    }

    /// Whether a fid is that of a directory of another server.
    fn is_dir(&self, fid: u32) -> bool {
        self.fids
            .get(&fid)
            .is_some_and(|f| matches!(f.place, Place::Up { ty, .. } if ty & qid_type::DIR != 0))
    }

    /// So many more of the client's fids and walks are at a server, or fewer.
    pub(super) fn users(&mut self, id: UpId, more: isize) {
        if let Some(up) = self.ups.get_mut(&id) {
            up.users = up.users.saturating_add_signed(more);
        }
    }

    /// Forgets a fid that another server has no longer.
    pub(super) fn unbind(&mut self, fid: u32) {
        if let Some(gone) = self.fids.remove(&fid)
            && let Place::Up { up, .. } = gone.place
        {
            self.users(up, -1);
        }
    }
}
