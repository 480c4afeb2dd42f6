//! What a dispatch asks for.
//!
//! A [`Cx`] charges every wish to the guest's sponsor at once and only writes it
//! down. The wishes are carried out together when the dispatch ends well
//! (`core.rs`, `commit`); otherwise they are dropped and the charge is given back.
//! A wish that the sponsor cannot pay marks the dispatch: it is abandoned.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::ops::What;

use atoll_config::payload::Component as Plan;

use crate::component::{CallId, ComponentId, Why};
use crate::platform::{Time, Trap};
use crate::random::Random;
use crate::sponsor::{Amount, Sponsor};

/// What a message costs beside its body, in bytes.
pub(crate) const MESSAGE_OVERHEAD: u64 = 64;

/// Wishes, in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) messages: Vec<(ComponentId, Vec<u8>)>,
    /// Timers to set, or to cancel where there is no time.
    pub(crate) timers: Vec<(u32, Option<Time>)>,
    pub(crate) lines: Vec<(usize, String)>,
    pub(crate) log: Vec<String>,
    pub(crate) calls: Vec<Call>,
    pub(crate) exit: Option<u8>,
    pub(crate) trap: Option<Trap>,
    /// What was charged for all of it.
    pub(crate) charged: Amount,
    /// Bytes of it that are held only until the dispatch ends: lines, cancellations.
    pub(crate) passing: u64,
    /// Why the dispatch is abandoned, once that is certain.
    pub(crate) why: Option<Why>,
}

/// A call into the namespace.
#[derive(Debug)]
#[cfg_attr(not(feature = "calls"), allow(dead_code))]
pub(crate) struct Call {
    pub(crate) id: CallId,
    pub(crate) path: String,
    pub(crate) what: What,
    /// What was charged for it, until it has returned.
    pub(crate) charged: Amount,
}

/// What a component may ask for while it handles an event.
pub struct Cx<'c> {
    pub(crate) now: Time,
    pub(crate) wall: u64,
    pub(crate) me: ComponentId,
    pub(crate) params: &'c str,
    pub(crate) components: &'c [Plan<'c>],
    pub(crate) effects: &'c mut Effects,
    pub(crate) sponsor: &'c mut Sponsor,
    pub(crate) random: &'c mut Random,
    #[cfg_attr(not(feature = "calls"), allow(dead_code))]
    pub(crate) next_call: &'c mut u64,
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

    fn charge(&mut self, amount: Amount) -> bool {
        let paid = self.effects.why.is_none() && self.sponsor.charge(amount);
        if paid {
            self.effects.charged.add(amount);
        } else {
            self.abandon(Why::Budget);
        }
        paid
    }

    /// Charges what is held only until the dispatch ends.
    fn pass(&mut self, bytes: usize) -> bool {
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

    /// The parameters that an atom was configured or spawned with: lines `key value`.
    /// Nothing for a native component, which got its parameters when it was made.
    pub fn params(&self) -> &str {
        self.params
    }

    /// The component of that name.
    pub fn find(&self, name: &str) -> Option<ComponentId> {
        self.components.iter().position(|c| c.name == name).map(|i| ComponentId(i as u16))
    }

    /// Sends a message.
    pub fn send(&mut self, to: ComponentId, body: &[u8]) -> Result<(), Fault> {
        if usize::from(to.0) >= self.components.len() {
            return Err(Errno::ENOENT.into());
        }
        if self.charge(Amount { memory: MESSAGE_OVERHEAD + body.len() as u64, messages: 1 }) {
            self.effects.messages.push((to, body.to_vec()));
        }
        Ok(())
    }

    /// Sets a timer `ns` nanoseconds from now. One of the same number is replaced,
    /// as if it had been [cancelled](Cx::cancel).
    pub fn after(&mut self, id: u32, ns: u64) {
        if self.charge(Amount { memory: MESSAGE_OVERHEAD, messages: 1 }) {
            self.effects.timers.push((id, Some(self.now.after(ns))));
        }
    }

    /// Cancels a timer, if it is set. It is not delivered, not even one that has
    /// come already and waits for its turn.
    pub fn cancel(&mut self, id: u32) {
        if self.pass(0) {
            self.effects.timers.push((id, None));
        }
    }

    /// Adds a line to an event file.
    pub fn emit(&mut self, file: usize, line: impl fmt::Display) {
        let line = line.to_string();
        if self.pass(line.len()) {
            self.effects.lines.push((file, line));
        }
    }

    /// Adds a line to the guest's log.
    pub fn log(&mut self, line: impl fmt::Display) {
        let line = line.to_string();
        if self.pass(line.len()) {
            self.effects.log.push(line);
        }
    }

    /// Calls into the guest's namespace. [`crate::component::Event::Done`] follows.
    #[cfg(feature = "calls")]
    pub fn call(&mut self, path: &str, what: What) -> CallId {
        let id = CallId(*self.next_call);
        *self.next_call += 1;
        let bytes = match &what {
            What::Write(data) => data.len(),
            _ => 0,
        };
        let charged =
            Amount { memory: MESSAGE_OVERHEAD + (path.len() + bytes) as u64, messages: 1 };
        if self.charge(charged) {
            self.effects.calls.push(Call { id, path: path.to_string(), what, charged });
        }
        id
    }

    /// Ends the guest when the dispatch has.
    pub fn exit(&mut self, status: u8) {
        self.effects.exit = Some(status);
    }

    /// Dies in a way that only the machine can provide, when the dispatch has ended.
    pub fn trap(&mut self, how: Trap) {
        self.effects.trap = Some(how);
    }
}
