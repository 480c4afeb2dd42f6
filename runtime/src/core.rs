//! A guest's insides: its components, its queue, and the dispatch.
//!
//! This file is the execution model (`runtime/MODEL.md` says it in words). [`Core::dispatch`] takes one event through
//! one component and either commits all that the component asked for or nothing.
//! The slot of a component is empty while it runs, so that a dispatch inside a
//! dispatch has nothing to run: it is refused, however it came about.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::mem;

use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_9p::stream::Stream;
use atoll_config::payload::{Hash, OnFault, Payload};

use crate::component::{CallId, Component, ComponentId, Cx, Entry, Event, FileKind, Why};
use crate::effects::{Effects, MESSAGE_OVERHEAD};
use crate::engine::Engine;
use crate::namespace::{self, CALLS, Namespace, Returned};
use crate::platform::{Memory, Time, Trap};
use crate::random::Random;
use crate::records;
use crate::sponsor::{Amount, Sponsor};

/// Bytes of log that a guest keeps.
const LOG: usize = 8192;
/// A component abandoned so often in a row stops its guest, whatever the policy.
const HOPELESS: u32 = 8;
/// The most that a status can be: a hypervisor's exit port has few bits.
pub(crate) const MAX_STATUS: u8 = 63;
/// The status of a guest that stopped because a component failed.
const FAILED: u8 = 1;

/// A component and what belongs to it.
struct Slot {
    entry: &'static Entry,
    /// None while it runs.
    body: Option<Box<dyn Component>>,
    /// By file; only event files use theirs.
    streams: Vec<Stream>,
    /// Abandoned in a row: with no event between that it handled well, other than
    /// those that being made anew brings.
    failures: u32,
    dispatches: u64,
    restarts: u64,
}

/// An event that waits.
enum Queued {
    Start,
    Watched { file: usize, on: bool },
    Message { from: ComponentId, body: Vec<u8> },
    Timer { id: u32 },
    Done { call: CallId, result: Result<Vec<u8>, Fault>, charged: Amount },
}

struct Timer {
    at: Time,
    to: ComponentId,
    id: u32,
}

/// Counters of a guest, for its `stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Dispatches that were committed.
    pub dispatches: u64,
    /// Dispatches that were refused by their component.
    pub refused: u64,
    /// Dispatches that were abandoned.
    pub abandoned: u64,
    /// 9P requests; one that waited counts each time that it was asked again.
    pub requests: u64,
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
    /// Its log.
    pub log: Stream,
    /// The machine's memory and figures, as they were before this event.
    pub machine: (Memory, Vec<(&'static str, u64)>),
    pub(crate) namespace: Namespace,
    /// Something may have happened that readers wait for, or that has readers now.
    pub(crate) stirred: bool,
    /// What makes its atoms.
    pub engine: Option<&'a dyn Engine>,
    now: Time,
    wall_at_start: u64,
    slots: Vec<Slot>,
    queue: VecDeque<(ComponentId, Queued)>,
    timers: Vec<Timer>,
    random: Random,
    next_call: u64,
    fresh_log: Vec<String>,
    exit: Option<u8>,
    trap: Option<Trap>,
}

/// Why a guest cannot start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// No component kind of that name is linked here.
    Kind(String),
    /// A kind's state version is not the one that the payload was built against.
    StateVersion(String),
    /// A component cannot be made from its parameters.
    Component(String, Fault),
    /// The budget does not even cover what the components' event files may keep.
    Budget,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Kind(k) => {
                write!(f, "no component kind {k} here: build the image again for this flavour")
            }
            StartError::StateVersion(k) => {
                write!(f, "kind {k} has another state version than the image: build it again")
            }
            StartError::Component(name, fault) => write!(f, "component {name}: {fault}"),
            StartError::Budget => {
                f.write_str("[sponsor] memory is too small for the components' event files")
            }
        }
    }
}

