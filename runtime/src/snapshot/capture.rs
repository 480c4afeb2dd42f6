//! From a guest to its state.
//!
//! What was under way with the host has no place in a state: the connection is not part
//! of the guest. A call that only reads is asked again by whoever goes on from here. One
//! that changes something returns there with ESTALE: nobody knows any more whether it was done.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_9p::ops::What;
use atoll_9p::stream::Stream;

use super::state::{
    Bytes, Call, Component, Figures, File, Future, Lines, Lock, On, Queued, Spawned, State, Timer,
    Todo, Why,
};
use crate::atoms::futures;
use crate::atoms::held::Held;
use crate::atoms::part::Job;
use crate::component::{CallId, ComponentId};
use crate::core::{Core, Queued as Event};
use crate::effects::{self, message};
use crate::namespace::Unanswered;
use crate::slots::{Armed, Origin, Slot};
use crate::timers::Key;

impl Core<'_> {
    /// The guest as it is now, but for its atoms' memories.
    pub fn capture(&self) -> State {
        let calls = self.namespace.unanswered();
        let lives = |c: &CallId| self.atoms.futures.contains_key(c);
        let (again, lost): (Vec<_>, Vec<_>) = calls.into_iter().partition(|c| c.what.is_some());
        let lost: Vec<_> = lost.into_iter().filter(|c| lives(&c.call)).collect();
        let queue = self.queue.iter().map(|(to, queued)| (to.0, event(queued)));
        let nobody_knows = lost.iter().map(|c| (c.to.0, unknown(c.call)));
        // A call that nobody waits for is asked again only if it never was.
        let again = again.into_iter().filter(|c| !c.asked || lives(&c.call));
        let c = self.counters;
        let fds: BTreeMap<Held, u32> =
            self.atoms.files.iter().map(|((_, fd), file)| (file.held, *fd)).collect();
        State {
            now: self.now.0,
            next_call: self.next_call,
            random: self.random.state(),
            turn: self.timers.turn(),
            next: self.slots.next(),
            wanted: self.snaps.wanted,
            log: lines(&self.log),
            components: self.slots.all().map(|slot| self.component(slot)).collect(),
            queue: queue.chain(nobody_knows).collect(),
            calls: again.filter_map(|c| call(&c, &fds)).collect(),
            futures: self.futures(&lost),
            files: self.files(),
            srv: self.atoms.srv.iter().map(|(name, id)| (name.clone(), id.0)).collect(),
            scratch: Some(&self.atoms.scratch.bytes).filter(|b| !b.is_empty()).map(|b| bytes(b)),
            locks: self.locks(),
            figures: Figures {
                dispatches: c.dispatches,
                refused: c.refused,
                abandoned: c.abandoned,
                requests: c.requests,
                cpu: self.sponsor.cpu,
            },
        }
    }

    fn component(&self, slot: &Slot<'_>) -> Component {
        let body = slot.body.as_ref();
        let streams = slot.streams.iter().map(|f| (f.told, lines(&f.stream)));
        let timers = slot.timers.iter().map(|(id, armed)| (*id, self.timer(*armed)));
        let mut saved = Component {
            id: slot.id.0,
            spawned: self.spawned(slot),
            state: body.map(|b| Bytes(b.save())).unwrap_or_default(),
            streams: streams.collect(),
            timers: timers.collect(),
            failures: slot.failures,
            dispatches: slot.dispatches,
            restarts: slot.restarts,
            linear: 0,
            log: Lines::default(),
            mask: 0,
            held: 0,
            interrupts: Vec::new(),
            paused: false,
            parked: Vec::new(),
            store: Vec::new(),
            records: Vec::new(),
        };
        if let Some(own) = &slot.own {
            let interrupts = own.interrupts.iter().map(|(code, from, arg)| {
                let from = from.map(|f| f.0);
                (*code, from, *arg)
            });
            saved.linear = own.linear;
            saved.log = lines(&own.log);
            (saved.mask, saved.held, saved.paused) = (own.mask, own.held, own.paused);
            saved.interrupts = interrupts.collect();
            saved.parked = own.parked.iter().map(event).collect();
            saved.store = own.store.map.iter().map(|(k, v)| (bytes(k), bytes(v))).collect();
            saved.records = own.store.log.iter().map(|r| bytes(r)).collect();
        }
        saved
    }

    fn spawned(&self, slot: &Slot<'_>) -> Option<Spawned> {
        let (Origin::Atom { module, limits }, Some(own)) = (&slot.origin, &slot.own) else {
            return None;
        };
        let parent = own.parent?.0;
        let like = self.payload.components.iter().position(|plan| {
            plan.module == u32::try_from(*module).ok() && plan.limits == *limits
        })?;
        let (name, params) = (String::from(&*slot.name), own.params.clone());
        Some(Spawned { name, params, like: like as u32, parent })
    }

    fn files(&self) -> Vec<File> {
        let saved = self.atoms.files.iter().filter_map(|((of, fd), file)| {
            let place = self.namespace.place(file.held)?;
            let (path, flags) = (place.path.clone(), place.flags.0);
            Some(File { of: of.0, fd: *fd, path, flags, qid: place.qid, next: place.next })
        });
        saved.collect()
    }

    fn timer(&self, armed: Armed) -> Timer {
        match armed {
            Armed::Came(turn) => Timer::Came { turn },
            Armed::Set(key) => {
                let (at, turn) = self.time_of(key);
                Timer::Set { at, turn }
            }
        }
    }

    fn time_of(&self, key: Key) -> (u64, u64) {
        self.timers.get(key).map_or((0, 0), |(at, turn)| (at.0, turn))
    }

    fn futures(&self, lost: &[Unanswered<'_>]) -> Vec<Future> {
        let saved = self.atoms.futures.iter().map(|(call, f)| {
            let on = match f.on {
                futures::On::Ask { to, put, answered } => On::Ask { to: to.0, put, answered },
                futures::On::Sleep(key) => {
                    let (at, turn) = self.time_of(key);
                    On::Sleep { at, turn }
                }
                futures::On::Lock(n) => On::Lock(n),
                futures::On::Call if lost.iter().any(|l| l.call == *call) => On::Ready,
                futures::On::Call => On::Call,
                futures::On::Ready => On::Ready,
                futures::On::Sync => On::Sync,
                futures::On::Granted(n) => On::Granted(n),
                futures::On::Opened(fd) => On::Opened(fd),
            };
            let priced = f.charged.messages > 0;
            Future { call: call.0, owner: f.owner.0, on, priced, dropped: f.dropped }
        });
        saved.collect()
    }

    fn locks(&self) -> Vec<Lock> {
        let saved = self.atoms.locks.iter().map(|(n, lock)| Lock {
            n: *n,
            alone: lock.alone,
            holders: lock.holders.iter().map(|(id, times)| (id.0, *times)).collect(),
            line: lock.line.iter().map(|(call, _, shared)| (call.0, *shared)).collect(),
        });
        saved.collect()
    }
}

