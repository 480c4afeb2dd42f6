//! What components store, kept by the host: written behind, and there when the guest
//! starts anew.
//!
//! The host has a file (`.store` on the `host` stream, a log of changes in the form of
//! `atoll_config::kept`). A guest that is told so by its launch line reads it before anything is
//! dispatched, and gives its components what they had stored. From then on the changes of each
//! dispatch that is committed are a group, which waits in line, goes to the host frame by
//! frame, and is charged until the host has it. `sync` waits until the host says that what was
//! written before lasts.
//!
//! A guest that becomes another one (it goes on from a checkpoint) has another store then: the
//! host is told all of it, as one group that begins with nothing (`over.rs`). What the host's
//! file says is so at every instant what some instant of this guest was.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_config::kept::{BODY, Frames, HEADER, Op, frame, ops};

use super::futures::On;
use super::{More, store};
use crate::abandon::FAILED;
use crate::component::{CallId, ComponentId};
use crate::core::Core;
use crate::effects::{Cx, message};
use crate::slots::Slots;
use crate::sponsor::Amount;

mod over;
pub(crate) mod wire;

use over::Cursor;
use wire::{Answer, Ask};

/// The changes of a dispatch so far.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Bodies of frames.
    bodies: VecDeque<Vec<u8>>,
    /// What is paid for them until the host has them.
    pub(super) charged: Amount,
}

impl Changes {
    /// There are none any more.
    pub(crate) fn forget(&mut self) {
        if !self.bodies.is_empty() {
            self.bodies = VecDeque::new();
        }
        self.charged = Amount::default();
    }

    fn push(&mut self, op: &Op<'_>) {
        match self.bodies.back_mut() {
            Some(body) if body.len() + op.size() <= BODY => op.write(body),
            _ => {
                let mut body = Vec::with_capacity(op.size());
                op.write(&mut body);
                self.bodies.push_back(body);
            }
        }
    }
}

/// How far it is with the host's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// The host keeps nothing.
    #[default]
    Off,
    /// It is not open.
    Closed,
    /// It is read, to its end.
    Reading,
    /// It is written to.
    Ready,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Open,
    Read,
    Write,
    /// Up to this group.
    Sync(u64),
}

/// A frame on its way.
#[derive(Debug)]
struct Out {
    frame: Vec<u8>,
    sent: usize,
    /// The group that is whole when it is there.
    ends: Option<u64>,
    charged: Amount,
}

/// What is on its way to the host.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    phase: Phase,
    /// What is read is given to the components, and nothing is dispatched before.
    loads: bool,
    /// It was read: who waited for that goes on.
    pub(crate) woken: bool,
    /// Where in the host's file.
    at: u64,
    frames: Frames,
    /// Groups that wait, and their numbers.
    groups: VecDeque<(u64, Changes)>,
    out: Option<Out>,
    /// Groups that were made, that the host has, and that last there.
    made: u64,
    written: u64,
    synced: u64,
    /// All of it is to be told anew, from here on.
    over: Option<Cursor>,
    /// What waits belongs to the group that is on its way.
    joined: bool,
    /// Calls that wait until a group lasts.
    syncs: Vec<(CallId, u64)>,
    asked: Option<Asked>,
    /// The host has refused; nothing is tried before there is something new.
    stuck: bool,
}

impl Keep {
    /// Whether the host keeps what is stored.
    pub(crate) fn is_on(&self) -> bool {
        self.phase != Phase::Off
    }

    /// Whether nothing is dispatched because what was stored is not here yet.
    pub(crate) fn loads(&self) -> bool {
        self.loads
    }

    /// The next frame for the host, of what waits.
    fn next_group(&mut self) -> Option<Out> {
        let (number, changes) = self.groups.front_mut()?;
        let number = *number;
        let body = changes.bodies.pop_front().unwrap_or_default();
        let whole = changes.bodies.is_empty();
        let charged = if whole { changes.charged } else { Amount::default() };
        if whole {
            self.groups.pop_front();
        }
        let more = !whole || (self.joined && !self.groups.is_empty());
        self.joined &= more;
        let ends = (!more).then_some(number);
        Some(Out { frame: frame(&body, more), sent: 0, ends, charged })
    }
}

impl<'c> Cx<'c> {
    /// Whether what this component stores is kept by the host. A component that another one
    /// has spawned is not there when the guest starts anew, and neither is what it stored.
    pub(super) fn is_kept(&self) -> bool {
        self.atoms.keep.is_on() && self.own.parent.is_none()
    }

