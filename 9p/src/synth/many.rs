//! Directories of numbered entries that a clone file makes.
//!
//! The files of an entry are declared once, whatever the number of entries; their
//! functions are told which one is meant. Nothing is held for an entry but what a
//! clone directory knows of those that are open.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::ToString;

use super::kinds::Many;
use crate::fault::{Errno, Fault};

/// Numbers that a node can carry.
pub(super) const MAX_ID: u64 = (1 << 40) - 1;

type Make<'a, S> = Box<dyn Fn(&mut S, u64) -> Result<(), Fault> + 'a>;
type End<'a, S> = Box<dyn Fn(&mut S, u64) + 'a>;

/// How the entries of a clone directory come and go.
pub struct Clones<'a, S> {
    most: usize,
    keep: usize,
    make: Make<'a, S>,
    end: End<'a, S>,
    next: u64,
    /// How many files of an entry are open.
    live: BTreeMap<u64, u32>,
    /// Those of which none is, in the order in which they were left.
    left: VecDeque<u64>,
    version: u32,
}

impl<'a, S> Clones<'a, S> {
    /// At most so many entries at one time. `make` is called with the number of a new
    /// one, which is never used again, and may refuse; `end` when it is over.
    pub fn new(
        most: usize,
        make: impl Fn(&mut S, u64) -> Result<(), Fault> + 'a,
        end: impl Fn(&mut S, u64) + 'a,
    ) -> Clones<'a, S> {
        Clones {
            most,
            keep: 0,
            make: Box::new(make),
            end: Box::new(end),
            next: 0,
            live: BTreeMap::new(),
            left: VecDeque::new(),
            version: 0,
        }
    }

    /// Keeps up to so many entries of which nothing is open any more, so that a client
    /// that lost its connection finds its own again. They are among the `most`; the one
    /// that was left first makes room for a new one.
    #[must_use]
    pub fn keep(self, keep: usize) -> Clones<'a, S> {
        Clones { keep, ..self }
    }
}

impl<S> Many<S> for Clones<'_, S> {
    fn find(&self, _: &mut S, name: &str) -> Option<u64> {
        let id: u64 = name.parse().ok()?;
        // One name for each: neither +1 nor 01.
        (self.is_alive(id) && id.to_string() == name).then_some(id)
    }

    fn list(&self, _: &mut S, from: u64, each: &mut dyn FnMut(u64, &str) -> bool) {
        for id in self.live.range(from..).map(|(id, _)| *id) {
            if !each(id, &id.to_string()) {
                return;
            }
        }
    }

    fn is_clone(&self) -> bool {
        true
    }

    fn is_alive(&self, id: u64) -> bool {
        self.live.contains_key(&id)
    }

    fn make(&mut self, s: &mut S) -> Result<u64, Fault> {
        if self.live.len() >= self.most {
            match self.left.front().copied() {
                Some(oldest) => self.end(s, oldest),
                None => {
                    let most = self.most;
                    let text = alloc::format!("there are {most} of them, and no more are allowed");
                    return Err(Fault::new(Errno::ENOSPC, text));
                }
            }
        }
        let id = self.next;
        if id > MAX_ID {
            return Err(Fault::new(Errno::ENOSPC, "all numbers were used"));
        }
        (self.make)(s, id)?;
        self.next += 1;
        self.live.insert(id, 0);
        self.version = self.version.wrapping_add(1);
        Ok(id)
    }

    fn opened(&mut self, id: u64) {
        if let Some(opens) = self.live.get_mut(&id) {
            *opens += 1;
            self.left.retain(|l| *l != id);
        }
    }

    fn closed(&mut self, s: &mut S, id: u64) {
        let Some(opens) = self.live.get_mut(&id) else { return };
        *opens = opens.saturating_sub(1);
        if *opens == 0 {
            self.left.push_back(id);
            if self.left.len() > self.keep
                && let Some(oldest) = self.left.front().copied()
            {
                self.end(s, oldest);
            }
        }
    }

    fn end(&mut self, s: &mut S, id: u64) {
        if self.live.remove(&id).is_some() {
            self.left.retain(|l| *l != id);
            self.version = self.version.wrapping_add(1);
            (self.end)(s, id);
        }
    }

    fn version(&self) -> u32 {
        self.version
    }
}
