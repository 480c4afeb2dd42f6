//! From a state to a guest.
//!
//! A state is a claim. All of it is checked while a second guest is made of it; the
//! first one is as it was until that is done. Nothing in a state says what anything costs
//! where that follows from what it is: the new guest pays for all that it has, out of
//! the payload's budget.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::stream::Stream;

use super::Snaps;
use super::state::{Bytes, Component, Lines, Spawned, State, Timer, bad};
use crate::atoms::spawn::{PARAMS, price};
use crate::atoms::store::{self, Ram};
use crate::atoms::{Atoms, Own, srv};
use crate::component::ComponentId;
use crate::core::{Alarm, Core};
use crate::counters::Counters;
use crate::effects::{Effects, message};
use crate::pace::Pace;
use crate::platform::Time;
use crate::random::Random;
use crate::slots::{Armed, Origin, Slot, Slots};
use crate::sponsor::{Amount, Sponsor};
use crate::timers::Timers;

/// The highest number of a component.
const COMPONENTS: u32 = 1 << 31;

impl<'a> Core<'a> {
    /// The guest that a state describes, of this one's payload. Its atoms' memories are all
    /// zero.
    pub(super) fn build(&self, state: State) -> Result<Core<'a>, Fault> {
        let figures = state.figures;
        let counters = Counters {
            dispatches: figures.dispatches,
            refused: figures.refused,
            abandoned: figures.abandoned,
            requests: figures.requests,
        };
        let random = Random::from_state(state.random)
            .ok_or_else(|| bad("its generator has a state that none has"))?;
        let sponsor = Sponsor { cpu: figures.cpu, ..Sponsor::new(self.sponsor.limit) };
        let now = Time(state.now);
        let mut core = Core {
            payload: self.payload.clone(),
            hash: self.hash,
            sponsor,
            counters,
            pace: Pace::default(),
            log: self.log.afresh(),
            machine: (self.machine.0, Vec::new()),
            namespace: self.namespace.afresh(),
            stirred: true,
            engine: self.engine,
            registry: self.registry,
            now,
            since: (now, now),
            wall_at_start: 0,
            slots: Slots::default(),
            queue: VecDeque::new(),
            timers: Timers::after_turn(state.turn),
            random,
            next_call: state.next_call,
            atoms: Atoms::default(),
            snaps: Snaps::new(state.wanted),
            effects: Effects::default(),
            looked: true,
            fresh_log: Vec::new(),
            exit: None,
            trap: None,
        };
        take_up(&mut core.log, &state.log)?;
        core.take_components(state.components, state.next)?;
        for (to, queued) in state.queue {
            if to >= state.next {
                return Err(bad("an event is to nobody"));
            }
            let queued = core.take_event(ComponentId(to), queued, state.next)?;
            core.queue.push_back((ComponentId(to), queued));
        }
        core.take_futures(state.futures, state.next)?;
        core.take_locks(state.locks)?;
        core.take_files(state.files)?;
        core.take_calls(state.calls)?;
        core.take_names(state.srv)?;
        core.take_scratch(state.scratch)?;
        core.check_queue()?;
        Ok(core)
    }

    /// Charges what is there.
    pub(super) fn must_pay(&mut self, amount: Amount) -> Result<(), Fault> {
        if self.sponsor.charge(amount) {
            return Ok(());
        }
        Err(Fault::new(Errno::EDQUOT, "the state is larger than the guest's budget"))
    }

    /// A component that is there.
    pub(super) fn there(&self, id: u32) -> Result<ComponentId, Fault> {
        let id = ComponentId(id);
        let there = self.slots.get(id).map(|_| id);
        there
            .ok_or_else(|| bad(format_args!("it speaks of component {}, which is not there", id.0)))
    }

    fn take_components(&mut self, all: Vec<Component>, next: u32) -> Result<(), Fault> {
        let plans = self.payload.components.len() as u32;
        if !(plans..COMPONENTS).contains(&next) {
            return Err(bad("components have impossible numbers"));
        }
        let mut parked = Vec::new();
        for mut saved in all {
            let id = saved.id;
            if id >= next || self.slots.next() > id {
                return Err(bad(format_args!("component {id} is out of order")));
            }
            let waits = core::mem::take(&mut saved.parked);
            if !waits.is_empty() && !saved.paused {
                return Err(bad(format_args!("component {id} holds events, and is not paused")));
            }
            parked.push((ComponentId(id), waits));
            let slot = match saved.spawned.take() {
                None => self.planned(id)?,
                Some(_) if id < plans => {
                    return Err(bad(format_args!("component {id} is one of the configuration")));
                }
                Some(spawned) => self.spawned_again(spawned, next)?,
            };
            let slot = self.dress(Slot { id: ComponentId(id), ..slot }, saved)?;
            let name = slot.name.to_string();
            if self.atoms.names.insert(name, ComponentId(id)).is_some() {
                return Err(bad(format_args!("component {id} has another one's name")));
            }
            self.slots.put(slot);
        }
        self.slots.go_on_from(next);
        for (id, waits) in parked {
            let waits: Result<VecDeque<_>, Fault> =
                waits.into_iter().map(|q| self.take_event(id, q, next)).collect();
            let waits = waits?;
            if let Some(own) = self.slots.get_mut(id).and_then(|s| s.own.as_mut()) {
                own.parked = waits;
            }
        }
        Ok(())
    }

    /// A component of the configuration, as it is at its start.
    fn planned(&self, id: u32) -> Result<Slot<'a>, Fault> {
        let plan = self.payload.components.get(id as usize);
        let plan = plan.ok_or_else(|| bad(format_args!("component {id} is not of this guest")))?;
        let slot = match plan.module {
            Some(module) => Slot::atom(plan, module as usize, &self.payload.modules, self.engine),
            None => Slot::native(plan, self.registry),
        };
        slot.map_err(|why| Fault::new(Errno::EIO, why.to_string()))
    }

    /// A component that was spawned, as it was then.
    fn spawned_again(&self, of: Spawned, next: u32) -> Result<Slot<'a>, Fault> {
        let Spawned { name, params, like, parent } = of;
        let plan = self.payload.components.get(like as usize);
        let (Some((module, limits)), Some(engine)) =
            (plan.and_then(|p| Some((p.module? as usize, p.limits))), self.engine)
        else {
            return Err(bad(format_args!("{name} is made of no atom of this guest")));
        };
        if !srv::is_name(&name) || params.len() > PARAMS || parent >= next {
            return Err(bad("a spawned component has no good name, parameters or maker"));
        }
        let price = price(&name, &params);
        let body = engine.make(module, &limits)?;
        let mut slot =
            Slot::new(Cow::Owned(name), Origin::Atom { module, limits }, Vec::new(), body);
        let own = Own { params, ..Own::of_atom(Some(ComponentId(parent)), price) };
        slot.own = Some(Box::new(own));
        Ok(slot)
    }

    /// Gives a component what it had.
    fn dress(&mut self, mut slot: Slot<'a>, saved: Component) -> Result<Slot<'a>, Fault> {
        let ComponentId(id) = slot.id;
        let of = |why: &str| bad(format_args!("component {id} {why}"));
        let mut memory = 0;
        if let Some(body) = &mut slot.body {
            body.restore(&saved.state.0)?;
            memory = body.memory().map_or(0, |m| m.size());
        }
        if let Some(own) = &mut slot.own {
            own.linear = saved.linear;
        }
        if saved.linear < memory {
            return Err(of("does not pay for its memory"));
        }
        self.must_pay(Amount { memory: slot.kept(), messages: 0 })?;
        if saved.streams.len() != slot.streams.len() {
            return Err(of("has other files"));
        }
        for (file, (told, lines)) in slot.streams.iter_mut().zip(&saved.streams) {
            file.told = *told;
            take_up(&mut file.stream, lines)?;
        }
        let mut last = None;
        for (n, timer) in saved.timers {
            if last.replace(n).is_some_and(|l| l >= n) {
                return Err(of("has timers out of order"));
            }
            let armed = match timer {
                Timer::Came { turn } => Armed::Came(turn),
                Timer::Set { at, turn } => {
                    self.must_pay(message(0))?;
                    Armed::Set(self.set_again(at, turn, Alarm::Timer(slot.id, n))?)
                }
            };
            slot.timers.push((n, armed));
        }
        (slot.failures, slot.dispatches) = (saved.failures, saved.dispatches);
        slot.restarts = saved.restarts;
        let Some(own) = &mut slot.own else { return Err(of("is nobody's")) };
        take_up(&mut own.log, &saved.log)?;
        (own.mask, own.held, own.paused) = (saved.mask, saved.held, saved.paused);
        let mut codes = 0u64;
        for (code, from, arg) in saved.interrupts {
            let bit = 1u64.checked_shl(code.into()).filter(|bit| codes & bit == 0);
            codes |= bit.ok_or_else(|| of("has interrupts that cannot be"))?;
            self.must_pay(message(0))?;
            own.interrupts.push((code, from.map(ComponentId), arg));
        }
        if own.held & !codes != 0 {
            return Err(of("holds interrupts back that are not there"));
        }
        own.store = store_of(saved.store, saved.records).ok_or_else(|| of("has no good store"))?;
        self.must_pay(own.store.price())?;
        Ok(slot)
    }

    /// Sets a timer again.
    pub(super) fn set_again(
        &mut self,
        at: u64,
        turn: u64,
        what: Alarm,
    ) -> Result<crate::timers::Key, Fault> {
        if !(1..=self.timers.turn()).contains(&turn) {
            return Err(bad("a timer was never set"));
        }
        Ok(self.timers.set_again(Time(at), turn, what))
    }

    fn take_names(&mut self, names: Vec<(String, u32)>) -> Result<(), Fault> {
        for (name, id) in names {
            let id = self.there(id)?;
            if !srv::is_name(&name) {
                return Err(bad("what is in /srv is no name"));
            }
            self.must_pay(srv::price(&name))?;
            if self.atoms.srv.insert(name, id).is_some() {
                return Err(bad("a name is in /srv twice"));
            }
        }
        Ok(())
    }
}

/// Gives a stream what it kept.
fn take_up(stream: &mut Stream, lines: &Lines) -> Result<(), Fault> {
    stream.take_up(lines.first, &lines.text)
}

/// A store, if one can be like this.
fn store_of(pairs: Vec<(Bytes, Bytes)>, records: Vec<Bytes>) -> Option<Ram> {
    let fits = |b: &Bytes| b.0.len() <= store::VALUE;
    let keys: BTreeSet<&Bytes> = pairs.iter().map(|p| &p.0).collect();
    let good = keys.len() == pairs.len()
        && keys.iter().all(|k| (1..=store::KEY).contains(&k.0.len()))
        && pairs.iter().all(|p| fits(&p.1))
        && records.iter().all(fits);
    let map: BTreeMap<_, _> = pairs.into_iter().map(|(k, v)| (k.0, v.0)).collect();
    let log = records.into_iter().map(|r| r.0).collect();
    good.then_some(Ram { map, log })
}
