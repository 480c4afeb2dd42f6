//! What goes into the core and what comes out of it.
//!
//! | what | who gives it, and when |
//! |---|---|
//! | [`Input`] | the daemon, one after the other, each with the time |
//! | [`Output`] | the core; the daemon does them in their order |
//!
//! What a shim is told and tells are [`crate::shim::Order`] and [`crate::shim::Report`].

use atoll_9p::fault::Fault;

use super::define::Definition;
use super::event::Event;
use super::life::Alive;
use super::name::{ImageHash, Name};
use super::record::{Change, From, Image};
#[cfg(doc)]
use super::stutter::Judge;
use super::stutter::Verdict;
use super::verb::Verb;
use crate::shim::{End, Order, Report};

/// What time it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that never steps and never goes back.
    pub mono: u64,
    /// Milliseconds since 1970 UTC, for people.
    pub wall: u64,
}

/// The number that an asker gave its question. Each that is not withdrawn by
/// [`Input::Gone`] is answered once by [`Output::Answer`].
pub type Ask = u64;

/// What happens to the core.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A guest's folder is to be made (`mkdir`).
    Make {
        /// Who asks.
        ask: Ask,
        /// The guest.
        guest: Name,
    },
    /// What was written to `config` and not committed yet, so that it is not lost.
    Draft {
        /// Who asks.
        ask: Ask,
        /// The guest.
        guest: Name,
        /// The text; none when the configuration is to stay as it was committed.
        text: Option<String>,
    },
    /// The guest's configuration was read and is in order (`commit`). A guest that is not
    /// there is made.
    Define {
        /// Who asks.
        ask: Ask,
        /// The guest.
        guest: Name,
        /// What the text says.
        definition: Box<Definition>,
        /// The text.
        text: String,
    },
    /// A verb; `rmdir` is [`Verb::Forget`].
    Ask {
        /// Who asks.
        ask: Ask,
        /// The guest.
        guest: Name,
        /// What.
        verb: Verb,
    },
    /// Somebody reads `wait`.
    Wait {
        /// Who asks.
        ask: Ask,
        /// The guest.
        guest: Name,
        /// For what.
        until: Until,
    },
    /// An image lies in its place and was verified.
    AddImage {
        /// Who asks.
        ask: Ask,
        /// Its hash.
        hash: ImageHash,
        /// What is to be known of it.
        image: Image,
    },
    /// An image is to go away.
    DropImage {
        /// Who asks.
        ask: Ask,
        /// Its hash.
        hash: ImageHash,
    },
    /// Nobody waits for this answer any more. What was asked goes on.
    Gone {
        /// Who had asked.
        ask: Ask,
    },
    /// What a shim told.
    Report {
        /// The guest.
        guest: Name,
        /// The run it is about.
        run: u64,
        /// What.
        report: Report,
    },
    /// A run is slower than expected, or no longer: what its [`Judge`] says.
    Judged {
        /// The guest.
        guest: Name,
        /// The run that was judged.
        run: u64,
        /// What.
        verdict: Verdict,
    },
    /// What was found of a guest by a supervisor that has just started: once for each guest
    /// that [`super::Core::unadopted`] names, and once for each folder beside them.
    Adopted {
        /// The guest.
        guest: Name,
        /// What was found.
        found: Seen,
    },
    /// The time has come that [`Output::WakeAt`] named.
    Tick,
    /// [`Output::Save`] of this number is done and will not be lost.
    Stored {
        /// Its number.
        txn: u64,
    },
    /// Nothing of that [`Output::Save`] was done.
    Unstored {
        /// Its number.
        txn: u64,
        /// Why.
        why: crate::store::Error,
    },
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// That it runs; a fault when it ends before.
    Running,
    /// That its run has ended; at once when there is none.
    Ended,
}

/// What a supervisor that has just started sees in a guest's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// No run was ever begun there.
    Nothing,
    /// A shim has it.
    Alive {
        /// The run.
        run: u64,
        /// The epoch under which it was started.
        epoch: u64,
        /// What its machine does.
        alive: Alive,
    },
    /// Its latest run has ended, and so has the shim. When both were killed,
    /// [`crate::shim::How::Lost`] is all that is known.
    Ended(End),
}

/// What the core wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Store all of this, or nothing. There is one underway at a time; the next comes
    /// after [`Input::Stored`] or [`Input::Unstored`].
    Save {
        /// Its number.
        txn: u64,
        /// What.
        changes: Vec<Change>,
    },
    /// Start a run. What prevents it is reported as the run's end. It may come a second
    /// time from the next supervisor, for the same run: a shim that has the guest's folder
    /// with that run is then adopted.
    Start(Box<Start>),
    /// Tell a guest's shim something.
    Order {
        /// The guest.
        guest: Name,
        /// The run that is meant.
        run: u64,
        /// What.
        order: Order,
    },
    /// A guest is forgotten: its folder goes away, with all in it. It has lost its name
    /// before the next output is done, for that is the save that lets the name go.
    Remove {
        /// The guest.
        guest: Name,
    },
    /// A question's answer.
    Answer {
        /// Who had asked.
        ask: Ask,
        /// Whether it was done.
        result: Result<(), Fault>,
    },
    /// It happened, and is stored.
    Event(Event),
    /// Give [`Input::Tick`] at this time ([`Now::mono`]); the last one counts, none for
    /// not at all.
    WakeAt(Option<u64>),
}

/// A run to be started.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The guest.
    pub guest: Name,
    /// Its identity: never used twice, whatever it is called.
    pub id: u64,
    /// Counts its starts, from 1 on.
    pub run: u64,
    /// The epoch under which it may run.
    pub epoch: u64,
    /// How.
    pub definition: Definition,
    /// Where to go on from a checkpoint, when that was asked for.
    pub from: Option<From>,
}
