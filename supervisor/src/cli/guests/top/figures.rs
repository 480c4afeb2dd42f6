//! Rates over time: counters that only grow become figures a second, and the last of those
//! a curve. A counter that begins anew (another run, another supervisor) gives no figure
//! until it was seen twice.

use std::collections::VecDeque;

/// Figures that a curve has at most: two minutes of them.
const LENGTH: usize = 120;
/// Figures that tell how it was lately.
const FEW: usize = 5;
/// Counters that were seen longer ago than this say nothing about now, milliseconds.
const STALE: u64 = 5_000;
/// Over a span shorter than this, milliseconds, a rate would be noise.
const SHORT: u64 = 500;

/// One counter, as it goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    last: Option<(u64, u64)>,
    curve: VecDeque<f64>,
}

impl Rate {
    /// The counter was so high at that time, in milliseconds.
    pub(super) fn seen(&mut self, at: u64, count: u64) {
        let (then, less) = *self.last.get_or_insert((at, count));
        if count >= less && at.saturating_sub(then) < SHORT {
            return;
        }
        self.last = Some((at, count));
        if count < less || at - then > STALE {
            return;
        }
        if self.curve.len() == LENGTH {
            self.curve.pop_front();
        }
        self.curve.push_back((count - less) as f64 * 1000.0 / (at - then) as f64);
    }

    /// It counts no more: what was is nothing to compare with.
    pub(super) fn over(&mut self) {
        *self = Rate::default();
    }

    /// The last figure, a second.
    pub(super) fn now(&self) -> Option<f64> {
        self.curve.back().copied()
    }

    /// The same, unless it is older than five seconds.
    pub(super) fn fresh(&self, at: u64) -> Option<f64> {
        let (then, _) = self.last?;
        self.now().filter(|_| at.saturating_sub(then) <= STALE)
    }

    /// The mean of the last few figures: the system counts time in ticks, and what does
    /// little has one now and then.
    pub(super) fn lately(&self) -> Option<f64> {
        let few = self.curve.len().min(FEW);
        let sum: f64 = self.curve.iter().rev().take(few).sum();
        (few > 0).then(|| sum / few as f64)
    }

    /// The last `n` figures, oldest first, in thousandths; where there are fewer, nothing
    /// comes before them.
    pub(super) fn last(&self, n: usize) -> Vec<u64> {
        let skip = self.curve.len().saturating_sub(n);
        let mut all = vec![0; n.saturating_sub(self.curve.len())];
        all.extend(self.curve.iter().skip(skip).map(|f| (f * 1000.0) as u64));
        all
    }

    /// The highest figure of the curve.
    pub(super) fn highest(&self) -> f64 {
        self.curve.iter().copied().fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_becomes_figures_a_second() {
        let mut rate = Rate::default();
        rate.seen(0, 1000);
        assert_eq!(rate.now(), None);
        rate.seen(500, 1050);
        assert_eq!(rate.now(), Some(100.0));
        rate.seen(1500, 1050);
        assert_eq!((rate.now(), rate.highest()), (Some(0.0), 100.0));
        assert_eq!(rate.last(4), [0, 0, 100_000, 0]);
        assert_eq!(rate.last(1), [0]);
        assert_eq!((rate.lately(), Rate::default().lately()), (Some(50.0), None));
        // It begins anew, stands still in time, or was not looked at for long.
        for (at, count) in [(2500, 3), (2500, 9), (2900, 9), (9000, 20)] {
            rate.seen(at, count);
            assert_eq!(rate.curve.len(), 2, "{at}");
        }
        rate.seen(10_000, 21);
        assert_eq!(rate.now(), Some(1.0));
        for n in 0..500 {
            rate.seen(11_000 + n * 500, 21);
        }
        assert_eq!(rate.curve.len(), LENGTH);
        assert_eq!((rate.fresh(265_000), rate.fresh(266_000)), (Some(0.0), None));
        rate.over();
        assert_eq!((rate.now(), rate.highest()), (None, 0.0));
    }
}
