//! From the asker to the server: what a request becomes, and what it waits for.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::file::{File, Reading, Resume, walk};
use super::held::{Held, Place};
use super::{Keeper, Local, Met, NAMED, OWN_FIDS, Origin, State, nobody_knows};
use crate::client::Tag;
use crate::fault::{Errno, Fault};
use crate::fids::{self, Fids};
use crate::msg::{Tmsg, ty};
use crate::types::{OpId, OpenFlags, seq};
use crate::wire::{NOFID, NOTAG, READ_OVERHEAD, WRITE_OVERHEAD};

/// What is told where lines may be lost and nobody knows how many.
const GAP: &str = "gap ?\n";

impl Keeper {
    /// Takes a request of 9P2000.L, whether or not there is a connection. While the
    /// keeper [is full](Keeper::is_full) nothing is taken, and the tag is
    /// [`NOTAG`], which gets no answer. A Tversion answers EPROTO: that is between
    /// the keeper and the server; and a fid from [`OWN_FIDS`] on answers EBADF.
    ///
    /// A Tflush names a tag of this function's. It ends a request that waits for a
    /// connection too.
    pub fn send(&mut self, m: &Tmsg<'_>) -> Tag {
        if self.is_full() {
            return Tag(NOTAG);
        }
        let tag = self.free.pop().unwrap_or_else(|| {
            self.held.push(Held::default());
            (self.held.len() - 1) as u16
        });
        self.outstanding += 1;
        if let Some(held) = self.held.get_mut(usize::from(tag)) {
            held.place = Place::Waiting;
            held.serial = self.next_serial;
            m.encode(tag, &mut held.frame);
        }
        self.next_serial += 1;
        let own = |fid: u32| (OWN_FIDS..NOFID).contains(&fid);
        match m.ty() {
            ty::TVERSION => self.finish(tag, Local::Fault(Errno::EPROTO.into())),
            ty::TOPEN | ty::TCREATE | ty::TSTAT | ty::TWSTAT => {
                self.finish(tag, Local::Fault(Errno::EOPNOTSUPP.into()));
            }
            _ if fids::of(m).all().any(|at| own(at.fid)) => {
                self.finish(tag, Local::Fault(Errno::EBADF.into()));
            }
            _ => self.submit(tag),
        }
        Tag(tag)
    }

    /// Sends a request that waits, or puts it where it waits on.
    pub(super) fn submit(&mut self, tag: u16) {
        let Some(held) = self.held.get_mut(usize::from(tag)) else { return };
        if held.place != Place::Waiting {
            return;
        }
        let frame = core::mem::take(&mut held.frame);
        match Tmsg::decode(&frame) {
            Ok(Tmsg::Flush { oldtag }) => self.flush(tag, oldtag),
            Ok(m) => self.route(tag, m),
            Err(bad) => self.finish(tag, Local::Fault(bad.into())),
        }
        if let Some(held) = self.held.get_mut(usize::from(tag)) {
            held.frame = frame;
        }
    }

    fn route(&mut self, tag: u16, m: Tmsg<'_>) {
        let fids = fids::of(&m);
        if self.state != State::Up {
            match m {
                // Nothing of it is at any server.
                Tmsg::Clunk { fid } if self.files.contains_key(&fid) && !self.busy(fid, tag) => {
                    self.files.remove(&fid);
                    self.finish(tag, Local::Clunk);
                }
                _ => self.waiting.push_back(tag),
            }
            return;
        }
        if let Some(at) = fids.all().find(|at| self.changing.contains_key(&at.fid)) {
            self.changing.entry(at.fid).or_default().push_back(tag);
            return;
        }
        for at in [fids.on, fids.also].into_iter().flatten() {
            let Some(fault) = self.files.get(&at.fid).and_then(|f| f.lost.clone()) else {
                continue;
            };
            let local = match m {
                Tmsg::Clunk { .. } => Local::Clunk,
                _ => Local::Fault(fault),
            };
            if matches!(m, Tmsg::Clunk { .. } | Tmsg::Remove { .. }) {
                self.files.remove(&at.fid);
            }
            self.finish(tag, local);
            return;
        }
        self.transmit(tag, m, &fids);
    }

