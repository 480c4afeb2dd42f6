//! The fids that the joint has at its server, and when each may be used again.
//!
//! A fid is free when it was clunked and nothing that is about it is underway: a
//! request that comes late would otherwise be about another file. They are small
//! numbers in a row, so a table finds them.

use alloc::vec::Vec;

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Requests underway that are about it.
    users: u32,
    /// Whether it is free once those are answered.
    late: bool,
}

#[derive(Debug, Default)]
pub(super) struct Fids {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Fids {
    /// A fid that nobody uses.
    pub(super) fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        })
    }

    /// A request about it goes to the server.
    pub(super) fn enter(&mut self, at: u32) {
        if let Some(slot) = self.slots.get_mut(at as usize) {
            slot.users += 1;
        }
    }

    /// A request about it is no longer there.
    pub(super) fn leave(&mut self, at: u32) {
        if let Some(slot) = self.slots.get_mut(at as usize) {
            slot.users = slot.users.saturating_sub(1);
        }
    }

    /// The server has it no longer: it is free when nothing is about it.
    pub(super) fn free(&mut self, at: u32) {
        if let Some(slot) = self.slots.get_mut(at as usize) {
            slot.late = true;
        }
        self.settle(at);
    }

    /// Whether it was freed while a request was underway that makes it. It has been
    /// made, so it is to be freed again.
    pub(super) fn revive(&mut self, at: u32) -> bool {
        let slot = self.slots.get_mut(at as usize);
        slot.is_some_and(|s| core::mem::take(&mut s.late))
    }

    /// Makes it free, if it is to be and can be.
    pub(super) fn settle(&mut self, at: u32) {
        if let Some(slot) = self.slots.get_mut(at as usize)
            && slot.late
            && slot.users == 0
        {
            slot.late = false;
            self.free.push(at);
        }
    }
}
