//! The way of a step into the store.
//!
//! A step is a *transaction*: changes, and what may happen once they are stored. The core
//! gathers all that are ready into one save, and has one save underway, so a thousand
//! starts cost few writes and events are numbered without holes. There are two kinds.
//!
//! - A *wish* (a start, a definition) is undone when it cannot be stored, and its asker is
//!   told why.
//! - A *fact* (an end, a kill that was asked for) stands whatever the store says. It is
//!   tried again until it is stored; the guest takes no wishes meanwhile, but can be
//!   stopped and killed: a full disk must not keep anything alive.

use std::mem;

use atoll_9p::fault::{Blame, Errno, Fault};

use super::Core;
use super::event::{Event, What};
use super::guest::{Door, Guest, Item, Waiter};
use super::io::{Ask, Output};
use super::life::{Life, State};
use super::name::{ImageHash, Name};
use super::record::{Change, Image, Record};
use crate::store::Error;

/// The most transactions in one save.
const BATCH: usize = 512;
/// The most events of one guest that wait for a store that fails.
const HELD: usize = 64;
/// The first delay before what could not be stored is tried again, in milliseconds.
const RETRY: u64 = 500;
/// The longest.
const MAX_RETRY: u64 = 30_000;

/// A step until it is stored.
#[derive(Debug, Default)]
pub(super) struct Txn {
    pub(super) guest: Option<Name>,
    /// Events among them have number 0 until they are on their way.
    pub(super) changes: Vec<Change>,
    /// What happens once they are stored.
    pub(super) after: Vec<Output>,
    /// Who is told when they cannot be.
    pub(super) asks: Vec<Ask>,
    /// How to take a wish back; none for a fact.
    pub(super) undo: Option<Undo>,
}

#[derive(Debug)]
pub(super) enum Undo {
    /// The guest is as it was.
    Back(Box<Back>),
    /// It was made by this.
    Remove,
    /// An image was not known, or was this.
    Image(ImageHash, Option<Image>),
}

/// A guest as it was before a wish.
#[derive(Debug)]
pub(super) struct Back {
    record: Record,
    life: Life,
    due: Option<u64>,
    waiters: Vec<Waiter>,
    up_since: Option<u64>,
    backend: Option<String>,
}

impl Back {
    pub(super) fn of(guest: &Guest) -> Back {
        Back {
            record: guest.record.clone(),
            life: guest.life,
            due: guest.due,
            waiters: guest.waiters.clone(),
            up_since: guest.up_since,
            backend: guest.backend.clone(),
        }
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    pub(super) fn state(&self) -> State {
        self.life.state
    }

    pub(super) fn restore(self, guest: &mut Guest) {
        guest.record = self.record;
        guest.life = self.life;
        guest.due = self.due;
        guest.waiters = self.waiters;
        guest.up_since = self.up_since;
        guest.backend = self.backend;
    }
}

/// What goes to the store, and what is on its way.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    ready: Vec<Txn>,
    underway: Option<(u64, Vec<Txn>)>,
    last: u64,
    /// Facts about no guest, or about one that is gone, that could not be stored yet.
    held: Vec<Txn>,
    /// Why the latest save failed.
    trouble: Option<Error>,
    /// When that is tried again.
    retry: Option<u64>,
    failures: u32,
}

impl Pipe {
    /// When something is tried again.
    pub(super) fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// Why nothing can be stored now.
    pub(super) fn trouble(&self) -> Option<&Error> {
        self.trouble.as_ref()
    }

    /// Puts something in the queue that belongs to no guest's turn.
    pub(super) fn push(&mut self, txn: Txn) {
        self.ready.push(txn);
    }
}

/// A store's failure, as whoever asked is told.
pub(super) fn fault(error: &Error) -> Fault {
    let errno = if matches!(error, Error::Full(_)) { Errno::ENOSPC } else { Errno::EIO };
    Fault::new(errno, error.to_string()).blame(Blame::Host)
}

impl Core {
    /// Takes a step of a guest to the store.
    pub(super) fn submit(&mut self, txn: Txn) {
        if txn.changes.is_empty() {
            // It rests on nothing that is not stored.
            return self.release(txn.after);
        }
        let Some(guest) = txn.guest.as_ref().and_then(|name| self.guests.get_mut(name)) else {
            return self.pipe.push(txn);
        };
        match &mut guest.door {
            Door::Open | Door::Closed => {
                guest.door = Door::Closed;
                self.pipe.push(txn);
            }
            Door::Held(held) => {
                let mut txn = txn;
                let why = self.pipe.trouble.as_ref().map(fault);
                let asks = mem::take(&mut txn.asks);
                let after = mem::take(&mut txn.after);
                let (now, later): (Vec<_>, Vec<_>) = after.into_iter().partition(is_order);
                held.after.extend(later);
                join(&mut held.changes, txn.changes);
                let why = all_the_same(why.unwrap_or_else(|| Errno::EIO.into()), &now);
                self.release(now);
                for ask in asks {
                    self.answer(ask, Err(why.clone()));
                }
            }
        }
    }

