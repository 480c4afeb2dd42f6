//! Who holds locks, by small numbers.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

/// Owners of locks, as the kernel names them, and what they hold.
#[derive(Debug, Default)]
pub struct Owners {
    numbers: RefCell<HashMap<u64, u32>>,
    /// Handles with a lock, its owner, and whether it is one of `flock`.
    held: RefCell<HashSet<(u64, u64, bool)>>,
}

impl Owners {
    /// The number of an owner, the same for as long as there is any other.
    pub fn number(&self, owner: u64) -> u32 {
        let mut numbers = self.numbers.borrow_mut();
        // Those who hold nothing need no number; the next is behind the largest.
        if numbers.len() > 4096 {
            let held = self.held.borrow();
            numbers.retain(|owner, _| held.iter().any(|h| h.1 == *owner));
        }
        let next = numbers.values().max().map_or(1, |n| n.wrapping_add(1).max(1));
        *numbers.entry(owner).or_insert(next)
    }

    /// An owner got a lock.
    pub fn holds(&self, fh: u64, owner: u64, flock: bool) {
        self.held.borrow_mut().insert((fh, owner, flock));
    }

    /// An owner's locks on a handle end; whether there were any.
    pub fn ends(&self, fh: u64, owner: u64, flock: bool) -> bool {
        self.held.borrow_mut().remove(&(fh, owner, flock))
    }
}