    /// What this component is called.
    pub(super) fn name(&self) -> &'c str {
        let slots: &'c Slots<'c> = self.slots;
        slots.get(self.me).map_or("", |slot| &slot.name)
    }

    /// Notes a change; what it costs was charged.
    pub(super) fn note(&mut self, op: &Op<'_>, cost: Amount) {
        self.effects.kept.push(op);
        self.effects.kept.charged.add(cost);
    }

    /// A call that returns when what was stored before, this dispatch included, lasts on
    /// the host. EOPNOTSUPP where no host keeps it, and for a spawned component. ENOSPC where the
    /// host has no room: what was stored waits, and the next `sync` tries again.
    pub fn sync(&mut self) -> Result<CallId, Fault> {
        if !self.is_kept() {
            return Err(Errno::EOPNOTSUPP.into());
        }
        self.pay(message(0))?;
        let call = self.number();
        self.wish(More::Sync(call));
        Ok(call)
    }
}

impl Core<'_> {
    /// The host keeps what is stored. `loads`: what it has is read before anything is
    /// dispatched; otherwise the guest goes on from a checkpoint, which has a store too.
    pub fn keep(&mut self, loads: bool) {
        (self.atoms.keep.phase, self.atoms.keep.loads) = (Phase::Closed, loads);
    }

    /// Whether it waits for what it had stored.
    pub fn is_loading(&self) -> bool {
        self.atoms.keep.loads()
    }

    /// A dispatch is committed: what it has stored waits for the host.
    pub(crate) fn line_up(&mut self) {
        let keep = &mut self.atoms.keep;
        if !self.effects.kept.bodies.is_empty() {
            keep.made += 1;
            keep.groups.push_back((keep.made, mem::take(&mut self.effects.kept)));
            keep.stuck = false;
        }
    }

    /// A component waits until what is stored lasts.
    pub(super) fn sync(&mut self, of: ComponentId, call: CallId) {
        self.future(of, call, On::Sync, message(0));
        self.wait_for_sync(call);
    }

    fn wait_for_sync(&mut self, call: CallId) {
        let keep = &mut self.atoms.keep;
        if !keep.is_on() {
            let none = Errno::EOPNOTSUPP.into();
            return self.complete(call, 0, Err(none), Amount::default());
        }
        keep.stuck = false;
        keep.syncs.push((call, keep.made));
        self.synced();
    }

    /// Tells those who waited for what lasts by now.
    fn synced(&mut self) {
        let synced = self.atoms.keep.synced;
        let done: Vec<_> = self.atoms.keep.syncs.extract_if(.., |s| s.1 <= synced).collect();
        done.into_iter().for_each(|(call, _)| self.ready(call, On::Ready));
    }

    /// The host has refused something: who waits is told, and what waits goes on waiting.
    fn refused(&mut self, fault: &Fault) {
        let keep = &mut self.atoms.keep;
        keep.stuck = true;
        self.say("store", &alloc::format!("the host does not keep it now: {fault}"));
        for (call, _) in mem::take(&mut self.atoms.keep.syncs) {
            self.complete(call, 0, Err(fault.clone()), Amount::default());
        }
    }

    /// Goes on with the host's file, as far as that is possible now.
    pub(crate) fn keep_on(&mut self) {
        while self.atoms.keep.is_on() {
            if let Some(answer) = self.namespace.wire.take() {
                let asked = self.atoms.keep.asked.take();
                self.answered(asked, answer);
            }
            if self.atoms.keep.asked.is_some() || !self.ask_next() {
                return;
            }
        }
    }

    /// Asks for what is next. False where there is nothing, or nobody to ask.
    fn ask_next(&mut self) -> bool {
        if !self.namespace.is_linked() || self.atoms.keep.stuck {
            return false;
        }
        let keep = &self.atoms.keep;
        if keep.phase == Phase::Ready && keep.out.is_none() {
            let next = match keep.over {
                Some(_) => self.next_over(),
                None => self.atoms.keep.next_group(),
            };
            self.atoms.keep.out = next;
        }
        let keep = &mut self.atoms.keep;
        let (ask, asked) = match (keep.phase, &keep.out) {
            (Phase::Off, _) => return false,
            (Phase::Closed, _) => (Ask::Open, Asked::Open),
            (Phase::Reading, _) => (Ask::Read { at: keep.at }, Asked::Read),
            (Phase::Ready, Some(out)) => {
                let data = out.frame.get(out.sent..).unwrap_or_default();
                (Ask::Write { at: keep.at, data }, Asked::Write)
            }
            (Phase::Ready, None) if keep.syncs.is_empty() => return false,
            (Phase::Ready, None) => (Ask::Sync, Asked::Sync(keep.written)),
        };
        self.namespace.ask_kept(ask);
        keep.asked = Some(asked);
        true
    }

    fn answered(&mut self, asked: Option<Asked>, answer: Answer) {
        let keep = &mut self.atoms.keep;
        match (asked, answer) {
            (_, Answer::Lost) => {
                keep.phase = Phase::Closed;
                // A frame that is there in part is there not at all.
                keep.out.iter_mut().for_each(|out| out.sent = 0);
            }
            (Some(Asked::Open), Answer::Opened) => {
                (keep.phase, keep.at, keep.frames) = (Phase::Reading, 0, Frames::default());
            }
            (Some(Asked::Read), Answer::Read(bytes)) if bytes.is_empty() => self.is_read(),
            (Some(Asked::Read), Answer::Read(bytes)) => {
                keep.at += bytes.len() as u64;
                keep.frames.feed(&bytes);
                match self.load() {
                    Err(fault) if self.is_loading() => self.cannot_load(&fault),
                    Err(fault) => self.refused(&fault),
                    Ok(()) => {}
                }
            }
            (Some(Asked::Write), Answer::Written(n)) => self.written(n),
            (Some(Asked::Sync(group)), Answer::Synced) => {
                keep.synced = group;
                self.synced();
            }
            (_, Answer::Failed(fault)) if keep.loads => self.cannot_load(&fault),
            (_, Answer::Failed(fault)) => self.refused(&fault),
            _ => {}
        }
    }

    fn written(&mut self, n: usize) {
        let keep = &mut self.atoms.keep;
        let Some(out) = &mut keep.out else { return };
        if n == 0 || out.sent + n > out.frame.len() {
            let text = "the host took none of it, or more than there was";
            return self.refused(&Fault::new(Errno::EIO, text).blame(Blame::Host));
        }
        out.sent += n;
        keep.at += n as u64;
        if out.sent == out.frame.len() {
            keep.written = out.ends.unwrap_or(keep.written);
            self.sponsor.refund(out.charged);
            keep.out = None;
        }
    }

    /// Gives components what they had stored, as far as it is here.
    fn load(&mut self) -> Result<(), Fault> {
        let broken = |e| {
            let text = alloc::format!("what the host has is not what was stored: {e}");
            Fault::new(Errno::EIO, text).blame(Blame::Host)
        };
        while let Some((_, frame)) = self.atoms.keep.frames.take().map_err(broken)? {
            if !self.is_loading() {
                continue;
            }
            for op in ops(frame.get(HEADER..).unwrap_or_default()) {
                self.load_op(op.map_err(broken)?)?;
            }
        }
        Ok(())
    }

    fn load_op(&mut self, op: Op<'_>) -> Result<(), Fault> {
        let of = match op {
            Op::Clear => {
                for (_, slot) in self.slots.all_mut() {
                    let Some(own) = &mut slot.own else { continue };
                    self.sponsor.refund(mem::take(&mut own.store).price());
                }
                return Ok(());
            }
            Op::Put { of, .. } | Op::Del { of, .. } | Op::Append { of, .. } => of,
        };
        let Some(id) = self.atoms.find(of) else { return Ok(()) };
        let Some(slot) = self.slots.get_mut(id) else { return Ok(()) };
        let own = slot.own.get_or_insert_default();
        let sponsor = &mut self.sponsor;
        let mut pay = |bytes| match sponsor.charge(store::price(bytes)) {
            true => Ok(()),
            false => {
                let text = "what is stored is larger than the guest's budget";
                Err(Fault::new(Errno::EDQUOT, text).blame(Blame::Operator))
            }
        };
        store::check_sizes(&op)?;
        let old = match op {
            Op::Put { key, value, .. } => {
                pay(key.len() + value.len())?;
                own.store.put_back(key.to_vec(), Some(value.to_vec())).map(|old| (key, old))
            }
            Op::Del { key, .. } => own.store.put_back(key.to_vec(), None).map(|old| (key, old)),
            Op::Append { n, record, .. } if n == own.store.log.len() as u64 => {
                pay(record.len())?;
                own.store.log.push(record.to_vec());
                None
            }
            _ => None,
        };
        if let Some((key, old)) = old {
            self.sponsor.refund(store::price(key.len() + old.len()));
        }
        Ok(())
    }

    /// All of the host's file was read.
    fn is_read(&mut self) {
        let keep = &mut self.atoms.keep;
        if keep.loads && keep.frames.rest() > 0 {
            let text = "what the host has ends in the middle of a frame";
            return self.cannot_load(&Fault::new(Errno::EIO, text).blame(Blame::Host));
        }
        // What follows takes the place of a frame that is there in part.
        keep.at -= mem::take(&mut keep.frames).rest() as u64;
        keep.phase = Phase::Ready;
        keep.woken |= mem::take(&mut keep.loads);
    }

    /// The guest cannot have what it had stored: it does not start without it.
    fn cannot_load(&mut self, fault: &Fault) {
        self.atoms.keep = Keep { woken: true, ..Keep::default() };
        self.say("store", &alloc::format!("what was stored cannot be had: {fault}"));
        self.stop(FAILED);
    }
}
