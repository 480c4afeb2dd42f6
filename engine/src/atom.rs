//! An atom: an instance of a module, as a component.
//!
//! An event is one call of an export. What that export asks for on its way goes to the
//! runtime at once (`calls`), which only writes it down; so there is nothing to undo
//! here when it fails. After a trap, or when the watchdog has come, the instance is of
//! no further use, and says so.

use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::mem::ManuallyDrop;
use core::ops::Range;

use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_runtime::component::{CHUNK, Component, ComponentId, Cx, Event, Memory, Why};
use atoll_runtime::engine::AtomLimits;
use wasmtime::{Global, Instance, Mutability, Store, Trap, TypedFunc, WasmParams, WasmResults};

use crate::ahead::{self, Ahead};
use crate::atoms::Loaded;
use crate::exits::Exits;
use crate::memory::Track;
use crate::saved::Saved;
use crate::state::{Limits, State};

/// The ABI's version.
const ABI: i32 = 1;
/// The most bytes of a refusal's text.
const MAX_TEXT: usize = 256;
/// What making an instance may take at the least, in nanoseconds: most of it is not the
/// atom's doing.
const MAKING: u64 = 1_000_000_000;
/// The interrupt that says: the guest goes on from a checkpoint.
const RESTORED: u8 = 63;

/// Kinds of `invoke`.
mod kind {
    pub(super) const START: i32 = 1;
    pub(super) const MESSAGE: i32 = 2;
    pub(super) const ASK: i32 = 3;
    pub(super) const READ: i32 = 4;
    pub(super) const COMMAND: i32 = 5;
    pub(super) const WATCHED: i32 = 6;
    pub(super) const NAMES: i32 = 7;
    pub(super) const GET: i32 = 8;
    pub(super) const PUT: i32 = 9;
    pub(super) const REMOVE: i32 = 10;
}

/// An instance and its exports.
pub(crate) struct Live {
    exits: Exits,
    pub(crate) store: Store<State>,
    pub(crate) memory: wasmtime::Memory,
    pub(crate) globals: Vec<Global>,
    initialize: Option<TypedFunc<(), ()>>,
    invoke: TypedFunc<(i32, i64, i32), i32>,
    interrupt: Option<TypedFunc<(i32, i64, i32), i32>>,
    future: Option<TypedFunc<(i64, i32, i32), i32>>,
}

/// See the module's text.
pub(crate) struct Atom {
    module: Rc<Loaded>,
    limits: AtomLimits,
    /// In a cell, since even to look at a global takes the store as one's own.
    live: ManuallyDrop<RefCell<Live>>,
    /// `_initialize` has run.
    initialized: bool,
    /// A dispatch was abandoned, or the instance is of no use for another reason.
    dead: bool,
    /// Nothing has run in the instance, and nothing was put into it.
    fresh: bool,
    /// A state was restored, and of the memory as much as the chunks before this one. The
    /// others are zero as soon as anybody looks.
    rest: Cell<Option<usize>>,
    ahead: Ahead,
    track: alloc::boxed::Box<dyn Track>,
}

/// Which export an event goes to, and with what.
pub(crate) enum Call {
    Invoke(i32, i64),
    Interrupt(i32, i64),
    Future(i64, i32),
}

