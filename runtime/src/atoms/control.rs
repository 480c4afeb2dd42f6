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
    /// Whether the component is paused.
    pub(crate) fn is_paused(&self, id: ComponentId) -> bool {
        self.slots.get(id).and_then(|s| s.own.as_ref()).is_some_and(|own| own.paused)
    }

    /// Keeps an event for later, of a component that is paused.
    pub(crate) fn park(&mut self, to: ComponentId, queued: Queued) {
        if let Some(own) = self.slots.get_mut(to).and_then(|s| s.own.as_mut()) {
            own.parked.push_back(queued);
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
