//! Which guest runs before which: one that imports another's tree waits until that is up.
//!
//! `start` starts what is imported too, and nothing else does: a guest that was stopped on
//! purpose stays so when one that imports it fails and comes again.

use std::collections::BTreeSet;

use atoll_9p::fault::{Errno, Fault};

use super::Core;
use super::define::Definition;
use super::guest::{Door, Item, Wants};
use super::life::{State, Stimulus};
use super::name::Name;

impl Core {
    /// The guests that it imports and that are not up.
    pub fn missing(&self, name: &Name) -> Vec<Name> {
        let mut missing = BTreeSet::new();
        if let Some(definition) = self.guests.get(name).and_then(|g| g.definition()) {
            let up = |n: &Name| self.guests.get(n).is_some_and(|g| g.state().is_up());
            missing.extend(definition.needs().filter(|n| !up(n)).cloned());
        }
        missing.into_iter().collect()
    }

    /// Whether a definition would have a guest wait for itself; the text names the way.
    pub(super) fn check_cycle(&self, name: &Name, definition: &Definition) -> Result<(), Fault> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<Vec<&Name>> = definition.needs().map(|n| vec![n]).collect();
        while let Some(path) = open.pop() {
            let Some(last) = path.last().copied() else { continue };
            if last == name {
                let mut text = format!("\"{name}\" would wait for itself: {name} imports ");
                for (i, step) in path.iter().enumerate() {
                    text += if i == 0 { "" } else { ", which imports " };
                    text += step.as_str();
                }
                return Err(Fault::new(Errno::EINVAL, text));
            }
            if !seen.insert(last) {
                continue;
            }
            let next = self.guests.get(last).and_then(|g| g.definition());
            for need in next.into_iter().flat_map(|d| d.needs()) {
                open.push(path.iter().copied().chain([need]).collect());
            }
        }
        Ok(())
    }

    /// Whether all that it imports is defined, so that waiting for it may have an end.
    pub(super) fn check_needs(&self, name: &Name) -> Result<(), Fault> {
        let definition = self.guests.get(name).and_then(|g| g.definition());
        for need in definition.into_iter().flat_map(|d| d.needs()) {
            let defined = self.guests.get(need).is_some_and(|g| g.state() != State::New);
            if !defined {
                return Err(Fault::new(
                    Errno::EINVAL,
                    format!("{name} imports the tree of {need}, which is not defined"),
                ));
            }
            if self.is_foreign(need) {
                let text = format!(
                    "{name} imports the tree of {need}, which is none of Atoll's guests and has none"
                );
                return Err(Fault::new(Errno::EOPNOTSUPP, text));
            }
        }
        Ok(())
    }

    /// Starts the guests that it imports, as far as they are stopped.
    pub(super) fn pull_needs(&mut self, name: &Name) {
        for need in self.missing(name) {
            self.pull(&need);
        }
    }

    /// A guest is to run because another needs it.
    pub(super) fn pull(&mut self, name: &Name) {
        let Some(guest) = self.guests.get_mut(name) else { return };
        if guest.queue.iter().any(|i| matches!(i, Item::Pull)) {
            return;
        }
        match (&guest.door, guest.life.state) {
            (Door::Closed, _) | (_, State::Adopting) => guest.queue.push_back(Item::Pull),
            // Nothing more is begun while what happened to it cannot be stored.
            (Door::Open, State::Stopped) => {
                let missing = self.missing(name);
                let kind = super::life::Kind::Start;
                let _ = self.go(name, true, None, |guest, ctx| {
                    guest.record.failures = 0;
                    guest.record.from = None;
                    ctx.advance(guest, Stimulus::Verb(kind))?;
                    ctx.ready(guest, &missing)
                });
                self.pull_needs(name);
            }
            // Nobody but who insists starts it here.
            (Door::Open, State::Moved) => {
                let why = guest.why();
                self.tell_waiting(name, why);
            }
            _ => {}
        }
    }

    /// Starts every guest that waits and need not any longer.
    pub(super) fn check_ready(&mut self) {
        if self.pipe.trouble().is_some() && self.pipe.retry().is_some_and(|at| at > self.now.mono) {
            return;
        }
        for name in self.waiting.clone() {
            let open = self.guests.get(&name).is_some_and(|g| matches!(g.door, Door::Open));
            if open && self.missing(&name).is_empty() {
                let _ =
                    self.go(&name, true, None, |guest, ctx| ctx.advance(guest, Stimulus::Ready));
            }
        }
    }

    /// Who has started a guest that waits for this one learns that it does not run. The
    /// guest goes on waiting.
    pub(super) fn tell_waiting(&mut self, stopped: &Name, why: Option<String>) {
        let mut told = Vec::new();
        for name in &self.waiting {
            let Some(guest) = self.guests.get_mut(name) else { continue };
            if !guest.definition().is_some_and(|d| d.needs().any(|n| n == stopped)) {
                continue;
            }
            guest.waiters.retain(|w| {
                if w.wants == Wants::Running {
                    told.push((w.ask, name.clone()));
                }
                w.wants != Wants::Running
            });
        }
        for (ask, name) in told {
            let why = why.as_ref().map(|w| format!(" ({w})")).unwrap_or_default();
            let text = format!(
                "{name} waits for {stopped}, whose tree it imports and which does not run{why}; \
                 it goes on when {stopped} runs, and `stop` gives up"
            );
            self.answer(ask, Err(Fault::new(Errno::EAGAIN, text)));
        }
    }

    /// Another supervisor runs it: it stays stopped here.
    pub(super) fn give_up(&mut self, name: &Name, fault: &Fault) {
        let why = fault.text().to_owned();
        let _ = self.go(name, false, None, |guest, ctx| {
            ctx.event(super::What::Failed("start".into(), why));
            ctx.advance(guest, Stimulus::Verb(super::life::Kind::Stop(0)))
        });
    }
}
