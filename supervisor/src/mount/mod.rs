//! `atoll mount`: a tree as a directory of this machine.
//!
//! Behind a mount stands a helper process, which keeps it through restarts of the
//! server, to which it speaks 9P ([`link`]). The kernel speaks FUSE to the helper
//! ([`fuse`]: what it says, [`fs`]: what is done about it); every request is a task of
//! its own, so one that waits keeps no other waiting, and one whose caller is
//! interrupted is taken back with a Tflush ([`job`]). Or, where the kernel has a 9P
//! client ([`v9fs`]), it speaks 9P to the helper, which passes that on ([`proxy`]).
//! What each does is in `docs/mounts.md`.

use std::io;
use std::path::{Path, PathBuf};

use crate::address::Address;

pub mod file;
pub mod fs;
pub mod fuse;
pub mod helper;
pub mod job;
pub mod link;
pub mod node;
pub mod owners;
pub mod proxy;
pub mod table;
pub mod umount;
pub mod v9fs;

/// Why nothing was mounted, or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody serves there.
    #[error("no tree at {address}: {why}; is it served? (atoll run IMAGE, atoll export DIR)")]
    NoServer {
        /// Where.
        address: Address,
        /// What the system said.
        why: String,
    },
    /// The place cannot be mounted over.
    #[error("{}: {why}", dir.display())]
    Place {
        /// Where.
        dir: PathBuf,
        /// Why, and what to do.
        why: &'static str,
    },
    /// The system does not mount.
    #[error("cannot mount at {}: {why}", dir.display())]
    Mount {
        /// Where.
        dir: PathBuf,
        /// What it said.
        why: io::Error,
    },
    /// The system does not unmount.
    #[error("cannot unmount {}: {why}", dir.display())]
    Unmount {
        /// Where.
        dir: PathBuf,
        /// What it said.
        why: io::Error,
    },
    /// Somebody uses it.
    #[error(
        "{} is in use by {users}; end that, or unmount with --lazy: it is then gone at once, and \
         whoever uses it keeps what is open", dir.display()
    )]
    Busy {
        /// Where.
        dir: PathBuf,
        /// Who uses it.
        users: String,
    },
    /// There is no mount of ours.
    #[error("{} is no mount of atoll's; `umount` takes others away", .0.display())]
    NotOurs(PathBuf),
    /// The helper did not end.
    #[error("it is unmounted, but its helper does not end")]
    Helper,
}

impl Error {
    /// The exit status of the command that failed of it.
    pub fn code(&self) -> u8 {
        match self {
            Error::NoServer { .. } => 3,
            Error::Place { .. } | Error::Busy { .. } | Error::NotOurs(_) => 4,
            Error::Mount { why, .. } | Error::Unmount { why, .. } => match why.kind() {
                io::ErrorKind::PermissionDenied => 5,
                _ => 1,
            },
            Error::Helper => 7,
        }
    }
}

/// Checks that a place can be mounted over, and says where it really is.
pub fn place(dir: &Path) -> Result<PathBuf, Error> {
    let place = |why| Error::Place { dir: dir.to_owned(), why };
    let unknown = |why| Error::Mount { dir: dir.to_owned(), why };
    if umount::absolute(dir).is_ok_and(|d| table::is_ours(&d)) {
        return Err(place("a tree is mounted there already; unmount it first (atoll umount)"));
    }
    let whole = match dir.canonicalize() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(place("there is no such directory; make it first (mkdir)"));
        }
        whole => whole.map_err(unknown)?,
    };
    if !whole.is_dir() {
        return Err(place("it is no directory; a tree is mounted over an empty directory"));
    }
    if table::is_ours(&whole) {
        return Err(place("a tree is mounted there already; unmount it first (atoll umount)"));
    }
    if whole == Path::new("/") {
        return Err(place("the root cannot be mounted over"));
    }
    Ok(whole)
}