/// Where an answer goes.
enum Sink<'e> {
    Nowhere,
    Text(&'e mut String),
    Bytes(&'e mut Vec<u8>),
}

/// How a call ended that did not return.
#[derive(Debug)]
pub(crate) enum Fatal {
    Deadline,
    Trap(&'static str),
}

impl Atom {
    /// A fresh instance.
    pub(crate) fn new(module: Rc<Loaded>, limits: &AtomLimits) -> Result<Atom, Fault> {
        let pooled = module.pool.borrow_mut().take(limits);
        let live = match pooled {
            Some(live) => live,
            None => {
                let mut live = Live::new(&module, limits)?;
                module.pool.borrow_mut().made(&mut live);
                live
            }
        };
        let live = ManuallyDrop::new(RefCell::new(live));
        let track = (module.machine.track)();
        let (limits, rest, ahead) = (*limits, Cell::new(None), Ahead::default());
        let (initialized, dead, fresh) = (false, false, true);
        Ok(Atom { module, limits, live, initialized, dead, fresh, rest, ahead, track })
    }

    /// Makes zero what no chunk has come for since a state was restored.
    fn settle(&self) {
        if let Some(rest) = self.rest.take() {
            self.live.borrow_mut().clear(rest..usize::MAX);
        }
    }

    /// Runs one export, at most for the time that an atom has.
    pub(crate) fn run(&mut self, call: &Call) -> Result<i32, Fatal> {
        self.settle();
        self.fresh = false;
        let Live { exits, store, initialize, invoke, interrupt, future, .. } = self.live.get_mut();
        let first = matches!(call, Call::Invoke(kind::START, _)) && !self.initialized;
        let len = i32::try_from(store.data().body().len()).unwrap_or(i32::MAX);
        let done = watched(&self.module, self.limits.deadline_ns, *exits, || {
            if let Some(initialize) = initialize.as_ref().filter(|_| first) {
                initialize.call(&mut *store, ())?;
            }
            match *call {
                Call::Invoke(kind, id) => invoke.call(store, (kind, id, len)),
                Call::Interrupt(code, arg) => match interrupt {
                    Some(f) => f.call(store, (code, arg, 0)),
                    None if code == i32::from(RESTORED) => Ok(0),
                    None => Ok(-(Errno::EOPNOTSUPP.0 as i32)),
                },
                Call::Future(id, status) => match future {
                    Some(f) => f.call(store, (id, status, len)),
                    None => Ok(0),
                },
            }
        });
        self.dead |= done.is_err();
        done
    }

    fn dispatch_event(
        &mut self,
        cx: &mut Cx<'_>,
        call: Call,
        from: Option<ComponentId>,
        body: &[u8],
        sink: Sink<'_>,
    ) -> Result<(), Fault> {
        if self.dead {
            return Err(Fault::new(Errno::EIO, "the atom was abandoned").blame(Blame::Guest));
        }
        self.live.get_mut().store.data_mut().begin(cx, from, body);
        let done = self.run(&call);
        let answer = self.live.get_mut().store.data_mut().end();
        let starts = matches!(call, Call::Invoke(kind::START, _));
        self.initialized |= starts;
        let why = match done {
            Ok(0..) => return sink.take(answer),
            Ok(refused) if starts => {
                let why = refusal(refused, answer);
                cx.log(format_args!("does not start: {why}"));
                self.dead = true;
                cx.abandon(Why::Trap("it refused to start"));
                return Err(why);
            }
            Ok(refused) => return Err(refusal(refused, answer)),
            Err(Fatal::Deadline) => Why::Deadline,
            Err(Fatal::Trap(what)) => Why::Trap(what),
        };
        cx.abandon(why);
        Err(Fault::from(Errno::EIO).blame(Blame::Guest))
    }
}

impl Drop for Atom {
    fn drop(&mut self) {
        // SAFETY: this is the atom's end; nobody uses it after this.
        let live = unsafe { ManuallyDrop::take(&mut self.live) }.into_inner();
        if !self.dead {
            self.module.pool.borrow_mut().give(live);
        }
    }
}

impl Live {
    fn new(module: &Loaded, limits: &AtomLimits) -> Result<Live, Fault> {
        let bad = |why: String| Fault::new(Errno::ENOMEM, why).blame(Blame::Host);
        let memory = usize::try_from(limits.memory).unwrap_or(usize::MAX);
        let guard = module.machine.guard.clone();
        let mut store =
            Store::new(&module.engine, State::new(Limits { memory, guard }, module.events));
        store.limiter(|state| state);
        // A start function, and the one that tells the version, are code of the atom's.
        let exported = |e: wasmtime::Error| bad(alloc::format!("{e:#}"));
        let ns = limits.deadline_ns.max(MAKING);
        let failed = |fatal| match fatal {
            Fatal::Deadline => bad("it ran too long while it was made".to_string()),
            Fatal::Trap(what) => bad(alloc::format!("it cannot be made: {what}")),
        };
        let instance = watched(module, ns, Exits::UNKNOWN, || module.pre.instantiate(&mut store));
        let instance = instance.map_err(failed)?;
        let abi = instance.get_typed_func::<(), i32>(&mut store, "atoll_abi").map_err(exported)?;
        let exits = Exits::new(&mut store, abi.func());
        let version = watched(module, ns, exits, || abi.call(&mut store, ())).map_err(failed)?;
        if version != ABI {
            let why = alloc::format!("the module is of ABI {version}, and this runtime of {ABI}");
            return Err(Fault::new(Errno::EOPNOTSUPP, why));
        }
        let memory = instance.get_memory(&mut store, "memory");
        let memory = memory.ok_or_else(|| bad("it has no memory".to_string()))?;
        store.data_mut().memory = Some(memory);
        let invoke = instance.get_typed_func(&mut store, "invoke").map_err(exported)?;
        let interrupt = optional(&instance, &mut store, "interrupt").map_err(exported)?;
        let future = optional(&instance, &mut store, "future").map_err(exported)?;
        let initialize = optional(&instance, &mut store, "_initialize").map_err(exported)?;
        let mut globals = Vec::new();
        while let Some(g) =
            instance.get_global(&mut store, &alloc::format!("__atoll_g{}", globals.len()))
        {
            globals.push(g);
        }
        Ok(Live { exits, store, memory, globals, initialize, invoke, interrupt, future })
    }
}

/// An export that need not be there.
fn optional<P: WasmParams, R: WasmResults>(
    instance: &Instance,
    store: &mut Store<State>,
    name: &str,
) -> wasmtime::Result<Option<TypedFunc<P, R>>> {
    match instance.get_func(&mut *store, name) {
        Some(f) => f.typed(&store).map(Some),
        None => Ok(None),
    }
}

/// Runs code of a module under the watchdog.
fn watched<T>(
    module: &Loaded,
    ns: u64,
    exits: Exits,
    f: impl FnOnce() -> wasmtime::Result<T>,
) -> Result<T, Fatal> {
    let guard = &module.machine.guard;
    /// Also where `f` panics, so that nobody looks at `code` afterwards.
    struct Armed<'g>(&'g dyn crate::guard::Guard);
    impl Drop for Armed<'_> {
        fn drop(&mut self) {
            self.0.disarm();
        }
    }
    // SAFETY: `module` is borrowed until `armed` is dropped; whoever knows the exits of a
    // store uses it in `f`.
    unsafe { guard.arm(ns, &module.code, exits) };
    let armed = Armed(guard.as_ref());
    let done = f();
    core::mem::forget(armed);
    if guard.disarm() {
        return Err(Fatal::Deadline);
    }
    done.map_err(|e| Fatal::Trap(e.downcast_ref::<Trap>().map_or("a failed call", |t| text(*t))))
}

