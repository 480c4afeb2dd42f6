//! How long dispatches take, for whoever watches a guest from outside.
//!
//! The clock is not asked for it: [`Pace::look`] is told of each look at the clock that
//! the runtime takes anyway, and what was dispatched since the look before shares the time
//! between them evenly. Those are at most four, and one where others wait.
//!
//! It is the machine's and not the guest's: the same guest takes another time on another
//! machine. So no checkpoint has it, and a guest that goes on from one leaves it as it was.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::mem;

use crate::platform::Time;

/// Sorts of dispatches: those of less than 1 µs, 2 µs, 4 µs, and so on; the last are all that
/// take more than four seconds.
pub const SORTS: usize = 24;

/// Dispatches by the time that they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    took: [u64; SORTS],
    /// The last look at the clock.
    since: Time,
    /// Dispatches since then.
    fresh: u64,
}

impl Pace {
    /// A dispatch has ended, however it did.
    pub fn dispatched(&mut self) {
        self.fresh += 1;
    }

    /// The machine's clock was looked at.
    pub fn look(&mut self, now: Time) {
        let since = mem::replace(&mut self.since, now);
        let fresh = mem::take(&mut self.fresh);
        if let Some(each) = now.0.saturating_sub(since.0).checked_div(fresh) {
            let us = each / 1000;
            let sort = (u64::BITS - us.leading_zeros()) as usize;
            if let Some(n) = self.took.get_mut(sort.min(SORTS - 1)) {
                *n += fresh;
            }
        }
    }

    /// How many took less than so many microseconds and no less than half of that, for a
    /// guest's `stats`: `took_512us` and the number. What there was none of is left out.
    pub fn figures(&self) -> Vec<(Cow<'static, str>, u64)> {
        let all = self.took.iter().enumerate().filter(|(_, n)| **n > 0);
        all.map(|(i, n)| (alloc::format!("took_{}us", 1u64 << i).into(), *n)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(looks: &[(u64, u64)]) -> Vec<(Cow<'static, str>, u64)> {
        let mut pace = Pace::default();
        for (dispatches, ns) in looks {
            (0..*dispatches).for_each(|_| pace.dispatched());
            pace.look(Time(pace.since.0 + ns));
        }
        pace.figures()
    }

    #[test]
    fn a_dispatch_is_counted_by_the_power_of_two_above_its_time() {
        assert_eq!(figures(&[]), []);
        let looks = [(1, 999), (1, 1000), (1, 1999), (1, 2000), (1, 511_999), (1, u64::MAX / 2)];
        let want = [("1", 1), ("2", 2), ("4", 1), ("512", 1), ("8388608", 1)];
        assert_eq!(figures(&looks), want.map(|(us, n)| (alloc::format!("took_{us}us").into(), n)));
    }

    #[test]
    fn those_of_one_look_share_its_time_and_rest_is_nobodys() {
        let looks = [(0, 9_000_000), (4, 12_000), (0, 1 << 50), (1, 3_000)];
        assert_eq!(figures(&looks), [("took_4us".into(), 5)]);
    }

    #[test]
    fn a_clock_that_stands_still_is_no_fault() {
        let mut pace = Pace::default();
        pace.look(Time(5));
        pace.dispatched();
        pace.look(Time(3));
        assert_eq!(pace.figures(), [("took_1us".into(), 1)]);
    }
}
