//! What a dispatch asks for.
//!
//! A [`Cx`] charges every wish to the guest's sponsor at once and only writes it
//! down. The wishes are carried out together when the dispatch ends well
//! (`core.rs`, `commit`); otherwise they are dropped and the charge is given back.
//! A wish that the sponsor cannot pay marks the dispatch: it is abandoned.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::ops::What;

#[cfg(feature = "atoms")]
use crate::atoms::{Atoms, More, Own, Undo, keep::Changes, part::Job};
use crate::component::{CallId, ComponentId, Why};
use crate::core::Queued;
#[cfg(feature = "atoms")]
use crate::engine::Engine;
use crate::load::Load;
use crate::platform::{Time, Trap};
use crate::random::Random;
use crate::slots::Slots;
use crate::sponsor::{Amount, Sponsor};

/// What a message costs beside its body, in bytes.
pub(crate) const MESSAGE_OVERHEAD: u64 = 64;

/// What a message of so many bytes costs until it is taken.
pub(crate) const fn message(bytes: usize) -> Amount {
    Amount { memory: MESSAGE_OVERHEAD + bytes as u64, messages: 1 }
}

/// Something that happens when the dispatch is committed.
#[derive(Debug)]
pub(crate) enum Wish {
    Send(ComponentId, Load),
    After(u32, Time),
    Cancel(u32),
    Line(usize, String),
    Log(String),
    #[cfg_attr(not(feature = "calls"), allow(dead_code))]
    Call(Box<Call>),
    #[cfg(feature = "atoms")]
    More(More),
}

/// What a dispatch has asked for so far. One value serves all dispatches of a guest.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// In the order in which they were made.
    pub(crate) wishes: Vec<Wish>,
    pub(crate) exit: Option<u8>,
    pub(crate) trap: Option<Trap>,
    /// What was charged for all of it.
    pub(crate) charged: Amount,
    /// Bytes of it that are held only until the dispatch ends: lines, cancellations.
    pub(crate) passing: u64,
    /// Why the dispatch is abandoned, once that is certain.
    pub(crate) why: Option<Why>,
    /// What was changed at once, and how it was before, newest last.
    #[cfg(feature = "atoms")]
    pub(crate) undo: Vec<Undo>,
    /// What is given back when the dispatch is committed: the price of what it replaced.
    #[cfg(feature = "atoms")]
    pub(crate) freed: Amount,
    /// Components that it spawns.
    #[cfg(feature = "atoms")]
    pub(crate) spawned: u32,
    /// What of the store has changed, where the host keeps that.
    #[cfg(feature = "atoms")]
    pub(crate) kept: Changes,
}

/// What a call does with its file.
#[derive(Debug)]
#[cfg_attr(not(feature = "calls"), allow(dead_code))]
pub(crate) enum Todo {
    Whole(What),
    #[cfg(feature = "atoms")]
    Part(Job),
}

#[cfg(feature = "atoms")]
impl Todo {
    /// Whether it changes nothing: then it can be asked for again where nobody knows
    /// whether it was done.
    pub(crate) fn is_harmless(&self) -> bool {
        match self {
            Todo::Whole(what) => !matches!(what, What::Write(_)),
            Todo::Part(job) => matches!(
                job,
                Job::Read { .. } | Job::ReadAt { .. } | Job::Stat | Job::StatOf { .. }
            ),
        }
    }
}

/// A call into the namespace.
#[derive(Debug)]
#[cfg_attr(not(feature = "calls"), allow(dead_code))]
pub(crate) struct Call {
    pub(crate) id: CallId,
    pub(crate) path: String,
    pub(crate) what: Todo,
    /// What was charged for it, until it has returned.
    pub(crate) charged: Amount,
}

/// What a component may ask for while it handles an event.
pub struct Cx<'c> {
    pub(crate) now: Time,
    pub(crate) wall: u64,
    pub(crate) me: ComponentId,
    pub(crate) slots: &'c Slots<'c>,
    /// The guest's queue. What a dispatch put there is taken away again where it fails.
    pub(crate) queue: &'c mut VecDeque<(ComponentId, Queued)>,
    pub(crate) effects: &'c mut Effects,
    pub(crate) sponsor: &'c mut Sponsor,
    pub(crate) random: &'c mut Random,
    #[cfg_attr(not(feature = "calls"), allow(dead_code))]
    pub(crate) next_call: &'c mut u64,
    /// The number of the last call before this dispatch.
    #[cfg(feature = "atoms")]
    pub(crate) calls_before: u64,
    #[cfg(feature = "atoms")]
    pub(crate) atoms: &'c mut Atoms,
    #[cfg(feature = "atoms")]
    pub(crate) own: &'c mut Own,
    #[cfg(feature = "atoms")]
    pub(crate) engine: Option<&'c dyn Engine>,
}

impl Effects {
    /// Forgets everything, for the next dispatch.
    #[inline]
    pub(crate) fn reset(&mut self) {
        self.wishes.clear();
        (self.exit, self.trap, self.why) = (None, None, None);
        (self.charged, self.passing) = (Amount::default(), 0);
        #[cfg(feature = "atoms")]
        {
            self.undo.clear();
            (self.freed, self.spawned) = (Amount::default(), 0);
            self.kept.forget();
        }
    }
}

