//! Checkpoints: a guest as bytes, and bytes as a guest.
//!
//! Between two dispatches a guest is data. [`State`] is all of it but the atoms'
//! memories, which lie beside it in chunks; `atoll_config::checkpoint` is the form in which
//! both travel. `capture` reads a guest, `apply` and `waits` make another one of what was
//! read, and only when all of that has been checked does the guest become it (`swap`).
//! `files` is how a host asks for either: `checkpoint/` in the guest's tree.
//!
//! A guest's time goes on from where it was, whatever the machine's is; so a timer comes
//! as late as it would have come. Its clients are not part of it, and stay.
//!
//! What is here is linked with the feature `atoms` only.

mod apply;
mod back;
mod capture;
mod cut;
pub(crate) mod files;
mod state;
mod swap;
mod take;
mod waits;

use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_9p::stream::Stream;

pub use cut::Cut;
pub use state::State;
pub use swap::Fresh;
pub use take::Incoming;

use crate::core::Core;
use crate::platform::Time;

/// Bytes that the file `wanted` keeps.
const WANTED: usize = 256;

/// What a guest knows of its checkpoints.
pub(crate) struct Snaps {
    /// The last number that the guest's ctl gave a checkpoint.
    pub(crate) wanted: u64,
    /// The file `wanted`.
    pub(crate) lines: Stream,
    /// Nothing is dispatched until a checkpoint was restored.
    pub(crate) hold: bool,
    /// It was told to stop, and a last checkpoint is taken.
    pub(crate) ending: bool,
    /// How to go back to one.
    pub(crate) back: back::Back,
    /// What the next increment builds on.
    base: Option<cut::Base>,
    /// What has changed in the memories, beside what they know themselves.
    changed: cut::Changed,
}

impl Snaps {
    pub(crate) fn new(wanted: u64) -> Snaps {
        Snaps {
            wanted,
            lines: Stream::new(WANTED).from_newest(),
            hold: false,
            ending: false,
            back: back::Back::default(),
            base: None,
            changed: cut::Changed::new(),
        }
    }
}

impl Core<'_> {
    /// The guest's time at a moment of the machine's.
    pub(crate) fn by_guest(&self, at: Time) -> Time {
        let (machine, guest) = self.since;
        guest.after(at.0.saturating_sub(machine.0))
    }

    /// The machine's time at a moment of the guest's.
    pub(crate) fn by_machine(&self, at: Time) -> Time {
        let (machine, guest) = self.since;
        machine.after(at.0.saturating_sub(guest.0))
    }

    /// The machine's time now, as far as the guest knows.
    pub(crate) fn machine_time(&self) -> Time {
        self.by_machine(self.now)
    }

    /// Whether anything is dispatched.
    pub(crate) fn may_run(&self) -> Result<(), Fault> {
        if self.snaps.hold {
            let text = "the guest rests: it waits for checkpoint/restore";
            return Err(Fault::new(Errno::EBUSY, text).blame(Blame::Host));
        }
        if self.is_loading() {
            let text = "the guest rests: it waits for what it had stored";
            return Err(Fault::new(Errno::EBUSY, text).blame(Blame::Host));
        }
        Ok(())
    }

    /// Dispatches nothing from now on, until the guest has become another one.
    pub fn hold(&mut self) {
        self.snaps.hold = true;
    }

    /// Whether it waits for a checkpoint.
    pub fn is_held(&self) -> bool {
        self.snaps.hold
    }
}
