//! Guests of all sorts over simulated days: who is slow is told, and nobody else.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::*;
use crate::core::tests::Rng;
use crate::core::watch::{Figures, Watch};

const DAY: u64 = 24 * 3600 * 1000;

/// A guest that takes its work from a queue, and how fast it does.
struct Guest {
    rng: Rng,
    now: u64,
    done: u64,
    waiting: u64,
    /// Work that came and did not make a whole event, a thousandth each.
    part: u64,
    /// Dispatches by the power of two above the microseconds that they took.
    took: BTreeMap<u64, u64>,
    /// Of a hundred dispatches one takes about so many microseconds.
    p99: u64,
}

impl Guest {
    fn new(seed: u64) -> Guest {
        let took = BTreeMap::new();
        Guest { rng: Rng(seed), now: 1, done: 0, waiting: 0, part: 0, took, p99: 900 }
    }

    /// So many milliseconds pass, with so many events a second, of which it can do so many.
    fn pass(&mut self, ms: u64, come: u64, can: u64) {
        let come = self.rng.below(2 * come * ms / 1000 + 1);
        // A step is uneven: a half more or less.
        let can = can * ms * (50 + self.rng.below(101)) / 100 + self.part;
        self.part = can % 1000;
        self.waiting += come;
        let done = self.waiting.min(can / 1000);
        self.waiting -= done;
        self.done += done;
        self.now += ms;
        let slow = self.p99 / 2 + self.rng.below(self.p99 + 1);
        let few = done.div_ceil(50);
        for (n, us) in [(few, slow), (done - few, slow / 5)] {
            if n > 0 {
                *self.took.entry((us + 1).next_power_of_two()).or_default() += n;
            }
        }
    }

    /// What its `stats` say.
    fn stats(&self) -> String {
        let mut text = format!("requests 1\ndispatches {}\nwaiting {}\n", self.done, self.waiting);
        for (us, n) in &self.took {
            let _ = writeln!(text, "took_{us}us {n}");
        }
        text
    }

    /// The same as it is read. Mostly without the text: days are long.
    fn figures(&mut self) -> Figures {
        let figures = Figures { done: self.done, waiting: self.waiting, took: self.took.clone() };
        if self.rng.below(64) == 0 {
            assert_eq!(Figures::parse(&self.stats()), Some(figures.clone()));
        }
        figures
    }

    /// Goes on for so long as the supervisor watches; what was told, and when.
    fn watch(
        &mut self,
        watch: &mut Watch,
        ms: u64,
        mut load: impl FnMut(u64) -> (u64, u64),
        p99: u64,
    ) -> Vec<(u64, Verdict)> {
        self.p99 = p99;
        let (end, mut told) = (self.now + ms, Vec::new());
        while self.now < end {
            // Events that somebody sends are the occasion to look; then the judge says.
            let wait = match watch.due(self.now, self.rng.below(3) == 0) {
                Some(at) => at.saturating_sub(self.now).max(1),
                None => 5000,
            };
            let late = self.rng.below(30);
            let (come, can) = load(self.now);
            self.pass(wait + late, come, can);
            watch.ask(self.now);
            let figures = self.figures();
            told.extend(watch.answer(self.now, figures).map(|v| (self.now, v)));
        }
        told
    }
}

fn learning() -> Watch {
    Watch::new(Expect::default())
}

#[test]
fn days_of_uneven_work_are_no_fault() {
    for seed in 0..2 {
        // Light, even, and heavier than it can do; with a rush every hour, and idle nights.
        for (come, can) in [(1, 200), (90, 100), (300, 250), (40, 9)] {
            let (mut guest, mut watch) = (Guest::new(seed), learning());
            let load = |now: u64| {
                let hour = now / 3_600_000 % 24;
                let rush = now % 3_600_000 < 60_000;
                (if hour < 6 { 0 } else { come * if rush { 5 } else { 1 } }, can)
            };
            let told = guest.watch(&mut watch, 2 * DAY, load, 900);
            assert_eq!(told, [], "seed {seed}: {come} of {can}");
        }
    }
}

#[test]
fn who_becomes_slow_is_told_within_five_seconds_and_when_it_is_over() {
    for seed in 0..40 {
        let (mut guest, mut watch) = (Guest::new(seed), learning());
        let usual = guest.watch(&mut watch, 600_000, |_| (150, 100), 900);
        assert_eq!(usual, [], "seed {seed}");
        let since = guest.now;
        let told = guest.watch(&mut watch, 8_000, |_| (150, 5), 900);
        let (at, verdict) = told.first().unwrap();
        assert!(at - since <= 5_000, "seed {seed}: after {} ms", at - since);
        let Verdict::Stuttering(why) = verdict else { panic!("{verdict:?}") };
        assert!(why.contains("dispatches a second while"), "{why}");
        assert_eq!(told.len(), 1);
        let told = guest.watch(&mut watch, 20_000, |_| (150, 100), 900);
        assert!(matches!(&told[..], [(_, Verdict::Steady)]), "{told:?}");
    }
}

#[test]
fn who_hangs_is_told_even_if_nothing_was_learned() {
    let (mut guest, mut watch) = (Guest::new(3), learning());
    assert_eq!(guest.watch(&mut watch, 5_000, |_| (0, 100), 900), []);
    guest.waiting = 2;
    let since = guest.now;
    watch.answer(guest.now, guest.figures());
    let told = guest.watch(&mut watch, 6_000, |_| (0, 0), 900);
    let [(at, Verdict::Stuttering(why))] = &told[..] else { panic!("{told:?}") };
    assert!(at - since <= 5_000 && why.starts_with("no dispatch in"), "{why}");
    // Its work is taken back: nothing waits, so nothing is wrong.
    guest.waiting = 0;
    let told = guest.watch(&mut watch, 2_000, |_| (0, 0), 900);
    assert!(matches!(&told[..], [(_, Verdict::Steady)]), "{told:?}");
}

#[test]
fn stated_figures_count_at_once() {
    let expect = Expect { dispatch_p99: Some(2000), progress: Some(50.0), ..Expect::default() };
    let (mut guest, mut watch) = (Guest::new(5), Watch::new(expect));
    assert_eq!(guest.watch(&mut watch, 60_000, |_| (200, 150), 1300), []);
    let told = guest.watch(&mut watch, 6_000, |_| (200, 20), 1300);
    let [(_, Verdict::Stuttering(why))] = &told[..] else { panic!("{told:?}") };
    assert!(why.ends_with("expected 50"), "{why}");

    let (mut guest, mut watch) = (Guest::new(5), Watch::new(expect));
    let told = guest.watch(&mut watch, 12_000, |_| (200, 150), 9_000);
    let [(_, Verdict::Stuttering(why))] = &told[..] else { panic!("{told:?}") };
    assert!(why.starts_with("dispatch p99") && why.ends_with("expected 2000 us"), "{why}");
}

#[test]
fn a_supervisor_that_was_away_blames_nobody() {
    let (mut guest, mut watch) = (Guest::new(9), learning());
    guest.watch(&mut watch, 600_000, |_| (150, 100), 900);
    for _ in 0..20 {
        // The whole host stands still for a while.
        guest.now += 10_000;
        assert_eq!(watch.answer(guest.now, guest.figures()), None);
    }
    // A guest that begins anew counts from nothing.
    let anew = Figures { waiting: 9, ..Figures::default() };
    assert_eq!(watch.answer(guest.now + 1000, anew), None);
    assert_eq!(watch.due(guest.now, false), Some(guest.now + 1000 + WINDOW));
}