/// What a trap means, for people.
fn text(trap: Trap) -> &'static str {
    match trap {
        Trap::StackOverflow => "its stack is used up",
        Trap::MemoryOutOfBounds => "an access outside of its memory",
        Trap::TableOutOfBounds => "a call outside of its table",
        Trap::IndirectCallToNull => "a call of a function that is not there",
        Trap::BadSignature => "a call of a function of another type",
        Trap::IntegerOverflow => "an integer overflow",
        Trap::IntegerDivisionByZero => "a division by zero",
        Trap::BadConversionToInteger => "a float that is no integer",
        Trap::UnreachableCodeReached => "unreachable code was reached",
        _ => "a trap",
    }
}

/// The fault of an outcome below zero.
fn refusal(outcome: i32, text: Vec<u8>) -> Fault {
    let errno = match outcome.unsigned_abs() {
        n @ 1..=4095 => Errno(n),
        _ => Errno::EIO,
    };
    match String::from_utf8(text) {
        Ok(mut text) if !text.is_empty() => {
            text.truncate(text.floor_char_boundary(MAX_TEXT));
            Fault::new(errno, text)
        }
        _ => errno.into(),
    }
}

impl Sink<'_> {
    fn take(self, answer: Vec<u8>) -> Result<(), Fault> {
        match self {
            Sink::Nowhere => {}
            Sink::Bytes(out) => *out = answer,
            Sink::Text(out) => {
                *out = String::from_utf8(answer).map_err(|_| {
                    Fault::new(Errno::EIO, "the answer is no text").blame(Blame::Guest)
                })?;
            }
        }
        Ok(())
    }
}

