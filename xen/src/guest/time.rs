//! Xen's clock: the TSC, scaled by what the hypervisor says about it.
//!
//! System time counts from the host's start. After a move it is another host's, and may
//! be behind; a domain's own time may not. [`Clock`] is that time: it goes on from where it
//! was by as much as the time of day has.

/// What Xen says (`struct vcpu_time_info`): claims, though of somebody who can do anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The TSC at `system`.
    pub tsc: u64,
    /// The system time then, in nanoseconds.
    pub system: u64,
    /// Nanoseconds a tick, with 32 binary places, once the ticks were shifted.
    pub mul: u32,
    /// By how much to shift them to the left; to the right where it is negative.
    pub shift: i8,
}

impl Stamp {
    /// The system time at a TSC.
    pub fn at(&self, tsc: u64) -> u64 {
        let ticks = u128::from(tsc.saturating_sub(self.tsc));
        let bits = u32::from(self.shift.unsigned_abs());
        let ticks = if self.shift < 0 {
            ticks.checked_shr(bits).unwrap_or(0)
        } else {
            ticks.checked_shl(bits).unwrap_or(0)
        };
        let passed = ((ticks & u128::from(u64::MAX)) * u128::from(self.mul)) >> 32;
        self.system.saturating_add(passed as u64)
    }

    /// Ticks a second; 0 where nothing is known.
    pub fn hz(&self) -> u64 {
        if self.mul == 0 {
            return 0;
        }
        let hz = (1_000_000_000u128 << 32) / u128::from(self.mul);
        let bits = u32::from(self.shift.unsigned_abs());
        let hz = if self.shift < 0 { hz.checked_shl(bits) } else { hz.checked_shr(bits) };
        hz.and_then(|hz| u64::try_from(hz).ok()).unwrap_or(0)
    }
}

/// A domain's own time: never goes back, wherever the domain goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// System time where `own` was counted from.
    system: u64,
    own: u64,
    /// The last time given.
    last: u64,
}

impl Clock {
    /// Shows zero at that system time.
    pub fn new(system: u64) -> Clock {
        Clock { system, own: 0, last: 0 }
    }

    /// The time at a system time.
    pub fn at(&mut self, system: u64) -> u64 {
        let now = self.own.saturating_add(system.saturating_sub(self.system));
        self.last = self.last.max(now);
        self.last
    }

    /// The last time that was given.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The system time at which it will be that time.
    pub fn system(&self, own: u64) -> u64 {
        self.system.saturating_add(own.saturating_sub(self.own))
    }

    /// Goes on by another system time, which is `system` now, when so many nanoseconds have
    /// passed since the last time that was asked for.
    pub fn resume(&mut self, system: u64, passed: u64) {
        self.own = self.last.saturating_add(passed);
        self.system = system;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_xen_writes_it() {
        // 2.5 GHz: ticks are halved... by no shift, 0.4 ns each.
        let stamp = Stamp { tsc: 1000, system: 7_000, mul: 0x6666_6666, shift: 0 };
        assert_eq!(stamp.at(1000), 7_000);
        assert_eq!(stamp.at(1000 + 2_500_000), 7_000 + 999_999);
        assert_eq!(stamp.at(0), 7_000, "a TSC before the stamp's is the stamp's");
        assert!(stamp.hz().abs_diff(2_500_000_000) < 10);
        // 100 MHz: 10 ns a tick, which is more than a fraction can say.
        let slow = Stamp { tsc: 0, system: 0, mul: 0xa000_0000, shift: 4 };
        assert_eq!(slow.at(100_000_000), 1_000_000_000);
        assert_eq!(slow.hz(), 100_000_000);
        // 10 GHz: a tenth, of ticks that were halved.
        let fast = Stamp { tsc: 0, system: 0, mul: 0x3333_3334, shift: -1 };
        assert!(fast.at(10_000_000_000).abs_diff(1_000_000_000) < 10);
        assert!(fast.hz().abs_diff(10_000_000_000) < 100);
    }

    #[test]
    fn no_claim_makes_it_fail() {
        for shift in [i8::MIN, -65, -64, -1, 0, 63, 64, 127] {
            for mul in [0, 1, u32::MAX] {
                let stamp = Stamp { tsc: 5, system: u64::MAX - 1, mul, shift };
                let _ = (stamp.at(0), stamp.at(u64::MAX), stamp.hz());
            }
        }
    }

    #[test]
    fn time_never_goes_back() {
        let mut clock = Clock::new(1_000);
        assert_eq!(clock.at(1_000), 0);
        assert_eq!(clock.at(6_000), 5_000);
        assert_eq!(clock.at(5_000), 5_000);
        assert_eq!(clock.system(7_000), 8_000);
        // Another host, which was started later, and where 50 have passed.
        clock.resume(10, 50);
        assert_eq!(clock.at(10), 5_050);
        assert_eq!(clock.at(20), 5_060);
        assert_eq!(clock.system(6_000), 960);
        assert_eq!(clock.system(0), 10);
    }
}