impl core::error::Error for StartError {}

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
            log: Stream::new(LOG),
            machine: (Memory::default(), Vec::new()),
            engine,
            now: Time(0),
            wall_at_start,
            slots: Vec::new(),
            queue: VecDeque::new(),
            timers: Vec::new(),
            random: Random::new(seed),
            next_call: 0,
            fresh_log: Vec::new(),
            exit: None,
            trap: None,
            payload,
        };
        for plan in &core.payload.components {
            let kind = || plan.kind.to_string();
            let entry = registry
                .iter()
                .find(|e| e.kind == plan.kind)
                .ok_or_else(|| StartError::Kind(kind()))?;
            if entry.state_version != plan.state_version {
                return Err(StartError::StateVersion(kind()));
            }
            let body = (entry.make)(&plan.params)
                .map_err(|fault| StartError::Component(plan.name.to_string(), fault))?;
            let streams: Vec<Stream> = entry.files.iter().map(|f| stream(f.kind)).collect();
            let kept = entry.files.iter().map(|f| keep(f.kind) as u64).sum();
            if !core.sponsor.charge(Amount { memory: kept, messages: 0 }) {
                return Err(StartError::Budget);
            }
            if entry.starts {
                core.queue.push_back((ComponentId(core.slots.len() as u16), Queued::Start));
            }
            core.slots.push(Slot {
                entry,
                body: Some(body),
                streams,
                failures: 0,
                dispatches: 0,
                restarts: 0,
            });
        }
        Ok(core)
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

    /// The state of a component. None where there is no such component.
    pub fn save(&self, id: ComponentId) -> Option<Vec<u8>> {
        self.slots.get(usize::from(id.0))?.body.as_ref().map(|b| b.save())
    }

    /// Gives a component a state that [`Core::save`] gave. On an error nothing has
    /// changed.
    pub fn restore(&mut self, id: ComponentId, state: &[u8]) -> Result<(), Fault> {
        let slot = self.slots.get_mut(usize::from(id.0)).ok_or(Errno::ESTALE)?;
        slot.body.as_mut().ok_or(Errno::EBUSY)?.restore(state)
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
        !self.queue.is_empty() && self.exit.is_none()
    }

    /// Whether a component waits for the first event of its life.
    pub(crate) fn is_starting(&self) -> bool {
        self.has_work() && matches!(self.queue.front(), Some((_, Queued::Start)))
    }

    /// When the next timer comes.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.timers.first().map(|t| t.at).filter(|_| self.exit.is_none())
    }

    /// Tells the time, for what is said and shown before the next event.
    pub(crate) fn pass(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    /// Moves on in time: timers that have come are queued, earliest first.
    pub(crate) fn advance(&mut self, now: Time) {
        self.pass(now);
        let due = self.timers.iter().take_while(|t| t.at <= self.now).count();
        for t in self.timers.drain(..due) {
            self.queue.push_back((t.to, Queued::Timer { id: t.id }));
        }
    }

    /// Adds a line to the log, behind the time and who says it.
    pub fn say(&mut self, who: &str, line: impl fmt::Display) {
        let (s, us) = (self.now.0 / 1_000_000_000, self.now.0 / 1000 % 1_000_000);
        let mut line = alloc::format!("{s}.{us:06} {who}: {line}");
        if line.contains(char::is_control) {
            // Nobody speaks for somebody else by a line end.
            line = line.replace(char::is_control, " ");
        }
        self.log.push(&line);
        self.stirred = true;
        self.fresh_log.push(line);
    }

    /// Adds a line of the machine's to the log.
    pub(crate) fn overhear(&mut self, line: &str) {
        self.log.push(line);
        self.stirred = true;
    }

    /// Takes the oldest event and dispatches it.
    pub(crate) fn run_one(&mut self) {
        if !self.has_work() {
            return;
        }
        let Some((to, event)) = self.queue.pop_front() else { return };
        let message = Amount { memory: MESSAGE_OVERHEAD, messages: 1 };
        // What the event held is free as soon as it is taken.
        let (event, paid) = match &event {
            Queued::Start => (Event::Start, Amount::default()),
            Queued::Watched { file, on } => {
                (Event::Watched { file: *file, on: *on }, Amount::default())
            }
            Queued::Message { from, body } => (
                Event::Message { from: *from, body },
                Amount { memory: message.memory + body.len() as u64, ..message },
            ),
            Queued::Timer { id } => (Event::Timer { id: *id }, message),
            Queued::Done { call, result, charged } => {
                let result = result.as_deref();
                (Event::Done { call: *call, result }, *charged)
            }
        };
        self.sponsor.refund(paid);
        if let Err(fault) = self.dispatch(to, event) {
            let name = self.name(to).to_string();
            self.say(&name, format_args!("refused: {fault}"));
        }
    }

    fn name(&self, id: ComponentId) -> &str {
        self.payload.components.get(usize::from(id.0)).map_or("?", |c| c.name)
    }

    /// Runs one event through one component: all of what it asks for happens, or
    /// nothing.
    pub(crate) fn dispatch(&mut self, to: ComponentId, event: Event<'_>) -> Result<(), Fault> {
        if self.exit.is_some() {
            return Err(Fault::new(Errno::ECANCELED, "the guest has ended"));
        }
        let wall = self.wall();
        // What a dispatch drew that is not committed will be drawn again.
        let drawn = (self.random.clone(), self.next_call);
        // Events of the runtime's own making prove nothing about a component.
        let proof = !matches!(event, Event::Start | Event::Watched { .. } | Event::Read { .. });
        let slot = self.slots.get_mut(usize::from(to.0)).ok_or(Errno::ESTALE)?;
        let mut body = slot
            .body
            .take()
            .ok_or_else(|| Fault::new(Errno::EBUSY, "a dispatch is running").blame(Blame::Guest))?;
        let mut effects = Effects::default();
        let mut cx = Cx {
            now: self.now,
            wall,
            me: to,
            params: "",
            components: &self.payload.components,
            effects: &mut effects,
            sponsor: &mut self.sponsor,
            random: &mut self.random,
            next_call: &mut self.next_call,
        };
        let result = body.dispatch(&mut cx, event);
        if let Some(slot) = self.slots.get_mut(usize::from(to.0)) {
            slot.body = Some(body);
        }
        if effects.why.is_some() || result.is_err() {
            (self.random, self.next_call) = drawn;
            self.sponsor.refund(effects.charged);
        }
        if let Some(why) = effects.why {
            self.abandon(to, why);
            let (errno, what) = reason(why);
            let text = alloc::format!("{} abandoned a dispatch: {what}", self.name(to));
            return Err(Fault::new(errno, text).blame(Blame::Guest));
        }
        match result {
            Ok(()) => {
                self.commit(to, effects, proof);
                Ok(())
            }
            Err(fault) => {
                self.counters.refused += 1;
                Err(fault)
            }
        }
    }

    /// Makes all effects of a dispatch visible. Nothing in here can fail.
    fn commit(&mut self, from: ComponentId, effects: Effects, proof: bool) {
        self.counters.dispatches += 1;
        self.sponsor.refund(Amount { memory: effects.passing, messages: 0 });
        let name = self.name(from).to_string();
        if let Some(slot) = self.slots.get_mut(usize::from(from.0)) {
            slot.dispatches += 1;
            if proof {
                slot.failures = 0;
            }
            self.stirred |= !effects.lines.is_empty();
            for (file, line) in effects.lines {
                if let Some(stream) = slot.streams.get_mut(file) {
                    stream.push(line);
                }
            }
        }
        for line in effects.log {
            self.say(&name, line);
        }
        for (to, body) in effects.messages {
            self.queue.push_back((to, Queued::Message { from, body }));
        }
        for (id, at) in effects.timers {
            self.cancel(from, id);
            if let Some(at) = at {
                let place = self.timers.partition_point(|t| t.at <= at);
                self.timers.insert(place, Timer { at, to: from, id });
            }
        }
        if CALLS {
            let mut done = Vec::new();
            for call in effects.calls {
                self.namespace.call(from, call, &mut done);
            }
            self.returned(done);
        }
        if let Some(status) = effects.exit {
            self.stop(status);
        }
        self.trap = self.trap.or(effects.trap);
    }

    fn cancel(&mut self, of: ComponentId, id: u32) {
        let before = self.timers.len() + self.queue.len();
        self.timers.retain(|t| !(t.to == of && t.id == id));
        self.queue
            .retain(|(to, q)| !(*to == of && matches!(q, Queued::Timer { id: t } if *t == id)));
        let gone = (before - self.timers.len() - self.queue.len()) as u64;
        self.sponsor.refund(Amount { memory: gone * MESSAGE_OVERHEAD, messages: gone as u32 });
    }

    /// A component's memory is suspect: do what the guest's policy says.
    fn abandon(&mut self, id: ComponentId, why: Why) {
        self.counters.abandoned += 1;
        let policy = self.payload.on_fault;
        let plan = self.payload.components.get(usize::from(id.0));
        let slot = self.slots.get_mut(usize::from(id.0));
        let (Some(plan), Some(slot)) = (plan, slot) else { return };
        slot.failures += 1;
        let name = plan.name;
        if policy == OnFault::Restart
            && slot.failures < HOPELESS
            && let Ok(body) = (slot.entry.make)(&plan.params)
        {
            slot.body = Some(body);
            slot.restarts += 1;
            let starts = slot.entry.starts;
            let watched: Vec<usize> = (0..slot.streams.len())
                .filter(|&f| slot.streams.get(f).is_some_and(Stream::has_readers))
                .collect();
            self.forget(id);
            for file in watched.into_iter().rev() {
                self.queue.push_front((id, Queued::Watched { file, on: true }));
            }
            if starts {
                self.queue.push_front((id, Queued::Start));
            }
            self.say(name, format_args!("abandoned a dispatch: {}; made anew", reason(why).1));
        } else {
            self.say(
                name,
                format_args!("abandoned a dispatch: {}; the guest stops", reason(why).1),
            );
            self.stop(FAILED);
        }
    }

    /// Drops what a component that is no more has asked for: its timers, and the
    /// results of its calls. Messages stay, for they were sent to the component
    /// whichever instance it is.
    fn forget(&mut self, id: ComponentId) {
        let mut back = Amount::default();
        let timer = Amount { memory: MESSAGE_OVERHEAD, messages: 1 };
        self.timers.retain(|t| {
            let gone = t.to == id;
            back.add(if gone { timer } else { Amount::default() });
            !gone
        });
        self.queue.retain(|(to, q)| {
            let gone = *to == id && !matches!(q, Queued::Message { .. });
            match q {
                Queued::Timer { .. } if gone => back.add(timer),
                Queued::Done { charged, .. } if gone => back.add(*charged),
                _ => {}
            }
            !gone
        });
        if CALLS {
            self.namespace.forget(id, &mut back);
        }
        self.sponsor.refund(back);
    }

    /// Bytes have come from the host. An error: it is of no further use.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut done = Vec::new();
        let heard = self.namespace.feed(bytes, &mut self.sponsor, &mut done);
        self.returned(done);
        heard
    }

    /// Queues results of calls, each charged until it is dispatched. One that the
    /// sponsor cannot pay becomes a fault, which costs nothing.
    pub(crate) fn returned(&mut self, done: Vec<Returned>) {
        for Returned { to, call, charged, result } in done {
            self.sponsor.refund(charged);
            let Some(to) = to else { continue };
            let size = result.as_ref().map_or_else(|f| f.text().len(), Vec::len) as u64;
            let whole = Amount { memory: MESSAGE_OVERHEAD + size, messages: 1 };
            let (result, charged) = if self.sponsor.charge(whole) {
                (result, whole)
            } else {
                // No more than the call itself was charged, so that it always fits.
                let least = Amount { memory: MESSAGE_OVERHEAD, messages: 1 };
                let paid = self.sponsor.charge(least);
                debug_assert!(paid);
                (Err(namespace::too_large()), if paid { least } else { Amount::default() })
            };
            self.queue.push_back((to, Queued::Done { call, result, charged }));
        }
    }

    /// Queues what event files have to say about their readers.
    pub(crate) fn watch(&mut self) {
        for (i, slot) in self.slots.iter_mut().enumerate() {
            for (file, stream) in slot.streams.iter_mut().enumerate() {
                let Some(on) = stream.take_watch() else { continue };
                let id = ComponentId(i as u16);
                let unheard = self.queue.iter().position(|(to, q)| {
                    *to == id && matches!(q, Queued::Watched { file: f, .. } if *f == file)
                });
                // Who has not heard of the last change need not hear that it is undone.
                match unheard {
                    Some(at) => drop(self.queue.remove(at)),
                    None => self.queue.push_back((id, Queued::Watched { file, on })),
                }
            }
        }
    }

    /// The stream behind an event file; the log's for a file that has none.
    pub(crate) fn stream(&mut self, id: ComponentId, file: usize) -> &mut Stream {
        self.stirred = true;
        let slot = self.slots.get_mut(usize::from(id.0));
        slot.and_then(|s| s.streams.get_mut(file)).unwrap_or(&mut self.log)
    }

    /// What the file `status` of a component says.
    pub(crate) fn about_component(&self, id: ComponentId) -> Option<records::Component> {
        let slot = self.slots.get(usize::from(id.0))?;
        Some(records::Component {
            kind: Cow::Borrowed(slot.entry.kind),
            state_version: slot.entry.state_version,
            dispatches: slot.dispatches,
            restarts: slot.restarts,
            state_bytes: slot.body.as_ref().map_or(0, |b| b.save().len()) as u64,
        })
    }
}

/// Why a dispatch was abandoned, as an error and in words.
fn reason(why: Why) -> (Errno, &'static str) {
    match why {
        Why::Budget => (Errno::EDQUOT, "over its budget"),
        Why::Deadline => (Errno::ETIMEDOUT, "beyond its time"),
        Why::Trap(what) => (Errno::EIO, what),
    }
}

fn keep(kind: FileKind) -> usize {
    match kind {
        FileKind::Events { keep } | FileKind::Next { keep } => keep,
        FileKind::Text | FileKind::Ctl(_) | FileKind::Names => 0,
    }
}

fn stream(kind: FileKind) -> Stream {
    match kind {
        FileKind::Next { keep } => Stream::new(keep).from_newest(),
        _ => Stream::new(keep(kind)),
    }
}
