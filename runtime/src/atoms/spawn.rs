//! Components made by components, and their end.

use alloc::borrow::{Cow, ToOwned};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::stream::Stream;
use atoll_9p::synth::Verb;
use atoll_config::atom;
use atoll_config::payload::{Component as Plan, Module, Value};

use super::{More, Own, Undo, srv};
use crate::component::{Component, ComponentId, FileKind, FileSpec, Why};
use crate::core::{Core, StartError};
use crate::effects::Cx;
use crate::engine::{AtomLimits, Engine};
use crate::slots::{Origin, Slot};
use crate::sponsor::Amount;

/// What an atom costs beside its name, parameters and files, in bytes.
const ATOM: u64 = 1024 + LOG as u64;
/// Bytes that an atom's own log keeps.
const LOG: usize = 1024;
/// The one verb of an atom's ctl files: any line.
const ANY: &[Verb] = &[Verb::any("LINE")];
/// The most bytes of parameters.
pub(crate) const PARAMS: usize = 4096;

/// A component that begins when the dispatch is committed.
pub(crate) struct Fresh {
    name: String,
    params: String,
    module: usize,
    limits: AtomLimits,
    body: Box<dyn Component>,
    price: Amount,
}

impl core::fmt::Debug for Fresh {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Fresh").field("name", &self.name).finish_non_exhaustive()
    }
}

pub(crate) fn price(name: &str, params: &str) -> Amount {
    let mut price = srv::price(name);
    price.memory += ATOM + params.len() as u64;
    price
}

/// Bytes of its linear memory.
fn linear(body: &mut dyn Component) -> u64 {
    body.memory().map_or(0, |m| m.size())
}

impl<'a> Slot<'a> {
    /// An atom of the configuration.
    pub(crate) fn atom(
        plan: &Plan<'a>,
        module: usize,
        modules: &[Module<'a>],
        engine: Option<&'a dyn Engine>,
    ) -> Result<Slot<'a>, StartError> {
        let name = plan.name.to_owned();
        let (Some(of), Some(engine)) = (modules.get(module), engine) else {
            return Err(StartError::Atom(name));
        };
        if plan.state_version != atom::ABI {
            return Err(StartError::StateVersion(name));
        }
        let files = of.files.iter().map(|f| FileSpec { name: f.name, kind: kind(f.kind) });
        let limits = plan.limits;
        let mut body =
            engine.make(module, &limits).map_err(|fault| StartError::Component(name, fault))?;
        let params = match plan.params.as_slice() {
            [Value::Text(text)] => *text,
            _ => "",
        };
        let origin = Origin::Atom { module, limits };
        let own = Own {
            params: params.to_owned(),
            linear: linear(&mut *body),
            ..Own::of_atom(None, price(plan.name, params))
        };
        let mut slot = Slot::new(Cow::Borrowed(plan.name), origin, files.collect(), body);
        slot.own = Some(Box::new(own));
        Ok(slot)
    }
}

impl Own {
    /// Bytes that were charged when it was made.
    pub(crate) fn price(&self) -> u64 {
        self.price.memory.saturating_add(self.linear)
    }

    pub(crate) fn of_atom(parent: Option<ComponentId>, price: Amount) -> Own {
        Own { parent, price, log: Stream::new(LOG), ..Own::default() }
    }
}

/// A file of a module as one of a component.
fn kind(kind: atom::FileKind) -> FileKind {
    match kind {
        atom::FileKind::Text => FileKind::Text,
        atom::FileKind::Ctl => FileKind::Ctl(ANY),
        atom::FileKind::Events { keep } => FileKind::Events { keep: keep as usize },
        atom::FileKind::Next { keep } => FileKind::Next { keep: keep as usize },
        atom::FileKind::Names => FileKind::Names,
    }
}

