//! What the process gives up before it runs a guest: everything but its streams,
//! its memory and the time.
//!
//! Three walls, one behind the other, each enough for most of what could go
//! wrong: the system calls that are not on a short list end the process
//! ([`calls`]), no file and no network address can be reached even if one were
//! ([`files`]), and limits hold what is left ([`limits`]). Nothing is ever opened
//! again afterwards, so it all has to be there before.

use std::io;
use std::os::fd::RawFd;

mod calls;
mod fds;
mod files;
mod limits;

pub use limits::ALLOWANCE;

/// What the guest may still use.
#[derive(Clone, Copy, Debug)]
pub struct Needs<'a> {
    /// The guest's memory in bytes.
    pub memory: u64,
    /// The descriptors that stay open, besides standard error.
    pub fds: &'a [RawFd],
    /// Connections that may be open at one time.
    pub connections: u64,
}

/// Gives up everything else, for good. Says what the system could not enforce.
pub fn enter(needs: &Needs<'_>) -> io::Result<Vec<String>> {
    rustix::thread::set_no_new_privs(true)?;
    fds::close_others(needs.fds)?;
    // This reads /proc, and so comes before the files are gone.
    limits::set(needs)?;
    let mut notes = Vec::new();
    if let Some(note) = files::deny().map_err(io::Error::other)? {
        notes.push(note);
    }
    calls::deny().map_err(io::Error::other)?;
    Ok(notes)
}
