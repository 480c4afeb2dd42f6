//! A guest's insides: its components, its queue, and the dispatch.
//!
//! This file is the execution model (`runtime/MODEL.md` says it in words). `Core::dispatch` takes one event through
//! one component and either commits all that the component asked for or nothing.
//! The slot of a component is empty while it runs, so that a dispatch inside a
//! dispatch has nothing to run: it is refused, however it came about.

use alloc::collections::VecDeque;
use alloc::string::String;
#[cfg(feature = "atoms")]
use alloc::string::ToString;
use alloc::vec::Vec;
use core::mem;

use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_9p::stream::Stream;
use atoll_config::payload::{Hash, Payload};

#[cfg(feature = "atoms")]
use crate::atoms::{Asked, Atoms};
use crate::component::{CallId, ComponentId, Cx, Entry, Event, Why};
pub use crate::counters::Counters;
use crate::effects::{Effects, Wish, message};
use crate::engine::Engine;
use crate::load::Load;
use crate::namespace::{self, CALLS, Namespace, Returned};
use crate::pace::Pace;
use crate::platform::{Memory, Time, Trap};
use crate::random::Random;
use crate::slots::{Armed, Slot, Slots};
#[cfg(feature = "atoms")]
use crate::snapshot::Snaps;
use crate::sponsor::{Amount, Sponsor};
pub use crate::start::StartError;
use crate::timers::Timers;

/// Bytes of log that a guest keeps.
const LOG: usize = 8192;
/// The most that a status can be: a hypervisor's exit port has few bits.
pub(crate) const MAX_STATUS: u8 = 63;

/// An event that waits. What it is about may be over when its turn comes; then it is
/// passed over.
#[derive(Debug)]
pub(crate) enum Queued {
    Start,
    Watched {
        file: usize,
    },
    Message {
        from: ComponentId,
        body: Load,
    },
    /// The turn tells a timer from a later one of the same number.
    Timer {
        id: u32,
        turn: u64,
    },
    Done {
        call: CallId,
        status: i32,
        result: Result<Load, Fault>,
        charged: Amount,
    },
    #[cfg(feature = "atoms")]
    Asked(Asked),
    #[cfg(feature = "atoms")]
    Interrupt {
        code: u8,
    },
}

/// What a timer is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Alarm {
    /// A component's timer.
    Timer(ComponentId, u32),
    /// A sleep that ends.
    #[cfg(feature = "atoms")]
    Sleep(CallId),
}