    /// Does what may be done now.
    pub(super) fn release(&mut self, after: Vec<Output>) {
        for output in after {
            match output {
                Output::Answer { ask, result } => self.answer(ask, result),
                output => self.out.push(output),
            }
        }
    }

    /// Sends what is ready, if nothing is on its way.
    pub(super) fn send(&mut self) {
        let due = self.pipe.retry.is_none_or(|at| at <= self.now.mono);
        if self.pipe.underway.is_some() || (self.pipe.ready.is_empty() && !due) {
            return;
        }
        let mut batch = mem::take(&mut self.pipe.held);
        for name in mem::take(&mut self.held) {
            if let Some(guest) = self.guests.get_mut(&name) {
                match mem::replace(&mut guest.door, Door::Closed) {
                    Door::Held(txn) => batch.push(*txn),
                    door => guest.door = door,
                }
            }
        }
        let ready = self.pipe.ready.len().min(BATCH);
        batch.extend(self.pipe.ready.drain(..ready));
        if batch.is_empty() {
            // There is nothing to be tried again.
            self.pipe.trouble = None;
            self.pipe.retry = None;
            return;
        }
        let mut seq = self.log.next();
        for change in batch.iter_mut().flat_map(|t| &mut t.changes) {
            if let Change::Event(event) = change {
                event.seq = seq;
                if event.time == 0 {
                    event.time = self.now.wall;
                }
                seq += 1;
            }
        }
        let changes = batch.iter().flat_map(|t| t.changes.iter().cloned()).collect();
        self.pipe.last += 1;
        let txn = self.pipe.last;
        self.pipe.underway = Some((txn, batch));
        self.out.push(Output::Save { txn, changes });
    }

    /// A save is done.
    pub(super) fn stored(&mut self, txn: u64) {
        let Some((_, batch)) = self.pipe.underway.take_if(|(n, _)| *n == txn) else { return };
        self.pipe.trouble = None;
        self.pipe.retry = None;
        self.pipe.failures = 0;
        self.recheck = true;
        let (mut names, mut buried) = (Vec::new(), Vec::new());
        for txn in batch {
            let mut gone = false;
            for change in txn.changes {
                match change {
                    Change::Event(event) => {
                        self.log.push(event.clone());
                        self.out.push(Output::Event(event));
                    }
                    Change::Drop(_) => gone = true,
                    _ => {}
                }
            }
            self.release(txn.after);
            if gone { &mut buried } else { &mut names }.extend(txn.guest);
        }
        for name in buried {
            self.vanish(&name);
        }
        for name in names {
            self.open_door(&name);
        }
    }

    /// A save was not done.
    pub(super) fn unstored(&mut self, txn: u64, why: Error) {
        let Some((_, batch)) = self.pipe.underway.take_if(|(n, _)| *n == txn) else { return };
        let stale = match &why {
            Error::Stale { guest, .. } => Some(guest.clone()),
            _ => None,
        };
        if stale.is_none() {
            let wait = RETRY.saturating_mul(1 << self.pipe.failures.min(16)).min(MAX_RETRY);
            self.pipe.failures = self.pipe.failures.saturating_add(1);
            self.pipe.retry = Some(self.now.mono.saturating_add(wait));
            self.pipe.trouble = Some(why.clone());
        }
        let fault = fault(&why);
        let mut back = Vec::new();
        for txn in batch {
            match &stale {
                // The others are not to blame: they go again.
                Some(guest) if txn.guest.as_ref() != Some(guest) => back.push(txn),
                Some(_) => self.lost(txn, &fault),
                None => self.failed(txn, &fault),
            }
        }
        self.pipe.ready.splice(0..0, back);
    }