fn bytes(bytes: &[u8]) -> Bytes {
    Bytes(bytes.to_vec())
}

fn lines(stream: &Stream) -> Lines {
    let (first, kept) = stream.kept();
    let text = String::from_utf8_lossy(&kept.collect::<Vec<u8>>()).into_owned();
    Lines { first, text }
}

fn event(queued: &Event) -> Queued {
    match queued {
        Event::Start => Queued::Start,
        Event::Watched { file } => Queued::Watched { file: *file as u32 },
        Event::Message { from, body } => Queued::Message { from: from.0, body: bytes(body) },
        Event::Timer { id, turn } => Queued::Timer { id: *id, turn: *turn },
        Event::Done { call, status, result, charged } => Queued::Done {
            call: call.0,
            status: *status,
            result: result.as_ref().map(|body| bytes(body)).map_err(Why::from),
            memory: charged.memory,
            messages: charged.messages,
        },
        Event::Asked(asked) => {
            Queued::Asked { from: asked.from.0, call: asked.call.0, body: bytes(&asked.body) }
        }
        Event::Interrupt { code } => Queued::Interrupt { code: *code },
    }
}

/// What becomes of a call of which nobody knows whether it was done.
fn unknown(call: CallId) -> Queued {
    let text = "the guest goes on elsewhere: nobody knows whether this was done";
    let fault = Fault::new(Errno::ESTALE, text).blame(Blame::Host);
    // A call costs no less than this.
    let charged = message(0);
    Queued::Done {
        call: call.0,
        status: 0,
        result: Err(Why::from(&fault)),
        memory: charged.memory,
        messages: charged.messages,
    }
}

/// A call that can be asked again.
fn call(of: &Unanswered<'_>, fds: &BTreeMap<Held, u32>) -> Option<Call> {
    let todo = match of.what? {
        effects::Todo::Whole(What::Read { max }) => Todo::ReadAll { max: *max as u64 },
        effects::Todo::Whole(What::List { max }) => Todo::List { max: *max as u64 },
        effects::Todo::Whole(What::Write(data)) => Todo::Replace(bytes(data)),
        effects::Todo::Part(Job::Read { from, count }) => Todo::Read { from: *from, count: *count },
        effects::Todo::Part(Job::Write { from, data }) => {
            Todo::Write { from: *from, data: bytes(data) }
        }
        effects::Todo::Part(Job::Stat) => Todo::Stat,
        effects::Todo::Part(Job::Open { from: None, flags }) => Todo::Open { flags: flags.0 },
        effects::Todo::Part(Job::Open { from: Some(dir), flags }) => {
            Todo::Walk { fd: *fds.get(dir)?, flags: flags.0 }
        }
        effects::Todo::Part(Job::ReadAt { of, from, count }) => {
            Todo::ReadAt { fd: *fds.get(of)?, from: *from, count: *count }
        }
        effects::Todo::Part(Job::WriteAt { of, from, data }) => {
            Todo::WriteAt { fd: *fds.get(of)?, from: *from, data: bytes(data) }
        }
        effects::Todo::Part(Job::StatOf { of }) => Todo::StatOf { fd: *fds.get(of)? },
        effects::Todo::Part(Job::Find { .. }) => return None,
    };
    let ComponentId(to) = of.to;
    Some(Call { to, call: of.call.0, path: of.path.into(), todo, memory: of.memory })
}
