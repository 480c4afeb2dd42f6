//! What the process gives up before it runs a guest: everything but its streams,
//! its memory and the time.
//!
//! Three walls, one behind the other, each enough for most of what could go
//! wrong: the system calls that are not on a short list end the process
//! ([`calls`]), no file and no network address can be reached even if one were
//! ([`files`]), and limits hold what is left ([`limits`]). Nothing is ever opened
//! again afterwards, so it all has to be there before.

use std::io;

mod calls;
mod fds;
mod files;
mod limits;

pub use fds::close_others;
pub use limits::ALLOWANCE;

/// What the guest may still use.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// The guest's memory in bytes.
    pub memory: u64,
    /// Connections that may be open at one time.
    pub connections: u64,
    /// Whether it has atoms: they want mappings, and a watchdog.
    pub atoms: bool,
}

/// Gives up everything else, for good. Says what the system could not enforce. What was
/// inherited by accident is best [closed](close_others) long before.
pub fn enter(needs: &Needs) -> io::Result<Vec<String>> {
    rustix::thread::set_no_new_privs(true)?;
    // This reads /proc, and so comes before the files are gone.
    limits::set(needs)?;
    let mut notes = Vec::new();
    if let Some(note) = files::deny().map_err(io::Error::other)? {
        notes.push(note);
    }
    calls::deny(needs.atoms).map_err(io::Error::other)?;
    Ok(notes)
}
