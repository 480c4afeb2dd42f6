//! What only atoms ask for: futures, interrupts, a store, scratch memory, locks, names,
//! components made by components.
//!
//! All of it is plain data: `Atoms` is what a guest has once, `Own` what each
//! component has. A wish that others could notice is carried out when the dispatch is
//! committed (`More`); what only the component itself can see until then (what it has
//! stored, what it holds back, what it has replied to) changes at once, and is put back
//! by `Undo` where the dispatch fails. Since no dispatch begins inside another, nobody
//! can tell the difference.
//!
//! What is here is linked with the feature `atoms` only.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::stream::Stream;

use crate::component::{CallId, ComponentId};
use crate::core::{Core, Queued};
use crate::effects::Cx;
use crate::load::Load;
use crate::platform::Time;
use crate::sponsor::Amount;

mod control;
pub(crate) mod entries;
pub(crate) mod files;
pub(crate) mod futures;
pub(crate) mod held;
mod interrupts;
pub(crate) mod keep;
pub(crate) mod locks;
pub(crate) mod part;
pub(crate) mod scratch;
pub(crate) mod spawn;
pub(crate) mod srv;
pub mod store;
pub(crate) mod tree;

use files::OpenFile;
pub(crate) use futures::Asked;
use futures::Future;
use keep::Keep;
use locks::Lock;
use scratch::Scratch;
use spawn::Fresh;
use store::Ram;

/// What a guest has once.
#[derive(Default)]
pub(crate) struct Atoms {
    /// Calls that have not returned, by number.
    pub(crate) futures: BTreeMap<CallId, Future>,
    /// The components, by name.
    pub(crate) names: BTreeMap<String, ComponentId>,
    /// Names that components took.
    pub(crate) srv: BTreeMap<String, ComponentId>,
    pub(crate) scratch: Scratch,
    pub(crate) locks: BTreeMap<u8, Lock>,
    /// Files that components have open, by number.
    pub(crate) files: BTreeMap<(ComponentId, u32), OpenFile>,
    /// What is stored, on its way to the host.
    pub(crate) keep: Keep,
}

/// What each component has.
pub(crate) struct Own {
    /// Lines `key value`.
    pub(crate) params: String,
    /// Who spawned it.
    pub(crate) parent: Option<ComponentId>,
    /// What was charged when it was made.
    pub(crate) price: Amount,
    /// Bytes of its linear memory, which are charged.
    pub(crate) linear: u64,
    /// What it said.
    pub(crate) log: Stream,
    /// Codes of interrupts that are held back.
    pub(crate) mask: u64,
    /// Of those, the ones whose turn has come meanwhile.
    pub(crate) held: u64,
    /// Interrupts that wait, at most one of a code: who, and the number that came with it.
    pub(crate) interrupts: Vec<(u8, Option<ComponentId>, i64)>,
    /// It gets nothing.
    pub(crate) paused: bool,
    /// What its turn has come for meanwhile.
    pub(crate) parked: VecDeque<Queued>,
    /// What it has stored.
    pub(crate) store: Ram,
}

impl Default for Own {
    fn default() -> Own {
        Own {
            params: String::new(),
            parent: None,
            price: Amount::default(),
            linear: 0,
            log: Stream::new(0),
            mask: 0,
            held: 0,
            interrupts: Vec::new(),
            paused: false,
            parked: VecDeque::new(),
            store: Ram::default(),
        }
    }
}

/// Wishes of atoms.
#[derive(Debug)]
pub(crate) enum More {
    Ask { call: CallId, to: ComponentId, body: Load },
    Reply { token: CallId, status: i32, result: Result<Load, Fault>, charged: Amount },
    Sleep(CallId, Time),
    Drop(CallId),
    Signal(ComponentId, u8, i64),
    Unmasked,
    Lock { call: CallId, n: u8, shared: bool },
    Unlocked(u8),
    Close(u32),
    Spawn(Box<Fresh>),
    Kill(ComponentId),
    Sync(CallId),
}

