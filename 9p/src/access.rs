//! Who asks, and what a file's mode lets them do.
//!
//! A session is told by its transport whom it serves ([`Identity`]); what a client
//! says of itself in Tattach counts only where the transport vouches for nobody and
//! the server chose to believe. What a user may do is then the file's mode, as
//! in `path_resolution(7)`.

use crate::fault::{Errno, Fault};
use crate::types::Stat;
use crate::wire::NOFID;

/// A user, as a file's mode sees one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
    /// Whether it is treated as the owner of every file.
    pub owner: bool,
}

/// The number that stands for no user: what a client says that gives none.
pub const NOBODY: u32 = NOFID;

/// Whom a session serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// Whoever may reach it is the owner of everything: the socket's own
    /// permissions have decided. Modes bind nevertheless: nobody writes a read-only file.
    #[default]
    Owner,
    /// The user whom the system named, whatever the client says of itself.
    Peer {
        /// Its number.
        uid: u32,
        /// The number of its group.
        gid: u32,
    },
    /// Whom the client says it is. For tests, and behind something that checks it.
    Claimed,
}

impl Identity {
    /// The user that an attach with this number is. For [`Identity::Claimed`] the
    /// group has the user's number.
    pub fn user(self, claimed: u32) -> User {
        match self {
            Identity::Owner => User { uid: claimed, gid: claimed, owner: true },
            Identity::Peer { uid, gid } => User { uid, gid, owner: false },
            Identity::Claimed => User { uid: claimed, gid: claimed, owner: false },
        }
    }
}

/// What is asked of a file: bits as in the lowest three of a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want(pub u32);

impl Want {
    /// To walk through a directory.
    pub const SEARCH: Want = Want(1);
    /// To write; of a directory: to make and remove names in it.
    pub const WRITE: Want = Want(2);
    /// To read.
    pub const READ: Want = Want(4);

    /// All of both.
    #[must_use]
    pub fn and(self, other: Want) -> Want {
        Want(self.0 | other.0)
    }
}

/// Whether a file's mode lets a user do something. User 0 may read and write
/// whatever there is, and the owner of everything may what any owner may.
pub fn allowed(stat: &Stat, user: User, want: Want) -> Result<(), Fault> {
    let bits = if user.owner || user.uid == stat.uid {
        stat.mode >> 6
    } else if user.gid == stat.gid {
        stat.mode >> 3
    } else {
        stat.mode
    };
    let root = user.uid == 0 && !user.owner;
    if root || bits & 7 & want.0 == want.0 { Ok(()) } else { Err(Errno::EACCES.into()) }
}

/// Whether a user may change a file's attributes: its owner may, and user 0.
pub fn owns(stat: &Stat, user: User) -> Result<(), Fault> {
    if user.owner || user.uid == 0 || user.uid == stat.uid {
        Ok(())
    } else {
        Err(Fault::new(Errno::EPERM, "only the file's owner may do that"))
    }
}