    fn transmit(&mut self, tag: u16, mut m: Tmsg<'_>, fids: &Fids) {
        let (msize, atoll) = (self.client.msize(), self.is_atoll());
        match &mut m {
            Tmsg::Readdir { count, .. } => *count = (*count).min(msize - READ_OVERHEAD),
            Tmsg::Read { fid, offset, count } => {
                *count = (*count).min(msize - READ_OVERHEAD);
                if let Some(file) = self.files.get_mut(fid)
                    && let Some(local) = self
                        .held
                        .get_mut(usize::from(tag))
                        .and_then(|held| sequence(file, held, offset, count, msize))
                {
                    self.finish(tag, local);
                    return;
                }
            }
            Tmsg::Write { fid, data, op, .. } => {
                let room = (msize - WRITE_OVERHEAD) as usize;
                let appends = self.files.get(fid).is_some_and(File::appends);
                let held = self.held.get_mut(usize::from(tag));
                let Some(held) = held else { return };
                if appends && atoll {
                    if data.len() > room - OpId::SIZE {
                        let text = "a write that fits no message of the server's";
                        return self.finish(tag, Local::Fault(Fault::new(Errno::EMSGSIZE, text)));
                    }
                    let sent = held.was_sent;
                    if self.met != Met::Yes && !sent && !self.is_in_doubt() {
                        let fid = *fid;
                        return self.greet(tag, fid);
                    }
                    if self.named >= NAMED {
                        self.crowd.push_back(tag);
                        return;
                    }
                    let Some(held) = self.held.get_mut(usize::from(tag)) else { return };
                    let seq = *held.seq.get_or_insert_with(|| {
                        self.next_seq += 1;
                        self.next_seq - 1
                    });
                    self.named += 1;
                    let client = self.settings.client;
                    *op = Some(OpId { client, seq, again: sent });
                } else if held.seq.is_some() && held.was_sent {
                    return self.finish(tag, Local::Fault(nobody_knows()));
                } else {
                    held.seq = None;
                    *data = data.get(..room.min(data.len())).unwrap_or_default();
                }
            }
            Tmsg::Walk { fid, names, .. } => {
                if let Some(from) = self.files.get(fid)
                    && let Some(held) = self.held.get_mut(usize::from(tag))
                {
                    let mut file = File::new(from.root, walk(&from.path, names.iter()), from.qid);
                    file.opaque = from.opaque;
                    held.leads = Some(Box::new(file));
                }
            }
            _ => {}
        }
        let up = self.client.send(&m);
        if up.0 == NOTAG {
            return self.finish(tag, Local::Fault(Errno::ENOBUFS.into()));
        }
        self.origin(up, Origin::User(tag));
        let end = self.client.progress().1;
        if let Some(held) = self.held.get_mut(usize::from(tag)) {
            held.place = Place::Sent { up: up.0, end };
        }
        if let Some(fid) = fids.changed() {
            self.changing.insert(fid, VecDeque::new());
        }
    }

    /// Whether there are writes of which nobody knows whether they were done. While there
    /// are the server is not greeted: were it another, it would take them for new ones.
    fn is_in_doubt(&self) -> bool {
        let open = |h: &Held| !matches!(h.place, Place::Free | Place::Done);
        self.held.iter().any(|h| h.seq.is_some() && h.was_sent && open(h))
    }

    /// Makes the keeper known to the server, by a named write without data, and keeps a
    /// write until that is answered, and what comes behind it on its fid.
    fn greet(&mut self, tag: u16, fid: u32) {
        if self.met == Met::No {
            let seq = self.next_seq.saturating_sub(1);
            let op = Some(OpId { client: self.settings.client, seq, again: false });
            if !self.ask(&Tmsg::Write { fid, offset: 0, data: &[], op }, Origin::Greeting) {
                return self.finish(tag, Local::Fault(Errno::ENOBUFS.into()));
            }
            self.met = Met::Greeting;
        }
        self.changing.entry(fid).or_default().push_back(tag);
        self.greeting.push(fid);
    }

    /// A greeting was answered. Where it was refused, so are the writes.
    pub(super) fn met(&mut self) {
        self.met = Met::Yes;
        for fid in core::mem::take(&mut self.greeting) {
            self.settle(fid);
        }
    }

    /// What waited for a fid to be another goes on.
    pub(super) fn settle(&mut self, fid: u32) {
        for tag in self.changing.remove(&fid).unwrap_or_default() {
            self.submit(tag);
        }
    }

