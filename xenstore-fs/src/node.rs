//! What a file of the tree is.

use atoll_9p::types::{Qid, mode, qid_type};

/// A file that somebody has a fid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(pub(crate) u64);

/// Its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// A node: a directory.
    Node,
    /// Its value.
    Value,
    /// Its permissions.
    Perms,
    /// What changes at it and below.
    Watch,
    /// The directory of the transactions, in the root.
    Transactions,
    /// Makes a transaction when it is opened.
    Clone,
    /// Ends one.
    Ctl,
}

impl Kind {
    pub(crate) fn is_dir(self) -> bool {
        matches!(self, Kind::Node | Kind::Transactions)
    }

    /// Its mode, type included.
    pub(crate) fn mode(self) -> u32 {
        match self {
            Kind::Node => mode::DIR | 0o755,
            Kind::Transactions => mode::DIR | 0o555,
            Kind::Watch => mode::FILE | 0o444,
            _ => mode::FILE | 0o644,
        }
    }

    /// The version is 0, which is never taken for unchanged: only xenstored knows what has
    /// changed.
    pub(crate) fn qid(self, path: u64) -> Qid {
        let ty = match self {
            Kind::Node | Kind::Transactions => qid_type::DIR,
            // Whoever does not know whether a command or a reading arrived must not repeat it.
            Kind::Watch | Kind::Ctl | Kind::Clone => qid_type::APPEND,
            Kind::Value | Kind::Perms => qid_type::FILE,
        };
        Qid { ty, version: 0, path }
    }
}