/// A place of a file as the ABI has it.
fn file(place: usize) -> i64 {
    i64::try_from(place).unwrap_or(i64::MAX)
}

impl Component for Atom {
    fn dispatch(&mut self, cx: &mut Cx<'_>, event: Event<'_>) -> Result<(), Fault> {
        use Call::{Future, Interrupt, Invoke};
        let nowhere = Sink::Nowhere;
        match event {
            Event::Start => {
                let params = cx.params().as_bytes().to_vec();
                self.dispatch_event(cx, Invoke(kind::START, 0), None, &params, nowhere)
            }
            Event::Message { from, body } => {
                let call = Invoke(kind::MESSAGE, i64::from(from.0));
                self.dispatch_event(cx, call, Some(from), body, nowhere)
            }
            Event::Ask { from, token, body } => {
                let call = Invoke(kind::ASK, token.0.cast_signed());
                self.dispatch_event(cx, call, Some(from), body, nowhere)
            }
            Event::Interrupt { from, code, arg } => {
                self.dispatch_event(cx, Interrupt(i32::from(code), arg), from, &[], nowhere)
            }
            Event::Timer { .. } => Err(Errno::EOPNOTSUPP.into()),
            Event::Read { file: f, out } => {
                self.dispatch_event(cx, Invoke(kind::READ, file(f)), None, &[], Sink::Text(out))
            }
            Event::Command { file: f, command } => {
                let body = command.rest.as_bytes();
                self.dispatch_event(cx, Invoke(kind::COMMAND, file(f)), None, body, nowhere)
            }
            Event::Names { file: f, skip, out } => {
                let id = file(f) << 32 | i64::from(skip);
                self.dispatch_event(cx, Invoke(kind::NAMES, id), None, &[], Sink::Text(out))
            }
            Event::Get { file: f, name, out } => {
                let (call, body) = (Invoke(kind::GET, file(f)), name.as_bytes());
                self.dispatch_event(cx, call, None, body, Sink::Bytes(out))
            }
            Event::Put { file: f, name, data } => {
                let Ok(len) = u16::try_from(name.len()) else {
                    return Err(Errno::ENAMETOOLONG.into());
                };
                let body = [&len.to_le_bytes(), name.as_bytes(), data].concat();
                self.dispatch_event(cx, Invoke(kind::PUT, file(f)), None, &body, nowhere)
            }
            Event::Remove { file: f, name } => {
                let (call, body) = (Invoke(kind::REMOVE, file(f)), name.as_bytes());
                self.dispatch_event(cx, call, None, body, nowhere)
            }
            Event::Watched { file: f, on } => {
                let id = file(f) << 1 | i64::from(on);
                self.dispatch_event(cx, Invoke(kind::WATCHED, id), None, &[], nowhere)
            }
            Event::Done { call, status, result } => {
                let id = call.0.cast_signed();
                match result {
                    Ok(body) => self.dispatch_event(cx, Future(id, status), None, body, nowhere),
                    Err(fault) => {
                        let status = crate::state::No(fault.errno).number();
                        let text = fault.text().as_bytes();
                        self.dispatch_event(cx, Future(id, status), None, text, nowhere)
                    }
                }
            }
        }
    }

