//! Guests that outlive the daemon: a *shim* is a process of its own for each of them.
//!
//! A daemon that held its guests' machines would take them down with it, and the status
//! of one that ended while there was no daemon would be nobody's. So `atoll __shim FOLDER`
//! starts the machine and keeps all that belongs to it: the streams, the guest's public
//! socket, what the guest says, and how it ends. It is told what to do, and tells what
//! happens, through a small tree of its own.
//!
//! What the two halves say to each other lies here: [`Spec`] in the folder is what is to
//! be started, [`End`] beside it how that ended, [`Order`] what the shim is told on the
//! way and [`Report`] what it tells.

mod end;
mod order;
mod spec;

pub use end::{End, How};
pub use order::{Order, Report, State, Status};
pub use spec::{Bad, FORMAT, Spec};