impl Cx<'_> {
    /// The event's time. The same during all of a dispatch.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The event's time of day: nanoseconds since 1970 UTC, or since the guest's
    /// start where the host did not tell the time.
    pub fn wall(&self) -> u64 {
        self.wall
    }

    /// The component itself.
    pub fn me(&self) -> ComponentId {
        self.me
    }

    /// The next number of the guest's generator.
    pub fn random(&mut self) -> u64 {
        self.random.next()
    }

    pub(crate) fn charge(&mut self, amount: Amount) -> bool {
        let paid = self.effects.why.is_none() && self.sponsor.charge(amount);
        if paid {
            self.effects.charged.add(amount);
        } else {
            self.abandon(Why::Budget);
        }
        paid
    }

    /// Charges what is held only until the dispatch ends.
    pub(crate) fn pass(&mut self, bytes: usize) -> bool {
        let memory = MESSAGE_OVERHEAD + bytes as u64;
        let paid = self.charge(Amount { memory, messages: 0 });
        self.effects.passing += if paid { memory } else { 0 };
        paid
    }

    /// Whether the sponsor could not pay for something that this dispatch asked
    /// for. It will be abandoned; there is no use in going on.
    pub fn is_over_budget(&self) -> bool {
        self.effects.why == Some(Why::Budget)
    }

    /// Abandons this dispatch, whatever it returns: it commits nothing, and the guest's
    /// policy for components that fail follows. The first reason counts.
    pub fn abandon(&mut self, why: Why) {
        self.effects.why.get_or_insert(why);
    }

    /// The component of that name, or else the one that took it in `/srv`.
    pub fn find(&self, name: &str) -> Option<ComponentId> {
        #[cfg(feature = "atoms")]
        return self.atoms.find(name);
        #[cfg(not(feature = "atoms"))]
        self.slots.all().find(|s| s.name == name).map(|s| s.id)
    }

    /// Makes sure that there is such a component, for something to be sent to it.
    pub(crate) fn known(&self, to: ComponentId) -> Result<(), Fault> {
        let known = self.slots.get(to).is_some();
        #[cfg(feature = "atoms")]
        let known = known || self.is_spawned(to);
        if known { Ok(()) } else { Err(Errno::ENOENT.into()) }
    }

    /// Sends a message. ENOENT where there is no such component.
    pub fn send(&mut self, to: ComponentId, body: &[u8]) -> Result<(), Fault> {
        self.known(to)?;
        if !self.charge(message(body.len())) {
            return Ok(());
        }
        // Nobody looks at the queue before this dispatch is over. So what is sent before
        // anything else is asked for is there already, and need not be moved at the commit.
        if !self.effects.wishes.is_empty() {
            self.effects.wishes.push(Wish::Send(to, body.into()));
            return Ok(());
        }
        // Filled where it lies (see `load.rs`): what is pushed is the same for all.
        const EMPTY: (ComponentId, Queued) = {
            let from = ComponentId(0);
            (from, Queued::Message { from, body: Load::NONE })
        };
        self.queue.push_back(EMPTY);
        if let Some((at, Queued::Message { from, body: load })) = self.queue.back_mut() {
            (*at, *from) = (to, self.me);
            load.fill(body);
        }
        Ok(())
    }

    /// Sets a timer `ns` nanoseconds from now. One of the same number is replaced,
    /// as if it had been [cancelled](Cx::cancel).
    pub fn after(&mut self, id: u32, ns: u64) {
        if self.charge(message(0)) {
            self.effects.wishes.push(Wish::After(id, self.now.after(ns)));
        }
    }

    /// Cancels a timer, if it is set. It is not delivered, not even one that has
    /// come already and waits for its turn.
    pub fn cancel(&mut self, id: u32) {
        if self.pass(0) {
            self.effects.wishes.push(Wish::Cancel(id));
        }
    }

    /// Adds a line to an event file.
    pub fn emit(&mut self, file: usize, line: impl fmt::Display) {
        let line = line.to_string();
        if self.pass(line.len()) {
            self.effects.wishes.push(Wish::Line(file, line));
        }
    }

    /// Adds a line to the guest's log.
    pub fn log(&mut self, line: impl fmt::Display) {
        let line = line.to_string();
        if self.pass(line.len()) {
            self.effects.wishes.push(Wish::Log(line));
        }
    }

    /// Calls into the guest's namespace. [`crate::component::Event::Done`] follows.
    #[cfg(feature = "calls")]
    pub fn call(&mut self, path: &str, what: What) -> CallId {
        let id = self.number();
        let bytes = match &what {
            What::Write(data) => data.len(),
            _ => 0,
        };
        let charged = message(path.len() + bytes);
        if self.charge(charged) {
            let call = Call { id, path: path.to_string(), what: Todo::Whole(what), charged };
            self.effects.wishes.push(Wish::Call(Box::new(call)));
        }
        id
    }

    /// The number of the next call: from 1 on, and never again.
    #[cfg(feature = "calls")]
    pub(crate) fn number(&mut self) -> CallId {
        *self.next_call += 1;
        CallId(*self.next_call)
    }

    /// Ends the guest when the dispatch has. The first status stays.
    pub fn exit(&mut self, status: u8) {
        self.effects.exit.get_or_insert(status);
    }

    /// Dies in a way that only the machine can provide, when the dispatch has ended.
    pub fn trap(&mut self, how: Trap) {
        self.effects.trap = Some(how);
    }
}
