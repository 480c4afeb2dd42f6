//! What people do to a component from outside: pause, resume, restart, kill.

use atoll_9p::fault::{Errno, Fault};

use crate::component::ComponentId;
use crate::core::{Core, Queued};
use crate::slots::Slot;

impl Slot<'_> {
    /// Makes sure that it may run.
    pub(crate) fn runs(&self) -> Result<(), Fault> {
        if self.own.as_ref().is_some_and(|own| own.paused) {
            return Err(Fault::new(Errno::EBUSY, alloc::format!("{} is paused", self.name)));
        }
        Ok(())
    }
}

impl Core<'_> {
    /// The event, unless its component is paused: then it is kept for later.
    pub(crate) fn unless_parked(&mut self, to: ComponentId, queued: Queued) -> Option<Queued> {
        match self.slots.get_mut(to).and_then(|s| s.own.as_mut()) {
            Some(own) if own.paused => {
                own.parked.push_back(queued);
                None
            }
            _ => Some(queued),
        }
    }

    /// Puts what was kept before everything else that waits.
    pub(super) fn unpark(&mut self, id: ComponentId) {
        let own = self.slots.get_mut(id).and_then(|s| s.own.as_mut());
        let parked = own.map(|own| core::mem::take(&mut own.parked)).unwrap_or_default();
        for queued in parked.into_iter().rev() {
            self.queue.push_front((id, queued));
        }
    }

    /// Lets a component rest, or lets it go on.
    pub(crate) fn pause(&mut self, id: ComponentId, paused: bool) {
        if let Some(own) = self.slots.get_mut(id).and_then(|s| s.own.as_mut()) {
            own.paused = paused;
        }
        if !paused {
            self.unpark(id);
        }
    }
}