/// A guest without its clients.
pub struct Core<'a> {
    /// The guest's configuration.
    pub payload: Payload<'a>,
    /// Its identity.
    pub hash: Hash,
    /// Its account.
    pub sponsor: Sponsor,
    /// What it has done so far.
    pub counters: Counters,
    /// How long that took.
    pub pace: Pace,
    /// Its log.
    pub log: Stream,
    /// The machine's memory and figures, as they were before this event.
    pub machine: (Memory, Vec<(&'static str, u64)>),
    pub(crate) namespace: Namespace,
    /// Something may have happened that readers wait for, or that has readers now.
    pub(crate) stirred: bool,
    /// What makes its atoms.
    pub engine: Option<&'a dyn Engine>,
    /// What makes its other components.
    #[cfg(feature = "atoms")]
    pub(crate) registry: &'static [Entry],
    pub(crate) now: Time,
    /// A moment, by the machine's time and by the guest's: they differ for a guest that
    /// goes on from a checkpoint.
    #[cfg(feature = "atoms")]
    pub(crate) since: (Time, Time),
    pub(crate) wall_at_start: u64,
    pub(crate) slots: Slots<'a>,
    pub(crate) queue: VecDeque<(ComponentId, Queued)>,
    pub(crate) timers: Timers<Alarm>,
    pub(crate) random: Random,
    pub(crate) next_call: u64,
    /// What only atoms ask for.
    #[cfg(feature = "atoms")]
    pub(crate) atoms: Atoms,
    /// Its checkpoints.
    #[cfg(feature = "atoms")]
    pub(crate) snaps: Snaps,
    pub(crate) effects: Effects,
    /// An event file may have got its first reader, or lost its last.
    pub(crate) looked: bool,
    pub(crate) fresh_log: Vec<String>,
    pub(crate) exit: Option<u8>,
    pub(crate) trap: Option<Trap>,
}

impl<'a> Core<'a> {
    /// Makes the components. Nothing runs yet; their first events are queued.
    pub fn new(
        payload: Payload<'a>,
        hash: Hash,
        (registry, engine): (&'static [Entry], Option<&'a dyn Engine>),
        wall_at_start: u64,
        seed: [u8; 32],
        msize: u32,
    ) -> Result<Core<'a>, StartError> {
        let budget = payload.budget;
        let limit = Amount { memory: budget.memory, messages: budget.messages };
        let mut core = Core {
            namespace: Namespace::new(&payload.imports, msize),
            stirred: true,
            hash,
            sponsor: Sponsor::new(limit),
            counters: Counters::default(),
            pace: Pace::default(),
            log: Stream::new(LOG),
            machine: (Memory::default(), Vec::new()),
            engine,
            #[cfg(feature = "atoms")]
            registry,
            now: Time(0),
            #[cfg(feature = "atoms")]
            since: (Time(0), Time(0)),
            wall_at_start,
            slots: Slots::default(),
            queue: VecDeque::new(),
            timers: Timers::new(),
            random: Random::new(seed),
            next_call: 0,
            #[cfg(feature = "atoms")]
            atoms: Atoms::default(),
            #[cfg(feature = "atoms")]
            snaps: Snaps::new(0),
            effects: Effects::default(),
            looked: true,
            fresh_log: Vec::new(),
            exit: None,
            trap: None,
            payload,
        };
        for i in 0..core.payload.components.len() {
            let Some(plan) = core.payload.components.get(i) else { break };
            #[cfg(feature = "atoms")]
            let slot = match plan.module {
                Some(module) => Slot::atom(plan, module as usize, &core.payload.modules, engine)?,
                None => Slot::native(plan, registry)?,
            };
            #[cfg(not(feature = "atoms"))]
            let slot = Slot::native(plan, registry)?;
            if !core.sponsor.charge(Amount { memory: slot.kept(), messages: 0 }) {
                return Err(StartError::Budget);
            }
            core.enter(slot);
        }
        Ok(core)
    }

    /// A component is there from now on.
    pub(crate) fn enter(&mut self, slot: Slot<'a>) -> ComponentId {
        let starts = slot.starts();
        #[cfg(feature = "atoms")]
        let name = slot.name.to_string();
        let id = self.slots.add(slot);
        #[cfg(feature = "atoms")]
        self.name(name, id);
        if starts {
            self.queue.push_back((id, Queued::Start));
        }
        id
    }

    /// The time of the present event, or of the last one.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The time of day of the present event: nanoseconds since 1970 UTC.
    pub fn wall(&self) -> u64 {
        self.wall_at_start.saturating_add(self.now.0)
    }

    /// Whether the guest has ended, and how.
    pub fn exit(&self) -> Option<u8> {
        self.exit
    }

    /// Ends the guest after the present event: nothing is dispatched any more. The
    /// first status stays, at most 63.
    pub fn stop(&mut self, status: u8) {
        self.exit.get_or_insert(status.min(MAX_STATUS));
    }

    /// Events that wait.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Whether it is over with this guest.
    pub(crate) fn is_dying(&self) -> bool {
        self.trap.is_some() || self.exit.is_some()
    }

    /// A death that only the machine can provide was asked for.
    pub(crate) fn take_trap(&mut self) -> Option<Trap> {
        self.trap.take()
    }

    /// Log lines since the last call.
    pub(crate) fn take_log(&mut self) -> Vec<String> {
        mem::take(&mut self.fresh_log)
    }

    /// Whether an event waits to be dispatched.
    pub(crate) fn has_work(&self) -> bool {
        #[cfg(feature = "atoms")]
        if self.snaps.hold || self.atoms.keep.loads() {
            return false;
        }
        !self.queue.is_empty() && self.exit.is_none()
    }

    /// Whether a component waits for the first event of its life.
    pub(crate) fn is_starting(&self) -> bool {
        self.has_work() && matches!(self.queue.front(), Some((_, Queued::Start)))
    }

    /// When the next timer comes.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let first = self.timers.first().filter(|_| self.exit.is_none());
        #[cfg(feature = "atoms")]
        let first = first.map(|at| self.by_machine(at));
        first
    }

    /// Tells the time, for what is said and shown before the next event.
    pub(crate) fn pass(&mut self, now: Time) {
        self.pace.look(now);
        #[cfg(feature = "atoms")]
        let now = self.by_guest(now);
        self.now = self.now.max(now);
    }

    /// Moves on in time: timers that have come are queued, earliest first.
    pub(crate) fn advance(&mut self, now: Time) {
        self.pass(now);
        while let Some((turn, alarm)) = self.timers.due(self.now) {
            match alarm {
                Alarm::Timer(to, id) => {
                    if let Some(armed) = self.slots.get_mut(to).and_then(|s| s.timer(id)) {
                        *armed = Armed::Came(turn);
                        self.queue.push_back((to, Queued::Timer { id, turn }));
                    }
                }
                #[cfg(feature = "atoms")]
                Alarm::Sleep(call) => self.awake(call),
            }
        }
    }

    /// Takes the oldest event that still stands, and dispatches it.
    pub(crate) fn run_one(&mut self) {
        while self.has_work()
            && let Some(next) = self.queue.pop_front()
        {
            if self.take(next) {
                return;
            }
        }
    }

    /// Dispatches an event that has waited; what it held is free as soon as it is
    /// taken. False when it was over before its turn came.
    fn take(&mut self, next: (ComponentId, Queued)) -> bool {
        let to = next.0;
        #[cfg(feature = "atoms")]
        if self.is_paused(to) {
            self.park(to, next.1);
            return false;
        }
        // Looked at where it is: to take the two apart would be to move it once more.
        let result = match &next.1 {
            Queued::Start => self.dispatch(to, Event::Start),
            Queued::Watched { file } => {
                let Some(file_of) = self.slots.get_mut(to).and_then(|s| s.streams.get_mut(*file))
                else {
                    return false;
                };
                file_of.asked = false;
                let on = file_of.stream.has_readers();
                // Who has not heard of a change need not hear that it is undone.
                if mem::replace(&mut file_of.told, on) == on {
                    return false;
                }
                self.dispatch(to, Event::Watched { file: *file, on })
            }
            Queued::Message { from, body } => {
                self.sponsor.refund(message(body.len()));
                if self.slots.get(to).is_none() {
                    return false;
                }
                self.dispatch(to, Event::Message { from: *from, body })
            }
            Queued::Timer { id, turn } => {
                self.sponsor.refund(message(0));
                if !self.slots.get_mut(to).is_some_and(|s| s.came(*id, *turn)) {
                    return false;
                }
                self.dispatch(to, Event::Timer { id: *id })
            }
            Queued::Done { .. } if !CALLS => return false,
            Queued::Done { call, status, result, charged } => {
                self.sponsor.refund(*charged);
                #[cfg(feature = "atoms")]
                if !self.redeem(*call) {
                    return false;
                }
                let result = result.as_deref();
                self.dispatch(to, Event::Done { call: *call, status: *status, result })
            }
            #[cfg(feature = "atoms")]
            Queued::Asked(asked) => return self.put(to, asked),
            #[cfg(feature = "atoms")]
            Queued::Interrupt { code } => {
                let Some((from, arg)) = self.interrupted(to, *code) else { return false };
                self.dispatch(to, Event::Interrupt { from, code: *code, arg })
            }
        };
        if let Err(fault) = result {
            self.say_as(to, &alloc::format!("refused: {fault}"));
        }
        true
    }

    /// Runs one event through one component: all of what it asks for happens, or
    /// nothing.
    pub(crate) fn dispatch(&mut self, to: ComponentId, event: Event<'_>) -> Result<(), Fault> {
        if self.exit.is_some() {
            return Err(Fault::new(Errno::ECANCELED, "the guest has ended"));
        }
        #[cfg(feature = "atoms")]
        self.may_run()?;
        let wall = self.wall();
        // What a dispatch drew that is not committed will be drawn again.
        let drawn = (self.random.clone(), self.next_call);
        let waiting = self.queue.len();
        // Whether a component that handles it well has shown that it is of use: the others come
        // by themselves, or change nothing. (Not asked of the event as a method: what is lent
        // is copied once more on its way to the component.)
        use Event::{Get, Names, Read, Start, Watched};
        let proof =
            !matches!(event, Start | Watched { .. } | Read { .. } | Names { .. } | Get { .. });
        let starts = matches!(event, Event::Start);
        let slot = self.slots.get_mut(to).ok_or(Errno::ESTALE)?;
        #[cfg(feature = "atoms")]
        slot.runs()?;
        let mut body = slot
            .body
            .take()
            .ok_or_else(|| Fault::new(Errno::EBUSY, "a dispatch is running").blame(Blame::Guest))?;
        #[cfg(feature = "atoms")]
        let mut own = slot.own.take().unwrap_or_default();
        let mut cx = Cx {
            now: self.now,
            wall,
            me: to,
            slots: &self.slots,
            queue: &mut self.queue,
            effects: &mut self.effects,
            sponsor: &mut self.sponsor,
            random: &mut self.random,
            next_call: &mut self.next_call,
            #[cfg(feature = "atoms")]
            calls_before: drawn.1,
            #[cfg(feature = "atoms")]
            atoms: &mut self.atoms,
            #[cfg(feature = "atoms")]
            own: &mut own,
            #[cfg(feature = "atoms")]
            engine: self.engine,
        };
        let result = body.dispatch(&mut cx, event);
        self.pace.dispatched();
        let slot = self.slots.get_mut(to).ok_or(Errno::ESTALE)?;
        slot.body = Some(body);
        #[cfg(feature = "atoms")]
        {
            slot.own = Some(own);
            self.atoms.settle();
        }
        let why = match (self.effects.why, &result) {
            // What cannot even start is of no use.
            (None, Err(_)) if starts => Some(Why::Trap("refused to start")),
            (why, _) => why,
        };
        let fault = match (why, result) {
            (None, Ok(())) => {
                self.commit(to, proof);
                return Ok(());
            }
            (None, Err(fault)) => {
                self.counters.refused += 1;
                fault
            }
            (Some(why), _) => {
                let (errno, what) = crate::abandon::reason(why);
                let name = self.slots.get(to).map_or("?", |s| &s.name);
                let text = alloc::format!("{name} abandoned a dispatch: {what}");
                Fault::new(errno, text).blame(Blame::Guest)
            }
        };
        (self.random, self.next_call) = drawn;
        self.queue.truncate(waiting);
        #[cfg(feature = "atoms")]
        self.undo(to);
        self.sponsor.refund(self.effects.charged);
        if let Some(why) = why {
            self.abandon(to, why);
        }
        self.effects.reset();
        Err(fault)
    }

    /// Makes all effects of a dispatch visible. Nothing in here can fail.
    fn commit(&mut self, from: ComponentId, proof: bool) {
        self.counters.dispatches += 1;
        self.sponsor.refund(Amount { memory: self.effects.passing, messages: 0 });
        if let Some(slot) = self.slots.get_mut(from) {
            slot.dispatches += 1;
            if proof {
                slot.failures = 0;
            }
        }
        if let Some(status) = self.effects.exit {
            self.stop(status);
        }
        self.trap = self.trap.or(self.effects.trap);
        #[cfg(feature = "atoms")]
        self.line_up();
        if !self.effects.wishes.is_empty() {
            let mut wishes = mem::take(&mut self.effects.wishes);
            for wish in wishes.drain(..) {
                self.grant(from, wish);
            }
            self.effects.wishes = wishes;
        }
        #[cfg(feature = "atoms")]
        {
            self.sponsor.refund(self.effects.freed);
            if self.atoms.keep.is_on() {
                self.keep_on();
            }
        }
        self.effects.reset();
    }

    fn grant(&mut self, from: ComponentId, wish: Wish) {
        match wish {
            Wish::Send(to, body) => self.queue.push_back((to, Queued::Message { from, body })),
            Wish::After(id, at) => {
                self.cancel(from, id);
                let key = self.timers.set(at, Alarm::Timer(from, id));
                if let Some(slot) = self.slots.get_mut(from) {
                    slot.arm(id, key);
                }
            }
            Wish::Cancel(id) => self.cancel(from, id),
            Wish::Line(file, line) => {
                if let Some(file) = self.slots.get_mut(from).and_then(|s| s.streams.get_mut(file)) {
                    file.stream.push(line.as_str());
                    self.stirred = true;
                }
            }
            Wish::Log(line) => self.say_as(from, &line),
            Wish::Call(_) if !CALLS => {}
            Wish::Call(call) => {
                // Nobody can give it up but an atom.
                #[cfg(feature = "atoms")]
                self.called(from, call.id);
                let mut done = Vec::new();
                self.namespace.call(from, *call, &mut done);
                self.returned(done);
            }
            #[cfg(feature = "atoms")]
            Wish::More(more) => self.grant_more(from, more),
        }
    }

    /// Cancels a timer. One that has come stays charged until its turn, which is
    /// passed over.
    fn cancel(&mut self, of: ComponentId, id: u32) {
        if let Some(Armed::Set(key)) = self.slots.get_mut(of).and_then(|s| s.disarm(id)) {
            self.timers.cancel(key);
            self.sponsor.refund(message(0));
        }
    }

    /// Bytes have come from the host. An error: it is of no further use.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut done = Vec::new();
        let heard = self.namespace.feed(bytes, &mut self.sponsor, &mut done);
        self.returned(done);
        #[cfg(feature = "atoms")]
        self.keep_on();
        heard
    }

    /// Queues results of calls, each charged until it is dispatched. One that the
    /// sponsor cannot pay becomes a fault, which costs nothing.
    pub(crate) fn returned(&mut self, done: Vec<Returned>) {
        for back in done {
            #[cfg(feature = "atoms")]
            let opened = back.opened;
            let Returned { to, call, charged, result, .. } = back;
            self.sponsor.refund(charged);
            #[cfg(feature = "atoms")]
            let to = to.filter(|_| self.arrived(call));
            #[cfg(feature = "atoms")]
            let result = match (opened, to) {
                (Some(held), None) => {
                    self.namespace.close(held, &mut Vec::new());
                    continue;
                }
                (Some(held), Some(to)) => self.opened(to, call, held),
                (None, _) => result,
            };
            let Some(to) = to else { continue };
            let whole = message(result.as_ref().map_or_else(|f| f.text().len(), Vec::len));
            let (result, charged) = if self.sponsor.charge(whole) {
                (result.map(Load::Long), whole)
            } else {
                // No more than the call itself was charged, so that it always fits.
                let paid = self.sponsor.charge(message(0));
                debug_assert!(paid);
                let charged = if paid { message(0) } else { Amount::default() };
                (Err(namespace::too_large()), charged)
            };
            self.queue.push_back((to, Queued::Done { call, status: 0, result, charged }));
        }
    }

    /// Queues what event files have to say about their readers.
    pub(crate) fn watch(&mut self) {
        if !mem::take(&mut self.looked) {
            return;
        }
        for (id, slot) in self.slots.all_mut() {
            for (file, f) in slot.streams.iter_mut().enumerate() {
                if f.stream.has_readers() != f.told && !mem::replace(&mut f.asked, true) {
                    self.queue.push_back((id, Queued::Watched { file }));
                }
            }
        }
    }

    /// The stream behind an event file.
    pub(crate) fn stream(&mut self, id: ComponentId, file: usize) -> Option<&mut Stream> {
        self.stirred = true;
        self.looked = true;
        self.slots.get_mut(id)?.streams.get_mut(file).map(|f| &mut f.stream)
    }
}
