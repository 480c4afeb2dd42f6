//! One figure: what was measured, beside what, and whether that is good enough.
//!
//! A line of JSON has exactly the keys of [`Figure`], so a spread travels as two
//! more figures, named `METRIC_p10` and `METRIC_p90`; [`joined`] puts them back
//! together for people.

use serde::{Deserialize, Serialize};

use crate::samples::Spread;

/// The unit of a number of fids.
pub const FIDS: &str = "fids";
/// The unit of a number of guests.
pub const GUESTS: &str = "guests";
/// The unit of what is so many times something else, and better the more it is.
pub const TIMES: &str = "×";
/// The unit of what takes so many times as long as something else.
pub const AS_LONG: &str = "× as long";

/// A figure, as a line of JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// The measurement: `boot`, `size`, `build`, `9p`, `atoms`, `supervisor`, `xen`,
    /// `density`.
    pub bench: String,
    /// What was run.
    pub case: String,
    /// What of it.
    pub metric: String,
    /// In which unit.
    pub unit: String,
    /// The figure.
    pub value: f64,
    /// What it is compared with: a peer or a floor of the same run, unless it
    /// says `quoted`.
    pub peer: Option<String>,
    /// The same figure of that.
    pub peer_value: Option<f64>,
    /// The most that is good enough, or the least ([`Figure::more_is_better`]).
    pub goal: Option<f64>,
    /// Whether it is.
    pub met: Option<bool>,
}

impl Figure {
    /// A figure that is compared with nothing.
    pub fn new(bench: &str, case: &str, metric: &str, unit: &str, value: f64) -> Figure {
        let [bench, case, metric, unit] = [bench, case, metric, unit].map(str::to_owned);
        Figure { bench, case, metric, unit, value: round(value), ..Figure::default() }
    }

    /// Beside this.
    pub fn beside(mut self, peer: &str, value: f64) -> Figure {
        self.peer = Some(peer.to_owned());
        self.peer_value = Some(round(value));
        self
    }

    /// Which must be at most this.
    pub fn at_most(mut self, goal: f64) -> Figure {
        self.goal = Some(round(goal));
        self.met = Some(self.value <= goal);
        self
    }

    /// Which must be at least this.
    pub fn at_least(mut self, goal: f64) -> Figure {
        self.goal = Some(round(goal));
        self.met = Some(self.value >= round(goal));
        self
    }

    /// Whether it is so much in a second.
    pub fn is_rate(&self) -> bool {
        self.unit.ends_with("/s")
    }

    /// Whether more of it is better: a rate, how many times another's, or how many of
    /// something there can be.
    pub fn more_is_better(&self) -> bool {
        self.is_rate() || [TIMES, FIDS, GUESTS].contains(&self.unit.as_str())
    }

    /// The figure and its spread.
    pub fn with(self, spread: Spread) -> Vec<Figure> {
        let end = |name: &str, value: f64| {
            let metric = format!("{}_{name}", self.metric);
            Figure::new(&self.bench, &self.case, &metric, &self.unit, value)
        };
        let (low, high) = (end("p10", spread.p10), end("p90", spread.p90));
        vec![self, low, high]
    }
}

/// A figure of people's tables, with its spread beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// The figure.
    pub figure: Figure,
    /// Its 10th and 90th percentile.
    pub spread: Option<(f64, f64)>,
}

/// Puts spreads back to the figures that they belong to.
pub fn joined(figures: &[Figure]) -> Vec<Joined> {
    let end = |f: &Figure, name: &str| {
        let metric = format!("{}_{name}", f.metric);
        let of = |o: &&Figure| o.bench == f.bench && o.case == f.case && o.metric == metric;
        figures.iter().find(of).map(|o| o.value)
    };
    let is_end = |f: &Figure| f.metric.ends_with("_p10") || f.metric.ends_with("_p90");
    let join = |f: &Figure| Joined { spread: end(f, "p10").zip(end(f, "p90")), figure: f.clone() };
    figures.iter().filter(|f| !is_end(f)).map(join).collect()
}

/// A thousandth is more than any clock here can tell.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_exactly_the_agreed_keys() {
        let f =
            Figure::new("boot", "hello", "cpu", "ms", 1.23456).beside("floor", 1.0).at_most(2.0);
        let line = serde_json::to_string(&f).unwrap();
        let want = r#"{"bench":"boot","case":"hello","metric":"cpu","unit":"ms","value":1.235,"peer":"floor","peer_value":1.0,"goal":2.0,"met":true}"#;
        assert_eq!(line, want);
        assert_eq!(serde_json::from_str::<Figure>(&line).unwrap(), f);
        let missed = Figure::new("boot", "hello", "cpu", "ms", 2.01).at_most(2.0);
        assert_eq!(missed.met, Some(false));
        let rate = |value| Figure::new("9p", "getattr", "rate", "/s", value).at_least(2.0);
        assert_eq!((rate(1.99).met, rate(2.0).met), (Some(false), Some(true)));
        assert!(rate(2.0).more_is_better() && !missed.more_is_better());
    }

    #[test]
    fn a_spread_survives_the_trip() {
        let spread = Spread { median: 5.0, p10: 4.0, p90: 6.0 };
        let figures = Figure::new("boot", "hello", "cpu", "ms", 5.0).with(spread);
        let joined = joined(&figures);
        assert_eq!(joined.len(), 1);
        assert_eq!(joined[0].spread, Some((4.0, 6.0)));
    }
}
