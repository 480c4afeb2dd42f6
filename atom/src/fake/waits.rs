//! What an atom of a fake guest waits for: time, replies, locks.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::guest::{Guest, Queued};
use crate::{Errno, Error};

/// What a future waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    Time(u64),
    Reply(i32),
    Lock(u32),
    /// It is in the queue.
    Fired,
}

#[derive(Clone, Default)]
pub(super) struct Lock {
    holders: Vec<(i32, bool)>,
    line: VecDeque<(i64, i32, bool)>,
}

impl Guest {
    pub(super) fn future(&mut self, owner: i32, waits: Waits) -> Result<i64, Errno> {
        if self.futures.len() >= self.most_futures {
            return Err(Errno::EDQUOT);
        }
        let id = self.next;
        self.next += 1;
        self.futures.insert(id, (owner, waits));
        Ok(id)
    }

    /// A future that has its result already.
    pub(super) fn ready(
        &mut self,
        owner: i32,
        result: Result<Vec<u8>, Error>,
    ) -> Result<i64, Errno> {
        let id = self.future(owner, Waits::Fired)?;
        self.queue.push_back((owner, Queued::Future { id, result }));
        Ok(id)
    }

    pub(super) fn sleep(&mut self, owner: i32, ns: i64) -> Result<i64, Errno> {
        let at = self.now.saturating_add(u64::try_from(ns).unwrap_or(0));
        let id = self.future(owner, Waits::Time(at))?;
        self.timers.insert((at, id));
        Ok(id)
    }

    pub(super) fn fire(&mut self, id: i64, result: Result<Vec<u8>, Error>) {
        if let Some((owner, waits)) = self.futures.get_mut(&id)
            && *waits != Waits::Fired
        {
            *waits = Waits::Fired;
            let owner = *owner;
            self.queue.push_back((owner, Queued::Future { id, result }));
        }
    }

    pub(super) fn drop_future(&mut self, owner: i32, id: i64) -> Result<(), Errno> {
        match self.futures.get(&id).copied() {
            Some((o, waits)) if o == owner => {
                self.futures.remove(&id);
                self.queue.retain(|(_, e)| !matches!(e, Queued::Future { id: i, .. } if *i == id));
                match waits {
                    Waits::Time(at) => drop(self.timers.remove(&(at, id))),
                    Waits::Lock(n) => self.leave(owner, n, id),
                    Waits::Reply(_) | Waits::Fired => {}
                }
                Ok(())
            }
            _ => Err(Errno::ESTALE),
        }
    }

    pub(super) fn next_timer(&self) -> Option<u64> {
        self.timers.first().map(|(at, _)| *at).filter(|_| self.exit.is_none())
    }

    /// Time passes, and timers come.
    pub(super) fn advance(&mut self, now: u64) {
        self.wall = self.wall.saturating_add(now.saturating_sub(self.now));
        self.now = self.now.max(now);
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= self.now) {
            self.timers.remove(&(at, id));
            self.fire(id, Ok(Vec::new()));
        }
    }

    pub(super) fn lock(&mut self, owner: i32, n: u32, shared: bool) -> Result<i64, Errno> {
        let id = self.future(owner, Waits::Lock(n))?;
        self.locks.entry(n).or_default().line.push_back((id, owner, shared));
        self.grant(n);
        Ok(id)
    }

    pub(super) fn unlock(&mut self, owner: i32, n: u32) -> Result<(), Errno> {
        let lock = self.locks.get_mut(&n).ok_or(Errno::EPERM)?;
        let at = lock.holders.iter().position(|(o, _)| *o == owner).ok_or(Errno::EPERM)?;
        lock.holders.remove(at);
        self.grant(n);
        Ok(())
    }

    /// Whoever's turn it is has the lock.
    fn grant(&mut self, n: u32) {
        let mut had = Vec::new();
        if let Some(lock) = self.locks.get_mut(&n) {
            while let Some((id, owner, shared)) = lock.line.front().copied() {
                let free = lock.holders.iter().all(|(_, s)| *s && shared);
                if !free {
                    break;
                }
                lock.line.pop_front();
                lock.holders.push((owner, shared));
                had.push(id);
            }
        }
        for id in had {
            // It stays a lock's, so that dropping it gives the lock up.
            if let Some((owner, _)) = self.futures.get(&id).copied() {
                self.queue.push_back((owner, Queued::Future { id, result: Ok(Vec::new()) }));
            }
        }
    }

    /// Out of the line; or the lock is given up, when it was granted already.
    fn leave(&mut self, owner: i32, n: u32, id: i64) {
        let Some(lock) = self.locks.get_mut(&n) else { return };
        let before = lock.line.len();
        lock.line.retain(|(i, ..)| *i != id);
        if lock.line.len() == before {
            self.unlock(owner, n).ok();
        } else {
            self.grant(n);
        }
    }
}
