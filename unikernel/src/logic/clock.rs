//! Nanoseconds from a counter of unknown speed.
//!
//! The TSC is cheap to read and of unknown speed; the local APIC's timer is
//! known (1 GHz on QEMU and KVM) and dear to read. So time is the TSC's, scaled
//! by what pairs of both readings have shown so far: the longer they were
//! apart, the better. Nothing ever waits for a better scale. Time never goes
//! back when the scale changes, because each scale starts where the last ended.

/// Counts of both clocks that are enough for good: the error of a reading, about
/// a microsecond, is then a fifth of a millionth.
const ENOUGH: u64 = 5_000_000_000;

/// A clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: u64,
    base_tsc: u64,
    base_ns: u64,
    /// Nanoseconds a tick, with 32 binary places; 0 while nothing is known.
    scale: u64,
    sum_tsc: u64,
    sum_ns: u64,
    /// The TSC at which the next pair is worth its cost.
    next: u64,
}

impl Clock {
    /// A clock that showed zero when the TSC was at `start`.
    pub const fn new(start: u64) -> Clock {
        Clock { start, base_tsc: start, base_ns: 0, scale: 0, sum_tsc: 0, sum_ns: 0, next: 0 }
    }

    /// The TSC when this clock showed zero.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Whether a pair of readings would make it better.
    pub fn wants(&self, tsc: u64) -> bool {
        tsc >= self.next && self.sum_ns < ENOUGH
    }

    /// Time at a TSC, in nanoseconds.
    pub fn at(&self, tsc: u64) -> u64 {
        let ticks = tsc.saturating_sub(self.base_tsc);
        self.base_ns.saturating_add(((u128::from(ticks) * u128::from(self.scale)) >> 32) as u64)
    }

    /// Ticks a second, as far as is known; 0 when it is not.
    pub fn hz(&self) -> u64 {
        if self.scale == 0 { 0 } else { (1e9 * 4_294_967_296.0 / self.scale as f64) as u64 }
    }

    /// Takes the scale that a hypervisor states: no pairs are needed.
    pub fn told(&mut self, hz: u64) {
        self.scale = (1e9 * 4_294_967_296.0 / hz as f64) as u64;
        self.sum_ns = ENOUGH;
    }

    /// Learns from a pair of readings: both clocks ran from `from` to `to` (TSC),
    /// which took `ns` by the known one, or `ns` plus some number of `period`s,
    /// if that one counts over and over. `done` says that these two readings
    /// will not be the beginning of a longer pair.
    pub fn pair(&mut self, from: u64, to: u64, ns: u64, period: u64, done: bool) {
        let ticks = to.saturating_sub(from);
        let rough = ((u128::from(ticks) * u128::from(self.scale)) >> 32) as u64;
        let rounds = (rough.saturating_sub(ns) + period / 2) / period.max(1);
        let ns = ns + rounds * period;
        let (sum_tsc, sum_ns) = (self.sum_tsc + ticks, self.sum_ns + ns);
        if sum_tsc == 0 || sum_ns == 0 {
            return;
        }
        self.base_ns = self.at(to);
        self.base_tsc = to;
        let scale = (sum_ns as f64 / sum_tsc as f64 * 4_294_967_296.0) as u64;
        if self.scale == 0 {
            // The first scale holds from the start.
            self.base_ns =
                ((u128::from(to.saturating_sub(self.start)) * u128::from(scale)) >> 32) as u64;
        }
        self.scale = scale;
        self.next = to + sum_tsc;
        if done {
            (self.sum_tsc, self.sum_ns) = (sum_tsc, sum_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    const HZ: u64 = 2_500_000_000;
    fn tsc(ns: u64) -> u64 {
        1000 + (u128::from(ns) * u128::from(HZ) / 1_000_000_000) as u64
    }

    #[test]
    fn a_bad_first_pair_is_mended_and_time_never_goes_back() {
        let mut clock = Clock::new(1000);
        assert!(clock.wants(1000));
        // 3 % off at first.
        clock.pair(tsc(0), tsc(50_000), 51_500, 1 << 36, false);
        let first = clock.at(tsc(50_000));
        assert!((51_400..51_600).contains(&first));
        let mut last = first;
        for ms in 1..2000 {
            let now = tsc(ms * 1_000_000);
            assert!(clock.at(now) >= last);
            last = clock.at(now);
            if clock.wants(now) {
                clock.pair(tsc(0), now, ms * 1_000_000 + 900, 1 << 36, false);
                assert!(clock.at(now) >= last);
            }
        }
        let error = clock.hz() as i64 - HZ as i64;
        assert!(error.abs() < HZ as i64 / 100_000, "{error}");
        assert!((last as i64 - 1_999_000_000).abs() < 200_000, "{last}");
    }

    #[test]
    fn a_timer_that_went_round_still_tells() {
        let mut clock = Clock::new(1000);
        clock.pair(tsc(0), tsc(1_000_000), 1_000_500, 1 << 36, true);
        // A timer of 7 ms that fired twice and is 1.2 ms into its third round.
        clock.pair(tsc(2_000_000), tsc(2_000_000 + 15_200_000), 1_200_000, 7_000_000, true);
        assert!((clock.hz() as i64 - HZ as i64).abs() < 200_000, "{}", clock.hz());
    }

    #[test]
    fn a_stated_speed_is_taken() {
        let mut clock = Clock::new(1000);
        clock.told(HZ);
        assert!(!clock.wants(u64::MAX));
        assert!(clock.at(tsc(1_000_000_000)).abs_diff(1_000_000_000) < 5);
    }
}
