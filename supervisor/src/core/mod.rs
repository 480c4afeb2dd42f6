//! The pure heart of the supervisor: what is wanted of each guest, what is known of it,
//! and what follows.
//!
//! It does no input and output and has no clock: it takes an [`Input`] and the time, and
//! says what is to be done ([`Output`]). So a whole supervisor lives in a test, is killed
//! between any two of its steps, and another goes on from what was stored.
//!
//! - [`life`] is the table of one guest's states; [`verb`] the lines that its `ctl` takes.
//! - [`define`] is what a guest is configured as, [`record`] what is stored of it.
//! - `ask.rs` is what askers want, `report.rs` what shims tell and what a new supervisor
//!   finds, `needs.rs` who runs before whom, `save.rs` the way into the store.
//! - Nothing is answered, started or announced before what it rests on is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use atoll_9p::fault::{Errno, Fault};

use crate::store::Loaded;

mod ask;
pub mod define;
pub mod event;
pub mod guest;
pub mod io;
pub mod life;
pub mod log;
pub mod name;
mod needs;
pub mod record;
mod report;
mod save;
pub mod stutter;
#[cfg(test)]
mod tests;
pub mod verb;
pub mod watch;

pub use define::{Bind, Definition, Expect, Policy, Restart, Then};
pub use event::{Event, What};
pub use guest::Guest;
pub use io::{Ask, Input, Now, Output, Seen, Start, Until};
pub use life::{Alive, Goal, State};
pub use log::{Log, Piece};
pub use name::{ImageHash, Name};
pub use record::{Change, Config, From, Image, Record};
pub use verb::{Can, Verb};

use guest::{Door, Item, Turn};
use save::{Back, Pipe, Txn, Undo};

/// The most guests.
pub const MAX_GUESTS: usize = 32_768;
/// The most images.
pub const MAX_IMAGES: usize = 4096;
/// The longest configuration, in bytes.
pub const MAX_CONFIG: usize = 64 << 10;
/// The most questions about one guest that wait for a step to be stored.
const MAX_QUEUE: usize = 64;
/// The most askers that wait for something of one guest; each of `wait`'s readers is one.
const MAX_WAITERS: usize = 4096;

/// A supervisor without its arms and eyes.
#[derive(Debug)]
pub struct Core {
    guests: BTreeMap<Name, Guest>,
    images: BTreeMap<ImageHash, Image>,
    log: Log,
    /// The greatest epoch that was ever given.
    epoch: u64,
    /// The identity of the next guest.
    next_id: u64,
    now: Now,
    /// The questions that have no answer, and whom they are about.
    asks: BTreeMap<Ask, Option<Name>>,
    pipe: Pipe,
    /// Guests whose doors are [`Door::Held`].
    held: BTreeSet<Name>,
    /// Guests that wait for those that they import.
    waiting: BTreeSet<Name>,
    /// Whether one of those may wait no longer.
    recheck: bool,
    /// Names that a fork will have.
    reserved: BTreeSet<Name>,
    /// Folders of guests of which the store knows nothing.
    orphans: BTreeSet<Name>,
    alarms: BTreeSet<(u64, Name)>,
    wake: Option<u64>,
    out: Vec<Output>,
}

/// What a step of one guest has at hand.
struct Ctx<'c> {
    name: &'c Name,
    now: Now,
    epoch: &'c mut u64,
    turn: Turn,
}

impl Ctx<'_> {
    fn advance(&mut self, guest: &mut Guest, stimulus: life::Stimulus) -> Result<(), Fault> {
        guest
            .advance(self.name, stimulus, self.now, self.epoch, &mut self.turn)
            .map_err(|life::Refused| Errno::EBUSY.into())
    }

    fn event(&mut self, what: What) {
        self.turn.events.push(what);
    }

    /// Goes on with a guest that waits: it starts, or says for whom it waits.
    fn ready(&mut self, guest: &mut Guest, missing: &[Name]) -> Result<(), Fault> {
        if guest.state() != State::Waiting {
            return Ok(());
        }
        if missing.is_empty() {
            return self.advance(guest, life::Stimulus::Ready);
        }
        self.event(What::Waiting(missing.to_vec()));
        Ok(())
    }
}