    fn save(&self) -> Vec<u8> {
        let live = &mut *self.live.borrow_mut();
        let memory = live.memory.data_size(&live.store) as u64;
        let globals = live.globals.iter().map(|g| g.get(&mut live.store)).collect();
        Saved { initialized: self.initialized, memory, globals }.bytes()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Fault> {
        let saved = Saved::parse(state)?;
        if self.fresh {
            self.live.get_mut().set(&saved)?;
        } else {
            let mut live = Live::new(&self.module, &self.limits)?;
            live.set(&saved)?;
            *self.live = RefCell::new(live);
        }
        self.initialized = saved.initialized;
        (self.dead, self.fresh) = (false, false);
        (self.rest, self.ahead) = (Cell::new(Some(0)), Ahead::default());
        self.track = (self.module.machine.track)();
        Ok(())
    }

    fn memory(&mut self) -> Option<&mut dyn Memory> {
        Some(self)
    }
}

impl Live {
    /// Gives a fresh instance these globals and a memory of that size; what is in that is
    /// to be cleared. On an error nothing has changed.
    fn set(&mut self, saved: &Saved) -> Result<(), Fault> {
        let bad = |why: &'static str| Fault::new(Errno::EINVAL, why);
        if saved.globals.len() != self.globals.len() {
            return Err(bad("the state has not as many globals as the module"));
        }
        let of = "the state's globals are not of the module's types";
        for (global, value) in self.globals.iter().zip(&saved.globals) {
            let ty = global.ty(&self.store);
            let fits = value.matches_ty(&self.store, ty.content()).unwrap_or(false);
            if !fits || ty.mutability() != Mutability::Var {
                return Err(bad(of));
            }
        }
        if saved.memory < self.memory.data_size(&self.store) as u64 {
            return Err(bad("the state's memory is smaller than the module's"));
        }
        self.grow(saved.memory)?;
        for (global, value) in self.globals.iter().zip(&saved.globals) {
            global.set(&mut self.store, *value).map_err(|_| bad(of))?;
        }
        Ok(())
    }

    /// Makes these chunks zero, as far as they are there.
    fn clear(&mut self, chunks: Range<usize>) {
        let all = self.memory.data_mut(&mut self.store).as_chunks_mut::<CHUNK>().0;
        let end = chunks.end.min(all.len());
        for chunk in all.get_mut(chunks.start..end).unwrap_or_default() {
            // Where nothing is, nothing is written: no page is taken for it.
            if *chunk != [0; CHUNK] {
                *chunk = [0; CHUNK];
            }
        }
    }

    fn grow(&mut self, size: u64) -> Result<(), Fault> {
        let more = size.saturating_sub(self.memory.data_size(&self.store) as u64);
        let page = self.memory.page_size(&self.store);
        if !more.is_multiple_of(page) {
            return Err(Fault::new(Errno::EINVAL, "a memory is made of whole pages"));
        }
        let grown = self.memory.grow(&mut self.store, more / page);
        let why = "the state's memory is larger than the atom's may be";
        grown.map(drop).map_err(|_| Fault::new(Errno::ENOMEM, why))
    }
}

impl Memory for Atom {
    fn size(&self) -> u64 {
        let live = self.live.borrow();
        live.memory.data_size(&live.store) as u64
    }

    fn read(&self, chunk: u32, out: &mut [u8; CHUNK]) {
        self.settle();
        let live = self.live.borrow();
        let chunks = live.memory.data(&live.store).as_chunks().0;
        *out = *chunks.get(chunk as usize).unwrap_or(&[0; CHUNK]);
    }

    fn write(&mut self, size: u64, chunk: u32, data: &[u8; CHUNK]) {
        self.fresh = false;
        let (live, at) = (self.live.get_mut(), chunk as usize);
        // One that does not fit is left out; `restore` has seen to the size.
        let _ = live.grow(size);
        if let Some(rest) = self.rest.get() {
            live.clear(rest..at);
            self.rest.set(Some(rest.max(at + 1)));
        }
        let memory = live.memory.data_mut(&mut live.store);
        if let Some(pages) = self.ahead.next(at, memory.len() / CHUNK) {
            ahead::populate(ahead::bytes(memory, pages));
        }
        if let Some(place) = memory.as_chunks_mut().0.get_mut(at) {
            *place = *data;
        }
    }

    fn dirty(&mut self, out: &mut Vec<u32>) {
        self.settle();
        let live = self.live.get_mut();
        self.track.dirty(live.memory.data(&live.store), out);
    }

    fn clear(&mut self) {
        self.settle();
        let live = self.live.get_mut();
        self.track.clear(live.memory.data(&live.store));
    }
}