impl Cx<'_> {
    /// Whether a component is one that this dispatch spawns.
    pub(crate) fn is_spawned(&self, id: ComponentId) -> bool {
        let next = self.slots.next();
        (next..next + self.effects.spawned).contains(&id.0)
    }

    /// A new instance of this atom's own module, with the same limits, under a name that
    /// no other component has: EEXIST, EINVAL for what is no name, EPERM where this is no
    /// atom. At most 4096 bytes of parameters, lines `key value`. It starts when this
    /// dispatch is done; messages can be sent to it already.
    pub fn spawn(&mut self, name: &str, params: &str) -> Result<ComponentId, Fault> {
        let (Some(Origin::Atom { module, limits }), Some(engine)) =
            (self.slots.get(self.me).map(|s| &s.origin), self.engine)
        else {
            return Err(Errno::EPERM.into());
        };
        let (module, limits) = (*module, *limits);
        if !srv::is_name(name) {
            return Err(Errno::EINVAL.into());
        }
        if params.len() > PARAMS {
            return Err(Errno::EMSGSIZE.into());
        }
        if self.atoms.names.contains_key(name) {
            return Err(Errno::EEXIST.into());
        }
        let price = price(name, params);
        self.pay(price)?;
        let mut body = match engine.make(module, &limits) {
            Ok(body) => body,
            // Nothing that an atom is told may depend on what its machine has left.
            Err(_) => {
                self.abandon(Why::Trap("another atom cannot be made"));
                return Err(Errno::EDQUOT.into());
            }
        };
        let linear = linear(&mut *body);
        self.pay(Amount { memory: linear, messages: 0 })?;
        let id = ComponentId(self.slots.next() + self.effects.spawned);
        self.effects.spawned += 1;
        self.atoms.names.insert(name.to_owned(), id);
        self.effects.undo.push(Undo::Name(name.to_owned()));
        let (name, params) = (name.to_owned(), params.to_owned());
        self.wish(More::Spawn(Box::new(Fresh { name, params, module, limits, body, price })));
        Ok(id)
    }

    /// Charges bytes by which this component's linear memory is to grow; false where the
    /// sponsor cannot pay, and it does not grow then. However the dispatch ends, they
    /// stay charged until the component is made anew or ends: for so long it has them.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let more = Amount { memory: bytes, messages: 0 };
        let paid = self.effects.why.is_none() && self.sponsor.charge(more);
        self.own.linear += if paid { bytes } else { 0 };
        paid
    }

    /// Ends this component, or one that it spawned, when the dispatch is done: it gets
    /// nothing any more, and all that it had is given back. EPERM for others.
    pub fn kill(&mut self, id: ComponentId) -> Result<(), Fault> {
        self.known(id)?;
        let own = |s: &Slot<'_>| s.own.as_ref().is_some_and(|o| o.parent == Some(self.me));
        if id != self.me && !self.is_spawned(id) && !self.slots.get(id).is_some_and(own) {
            return Err(Errno::EPERM.into());
        }
        if !self.pass(0) {
            return Err(Errno::EDQUOT.into());
        }
        self.wish(More::Kill(id));
        Ok(())
    }
}

impl Core<'_> {
    pub(super) fn spawn(&mut self, parent: ComponentId, fresh: Fresh) {
        let Fresh { name, params, module, limits, mut body, price } = fresh;
        let origin = Origin::Atom { module, limits };
        let linear = linear(&mut *body);
        let own = Own { params, linear, ..Own::of_atom(Some(parent), price) };
        // What it does not show cannot be watched: its files are in no tree.
        let mut slot = Slot::new(Cow::Owned(name), origin, Vec::new(), body);
        slot.own = Some(Box::new(own));
        self.enter(slot);
    }

    /// A component has another linear memory: charges that. False where nobody pays.
    pub(crate) fn measure(&mut self, id: ComponentId) -> bool {
        let Some(slot) = self.slots.get_mut(id) else { return false };
        let (Some(body), Some(own)) = (&mut slot.body, &mut slot.own) else { return false };
        let size = linear(&mut **body);
        let more = Amount { memory: size.saturating_sub(own.linear), messages: 0 };
        if !self.sponsor.charge(more) {
            return false;
        }
        let less = own.linear.saturating_sub(size);
        self.sponsor.refund(Amount { memory: less, messages: 0 });
        own.linear = size;
        true
    }

    /// Ends a component.
    pub(crate) fn kill(&mut self, id: ComponentId) {
        if self.slots.get(id).is_none() {
            return;
        }
        self.forget(id);
        let Some(slot) = self.slots.remove(id) else { return };
        // Who waits for its lines is told that there will be none.
        self.stirred = true;
        self.sponsor.refund(Amount { memory: slot.kept(), messages: 0 });
        self.atoms.names.remove(&*slot.name);
        if let Some(own) = slot.own {
            self.sponsor.refund(own.store.price());
            for _ in &own.interrupts {
                self.sponsor.refund(crate::effects::message(0));
            }
        }
    }
}
