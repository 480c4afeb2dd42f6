//! Names: of components, and those that components take in `/srv`.

use alloc::borrow::ToOwned;
use alloc::string::String;

use atoll_9p::fault::{Errno, Fault};

use super::{Atoms, Undo};
use crate::component::ComponentId;
use crate::core::Core;
use crate::effects::{Cx, MESSAGE_OVERHEAD};
use crate::sponsor::Amount;

/// What a name costs.
pub(crate) fn price(name: &str) -> Amount {
    Amount { memory: MESSAGE_OVERHEAD + name.len() as u64, messages: 0 }
}

/// Whether this is a name: `[a-z0-9-]`, 1 to 63 bytes, the first a letter.
pub(crate) fn is_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(good)
        && name.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
}

impl Atoms {
    /// The component of a name, or else the one that took it in `/srv`.
    pub(crate) fn find(&self, name: &str) -> Option<ComponentId> {
        self.names.get(name).or_else(|| self.srv.get(name)).copied()
    }
}

impl Cx<'_> {
    /// Takes a name in `/srv`, under which others find this component for as long as it
    /// lives. EEXIST where another has it; EINVAL for what is no name.
    pub fn register(&mut self, name: &str) -> Result<(), Fault> {
        if !is_name(name) {
            return Err(Errno::EINVAL.into());
        }
        match self.atoms.srv.get(name) {
            Some(id) if *id == self.me => return Ok(()),
            Some(_) => return Err(Errno::EEXIST.into()),
            None => {}
        }
        self.pay(price(name))?;
        self.atoms.srv.insert(name.to_owned(), self.me);
        self.effects.undo.push(Undo::Register(name.to_owned()));
        Ok(())
    }
}

impl Core<'_> {
    /// A component's name is known from now on.
    pub(crate) fn name(&mut self, name: String, id: ComponentId) {
        self.atoms.names.insert(name, id);
    }

    /// Frees the names of a component that is no more.
    pub(super) fn forget_names(&mut self, id: ComponentId) {
        let sponsor = &mut self.sponsor;
        self.atoms.srv.retain(|name, owner| {
            if *owner == id {
                sponsor.refund(price(name));
            }
            *owner != id
        });
    }
}
