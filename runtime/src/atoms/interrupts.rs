//! Interrupts: at most one of a code waits for a component, so that however many are
//! made, few are held. A code that is masked keeps its interrupt until it is unmasked;
//! then it comes behind what is there.

use atoll_9p::fault::{Errno, Fault};

use super::{More, Undo};
use crate::component::{ComponentId, Why};
use crate::core::{Core, Queued};
use crate::effects::{Cx, message};

/// The highest code that components and people may use.
pub(crate) const LAST: u8 = 62;

impl Cx<'_> {
    /// Interrupts a component, this one too, with a code of 0 to 62. Where one of that
    /// code waits already, this changes nothing.
    pub fn signal(&mut self, to: ComponentId, code: u8, arg: i64) -> Result<(), Fault> {
        self.known(to)?;
        if code > LAST {
            return Err(Errno::EINVAL.into());
        }
        self.pay(message(0))?;
        self.wish(More::Signal(to, code, arg));
        Ok(())
    }

    /// Holds interrupts back: those of the codes whose bits are set, beside those that
    /// are held back already. The bits as they were.
    pub fn mask(&mut self, bits: u64) -> u64 {
        self.set_mask(self.own.mask | bits)
    }

    /// Lets interrupts come again: those of the codes whose bits are set. The bits as
    /// they were.
    pub fn unmask(&mut self, bits: u64) -> u64 {
        self.set_mask(self.own.mask & !bits)
    }

    fn set_mask(&mut self, mask: u64) -> u64 {
        let old = self.own.mask;
        // A mask that stays takes nothing, however often it is set. Where nobody pays, the
        // dispatch is abandoned.
        if mask != old && self.pass(0) {
            self.own.mask = mask;
            self.effects.undo.push(Undo::Mask(old));
            if old & !mask != 0 {
                self.wish(More::Unmasked);
            }
        }
        old
    }
}

impl Core<'_> {
    /// Queues an interrupt that was charged.
    pub(super) fn signal(
        &mut self,
        to: ComponentId,
        from: Option<ComponentId>,
        code: u8,
        arg: i64,
    ) {
        match self.slots.get_mut(to).and_then(|s| s.own.as_mut()) {
            Some(own) if own.interrupts.iter().all(|i| i.0 != code) => {
                own.interrupts.push((code, from, arg));
                self.queue.push_back((to, Queued::Interrupt { code }));
            }
            _ => self.sponsor.refund(message(0)),
        }
    }

    /// Interrupts a component from outside.
    pub(crate) fn interrupt(&mut self, to: ComponentId, code: u8, arg: i64) -> Result<(), Fault> {
        if !self.sponsor.charge(message(0)) {
            return Err(Fault::new(Errno::EDQUOT, crate::abandon::reason(Why::Budget).1));
        }
        self.signal(to, None, code, arg);
        Ok(())
    }

    /// An interrupt's turn has come: who made it, and its number. Nothing where it is held
    /// back.
    pub(crate) fn interrupted(
        &mut self,
        to: ComponentId,
        code: u8,
    ) -> Option<(Option<ComponentId>, i64)> {
        let own = self.slots.get_mut(to)?.own.as_mut()?;
        if own.mask & bit(code) != 0 {
            own.held |= bit(code);
            return None;
        }
        let at = own.interrupts.iter().position(|i| i.0 == code)?;
        let (_, from, arg) = own.interrupts.swap_remove(at);
        self.sponsor.refund(message(0));
        Some((from, arg))
    }

    /// Queues interrupts that are not held back any more, by their codes.
    pub(super) fn unmasked(&mut self, id: ComponentId) {
        let Some(own) = self.slots.get_mut(id).and_then(|s| s.own.as_mut()) else { return };
        let mut free = own.held & !own.mask;
        own.held &= own.mask;
        while free != 0 {
            let code = free.trailing_zeros() as u8;
            free &= free - 1;
            self.queue.push_back((id, Queued::Interrupt { code }));
        }
    }
}

/// A code's bit.
fn bit(code: u8) -> u64 {
    1u64.checked_shl(code.into()).unwrap_or(0)
}
