//! What happens when a connection breaks, and when there is another.

use alloc::vec::Vec;

use super::answer::Fact;
use super::file::{Reading, Resume};
use super::held::Place;
use super::submit::may_repeat;
use super::{Keeper, Local, Met, OWN_FIDS, Origin, State, nobody_knows, stale};
use crate::client::link::part;
use crate::client::{Broken, Client};
use crate::fault::{Errno, Fault};
use crate::msg::Tmsg;
use crate::types::OpenFlags;
use crate::wire::NOFID;

/// Files that are being found again at one time.
const WINDOW: usize = 64;

impl Keeper {
    /// The connection is gone, or could not be made. What may not be done twice is
    /// answered, the rest waits for the next connection: to be tried
    /// [`Keeper::retry_at`], at once after one that was of use.
    pub fn broken(&mut self, now: u64) {
        if self.state == State::Up {
            self.down_since = now;
            self.hold_back();
        }
        if self.state == State::Up && self.wait == 0 {
            self.retry_at = Some(now);
            self.wait = self.settings.first_wait;
        } else {
            let wait = self.wait.max(self.settings.first_wait);
            self.retry_at = Some(now.saturating_add(wait));
            self.wait = wait.saturating_mul(2).min(self.settings.longest_wait);
        }
        self.state = State::Down;
        self.todo.clear();
        self.attached.clear();
        self.underway = 0;
        self.origins.clear();
    }

    /// There is a connection, on which nothing was said yet.
    pub fn connected(&mut self) {
        if self.state != State::Down {
            self.broken(self.down_since);
        }
        self.client = Client::new(self.settings.msize);
        self.state = State::Restoring;
        self.retry_at = None;
    }

    /// Decides what becomes of the requests that have no answer.
    fn hold_back(&mut self) {
        let atoll = self.is_atoll();
        let (sent, _) = self.client.progress();
        self.changing.clear();
        self.waiting.clear();
        self.crowd.clear();
        self.greeting.clear();
        self.named = 0;
        let mut open: Vec<(u64, u16)> = (0..)
            .zip(&self.held)
            .filter(|(_, h)| !matches!(h.place, Place::Free | Place::Done))
            .map(|(tag, h)| (h.serial, tag))
            .collect();
        open.sort_unstable();
        for &(_, tag) in &open {
            self.wait_or_fail(tag, atoll, sent);
        }
        // What was to be flushed is not sent again, and the Tflush is answered.
        for &(_, tag) in &open {
            let Some(held) = self.held.get(usize::from(tag)) else { continue };
            let Some((of, serial)) = held.flushes else { continue };
            let old = self.held.get(usize::from(of));
            if old.is_some_and(|h| h.serial == serial && h.place == Place::Waiting) {
                self.abandon(of);
            }
            self.finish(tag, Local::Flush);
        }
        for (_, tag) in open {
            let Some(held) = self.held.get(usize::from(tag)) else { continue };
            if held.place != Place::Waiting {
                continue;
            }
            let alone = match Tmsg::decode(&held.frame) {
                Ok(Tmsg::Clunk { fid }) if self.files.contains_key(&fid) => {
                    Some(fid).filter(|fid| !self.busy(*fid, tag))
                }
                _ => None,
            };
            match alone {
                Some(fid) => {
                    self.files.remove(&fid);
                    self.finish(tag, Local::Clunk);
                }
                None => self.waiting.push_back(tag),
            }
        }
    }

    fn wait_or_fail(&mut self, tag: u16, atoll: bool, sent: u64) {
        let Some(held) = self.held.get_mut(usize::from(tag)) else { return };
        let place = core::mem::replace(&mut held.place, Place::Waiting);
        // Whoever asked does not know yet that it is open, and it is not any more.
        held.opened = None;
        let named = held.seq.is_some();
        match place {
            Place::Sent { end, .. } if sent >= end => held.was_sent = true,
            _ => {
                // Nobody has heard of its name, and a greeting closes that of old ones.
                held.seq = held.seq.filter(|_| held.was_sent);
                return;
            }
        }
        let Ok(m) = Tmsg::decode(&held.frame) else { return };
        let appends = match m {
            Tmsg::Write { fid, .. } => self.files.get(&fid).is_none_or(|f| f.appends()),
            _ => false,
        };
        if may_repeat(&m, atoll, named, appends) {
            return;
        }
        if let Tmsg::Remove { fid } = m {
            self.files.remove(&fid);
        }
        self.finish(tag, Local::Fault(nobody_knows()));
    }

    /// The version is agreed on: the next thing is to attach again.
    pub(super) fn greeted(&mut self) {
        let mut used = alloc::vec![false; self.roots.len()];
        for file in self.files.values_mut().filter(|f| f.lost.is_none()) {
            if let Some(why) = file.opaque {
                file.lost = Some(stale(why));
            } else if file.locked {
                file.lost = Some(stale("its locks ended with the connection"));
            } else if let Some(used) = used.get_mut(file.root) {
                *used = true;
            }
        }
        for (i, used) in (0..).zip(used) {
            let Some(root) = self.roots.get(i as usize).filter(|_| used) else { continue };
            let up = self.client.send(&Tmsg::Attach {
                fid: OWN_FIDS + i,
                afid: NOFID,
                uname: &root.uname,
                aname: &root.aname,
                n_uname: root.n_uname,
            });
            self.origin(up, Origin::Attach);
            self.attached.push(OWN_FIDS + i);
            self.underway += 1;
        }
        if self.underway == 0 {
            self.up();
        }
    }

