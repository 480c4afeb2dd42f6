//! Directories that are the roots of other servers' trees.
//!
//! A [`Synth`] only says where they are: that one is is in the qid which a walk gives. Who
//! serves the tree through a [`crate::switch::Switch`] sees the other server there.

use alloc::borrow::Cow;

use super::{AT, Node, Synth};

impl<'a, S> Synth<'a, S> {
    /// A directory, also one of each numbered entry, in whose place a
    /// [`crate::switch::Switch`] shows the tree of another server. Without one it is empty.
    pub fn mount(&mut self, at: Node, name: impl Into<Cow<'a, str>>) -> Node {
        let node = self.dir(at, name);
        self.mounts.push(node.at);
        node
    }
}

impl Node {
    /// The number of the entry of a numbered directory that a file belongs to whose qid
    /// has this path; 0 where it belongs to none.
    pub fn entry_of(path: u64) -> u64 {
        path >> (AT + 2)
    }
}
