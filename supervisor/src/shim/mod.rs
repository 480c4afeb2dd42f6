//! Guests that outlive the daemon: a *shim* is a process of its own for each of them.
//!
//! A daemon that held its guests' machines would take them down with it, and the status
//! of one that ended while there was no daemon would be nobody's. So a shim, `__shim FOLDER`,
//! starts the machine and keeps all that belongs to it: the streams, the guest's public
//! socket, what the guest says, and how it ends. It is told what to do, and tells what
//! happens, through a small tree of its own. It is born of a process that has nothing else to do
//! (`zygote.rs`).
//!
//! What the two halves say to each other: [`Spec`] in the folder is what is to be
//! started, [`End`] beside it how that ended, [`Order`] what the shim is told on the way
//! and [`Report`] what it tells. [`Shim`] is the daemon's end of it.

use std::io;
use std::path::PathBuf;

use atoll_9p::client;
use atoll_9p::fault::Fault;

mod births;
mod end;
mod folder;
mod follow;
mod held;
mod history;
mod image;
mod mark;
mod order;
mod process;
mod serving;
mod spec;
mod tree;
pub mod usage;
mod voice;
mod zygote;

pub use births::Births;
pub use end::{End, How};
pub use held::{Found, Shim};
pub use mark::Mark;
pub use order::{Order, Place, Report, State, Status};
pub use spec::{Bad, FORMAT, Spec};
pub use zygote::{COMMAND, run};

/// The shim's socket, in the folder of the guest's sockets.
const SOCKET: &str = "shim";
/// The socket of the guest's tree for who watches it, beside that.
const OWN: &str = "own";

/// Why there is no shim to speak to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A shim has the guest: it is to be adopted.
    #[error("{}: a guest runs there already", .0.display())]
    Locked(PathBuf),
    /// A run of that number, or a later one, was started before.
    #[error("run {asked} cannot be started: run {last} was")]
    Stale {
        /// The run that was to be started.
        asked: u64,
        /// The last that was.
        last: u64,
    },
    /// A folder or a file is not what it should be.
    #[error("{}: {}", .0.display(), .1)]
    Folder(PathBuf, String),
    /// A file's text is not what it should be.
    #[error("{}: {}", .0.display(), .1)]
    Bad(PathBuf, Bad),
    /// What is to be started makes no sense.
    #[error("{0}")]
    Spec(#[from] Bad),
    /// The system said no.
    #[error("{}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
    /// The shim does not answer, or is another one than it should be.
    #[error("the shim of {name}: {why}")]
    Strange {
        /// The guest.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The order does not fit the guest's state.
    #[error("{}", .0.text())]
    Refused(Fault),
    /// The shim is gone.
    #[error("the shim is gone")]
    Gone,
}

impl From<client::Error> for Error {
    fn from(e: client::Error) -> Error {
        match e {
            client::Error::Refused(fault) => Error::Refused(fault),
            _ => Error::Gone,
        }
    }
}
