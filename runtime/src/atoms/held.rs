//! Files that stay open over connections of the host's.
//!
//! What a component has open is a place in the host's tree, and how it was opened; a fid is only
//! what that is called on one connection. On another one, and on another machine, a file is
//! walked to again by its path as soon as there is one. It has to be the same: `qid.path` is
//! compared. One that is another by then, or cannot be found, is ESTALE until it is
//! closed, and the others go on. A clone file is, from its opening on, the file that it led to. A
//! stream goes on behind what was read of it last. These are the promises of
//! `atoll_9p::client::keeper`, for a client whose calls wait in a state that can be moved.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_9p::types::{OpenFlags, Qid};

/// An open file: a number that is never used for another one of the same guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Held(u64);

/// What of an open file is not a connection's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// As the host has it. None where it cannot be found again.
    pub(crate) path: Option<String>,
    /// How it is opened again.
    pub(crate) flags: OpenFlags,
    /// The path of its qid, and whether it is a directory. None: the root of an import, which
    /// is whatever is served there.
    pub(crate) qid: Option<(u64, bool)>,
    /// Of a stream, the position behind what was read last.
    pub(crate) next: Option<u64>,
}

/// How a file is called on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) fid: u32,
    /// Reads go on where the last one ended.
    pub(crate) stream: bool,
}

#[derive(Debug)]
struct File {
    place: Place,
    at: Option<At>,
    /// It is being found on this connection.
    finding: bool,
    /// Why it is ESTALE, where that is known here.
    lost: Option<Fault>,
}

/// Whether a call that needs a file may be sent.
pub(crate) enum Ready {
    Go(At),
    /// When the file has been found.
    Wait,
    Never(Fault),
}

/// The open files of a guest.
#[derive(Debug, Default)]
pub(crate) struct Files {
    all: BTreeMap<Held, File>,
    last: u64,
    /// Those to be found on this connection, the last first.
    todo: Vec<Held>,
}

/// What is asked of a file that is not what it was.
pub(crate) fn stale(why: impl Into<Cow<'static, str>>) -> Fault {
    Fault::new(Errno::ESTALE, why).blame(Blame::Host)
}

/// What of a qid has to be the same.
pub(crate) fn same(qid: Qid) -> (u64, bool) {
    (qid.path, qid.is_dir())
}

/// Where the file lies that opening a clone file led to, by what it says of itself: its
/// number, beside the clone file, and there `ctl`.
pub(crate) fn cloned(path: &str, says: &[u8]) -> Option<String> {
    let number = core::str::from_utf8(says).ok()?.split_ascii_whitespace().next()?;
    let good = number.len() <= 20 && number.bytes().all(|b| b.is_ascii_digit());
    let dir = path.rfind('/').and_then(|at| path.get(..at))?;
    good.then(|| alloc::format!("{dir}/{number}/ctl"))
}

impl Files {
    /// Takes a file that is open on a connection, or on none yet.
    pub(crate) fn keep(&mut self, place: Place, fid: Option<u32>) -> Held {
        self.last += 1;
        let held = Held(self.last);
        let stream = place.next.is_some();
        let at = fid.map(|fid| At { fid, stream });
        self.all.insert(held, File { place, at, finding: false, lost: None });
        held
    }

    pub(crate) fn get(&self, held: Held) -> Option<&Place> {
        self.all.get(&held).map(|f| &f.place)
    }

    /// Forgets a file: the fid of it, if it has one on this connection.
    pub(crate) fn close(&mut self, held: Held) -> Option<u32> {
        Some(self.all.remove(&held)?.at?.fid)
    }

    /// Whether what is asked of a file can be sent.
    pub(crate) fn ready(&self, held: Held) -> Ready {
        let Some(file) = self.all.get(&held) else { return Ready::Never(Errno::EBADF.into()) };
        match file.at {
            Some(at) => Ready::Go(at),
            None if file.place.path.is_some() => Ready::Wait,
            None => {
                let unknown = || stale("it cannot be found again on another connection");
                Ready::Never(file.lost.clone().unwrap_or_else(unknown))
            }
        }
    }

    /// A file was found, or not. False where nobody has it any more.
    pub(crate) fn found(&mut self, held: Held, found: Result<u32, Fault>) -> bool {
        let Some(file) = self.all.get_mut(&held) else { return false };
        file.finding = false;
        match found {
            Ok(fid) => file.at = Some(At { fid, stream: file.place.next.is_some() }),
            Err(why) => (file.place.path, file.at, file.lost) = (None, None, Some(why)),
        }
        true
    }

    /// A stream was read up to here.
    pub(crate) fn read_to(&mut self, held: Held, next: u64) {
        if let Some(file) = self.all.get_mut(&held) {
            file.place.next = Some(next);
        }
    }

    /// The connection is another: all are to be found on it.
    pub(crate) fn moved(&mut self) {
        self.all.values_mut().for_each(|f| (f.at, f.finding) = (None, false));
        self.todo = self.all.keys().rev().copied().collect();
    }

    /// The next that is to be found: who asks is to find it.
    pub(crate) fn find_next(&mut self) -> Option<(Held, Place)> {
        while let Some(held) = self.todo.pop() {
            if let Some(file) = self.all.get_mut(&held)
                && file.at.is_none()
                && !file.finding
                && file.place.path.is_some()
            {
                file.finding = true;
                return Some((held, file.place.clone()));
            }
        }
        None
    }
}
