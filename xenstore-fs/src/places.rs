//! Which files clients have fids for.
//!
//! A node of a [`Tree`](atoll_9p::tree::Tree) is a small number, and a node of XenStore a
//! path of up to 3 KiB: each path that somebody has is kept once, and counted. What all of
//! them take is bounded, since every fid may have another.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use atoll_9p::fault::{Errno, Fault};

use crate::node::{Kind, Node};

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    /// The transaction that it lies in; 0 for none.
    pub(crate) txn: u32,
    /// The path in XenStore of the node that it is, or is a file of.
    pub(crate) path: Arc<str>,
}

#[derive(Debug)]
pub(crate) struct Places {
    by_number: BTreeMap<u64, (Place, usize)>,
    by_place: HashMap<Place, u64>,
    last: u64,
    bytes: usize,
    /// The most bytes that all may take.
    max: usize,
    hasher: RandomState,
}

/// What one takes besides its path, about.
const EACH: usize = 200;

impl Places {
    pub(crate) fn new(max: usize) -> Places {
        Places {
            by_number: BTreeMap::new(),
            by_place: HashMap::new(),
            last: 0,
            bytes: 0,
            max,
            hasher: RandomState::new(),
        }
    }

    /// The node of a file, with one reference more.
    pub(crate) fn hold(&mut self, place: Place) -> Result<Node, Fault> {
        if let Some(&number) = self.by_place.get(&place) {
            return Ok(self.again(Node(number)));
        }
        let bytes = EACH + place.path.len();
        if self.bytes + bytes > self.max {
            return Err(Fault::new(
                Errno::ENOMEM,
                "clients have too many files of XenStore at once",
            ));
        }
        self.bytes += bytes;
        self.last += 1;
        self.by_number.insert(self.last, (place.clone(), 1));
        self.by_place.insert(place, self.last);
        Ok(Node(self.last))
    }

    pub(crate) fn again(&mut self, node: Node) -> Node {
        if let Some((_, count)) = self.by_number.get_mut(&node.0) {
            *count += 1;
        }
        node
    }

    pub(crate) fn forget(&mut self, node: Node) {
        let Some((_, count)) = self.by_number.get_mut(&node.0) else { return };
        *count -= 1;
        if *count == 0
            && let Some((place, _)) = self.by_number.remove(&node.0)
        {
            self.bytes -= EACH + place.path.len();
            self.by_place.remove(&place);
        }
    }

    pub(crate) fn get(&self, node: Node) -> Result<Place, Fault> {
        self.by_number.get(&node.0).map(|(place, _)| place.clone()).ok_or(Errno::ESTALE.into())
    }

    /// The number that a file's qid has, also when nobody has had it meanwhile.
    pub(crate) fn qid_path(&self, place: &Place) -> u64 {
        self.hasher.hash_one(place)
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.by_number.len(), self.bytes)
    }
}
