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
    /// Whom it says it acts for is a label: files that it makes are shown as theirs.
    #[default]
    Owner,
    /// The same, where being a file's owner is more than a label (on a host, say): files
    /// that it makes are this user's, whom the system named, and no user's
    /// ([`NOBODY`]) where it named none. Only user 0, who may give files to
    /// anybody, is believed in whom it acts for.
    OwnerPeer {
        /// Its number.
        uid: u32,
        /// The number of its group.
        gid: u32,
    },
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
            Identity::OwnerPeer { uid: 0, .. } if claimed != NOBODY => {
                User { uid: claimed, gid: claimed, owner: true }
            }
            Identity::OwnerPeer { uid, gid } => User { uid, gid, owner: true },
            Identity::Peer { uid, gid } => User { uid, gid, owner: false },
            Identity::Claimed => User { uid: claimed, gid: claimed, owner: false },
        }
    }

    /// The group that something new is to have, of which the client says that it is to
    /// be this one: whom the system named, and is not user 0, gives only its own.
    pub fn group(self, claimed: u32) -> u32 {
        match self {
            Identity::Peer { uid: 1.., gid } | Identity::OwnerPeer { uid: 1.., gid } => gid,
            _ => claimed,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_gives_no_more_than_the_system_knows() {
        let (peer, owner) =
            (Identity::Peer { uid: 7, gid: 8 }, Identity::OwnerPeer { uid: 7, gid: 8 });
        for claimed in [0, 7, 1000, NOBODY] {
            assert_eq!(peer.user(claimed), User { uid: 7, gid: 8, owner: false });
            assert_eq!(owner.user(claimed), User { uid: 7, gid: 8, owner: true });
            assert_eq!((peer.group(claimed), owner.group(claimed)), (8, 8));
            let unknown = Identity::OwnerPeer { uid: NOBODY, gid: NOBODY };
            assert_eq!(unknown.user(claimed), User { uid: NOBODY, gid: NOBODY, owner: true });
            assert_eq!(unknown.group(claimed), NOBODY);
        }
        // User 0 may act for anybody.
        let root = Identity::OwnerPeer { uid: 0, gid: 0 };
        assert_eq!(root.user(1000), User { uid: 1000, gid: 1000, owner: true });
        assert_eq!(root.user(NOBODY), User { uid: 0, gid: 0, owner: true });
        assert_eq!((root.group(5), Identity::Peer { uid: 0, gid: 0 }.group(5)), (5, 5));
    }
}
