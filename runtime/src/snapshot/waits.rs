//! The part of a state that waits: events, calls, locks, open files.
//!
//! What refers to something else is checked against that: a call that waits for a lock
//! stands in the lock's line, and one that waits for the host is among those that are
//! asked again. So nothing is there for which nothing will ever happen.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use atoll_9p::fault::Fault;
use atoll_9p::ops::What;
use atoll_9p::types::OpenFlags;

use super::state::{Bytes, Call, File, Future, Lock, On, Queued, Todo, bad};
use crate::atoms::files::{OpenFile, price};
use crate::atoms::held::Place;
use crate::atoms::part::{Job, ONCE};
use crate::atoms::scratch::SCRATCH;
use crate::atoms::{Asked, futures, locks};
use crate::component::{CallId, ComponentId};
use crate::core::{Alarm, Core, Queued as Event};
use crate::effects::{self, message};
use crate::load::Load;
use crate::sponsor::Amount;

impl Core<'_> {
    /// An event that waits, and is paid for.
    pub(super) fn take_event(
        &mut self,
        to: ComponentId,
        queued: Queued,
        next: u32,
    ) -> Result<Event, Fault> {
        let next_call = self.next_call;
        let someone = |id: u32| match id < next {
            true => Ok(ComponentId(id)),
            false => Err(bad("an event is from nobody")),
        };
        let a_call = |call: u64| match (1..=next_call).contains(&call) {
            true => Ok(CallId(call)),
            false => Err(bad("an event is of a call that was never made")),
        };
        Ok(match queued {
            Queued::Start => Event::Start,
            Queued::Interrupt { code } => Event::Interrupt { code },
            Queued::Watched { file } => {
                let file = file as usize;
                let slot = self.slots.get_mut(to).and_then(|s| s.streams.get_mut(file));
                let known = slot.ok_or_else(|| bad("an event is of a file that is not there"))?;
                if core::mem::replace(&mut known.asked, true) {
                    return Err(bad("a file is asked for twice"));
                }
                Event::Watched { file }
            }
            Queued::Message { from, body } => {
                self.must_pay(message(body.0.len()))?;
                Event::Message { from: someone(from)?, body: load(body) }
            }
            Queued::Timer { id, turn } => {
                if turn > self.timers.turn() {
                    return Err(bad("a timer came that was never set"));
                }
                self.must_pay(message(0))?;
                Event::Timer { id, turn }
            }
            Queued::Done { call, status, result, memory, messages } => {
                let charged = Amount { memory, messages };
                let held = result.as_ref().map_or(0, |b| b.0.len());
                // Why there is no result costs nothing more than the call.
                let free = result.is_err() && (memory, messages) == (0, 0);
                if !free && (messages != 1 || memory < held as u64) {
                    return Err(bad("a result was not paid for"));
                }
                self.must_pay(charged)?;
                let result = result.map(load).map_err(Fault::from);
                Event::Done { call: a_call(call)?, status, result, charged }
            }
            Queued::Asked { from, call, body } => {
                self.must_pay(message(body.0.len()))?;
                Event::Asked(Asked { from: someone(from)?, call: a_call(call)?, body: load(body) })
            }
        })
    }

    /// Events that may cost nothing while they wait are there once at most.
    pub(super) fn check_queue(&self) -> Result<(), Fault> {
        let parked = self.slots.all().flat_map(|slot| {
            let parked = slot.own.iter().flat_map(|own| &own.parked);
            parked.map(|queued| (slot.id, queued))
        });
        let mut seen = BTreeSet::new();
        for (to, queued) in self.queue.iter().map(|(to, q)| (*to, q)).chain(parked) {
            let own = self.slots.get(to).and_then(|s| s.own.as_ref());
            let (what, may_be) = match queued {
                Event::Start => ((0, 0), true),
                Event::Interrupt { code } => {
                    let is = |i: &(u8, _, _)| i.0 == *code;
                    ((1, (*code).into()), own.is_none_or(|o| o.interrupts.iter().any(is)))
                }
                Event::Done { call, .. } => ((2, call.0), true),
                _ => continue,
            };
            if !seen.insert((to, what)) || !may_be {
                return Err(bad("an event waits that cannot be"));
            }
        }
        Ok(())
    }

    pub(super) fn take_futures(&mut self, all: Vec<Future>, next: u32) -> Result<(), Fault> {
        for saved in all {
            let call = CallId(saved.call);
            let last = self.atoms.futures.last_key_value().map_or(CallId(0), |f| *f.0);
            if call <= last || call.0 > self.next_call {
                return Err(bad("calls are out of order"));
            }
            let owner = ComponentId(saved.owner);
            let owned = self.slots.get(owner).is_some();
            let on = match saved.on {
                On::Ask { to, put, answered } if to < next => {
                    futures::On::Ask { to: ComponentId(to), put, answered }
                }
                On::Ask { .. } => return Err(bad("nobody was asked")),
                On::Sleep { at, turn } => {
                    futures::On::Sleep(self.set_again(at, turn, Alarm::Sleep(call))?)
                }
                On::Lock(n) => futures::On::Lock(n),
                On::Call => futures::On::Call,
                On::Ready => futures::On::Ready,
                On::Sync => futures::On::Sync,
                On::Granted(n) => futures::On::Granted(n),
                On::Opened(fd) => futures::On::Opened(fd),
            };
            let asks = matches!(on, futures::On::Ask { .. });
            let waits =
                matches!(on, futures::On::Sleep(_) | futures::On::Lock(_) | futures::On::Sync);
            // Only an ask outlives who made it, and only until it is answered.
            if !(owned || asks && saved.dropped) || (asks || waits) && !saved.priced {
                return Err(bad(format_args!("call {} is nobody's, or was not paid for", call.0)));
            }
            let charged = if saved.priced { message(0) } else { Amount::default() };
            self.must_pay(charged)?;
            let future = futures::Future { owner, on, charged, dropped: saved.dropped };
            self.atoms.futures.insert(call, future);
        }
        Ok(())
    }

    pub(super) fn take_locks(&mut self, all: Vec<Lock>) -> Result<(), Fault> {
        let mut lines = 0;
        for saved in all {
            let wrong = || bad(format_args!("lock {} cannot be so", saved.n));
            let mut lock = locks::Lock { alone: saved.alone, ..locks::Lock::default() };
            for (id, times) in &saved.holders {
                let id = self.there(*id)?;
                if *times == 0 || lock.holders.iter().any(|h| h.0 == id) {
                    return Err(wrong());
                }
                lock.holders.push((id, *times));
            }
            for (call, shared) in &saved.line {
                let call = CallId(*call);
                let future = self.atoms.futures.get(&call).ok_or_else(wrong)?;
                let waits = matches!(future.on, futures::On::Lock(n) if n == saved.n);
                if !waits || lock.line.iter().any(|w| w.0 == call) {
                    return Err(wrong());
                }
                lock.line.push_back((call, future.owner, *shared));
            }
            lines += lock.line.len();
            let one = lock.holders.iter().map(|h| u64::from(h.1)).sum::<u64>() == 1;
            let held = !lock.holders.is_empty();
            if !held || lock.alone && !one || self.atoms.locks.insert(saved.n, lock).is_some() {
                return Err(wrong());
            }
        }
        let waiting = self.atoms.futures.values().filter(|f| matches!(f.on, futures::On::Lock(_)));
        if waiting.count() != lines {
            return Err(bad("a call waits for a lock, and is in no line"));
        }
        Ok(())
    }

    pub(super) fn take_calls(&mut self, all: Vec<Call>) -> Result<(), Fault> {
        let mut asked = BTreeMap::new();
        for saved in all {
            let (to, id) = (self.there(saved.to)?, CallId(saved.call));
            let held = match &saved.todo {
                Todo::Replace(data) | Todo::Write { data, .. } | Todo::WriteAt { data, .. } => {
                    data.0.len()
                }
                _ => 0,
            };
            if id.0 == 0 || id.0 > self.next_call || asked.insert(id, to).is_some() {
                return Err(bad("a call into the namespace was never made, or twice"));
            }
            let charged = Amount { memory: saved.memory, messages: 1 };
            if saved.memory < message(held).memory {
                return Err(bad("a call into the namespace was not paid for"));
            }
            self.must_pay(charged)?;
            let what = self.todo(to, saved.todo, &saved.path)?;
            let call = effects::Call { id, path: saved.path, what, charged };
            if !self.namespace.wait(to, call) {
                return Err(bad("a call leads nowhere in this guest's namespace"));
            }
        }
        let waits = |f: &futures::Future| matches!(f.on, futures::On::Call);
        let mut waiting = self.atoms.futures.iter().filter(|(_, f)| waits(f));
        if !waiting.all(|(call, f)| asked.get(call) == Some(&f.owner)) {
            return Err(bad("a call waits for the host, and is not asked"));
        }
        Ok(())
    }

    pub(super) fn take_files(&mut self, all: Vec<File>) -> Result<(), Fault> {
        for saved in all {
            let (id, flags) = (self.there(saved.of)?, OpenFlags(saved.flags));
            if saved.path.as_ref().is_some_and(|path| !self.namespace.leads(path)) {
                return Err(bad("a file lies nowhere in this guest's namespace"));
            }
            if flags != flags.without(ONCE) {
                return Err(bad("a file would be made anew"));
            }
            let File { path, qid, next, .. } = saved;
            let place = Place { path, flags, qid, next };
            let charged = price(Some(&place));
            self.must_pay(charged)?;
            let file = OpenFile { held: self.namespace.keep(place), charged, closing: false };
            if self.atoms.files.insert((id, saved.fd), file).is_some() {
                return Err(bad("a file is open twice"));
            }
        }
        Ok(())
    }

    /// What a call of a component does, with such a path.
    fn todo(&self, of: ComponentId, todo: Todo, path: &str) -> Result<effects::Todo, Fault> {
        let max = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let held = |fd: u32| match self.atoms.files.get(&(of, fd)) {
            Some(file) => Ok(file.held),
            None => Err(bad("a call is about a file that is not open")),
        };
        let job = match todo {
            Todo::ReadAll { max: n } => {
                return Ok(effects::Todo::Whole(What::Read { max: max(n) }));
            }
            Todo::List { max: n } => return Ok(effects::Todo::Whole(What::List { max: max(n) })),
            Todo::Replace(Bytes(data)) => return Ok(effects::Todo::Whole(What::Write(data))),
            Todo::Read { from, count } => Job::Read { from, count },
            Todo::Write { from, data } => Job::Write { from, data: data.0 },
            Todo::Stat => Job::Stat,
            Todo::Open { flags } => Job::Open { from: None, flags: OpenFlags(flags) },
            Todo::Walk { fd, flags } => {
                if path.starts_with('/') || path.split('/').any(|name| name == "..") {
                    return Err(bad("a walk leaves the directory that it begins at"));
                }
                Job::Open { from: Some(held(fd)?), flags: OpenFlags(flags) }
            }
            Todo::ReadAt { fd, from, count } => Job::ReadAt { of: held(fd)?, from, count },
            Todo::WriteAt { fd, from, data } => Job::WriteAt { of: held(fd)?, from, data: data.0 },
            Todo::StatOf { fd } => Job::StatOf { of: held(fd)? },
        };
        Ok(effects::Todo::Part(job))
    }

    pub(super) fn take_scratch(&mut self, saved: Option<Bytes>) -> Result<(), Fault> {
        let Some(Bytes(bytes)) = saved else { return Ok(()) };
        if bytes.len() != SCRATCH {
            return Err(bad("its scratch memory is not as large as that is"));
        }
        self.must_pay(Amount { memory: SCRATCH as u64, messages: 0 })?;
        self.atoms.scratch.bytes = bytes;
        Ok(())
    }
}

fn load(Bytes(bytes): Bytes) -> Load {
    Load::from(&bytes[..])
}