    /// A named write is answered, and makes room for others.
    pub(super) fn unname(&mut self) {
        self.named = self.named.saturating_sub(1);
        if let Some(tag) = self.crowd.pop_front() {
            self.submit(tag);
        }
    }

    fn flush(&mut self, tag: u16, old: u16) {
        let held = self.held.get(usize::from(old)).filter(|_| old != tag);
        let serial = held.map_or(0, |h| h.serial);
        match held.map_or(Place::Free, |h| h.place) {
            Place::Free | Place::Done => self.finish(tag, Local::Flush),
            Place::Waiting => {
                self.drop_waiting(old);
                self.finish(tag, Local::Flush);
            }
            Place::Sent { up, .. } | Place::Looking { up } => {
                let flush = self.client.send(&Tmsg::Flush { oldtag: up });
                if flush.0 == NOTAG {
                    return self.finish(tag, Local::Fault(Errno::ENOBUFS.into()));
                }
                self.origin(flush, Origin::Flush { by: tag, of: old });
                let end = self.client.progress().1;
                if let Some(held) = self.held.get_mut(usize::from(tag)) {
                    held.place = Place::Sent { up: flush.0, end };
                    held.flushes = Some((old, serial));
                }
            }
        }
    }

    /// Takes a request out of the queues, for good.
    fn drop_waiting(&mut self, old: u16) {
        for queue in self.changing.values_mut().chain([&mut self.waiting, &mut self.crowd]) {
            queue.retain(|t| *t != old);
        }
        self.abandon(old);
    }

    /// Ends a request that was flushed. It has no answer, unless it may have been done.
    pub(super) fn abandon(&mut self, old: u16) {
        let Some(held) = self.held.get(usize::from(old)) else { return };
        let harmless = Tmsg::decode(&held.frame).is_ok_and(|m| may_repeat(&m, false, false, true));
        if held.was_sent && !harmless {
            self.finish(old, Local::Fault(nobody_knows()));
        } else {
            self.release(old);
        }
    }

    /// Whether another request that is not answered is about a fid.
    pub(super) fn busy(&self, fid: u32, but: u16) -> bool {
        self.held.iter().enumerate().any(|(tag, held)| {
            tag != usize::from(but)
                && !matches!(held.place, Place::Free | Place::Done)
                && Tmsg::decode(&held.frame)
                    .is_ok_and(|m| fids::of(&m).all().any(|at| at.fid == fid))
        })
    }
}

/// Makes a read one of a stream's, if that is what its file is; or answers it.
fn sequence(
    file: &mut File,
    held: &mut Held,
    offset: &mut u64,
    count: &mut u32,
    msize: u32,
) -> Option<Local> {
    let Reading::Sequence { next, resume, inside, pending } = &mut file.reading else {
        return None;
    };
    *count = (*count).min(msize - READ_OVERHEAD - 8);
    let to = core::mem::replace(resume, Resume::No);
    if to == Resume::Gap {
        if *inside {
            pending.push(b'\n');
        }
        pending.extend_from_slice(GAP.as_bytes());
        *inside = false;
    }
    if !pending.is_empty() {
        let n = pending.len().min(*count as usize);
        return Some(Local::Data(pending.drain(..n).collect::<Vec<u8>>()));
    }
    held.resumes = to == Resume::At;
    *offset = seq::READ | next.filter(|_| held.resumes).unwrap_or(seq::HERE);
    None
}

/// Whether a request may be sent again that may have been done.
pub(super) fn may_repeat(m: &Tmsg<'_>, atoll: bool, named: bool, appends: bool) -> bool {
    match m {
        Tmsg::Lcreate { .. }
        | Tmsg::Symlink { .. }
        | Tmsg::Mknod { .. }
        | Tmsg::Mkdir { .. }
        | Tmsg::Link { .. }
        | Tmsg::Rename { .. }
        | Tmsg::Renameat { .. }
        | Tmsg::Unlinkat { .. }
        | Tmsg::Remove { .. }
        | Tmsg::Xattrcreate { .. } => false,
        Tmsg::Write { .. } => atoll && (named || !appends),
        Tmsg::Setattr { .. } => atoll,
        Tmsg::Lopen { flags, .. } => atoll || !flags.has(OpenFlags::TRUNC),
        _ => true,
    }
}
