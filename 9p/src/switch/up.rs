//! A server that is reached for a client, and what the switch asks of it for itself.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::own::Numbers;
use super::paths::Paths;
use super::{OWN_TAGS, UpId};
use crate::dialect::Dialect;
use crate::frames::{Incoming, Outgoing};
use crate::msg::Tmsg;
use crate::types::Qid;

/// The connection to a server.
#[derive(Debug)]
pub(super) struct Up {
    /// The path of the mount point's qid.
    pub(super) mount: u64,
    /// The tree of it that is mounted: what users attach to.
    pub(super) aname: String,
    pub(super) rx: Incoming,
    pub(super) tx: Outgoing,
    /// The agreed size, at most the client's; 0 while the server has not greeted.
    pub(super) msize: u32,
    pub(super) dialect: Dialect,
    /// One for each of the client's users that came here.
    pub(super) roots: Vec<Root>,
    /// What the switch asked for itself, by tag.
    pub(super) own: BTreeMap<u16, Own>,
    /// Fids there that are the switch's own.
    pub(super) numbers: Numbers,
    /// Fids of the client's that are there, and walks that are on their way.
    pub(super) users: usize,
}

/// Where a user of the client's enters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root {
    pub(super) who: u16,
    /// The switch's fid there.
    pub(super) fid: u32,
    /// The switch's local fid of the mount point, from which `..` goes on here.
    pub(super) anchor: u32,
    pub(super) state: Attached,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attached {
    /// When the server has greeted.
    NotYet,
    Asked,
    /// Its qid, as the server calls it.
    Done(Qid),
}

/// What the switch asked for itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Own {
    /// To attach a user.
    Attach { who: u16 },
    /// To end a fid, which is then free if it is one of the switch's own.
    Clunk { fid: u32 },
}

impl Up {
    pub(super) fn new(mount: u64) -> Up {
        Up {
            mount,
            aname: String::new(),
            rx: Incoming::default(),
            tx: Outgoing::default(),
            msize: 0,
            dialect: Dialect::L,
            roots: Vec::new(),
            own: BTreeMap::new(),
            numbers: Numbers::default(),
            users: 0,
        }
    }

    /// How its qids are changed; they are not before anybody was let in.
    pub(super) fn paths(&self) -> Paths {
        let root = self.roots.iter().find_map(|r| match r.state {
            Attached::Done(qid) => Some(qid.path),
            _ => None,
        });
        Paths::new(self.mount, root.unwrap_or_default())
    }

    pub(super) fn root(&self, who: u16) -> Option<&Root> {
        self.roots.iter().find(|r| r.who == who)
    }

    /// The root of a user, if that was let in.
    pub(super) fn entered(&self, who: u16) -> Option<(Root, Qid)> {
        self.root(who).and_then(|r| match r.state {
            Attached::Done(qid) => Some((*r, qid)),
            _ => None,
        })
    }

    /// Asks for something under a tag of its own. False when there is none left: the server
    /// does not answer.
    pub(super) fn ask(&mut self, m: &Tmsg<'_>, what: Own) -> bool {
        let Some(tag) = OWN_TAGS.into_iter().find(|tag| !self.own.contains_key(tag)) else {
            return false;
        };
        self.own.insert(tag, what);
        m.encode_in(self.dialect, tag, &mut self.tx.bytes);
        true
    }

    /// Bytes of memory behind its buffers.
    pub(super) fn held(&self) -> usize {
        self.rx.capacity() + self.tx.bytes.capacity()
    }
}

impl UpId {
    /// The one after it.
    pub(super) fn next(from: &mut u64) -> UpId {
        *from += 1;
        UpId(*from - 1)
    }
}
