//! The components of a guest, each with what belongs to it.
//!
//! A number is never given to another component. So those that have gone leave no
//! place behind: a component is found at once where none before it has gone, and by a
//! search where some have.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;

#[cfg(feature = "atoms")]
use atoll_9p::fault::Errno;
use atoll_9p::fault::Fault;
use atoll_9p::stream::Stream;
#[cfg(feature = "atoms")]
use atoll_config::atom;
use atoll_config::payload::{Component as Plan, Value};

#[cfg(feature = "atoms")]
use crate::atoms::Own;
use crate::component::{Component, ComponentId, Entry, FileKind, FileSpec};
use crate::core::StartError;
#[cfg(feature = "atoms")]
use crate::engine::AtomLimits;
use crate::engine::Engine;
use crate::timers::Key;

/// An event file of a component.
pub(crate) struct EventFile {
    pub(crate) stream: Stream,
    /// What the component was last told: whether there are readers.
    pub(crate) told: bool,
    /// It is to be told, and that waits for its turn.
    pub(crate) asked: bool,
}

/// A timer of a component.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Armed {
    Set(Key),
    /// It came, and waits for its turn.
    Came(u64),
}

/// What a component is made of.
pub(crate) enum Origin<'a> {
    Native(&'static Entry, Vec<Value<'a>>),
    /// An instance of a module.
    #[cfg(feature = "atoms")]
    Atom {
        module: usize,
        limits: AtomLimits,
    },
}

/// A component and what belongs to it.
pub(crate) struct Slot<'a> {
    pub(crate) id: ComponentId,
    pub(crate) name: Cow<'a, str>,
    pub(crate) origin: Origin<'a>,
    pub(crate) files: Vec<FileSpec<'a>>,
    /// None while it runs.
    pub(crate) body: Option<Box<dyn Component>>,
    /// By file; only event files use theirs.
    pub(crate) streams: Vec<EventFile>,
    /// By number.
    pub(crate) timers: Vec<(u32, Armed)>,
    /// Abandoned in a row: with no event between that it handled well, other than
    /// those that being made anew brings.
    pub(crate) failures: u32,
    pub(crate) dispatches: u64,
    pub(crate) restarts: u64,
    /// What only atoms have.
    #[cfg(feature = "atoms")]
    pub(crate) own: Option<Box<Own>>,
}

impl<'a> Slot<'a> {
    /// A component of a kind of the registry.
    pub(crate) fn native(
        plan: &Plan<'a>,
        registry: &'static [Entry],
    ) -> Result<Slot<'a>, StartError> {
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
        let origin = Origin::Native(entry, plan.params.clone());
        Ok(Slot::new(Cow::Borrowed(plan.name), origin, entry.files.to_vec(), body))
    }

    pub(crate) fn new(
        name: Cow<'a, str>,
        origin: Origin<'a>,
        files: Vec<FileSpec<'a>>,
        body: Box<dyn Component>,
    ) -> Slot<'a> {
        let streams = files.iter().map(|f| stream(f.kind)).collect();
        Slot {
            id: ComponentId(0),
            name,
            origin,
            files,
            body: Some(body),
            streams,
            timers: Vec::new(),
            failures: 0,
            dispatches: 0,
            restarts: 0,
            #[cfg(feature = "atoms")]
            own: Some(Box::default()),
        }
    }

    /// Makes its body anew.
    pub(crate) fn make(&self, engine: Option<&dyn Engine>) -> Result<Box<dyn Component>, Fault> {
        #[cfg(not(feature = "atoms"))]
        let _ = engine;
        match &self.origin {
            Origin::Native(entry, params) => (entry.make)(params),
            #[cfg(feature = "atoms")]
            Origin::Atom { module, limits } => {
                engine.ok_or(Errno::EOPNOTSUPP)?.make(*module, limits)
            }
        }
    }

    /// Its kind, and the version of that kind's state.
    pub(crate) fn kind(&self) -> (&'static str, u16) {
        match &self.origin {
            Origin::Native(entry, _) => (entry.kind, entry.state_version),
            #[cfg(feature = "atoms")]
            Origin::Atom { .. } => (atom::KIND, atom::ABI),
        }
    }

    /// Whether it is told of its start.
    pub(crate) fn starts(&self) -> bool {
        match &self.origin {
            Origin::Native(entry, _) => entry.starts,
            #[cfg(feature = "atoms")]
            Origin::Atom { .. } => true,
        }
    }

    /// What is charged for as long as it is there: bytes that its event files may
    /// keep, and what an atom costs.
    pub(crate) fn kept(&self) -> u64 {
        let kept: u64 = self.files.iter().map(|f| keep(f.kind) as u64).sum();
        #[cfg(feature = "atoms")]
        let kept = kept + self.own.as_ref().map_or(0, |own| own.price());
        kept
    }

    fn place(&self, id: u32) -> Result<usize, usize> {
        self.timers.binary_search_by_key(&id, |t| t.0)
    }

    /// Its timer of that number.
    pub(crate) fn timer(&mut self, id: u32) -> Option<&mut Armed> {
        let at = self.place(id).ok()?;
        self.timers.get_mut(at).map(|t| &mut t.1)
    }

    /// A timer is set, of a number that has none.
    pub(crate) fn arm(&mut self, id: u32, key: Key) {
        if let Err(at) = self.place(id) {
            self.timers.insert(at, (id, Armed::Set(key)));
        }
    }

    /// Takes a timer away.
    pub(crate) fn disarm(&mut self, id: u32) -> Option<Armed> {
        let at = self.place(id).ok()?;
        Some(self.timers.remove(at).1)
    }

    /// Takes a timer away, if it is the one that came then.
    pub(crate) fn came(&mut self, id: u32, turn: u64) -> bool {
        let came = matches!(self.timer(id), Some(Armed::Came(t)) if *t == turn);
        came && self.disarm(id).is_some()
    }

    /// Takes all timers away.
    pub(crate) fn disarm_all(&mut self) -> impl Iterator<Item = Armed> {
        core::mem::take(&mut self.timers).into_iter().map(|t| t.1)
    }
}

