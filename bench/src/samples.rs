//! What many runs say: the median, and how far they lie apart.
//!
//! No mean: one run that met a busy machine would move it.

/// The values of one metric over all runs, in the order of the runs.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

/// Median, 10th and 90th percentile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// Nine in ten runs were above this.
    pub p10: f64,
    /// Nine in ten runs were below this.
    pub p90: f64,
}

impl Samples {
    /// Adds a run.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// How many times that of another each run is. What a machine does beside it moves
    /// both of one run and not what they are to each other.
    pub fn over(&self, other: &Samples) -> Samples {
        Samples(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }

    /// Every second run, from the first or the second on.
    pub fn half(&self, second: bool) -> Samples {
        Samples(self.0.iter().skip(usize::from(second)).step_by(2).copied().collect())
    }

    /// These, and then others.
    pub fn and(mut self, others: Samples) -> Samples {
        self.0.extend(others.0);
        self
    }

    /// How many runs there were.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What they say; none without a run.
    pub fn spread(&self) -> Option<Spread> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |q: f64| {
            let place = q * (sorted.len().checked_sub(1)?) as f64;
            let (low, high) =
                (sorted.get(place.floor() as usize)?, sorted.get(place.ceil() as usize)?);
            Some(low + (high - low) * place.fract())
        };
        Some(Spread { median: at(0.5)?, p10: at(0.1)?, p90: at(0.9)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_runs_does_not_matter() {
        let mut s = Samples::default();
        assert_eq!(s.spread(), None);
        for v in [5.0, 1.0, 11.0, 3.0, 7.0, 9.0, 2.0, 10.0, 4.0, 6.0, 8.0] {
            s.push(v);
        }
        assert_eq!(s.spread(), Some(Spread { median: 6.0, p10: 2.0, p90: 10.0 }));
    }

    #[test]
    fn runs_are_compared_one_by_one() {
        let of = |all: [f64; 3]| Samples(all.to_vec());
        let spread = of([10.0, 100.0, 33.0]).over(&of([5.0, 50.0, 11.0])).spread();
        assert_eq!(spread.map(|s| (s.median, s.p90)), Some((2.0, 2.8)));
    }

    #[test]
    fn halves_are_every_second_run() {
        let all = Samples(vec![1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!((all.half(false).0, all.half(true).0), (vec![1.0, 3.0, 5.0], vec![2.0, 4.0]));
        assert_eq!(all.half(true).and(all.half(false)).0, [2.0, 4.0, 1.0, 3.0, 5.0]);
        assert!(Samples(vec![1.0]).half(true).is_empty());
    }

    #[test]
    fn few_runs_are_interpolated() {
        let mut s = Samples::default();
        s.push(1.0);
        assert_eq!(s.spread(), Some(Spread { median: 1.0, p10: 1.0, p90: 1.0 }));
        s.push(2.0);
        assert_eq!(s.spread().map(|s| s.median), Some(1.5));
    }
}