impl Core {
    /// A supervisor that knows what is stored. Give it [`Input::Tick`], for it may have
    /// something to finish, and then [`Input::Adopted`] for each of [`Core::unadopted`] and
    /// for every other folder of a guest.
    pub fn new(loaded: Loaded) -> Core {
        let mut core = Core {
            guests: BTreeMap::new(),
            images: loaded.images,
            log: Log::new(loaded.events, loaded.next_seq),
            epoch: loaded.epoch,
            next_id: loaded.next_id.max(1),
            now: Now::default(),
            asks: BTreeMap::new(),
            pipe: Pipe::default(),
            held: BTreeSet::new(),
            waiting: BTreeSet::new(),
            recheck: false,
            reserved: BTreeSet::new(),
            orphans: BTreeSet::new(),
            alarms: BTreeSet::new(),
            wake: None,
            out: Vec::new(),
        };
        if loaded.guests.values().any(Record::is_underway) {
            let changes = vec![save::event(0, None, 0, What::Gap)];
            core.pipe.push(Txn { changes, ..Txn::default() });
        }
        for (name, record) in loaded.guests {
            core.epoch = core.epoch.max(record.epoch);
            core.next_id = core.next_id.max(record.id.saturating_add(1));
            let gone = record.gone;
            let state = if gone { State::Stopped } else { State::Adopting };
            core.guests.insert(name.clone(), Guest::new(record, state));
            if gone {
                core.out.push(Output::Remove { guest: name.clone() });
                core.bury(&name);
            }
        }
        core
    }

    /// The guests for which [`Input::Adopted`] has not come yet. What is asked of them
    /// waits.
    pub fn unadopted(&self) -> Vec<Name> {
        let adopting = |g: &Guest| g.life.state == State::Adopting;
        self.guests.iter().filter(|(_, g)| adopting(g)).map(|(n, _)| n.clone()).collect()
    }

    /// Takes an input; what is to be done, in this order.
    pub fn handle(&mut self, now: Now, input: Input) -> Vec<Output> {
        self.now = now;
        self.take(input);
        self.ring();
        while mem::take(&mut self.recheck) {
            self.check_ready();
        }
        self.send();
        self.set_alarm();
        mem::take(&mut self.out)
    }

    /// The guests, in the order of their names.
    pub fn guests(&self) -> impl Iterator<Item = (&Name, &Guest)> {
        self.guests.iter().filter(|(_, g)| !g.record.gone)
    }

    /// A guest.
    pub fn guest(&self, name: &Name) -> Option<&Guest> {
        self.guests.get(name).filter(|g| !g.record.gone)
    }

    /// The images, in the order of their hashes.
    pub fn images(&self) -> impl Iterator<Item = (&ImageHash, &Image)> {
        self.images.iter()
    }

    /// The latest events.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The folders of guests of which the store knows nothing.
    pub fn orphans(&self) -> impl Iterator<Item = &Name> {
        self.orphans.iter()
    }

