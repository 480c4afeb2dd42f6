//! What a supervisor knows when it starts: guests, images, who may run what, and what
//! happened last.
//!
//! The core decides and says what is to be stored ([`Change`]); a [`Store`] does that as a
//! whole or not at all, and what it has acknowledged is there after a crash. [`disk`] is the
//! real one, `memory` the one of tests, which fails on demand.

mod apply;
pub mod disk;
#[cfg(test)]
pub mod memory;
mod rows;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::core::record::Image;
use crate::core::{Change, Event, ImageHash, Name, Record};

/// The most events that are kept; older ones go.
pub const EVENTS: u64 = 4096;

/// What is stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// The guests.
    pub guests: BTreeMap<Name, Record>,
    /// The images.
    pub images: BTreeMap<ImageHash, Image>,
    /// Who may run a guest, by its name.
    pub owners: BTreeMap<Name, Owner>,
    /// The greatest epoch that was ever given.
    pub epoch: u64,
    /// The identity of the next guest, from 1 on.
    pub next_id: u64,
    /// The latest events, the oldest first, at most [`EVENTS`].
    pub events: Vec<Event>,
    /// The number of the next event, from 1 on.
    pub next_seq: u64,
}

/// Who may run a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Under which epoch. It only grows.
    pub epoch: u64,
}

/// Where a supervisor keeps what it must not forget.
pub trait Store {
    /// Reads all of it, once, at the start.
    fn load(&mut self) -> Result<Loaded, Error>;

    /// Stores all of these changes, durably, or none of them.
    fn apply(&mut self, changes: &[Change]) -> Result<(), Error>;
}

/// Who may run a guest: durable, and changed only by who knows what it is.
///
/// Whatever acts for a guest on storage, network or another guest carries the epoch under
/// which it runs, and an older one is refused. On one host the store beside this keeps it;
/// across hosts another one will.
pub trait Ownership {
    /// Under which epoch a guest may be run, if under any.
    fn owner(&self, guest: &Name) -> Result<Option<Owner>, Error>;

    /// Takes a guest: compare and set. [`Error::Stale`] when `held` is not what is stored
    /// (0 for nothing), or `next` is not greater than every epoch that was ever given.
    fn claim(&mut self, guest: &Name, held: u64, next: u64) -> Result<(), Error>;

    /// Lets go of a guest. [`Error::Stale`] when it is held under another epoch.
    fn release(&mut self, guest: &Name, held: u64) -> Result<(), Error>;
}

/// Why something is not stored or cannot be read. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no room.
    #[error("the disk of {} is full: make room there, and ask again", .0.display())]
    Full(PathBuf),
    /// Another supervisor has it.
    #[error(
        "another atoll serve keeps its state in {}: use that one, or give this one another \
         folder with --state", .0.display()
    )]
    Taken(PathBuf),
    /// It is damaged, and nothing was changed.
    #[error(
        "{} is damaged ({why}), and was left as it is. Guests that run are not harmed. Put a \
         copy of it in its place, or move it away to begin with nothing: then define the \
         guests again, and `atoll doctor` shows what still runs", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It was written by another version.
    #[error(
        "{} has format {found}, and this atoll reads format {wanted}: use the atoll that wrote \
         it", path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What it has.
        found: u64,
        /// What is read.
        wanted: u64,
    },
    /// The guest is held under another epoch.
    #[error("{guest} is held under epoch {epoch}, by another supervisor")]
    Stale {
        /// The guest.
        guest: Name,
        /// The epoch that is stored, 0 for none.
        epoch: u64,
    },
    /// The system said no.
    #[error("cannot use {}: {why}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        why: String,
    },
}