    /// A transaction was not stored, for reasons that may pass.
    fn failed(&mut self, mut txn: Txn, fault: &Fault) {
        let asks = mem::take(&mut txn.asks);
        let name = txn.guest.clone();
        let mut fault = fault.clone();
        // A guest that was made by this is gone, and perhaps made anew by whoever waited.
        let removed = matches!(txn.undo, Some(Undo::Remove));
        match txn.undo.take() {
            Some(undo) => self.undo(name.as_ref(), undo),
            None => {
                // What was asked of a shim is asked even so. That a guest is forgotten is
                // stored, and only its name is not free yet.
                let forgotten = txn.changes.iter().any(|c| matches!(c, Change::Drop(_)));
                let after = mem::take(&mut txn.after);
                let (now, later): (Vec<_>, Vec<_>) =
                    after.into_iter().partition(|o| forgotten || is_order(o));
                txn.after = later;
                if !forgotten {
                    fault = all_the_same(fault, &now);
                }
                self.release(now);
                match name.as_ref().and_then(|n| self.guests.get_mut(n)) {
                    Some(guest) => {
                        guest.door = Door::Held(Box::new(txn));
                        self.held.extend(name.clone());
                    }
                    None => self.pipe.held.push(txn),
                }
            }
        }
        for ask in asks {
            self.answer(ask, Err(fault.clone()));
        }
        if let Some(name) = name.filter(|_| !removed) {
            self.open_door(&name);
        }
    }

    /// A start was not stored because another supervisor has the guest: nothing is tried
    /// again by itself.
    fn lost(&mut self, mut txn: Txn, fault: &Fault) {
        let Some(name) = txn.guest.clone() else { return };
        let asks = mem::take(&mut txn.asks);
        if let Some(undo) = txn.undo.take() {
            self.undo(Some(&name), undo);
        }
        for ask in asks {
            self.answer(ask, Err(fault.clone()));
        }
        if let Some(guest) = self.guests.get_mut(&name) {
            guest.door = Door::Open;
        }
        self.give_up(&name, fault);
        self.sync(&name);
        self.drain(&name);
    }

    fn undo(&mut self, name: Option<&Name>, undo: Undo) {
        match (undo, name) {
            (Undo::Image(hash, Some(image)), _) => drop(self.images.insert(hash, image)),
            (Undo::Image(hash, None), _) => drop(self.images.remove(&hash)),
            (Undo::Remove, Some(name)) => self.vanish(name),
            (Undo::Back(back), Some(name)) => {
                if let Some(guest) = self.guests.get_mut(name) {
                    back.restore(guest);
                    let open = &self.asks;
                    guest.waiters.retain(|w| open.contains_key(&w.ask));
                }
                self.sync(name);
            }
            (Undo::Remove | Undo::Back(_), None) => {}
        }
    }

    /// A guest is not there any more; what was asked of it meanwhile is asked anew.
    pub(super) fn vanish(&mut self, name: &Name) {
        if let Some(guest) = self.guests.remove(name) {
            if let Some(at) = guest.alarm {
                self.alarms.remove(&(at, name.clone()));
            }
            self.waiting.remove(name);
            self.held.remove(name);
            for item in guest.queue {
                if let Item::Input(input) = item {
                    self.retake(input);
                }
            }
        }
    }

    /// A guest takes inputs again, those first that waited.
    fn open_door(&mut self, name: &Name) {
        if let Some(guest) = self.guests.get_mut(name) {
            if matches!(guest.door, Door::Closed) {
                guest.door = Door::Open;
            }
            if guest.record.gone && matches!(guest.door, Door::Open) {
                return self.bury(name);
            }
        }
        self.sync(name);
        self.drain(name);
    }
}

/// What somebody is told whose order was given though it could not be stored.
fn all_the_same(fault: Fault, orders: &[Output]) -> Fault {
    if orders.is_empty() {
        return fault;
    }
    let text = format!("the guest was told so, but that is not stored: {}", fault.text());
    Fault::new(fault.errno, text).blame(fault.blame)
}

/// What a shim is told because of a fact does not wait for a store that fails.
fn is_order(output: &Output) -> bool {
    matches!(output, Output::Order { .. })
}

/// Adds changes to those that wait: of records the last counts, and of too many events the
/// newest stay behind a gap.
fn join(held: &mut Vec<Change>, more: Vec<Change>) {
    if more.iter().any(|c| matches!(c, Change::Put(..))) {
        held.retain(|c| !matches!(c, Change::Put(..)));
    }
    held.extend(more);
    let is_event = |c: &Change| matches!(c, Change::Event(_));
    let mut extra = held.iter().filter(|c| is_event(c)).count().saturating_sub(HELD);
    if extra > 0 {
        held.retain(|c| {
            let drop = extra > 0 && is_event(c);
            extra -= usize::from(drop);
            !drop
        });
        if let Some(Change::Event(first)) = held.iter_mut().find(|c| is_event(c)) {
            first.what = What::Gap;
        }
    }
}

/// An event that has no number yet.
pub(super) fn event(time: u64, guest: Option<&Name>, run: u64, what: What) -> Change {
    Change::Event(Event { seq: 0, time, guest: guest.cloned(), run, what })
}
