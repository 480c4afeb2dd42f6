//! Time: the TSC, scaled by the local APIC's timer; on Xen, the time that Xen tells.
//!
//! The timer starts to count at boot and is read for the first time when
//! somebody asks for the time, so calibration costs no wait. Each later reading
//! costs a trip to the host; they come at doubling distances, and stop when
//! there is nothing left to learn. [`crate::logic::clock`] does the arithmetic.

use core::sync::atomic::Ordering;

use atoll_runtime::platform::Time;

use super::traps::TIMER_COUNT;
use super::{Lone, lapic};
use crate::logic::clock::Clock;

struct State {
    clock: Clock,
    /// The TSC when the timer began to count from `initial`; none where that is
    /// not known well.
    leg: Option<u64>,
    initial: u32,
    armed: Option<Armed>,
    /// It ticks for the watchdog.
    #[cfg(feature = "atoms")]
    ticks: bool,
}

/// What the timer was last set to.
#[derive(Clone, Copy)]
struct Armed {
    until: Time,
    /// [`TIMER_COUNT`] then.
    fired: u64,
}

static STATE: Lone<State> = Lone::new(State {
    clock: Clock::new(0),
    leg: None,
    initial: u32::MAX,
    armed: None,
    #[cfg(feature = "atoms")]
    ticks: false,
});

/// The time stamp counter.
pub(crate) fn tsc() -> u64 {
    // SAFETY: every processor with long mode has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Begins: time zero was at TSC `boot`.
pub(crate) fn start(boot: u64) {
    STATE.with(|s| {
        s.clock = Clock::new(boot);
        s.leg = Some(timed(lapic::start).1);
        if let Some(hz) = stated() {
            s.clock.told(hz);
        }
    });
}

/// Begins where somebody else tells the time, and the TSC's speed.
#[cfg(feature = "xen")]
pub(crate) fn told(boot: u64, hz: u64) {
    #[cfg(feature = "atoms")]
    lapic::start_slow();
    STATE.with(|s| {
        s.clock = Clock::new(boot);
        s.clock.told(hz.max(1));
    });
}

/// The TSC in the middle of a trip to the timer, and how long the trip took.
/// A host that runs something else meanwhile makes it long.
fn timed<R>(trip: impl FnOnce() -> R) -> (R, u64, u64) {
    let before = tsc();
    let out = trip();
    let length = tsc().saturating_sub(before);
    (out, before + length / 2, length)
}

/// A trip that took more ticks than this says nothing about the time.
const LONG: u64 = 100_000;

/// The TSC's speed where the hypervisor states it: leaf 0x40000010 (kHz), which
/// VMware defined and KVM can be told to show.
fn stated() -> Option<u64> {
    let cpuid = core::arch::x86_64::__cpuid;
    if cpuid(1).ecx >> 31 == 0 || cpuid(0x4000_0000).eax < 0x4000_0010 {
        return None;
    }
    Some(u64::from(cpuid(0x4000_0010).eax) * 1000).filter(|hz| *hz > 1_000_000)
}

/// The time now.
pub(crate) fn now() -> Time {
    #[cfg(feature = "xen")]
    if let Some(now) = crate::xen::clock::now() {
        return now;
    }
    STATE.with(State::now).unwrap_or_default()
}

/// The time now for a record: 0 where the clock has not begun or is in use.
pub(crate) fn last() -> u64 {
    #[cfg(feature = "xen")]
    if let Some(now) = crate::xen::clock::now() {
        return now.0;
    }
    STATE.with(|s| s.leg.map(|_| s.now().0)).flatten().unwrap_or(0)
}

/// The TSC at time zero, and its ticks a second.
pub(crate) fn figures() -> (u64, u64) {
    STATE.with(|s| (s.clock.start(), s.clock.hz())).unwrap_or_default()
}

/// Sets the timer for a sleep, or stops it. Says whether that time is yet to come.
pub(crate) fn alarm(until: Option<Time>) -> bool {
    STATE.with(|s| s.alarm(until)).unwrap_or(false)
}

/// Lets the timer tick for the watchdog, until the next [`alarm`].
#[cfg(feature = "atoms")]
pub(crate) fn tick(ns: u64) {
    STATE.with(|s| {
        if s.clock.wants(u64::MAX) {
            s.sample(true);
        }
        let counts = u32::try_from(ns / lapic::count_ns()).unwrap_or(u32::MAX).max(1);
        let ((), at, length) = timed(|| lapic::tick(counts, super::tables::WATCHDOG));
        s.leg = (length <= LONG).then_some(at);
        s.initial = counts;
        s.armed = None;
        s.ticks = true;
    });
}

/// The timer ticks no more: the machine is about to sleep by other means.
#[cfg(all(feature = "xen", feature = "atoms"))]
pub(crate) fn rest() {
    STATE.with(|s| {
        if core::mem::take(&mut s.ticks) {
            lapic::disarm();
        }
    });
}

impl State {
    fn now(&mut self) -> Time {
        let t = tsc();
        if self.clock.wants(t) {
            self.sample(false);
        }
        Time(self.clock.at(t.max(tsc())))
    }

    /// Learns from the timer; `done` if its count is about to begin anew.
    fn sample(&mut self, done: bool) {
        let Some(leg) = self.leg else { return };
        let (count, at, length) = timed(lapic::count);
        if length > LONG && self.clock.hz() != 0 {
            return;
        }
        let passed = u64::from(self.initial.wrapping_sub(count)) * lapic::COUNT_NS;
        let period = (u64::from(self.initial) + 1) * lapic::COUNT_NS;
        self.clock.pair(leg, at, passed, period, done);
    }

    fn alarm(&mut self, until: Option<Time>) -> bool {
        #[cfg(feature = "atoms")]
        if core::mem::take(&mut self.ticks) && until.is_none() {
            lapic::disarm();
        }
        let Some(until) = until else {
            if self.armed.take().is_some() {
                lapic::disarm();
            }
            return true;
        };
        let fired = TIMER_COUNT.load(Ordering::Relaxed);
        let now = self.now();
        if until <= now {
            return false;
        }
        if self.armed.is_some_and(|a| a.until == until && a.fired == fired) {
            return true;
        }
        if self.clock.wants(u64::MAX) {
            self.sample(true);
        }
        // A sleep longer than the counter can count ends early, and is begun again.
        let counts = (until.0 - now.0).div_ceil(lapic::COUNT_NS);
        let counts = u32::try_from(counts).unwrap_or(u32::MAX).max(1);
        let ((), at, length) = timed(|| lapic::arm(counts));
        self.leg = (length <= LONG).then_some(at);
        self.initial = counts;
        self.armed = Some(Armed { until, fired });
        true
    }
}