/// The components, by number.
#[derive(Default)]
pub(crate) struct Slots<'a> {
    all: Vec<Slot<'a>>,
    /// The number of the next one.
    next: u32,
}

impl<'a> Slots<'a> {
    /// Adds a component.
    pub(crate) fn add(&mut self, slot: Slot<'a>) -> ComponentId {
        let id = ComponentId(self.next);
        self.next += 1;
        self.all.push(Slot { id, ..slot });
        id
    }

    /// Adds a component whose number is known: each is behind the one before it.
    #[cfg(feature = "atoms")]
    pub(crate) fn put(&mut self, slot: Slot<'a>) {
        self.next = slot.id.0 + 1;
        self.all.push(slot);
    }

    /// The next component has this number, which is behind all.
    #[cfg(feature = "atoms")]
    pub(crate) fn go_on_from(&mut self, next: u32) {
        self.next = next;
    }

    /// The number of the next component.
    #[cfg(feature = "atoms")]
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    fn place(&self, id: ComponentId) -> Option<usize> {
        let at = id.0 as usize;
        if self.all.get(at).is_some_and(|s| s.id == id) {
            return Some(at);
        }
        self.all.binary_search_by_key(&id, |s| s.id).ok()
    }

    pub(crate) fn get(&self, id: ComponentId) -> Option<&Slot<'a>> {
        self.all.get(self.place(id)?)
    }

    pub(crate) fn get_mut(&mut self, id: ComponentId) -> Option<&mut Slot<'a>> {
        let at = self.place(id)?;
        self.all.get_mut(at)
    }

    /// Takes a component away.
    #[cfg(feature = "atoms")]
    pub(crate) fn remove(&mut self, id: ComponentId) -> Option<Slot<'a>> {
        let at = self.place(id)?;
        Some(self.all.remove(at))
    }

    /// The components, in the order of their numbers.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Slot<'a>> {
        self.all.iter()
    }

    /// The same, each to be changed.
    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = (ComponentId, &mut Slot<'a>)> {
        self.all.iter_mut().map(|s| (s.id, s))
    }
}

fn keep(kind: FileKind) -> usize {
    match kind {
        FileKind::Events { keep } | FileKind::Next { keep } => keep,
        FileKind::Text | FileKind::Ctl(_) | FileKind::Names => 0,
    }
}

fn stream(kind: FileKind) -> EventFile {
    let stream = match kind {
        FileKind::Next { keep } => Stream::new(keep).from_newest(),
        _ => Stream::new(keep(kind)),
    };
    EventFile { stream, told: false, asked: false }
}
