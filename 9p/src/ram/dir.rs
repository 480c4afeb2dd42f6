//! What is in a directory: names, in the order in which they came.
//!
//! A name is found by itself or by its cookie, both in O(log n). Cookies only grow,
//! so a listing that goes on from one neither loses nor doubles what was there all
//! the time, whatever comes and goes between its pages.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::ops::Bound;

use super::Node;

/// The names of a directory.
#[derive(Debug, Default)]
pub(super) struct Dir {
    names: BTreeMap<Arc<str>, u64>,
    order: BTreeMap<u64, (Arc<str>, Node)>,
    /// The newest cookie.
    last: u64,
}

impl Dir {
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn get(&self, name: &str) -> Option<Node> {
        let cookie = self.names.get(name)?;
        self.order.get(cookie).map(|entry| entry.1)
    }

    /// Gives a node a name. What had it before keeps neither name nor cookie.
    pub(super) fn put(&mut self, name: &str, node: Node) -> Option<Node> {
        if let Some(cookie) = self.names.get(name) {
            let entry = self.order.get_mut(cookie)?;
            return Some(core::mem::replace(&mut entry.1, node));
        }
        let name: Arc<str> = Arc::from(name);
        self.last += 1;
        self.names.insert(name.clone(), self.last);
        self.order.insert(self.last, (name, node));
        None
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Node> {
        let cookie = self.names.remove(name)?;
        self.order.remove(&cookie).map(|entry| entry.1)
    }

    /// What comes behind a cookie: cookie, name and node.
    pub(super) fn after(&self, cookie: u64) -> impl Iterator<Item = (u64, &str, Node)> {
        let range = (Bound::Excluded(cookie), Bound::Unbounded);
        self.order.range(range).map(|(cookie, (name, node))| (*cookie, &**name, *node))
    }
}
