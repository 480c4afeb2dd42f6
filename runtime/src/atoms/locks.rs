//! Reader-writer locks among the components of a guest.
//!
//! A lock belongs to a component. Who asks for one stands in its line, and nobody
//! overtakes; so a writer does not starve. Locks of a component that is no more are
//! released.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use atoll_9p::fault::{Errno, Fault};

use super::futures::On;
use super::{Atoms, More, Undo};
use crate::component::{CallId, ComponentId};
use crate::core::Core;
use crate::effects::{Cx, message};

/// A lock that somebody holds or waits for.
#[derive(Debug, Default)]
pub(crate) struct Lock {
    /// Who holds it, and how often.
    pub(crate) holders: Vec<(ComponentId, u32)>,
    /// It is held by one alone.
    pub(crate) alone: bool,
    /// Who waits, and whether to share it.
    pub(crate) line: VecDeque<(CallId, ComponentId, bool)>,
}

impl Lock {
    fn give(&mut self, id: ComponentId, alone: bool) {
        self.alone = alone;
        match self.holders.iter_mut().find(|h| h.0 == id) {
            Some(holder) => holder.1 += 1,
            None => self.holders.push((id, 1)),
        }
    }

    /// Takes one hold away: whether it was alone, or nothing where there is none.
    fn take(&mut self, id: ComponentId) -> Option<bool> {
        let at = self.holders.iter().position(|h| h.0 == id)?;
        let holder = self.holders.get_mut(at)?;
        holder.1 -= 1;
        if holder.1 == 0 {
            self.holders.swap_remove(at);
        }
        Some(core::mem::replace(&mut self.alone, false))
    }
}

impl Atoms {
    /// A component holds a lock once more.
    pub(super) fn hold(&mut self, n: u8, id: ComponentId, alone: bool) {
        self.locks.entry(n).or_default().give(id, alone);
    }
}

impl Cx<'_> {
    /// A call that returns when this component holds a lock of the guest's, 0 to 255:
    /// alone, or together with others that share it. In the order of the calls.
    pub fn lock(&mut self, n: u32, shared: bool) -> Result<CallId, Fault> {
        let n = u8::try_from(n).map_err(|_| Errno::EINVAL)?;
        self.pay(message(0))?;
        let call = self.number();
        self.wish(More::Lock { call, n, shared });
        Ok(call)
    }

    /// Gives up one hold of a lock: EPERM where this component has none.
    pub fn unlock(&mut self, n: u32) -> Result<(), Fault> {
        let n = u8::try_from(n).map_err(|_| Errno::EPERM)?;
        let me = self.me;
        let lock = self.atoms.locks.get_mut(&n).ok_or(Errno::EPERM)?;
        let alone = lock.take(me).ok_or(Errno::EPERM)?;
        self.effects.undo.push(Undo::Unlock(n, alone));
        // Who holds it often can give it up as often in one dispatch.
        if !self.pass(0) {
            return Err(Errno::EDQUOT.into());
        }
        self.wish(More::Unlocked(n));
        Ok(())
    }
}

impl Core<'_> {
    pub(super) fn lock(&mut self, from: ComponentId, call: CallId, n: u8, shared: bool) {
        self.future(from, call, On::Lock(n), message(0));
        self.atoms.locks.entry(n).or_default().line.push_back((call, from, shared));
        self.grant_lock(n);
    }

    /// Gives a lock to those who are first in its line, as far as it is free.
    pub(super) fn grant_lock(&mut self, n: u8) {
        while let Some(lock) = self.atoms.locks.get_mut(&n) {
            let Some(&(call, id, shared)) = lock.line.front() else {
                if lock.holders.is_empty() {
                    self.atoms.locks.remove(&n);
                }
                return;
            };
            if !lock.holders.is_empty() && (lock.alone || !shared) {
                return;
            }
            lock.line.pop_front();
            lock.give(id, !shared);
            self.ready(call, On::Granted(n));
        }
    }

    /// Gives up one hold.
    pub(super) fn release(&mut self, n: u8, id: ComponentId) {
        if let Some(lock) = self.atoms.locks.get_mut(&n) {
            lock.take(id);
        }
        self.grant_lock(n);
    }

    /// Who waited waits no more.
    pub(super) fn leave_line(&mut self, n: u8, call: CallId) {
        if let Some(lock) = self.atoms.locks.get_mut(&n) {
            lock.line.retain(|w| w.0 != call);
        }
        self.grant_lock(n);
    }

    /// Releases all locks of a component that is no more.
    pub(super) fn forget_locks(&mut self, id: ComponentId) {
        let mut held = Vec::new();
        for (n, lock) in &mut self.atoms.locks {
            if let Some(at) = lock.holders.iter().position(|h| h.0 == id) {
                lock.holders.swap_remove(at);
                lock.alone = false;
                held.push(*n);
            }
        }
        held.into_iter().for_each(|n| self.grant_lock(n));
    }
}