    /// Takes the answer to a step of the restoring.
    pub(super) fn restored(&mut self, origin: Origin, fact: Fact) -> Result<(), Broken> {
        match (origin, fact) {
            (Origin::Attach, Fact::Failed(e)) => return Err(Broken::Attach(e)),
            (Origin::Attach, _) => {
                self.underway -= 1;
                if self.underway == 0 {
                    self.todo =
                        self.files.iter().filter(|f| f.1.lost.is_none()).map(|f| *f.0).collect();
                    self.more();
                }
            }
            (Origin::Walk(fid), fact) => self.walked(fid, fact),
            (Origin::Open(fid), fact) => self.reopened(fid, fact),
            _ => {}
        }
        Ok(())
    }

    /// Walks to files that are still to be found.
    fn more(&mut self) {
        while self.underway < WINDOW
            && let Some(fid) = self.todo.pop()
        {
            // It may have been clunked meanwhile.
            if let Some(file) = self.files.get_mut(&fid) {
                file.walked = 0;
                self.underway += 1;
                self.step(fid, false);
            }
        }
        if self.underway == 0 {
            self.up();
        }
    }

    /// Walks over the next names of a file's path.
    fn step(&mut self, fid: u32, further: bool) {
        let Some(file) = self.files.get_mut(&fid) else { return self.gone(fid) };
        let rest = file.path.get(file.walked..).unwrap_or_default();
        let (part, more) = part(rest, self.client.msize() as usize);
        let from = if further { fid } else { OWN_FIDS + file.root as u32 };
        match self.client.walk(from, fid, part) {
            Ok((up, names)) => {
                file.walked += part.len() + usize::from(more.is_some());
                (file.names, file.further) = (names, further);
                self.origin(up, Origin::Walk(fid));
            }
            Err(fault) => self.lose(fid, stale(alloc::format!("{fault}")), further),
        }
    }

    fn walked(&mut self, fid: u32, fact: Fact) {
        let Some(file) = self.files.get_mut(&fid) else { return self.gone(fid) };
        // The first step of several made the fid, whatever became of this one.
        let first = !file.further;
        let last = match fact {
            Fact::Walk { count, last } if usize::from(count) == file.names => last,
            Fact::Failed(e) if e != Errno::ENOENT => {
                let text = alloc::format!("after a reconnect it cannot be found: {e}");
                return self.lose(fid, stale(text), !first);
            }
            _ => {
                let text = "after a reconnect it is not there any more";
                return self.lose(fid, stale(text), !first);
            }
        };
        if file.walked < file.path.len() {
            return self.step(fid, true);
        }
        match last {
            Some(qid) if qid.path != file.qid.path || qid.is_dir() != file.qid.is_dir() => {
                let text = "after a reconnect another file is in its place";
                return self.lose(fid, stale(text), true);
            }
            Some(qid) => file.qid = qid,
            None => {}
        }
        let again = OpenFlags::TRUNC | OpenFlags::CREATE | OpenFlags::EXCL;
        match file.open {
            Some(flags) => {
                let flags = flags.without(again);
                self.ask(&Tmsg::Lopen { fid, flags }, Origin::Open(fid));
            }
            None => self.done(),
        }
    }

    fn reopened(&mut self, fid: u32, fact: Fact) {
        let atoll = self.is_atoll();
        let Some(file) = self.files.get_mut(&fid) else { return self.gone(fid) };
        match fact {
            Fact::Qid { qid, .. } if qid.path == file.qid.path => {
                file.qid = qid;
                if let Reading::Sequence { next, resume, .. } = &mut file.reading {
                    *resume = if next.is_some() { Resume::At } else { Resume::Gap };
                    if !atoll {
                        let text = "this server cannot tell what was missed of a stream";
                        return self.lose(fid, stale(text), true);
                    }
                }
                self.done();
            }
            Fact::Failed(e) => {
                let text = alloc::format!("after a reconnect it cannot be opened: {e}");
                self.lose(fid, stale(text), true);
            }
            _ => self.lose(fid, stale("after a reconnect it opens as another file"), true),
        }
    }

    /// A file is not what it was, for ever.
    fn lose(&mut self, fid: u32, why: Fault, there: bool) {
        if let Some(file) = self.files.get_mut(&fid) {
            file.lost = Some(why);
        }
        if there {
            self.ask(&Tmsg::Clunk { fid }, Origin::None);
        }
        self.done();
    }

    /// A file was clunked while it was being found.
    fn gone(&mut self, fid: u32) {
        self.ask(&Tmsg::Clunk { fid }, Origin::None);
        self.done();
    }

    fn done(&mut self) {
        self.underway = self.underway.saturating_sub(1);
        self.more();
    }

    /// All is as it was: what waits goes on.
    fn up(&mut self) {
        for fid in core::mem::take(&mut self.attached) {
            self.ask(&Tmsg::Clunk { fid }, Origin::None);
        }
        (self.state, self.met) = (State::Up, Met::No);
        for tag in core::mem::take(&mut self.waiting) {
            self.submit(tag);
        }
    }
}
