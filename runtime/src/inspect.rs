//! A component seen from outside: its state as bytes, and what its file `status` says.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use atoll_9p::fault::{Errno, Fault};

use crate::component::ComponentId;
use crate::core::Core;
use crate::records;

impl Core<'_> {
    /// The state of a component. None where there is no such component.
    pub fn save(&self, id: ComponentId) -> Option<Vec<u8>> {
        self.slots.get(id)?.body.as_ref().map(|b| b.save())
    }

    /// Gives a component a state that [`Core::save`] gave. On an error nothing has
    /// changed; but where nobody pays for its memory, it is made anew.
    pub fn restore(&mut self, id: ComponentId, state: &[u8]) -> Result<(), Fault> {
        let slot = self.slots.get_mut(id).ok_or(Errno::ESTALE)?;
        slot.body.as_mut().ok_or(Errno::EBUSY)?.restore(state)?;
        #[cfg(feature = "atoms")]
        if !self.measure(id) {
            self.renew(id);
            return Err(Errno::EDQUOT.into());
        }
        Ok(())
    }

    /// What the file `status` of a component says.
    pub(crate) fn about_component(&self, id: ComponentId) -> Option<records::Component> {
        let slot = self.slots.get(id)?;
        let (kind, state_version) = slot.kind();
        Some(records::Component {
            kind: Cow::Borrowed(kind),
            state_version,
            dispatches: slot.dispatches,
            restarts: slot.restarts,
            state_bytes: slot.body.as_ref().map_or(0, |b| b.save().len()) as u64,
        })
    }
}