    /// Why nothing can be stored now, if that is so.
    pub fn trouble(&self) -> Option<&crate::store::Error> {
        self.pipe.trouble()
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Stored { txn } => self.stored(txn),
            Input::Unstored { txn, why } => self.unstored(txn, why),
            Input::Gone { ask } => self.withdraw(ask),
            Input::Report { guest, run, report } => self.report(guest, run, report),
            Input::Judged { guest, run, verdict } => self.judged(guest, run, verdict),
            Input::Adopted { guest, found } => self.adopt(guest, found),
            // What is due is looked for after each input.
            Input::Tick => self.recheck = true,
            asked => self.asked(asked, true),
        }
    }

    /// Takes an input that has waited.
    fn retake(&mut self, input: Input) {
        match input {
            Input::Report { guest, run, report } => self.report(guest, run, report),
            Input::Judged { guest, run, verdict } => self.judged(guest, run, verdict),
            asked => self.asked(asked, false),
        }
    }

    /// Answers a question, once, if anybody still waits for it.
    fn answer(&mut self, ask: Ask, result: Result<(), Fault>) {
        if self.asks.remove(&ask).is_some() {
            self.out.push(Output::Answer { ask, result });
        }
    }

    /// One step of a guest, which is undone when it fails: `wish` if it also is when it
    /// cannot be stored.
    fn go(
        &mut self,
        name: &Name,
        wish: bool,
        ask: Option<Ask>,
        f: impl FnOnce(&mut Guest, &mut Ctx<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let Some(guest) = self.guests.get_mut(name) else { return Err(Errno::ENOENT.into()) };
        if let (true, Door::Held(_), Some(why)) = (wish, &guest.door, self.pipe.trouble()) {
            return Err(save::fault(why));
        }
        let back = Back::of(guest);
        let mut ctx = Ctx { name, now: self.now, epoch: &mut self.epoch, turn: Turn::default() };
        if let Err(fault) = f(guest, &mut ctx) {
            back.restore(guest);
            return Err(fault);
        }
        let turn = ctx.turn;
        let (run, state) = (guest.record.run, guest.life.state);
        let why = guest.why();
        let mut changes = Vec::new();
        if let Some(epoch) = turn.own {
            changes.push(Change::Own { guest: name.clone(), epoch });
        }
        if let Some((held, next)) = turn.claim {
            changes.push(Change::Claim { guest: name.clone(), held, next });
        }
        if guest.record != *back.record() {
            changes.push(Change::Put(name.clone(), Box::new(guest.record.clone())));
        }
        let events = turn.events.into_iter();
        changes.extend(events.map(|what| save::event(self.now.wall, Some(name), run, what)));
        let rests = |s| matches!(s, State::Stopped | State::Moved);
        let stopped = rests(state) && !rests(back.state());
        self.recheck |= state != back.state();
        self.submit(Txn {
            guest: Some(name.clone()),
            changes,
            after: turn.after,
            asks: ask.into_iter().collect(),
            undo: wish.then(|| Undo::Back(Box::new(back))),
        });
        self.sync(name);
        if stopped {
            self.tell_waiting(name, why);
        }
        Ok(())
    }

    /// A guest that was forgotten leaves the store; its folder is gone.
    fn bury(&mut self, name: &Name) {
        let run = self.guests.get(name).map_or(0, |g| g.record.run);
        let asks: Vec<Ask> = self
            .guests
            .get_mut(name)
            .map(|g| g.waiters.drain(..).map(|w| w.ask).collect())
            .unwrap_or_default();
        let answer = |ask: &Ask| Output::Answer { ask: *ask, result: Ok(()) };
        self.submit(Txn {
            guest: Some(name.clone()),
            changes: vec![
                Change::Drop(name.clone()),
                Change::Release(name.clone()),
                save::event(self.now.wall, Some(name), run, What::Forgotten),
            ],
            after: asks.iter().map(answer).collect(),
            asks: Vec::new(),
            undo: None,
        });
    }

    /// Takes what came while the door was closed.
    fn drain(&mut self, name: &Name) {
        while let Some(guest) = self.guests.get_mut(name) {
            if matches!(guest.door, Door::Closed) || guest.life.state == State::Adopting {
                return;
            }
            match guest.queue.pop_front() {
                Some(Item::Input(input)) => self.retake(input),
                Some(Item::Pull) => self.pull(name),
                None => return,
            }
        }
    }

    /// Sees to it that alarms and lists are what a guest's state says.
    fn sync(&mut self, name: &Name) {
        let Some(guest) = self.guests.get_mut(name) else { return };
        if guest.alarm != guest.due {
            if let Some(at) = guest.alarm {
                self.alarms.remove(&(at, name.clone()));
            }
            if let Some(at) = guest.due {
                self.alarms.insert((at, name.clone()));
            }
            guest.alarm = guest.due;
        }
        if guest.life.state == State::Waiting {
            self.waiting.insert(name.clone());
        } else {
            self.waiting.remove(name);
        }
    }

    /// Does what is due.
    fn ring(&mut self) {
        while let Some((at, name)) = self.alarms.first().cloned() {
            if at > self.now.mono {
                return;
            }
            self.alarms.pop_first();
            let Some(guest) = self.guests.get_mut(&name) else { continue };
            guest.alarm = None;
            if matches!(guest.door, Door::Closed) {
                // It is set again when the door opens.
                continue;
            }
            guest.due = None;
            let missing = self.missing(&name);
            let _ = self.go(&name, false, None, |guest, ctx| {
                let from = guest.state();
                ctx.advance(guest, life::Stimulus::Due)?;
                if from == State::Backoff {
                    guest.record.restarts += 1;
                    if !missing.is_empty() {
                        ctx.event(What::Waiting(missing.clone()));
                    }
                }
                Ok(())
            });
        }
    }

    fn set_alarm(&mut self) {
        let alarm = self.alarms.first().map(|(at, _)| *at);
        let retry = self.pipe.retry().filter(|at| *at > self.now.mono);
        let wake = [alarm, retry].into_iter().flatten().min();
        if wake != self.wake {
            self.wake = wake;
            self.out.push(Output::WakeAt(wake));
        }
    }
}