/// How something was before this dispatch changed it.
#[derive(Debug)]
pub(crate) enum Undo {
    /// An ask was not answered.
    Reply(CallId),
    /// Somebody waited for a call.
    Drop(CallId),
    Mask(u64),
    /// A lock was held, alone or not.
    Unlock(u8, bool),
    /// A file stayed open.
    Close(u32),
    /// A name of `/srv` was free.
    Register(String),
    /// A name of a component was free.
    Name(String),
    /// A block of scratch memory.
    Scratch(u8, Box<scratch::Block>),
    /// There was no scratch memory.
    NoScratch,
    /// A key had this value, or none.
    Kv(Vec<u8>, Option<Vec<u8>>),
    /// The log had a record fewer.
    Log,
}

impl Atoms {
    /// A dispatch is over.
    pub(crate) fn settle(&mut self) {
        self.scratch.settle();
    }
}

/// The component is not there, or nobody is any more who could answer.
fn gone() -> Fault {
    Errno::EPIPE.into()
}

impl Cx<'_> {
    /// The parameters that an atom was configured or spawned with: lines `key value`.
    /// Nothing for a native component, which got its parameters when it was made.
    pub fn params(&self) -> &str {
        &self.own.params
    }

    /// Charges what the dispatch cannot go on without.
    fn pay(&mut self, amount: Amount) -> Result<(), Fault> {
        if self.charge(amount) { Ok(()) } else { Err(Errno::EDQUOT.into()) }
    }

    fn wish(&mut self, more: More) {
        self.effects.wishes.push(crate::effects::Wish::More(more));
    }
}

impl Core<'_> {
    /// Carries out a wish of a dispatch that is committed.
    pub(crate) fn grant_more(&mut self, from: ComponentId, more: More) {
        match more {
            More::Ask { call, to, body } => self.ask(from, call, to, body),
            More::Reply { token, status, result, charged } => {
                self.complete(token, status, result, charged);
            }
            More::Sleep(call, at) => self.sleep(from, call, at),
            More::Drop(call) => self.drop_future(call),
            More::Signal(to, code, arg) => self.signal(to, Some(from), code, arg),
            More::Unmasked => self.unmasked(from),
            More::Lock { call, n, shared } => self.lock(from, call, n, shared),
            More::Unlocked(n) => self.grant_lock(n),
            More::Close(fd) => self.close_file(from, fd),
            More::Spawn(fresh) => self.spawn(from, *fresh),
            More::Kill(id) => self.kill(id),
            More::Sync(call) => self.sync(from, call),
        }
    }

    /// Puts back what the dispatch of this component has changed at once.
    pub(crate) fn undo(&mut self, id: ComponentId) {
        let mut undo = core::mem::take(&mut self.effects.undo);
        let atoms = &mut self.atoms;
        let Some(own) = self.slots.get_mut(id).and_then(|s| s.own.as_mut()) else { return };
        while let Some(undone) = undo.pop() {
            match undone {
                Undo::Reply(token) => atoms.owe(token),
                Undo::Drop(call) => atoms.wait(call),
                Undo::Mask(mask) => own.mask = mask,
                Undo::Unlock(n, alone) => atoms.hold(n, id, alone),
                Undo::Close(fd) => atoms.keep_open(id, fd),
                Undo::Register(name) => drop(atoms.srv.remove(&name)),
                Undo::Name(name) => drop(atoms.names.remove(&name)),
                Undo::Scratch(n, block) => atoms.scratch.put_back(n, &block),
                Undo::NoScratch => atoms.scratch = Scratch::default(),
                Undo::Kv(key, value) => drop(own.store.put_back(key, value)),
                Undo::Log => own.store.pop(),
            }
        }
        self.effects.undo = undo;
    }

    /// Drops what a component that is no more has asked for, and tells those that wait
    /// for it.
    pub(crate) fn forget_more(&mut self, id: ComponentId) {
        self.unpark(id);
        if let Some(own) = self.slots.get_mut(id).and_then(|s| s.own.as_mut()) {
            own.mask = 0;
        }
        self.unmasked(id);
        self.forget_futures(id);
        self.forget_files(id);
        self.forget_locks(id);
        self.forget_names(id);
    }
}
