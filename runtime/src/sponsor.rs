//! Accounts: everything that a guest uses is charged to one when it asks for it.
//!
//! What can be given back (bytes, messages) has a limit on what is used at one
//! time. What cannot (CPU time) is added up when a dispatch ends, an abandoned one
//! too, and decides who is next (`sched.rs`).

/// Bytes and messages, as one amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Bytes.
    pub memory: u64,
    /// Messages and timers.
    pub messages: u32,
}

impl Amount {
    /// Adds another amount.
    pub fn add(&mut self, a: Amount) {
        self.memory = self.memory.saturating_add(a.memory);
        self.messages = self.messages.saturating_add(a.messages);
    }
}

/// An account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sponsor {
    /// The most that may be used at one time.
    pub limit: Amount,
    /// What is used now.
    pub used: Amount,
    /// CPU time so far, in nanoseconds.
    pub cpu: u64,
}

impl Sponsor {
    /// An account with nothing used.
    pub fn new(limit: Amount) -> Sponsor {
        Sponsor { limit, ..Sponsor::default() }
    }

    /// Charges an amount, or nothing where it does not fit.
    #[must_use]
    pub fn charge(&mut self, a: Amount) -> bool {
        let memory = self.used.memory.saturating_add(a.memory);
        let messages = self.used.messages.saturating_add(a.messages);
        let fits = memory <= self.limit.memory && messages <= self.limit.messages;
        if fits {
            self.used = Amount { memory, messages };
        }
        fits
    }

    /// Gives an amount back.
    pub fn refund(&mut self, a: Amount) {
        debug_assert!(a.memory <= self.used.memory && a.messages <= self.used.messages);
        self.used.memory = self.used.memory.saturating_sub(a.memory);
        self.used.messages = self.used.messages.saturating_sub(a.messages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_that_does_not_fit_changes_nothing() {
        let amount = |memory, messages| Amount { memory, messages };
        let mut s = Sponsor::new(amount(100, 2));
        assert!(s.charge(amount(60, 1)));
        assert!(!s.charge(amount(60, 1)));
        assert!(!s.charge(amount(0, 2)));
        assert!(!s.charge(amount(u64::MAX, 0)));
        assert_eq!(s.used, amount(60, 1));
        s.refund(amount(60, 1));
        assert!(s.charge(amount(100, 2)));
    }
}
