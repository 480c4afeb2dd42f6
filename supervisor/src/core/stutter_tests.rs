//! Guests of all sorts over simulated days: who is slow is told, and nobody else.

use super::*;
use crate::core::tests::Rng;

const DAY: u64 = 24 * 3600 * 1000;

/// A guest that takes its work from a queue, and how fast it does.
struct Guest {
    rng: Rng,
    now: u64,
    done: u64,
    waiting: u64,
    /// Work that came and did not make a whole event, a thousandth each.
    part: u64,
}

impl Guest {
    fn new(seed: u64) -> Guest {
        Guest { rng: Rng(seed), now: 1, done: 0, waiting: 0, part: 0 }
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
    }

    fn sample(&mut self, p99: u64) -> Sample {
        let p99 = Some(p99 / 2 + self.rng.below(p99 + 1));
        Sample { at: self.now, done: self.done, waiting: self.waiting, p99 }
    }

    /// Goes on for so long as the supervisor watches; what was told, and when.
    fn watch(
        &mut self,
        judge: &mut Judge,
        ms: u64,
        mut load: impl FnMut(u64) -> (u64, u64),
        p99: u64,
    ) -> Vec<(u64, Verdict)> {
        let (end, mut told) = (self.now + ms, Vec::new());
        while self.now < end {
            // Events that somebody sends are the occasion to look; then the judge says.
            let wait = judge.look().map_or(5000, |at| at.saturating_sub(self.now).max(1));
            let late = self.rng.below(30);
            let (come, can) = load(self.now);
            self.pass(wait + late, come, can);
            let sample = self.sample(p99);
            told.extend(judge.sample(sample).map(|v| (self.now, v)));
        }
        told
    }
}

fn learning() -> Judge {
    Judge::new(Expect::default())
}

#[test]
fn days_of_uneven_work_are_no_fault() {
    for seed in 0..2 {
        // Light, even, and heavier than it can do; with a rush every hour, and idle nights.
        for (come, can) in [(1, 200), (90, 100), (300, 250), (40, 9)] {
            let (mut guest, mut judge) = (Guest::new(seed), learning());
            let load = |now: u64| {
                let hour = now / 3_600_000 % 24;
                let rush = now % 3_600_000 < 60_000;
                (if hour < 6 { 0 } else { come * if rush { 5 } else { 1 } }, can)
            };
            let told = guest.watch(&mut judge, 2 * DAY, load, 900);
            assert_eq!(told, [], "seed {seed}: {come} of {can}");
        }
    }
}

#[test]
fn who_becomes_slow_is_told_within_five_seconds_and_when_it_is_over() {
    for seed in 0..40 {
        let (mut guest, mut judge) = (Guest::new(seed), learning());
        let usual = guest.watch(&mut judge, 600_000, |_| (150, 100), 900);
        assert_eq!(usual, [], "seed {seed}");
        let since = guest.now;
        let told = guest.watch(&mut judge, 8_000, |_| (150, 5), 900);
        let (at, verdict) = told.first().unwrap();
        assert!(at - since <= 5_000, "seed {seed}: after {} ms", at - since);
        let Verdict::Stuttering(why) = verdict else { panic!("{verdict:?}") };
        assert!(why.contains("dispatches a second while"), "{why}");
        assert!(told.len() == 1 && judge.stutters());
        let told = guest.watch(&mut judge, 20_000, |_| (150, 100), 900);
        assert!(matches!(&told[..], [(_, Verdict::Steady)]), "{told:?}");
    }
}

#[test]
fn who_hangs_is_told_even_if_nothing_was_learned() {
    let (mut guest, mut judge) = (Guest::new(3), learning());
    assert_eq!(guest.watch(&mut judge, 5_000, |_| (0, 100), 900), []);
    guest.waiting = 2;
    let since = guest.now;
    let sample = guest.sample(1);
    judge.sample(sample);
    let told = guest.watch(&mut judge, 6_000, |_| (0, 0), 900);
    let [(at, Verdict::Stuttering(why))] = &told[..] else { panic!("{told:?}") };
    assert!(at - since <= 5_000 && why.starts_with("no dispatch in"), "{why}");
    // Its work is taken back: nothing waits, so nothing is wrong.
    guest.waiting = 0;
    let told = guest.watch(&mut judge, 2_000, |_| (0, 0), 900);
    assert!(matches!(&told[..], [(_, Verdict::Steady)]), "{told:?}");
}

#[test]
fn stated_figures_count_at_once() {
    let expect = Expect { dispatch_p99: Some(2000), progress: Some(50.0), ..Expect::default() };
    let (mut guest, mut judge) = (Guest::new(5), Judge::new(expect));
    assert_eq!(guest.watch(&mut judge, 60_000, |_| (200, 150), 1300), []);
    let told = guest.watch(&mut judge, 6_000, |_| (200, 20), 1300);
    let [(_, Verdict::Stuttering(why))] = &told[..] else { panic!("{told:?}") };
    assert!(why.ends_with("expected 50"), "{why}");

    let (mut guest, mut judge) = (Guest::new(5), Judge::new(expect));
    let told = guest.watch(&mut judge, 12_000, |_| (200, 150), 9_000);
    let [(_, Verdict::Stuttering(why))] = &told[..] else { panic!("{told:?}") };
    assert!(why.starts_with("dispatch p99") && why.ends_with("expected 2000 us"), "{why}");
}

#[test]
fn a_supervisor_that_was_away_blames_nobody() {
    let (mut guest, mut judge) = (Guest::new(9), learning());
    guest.watch(&mut judge, 600_000, |_| (150, 100), 900);
    for _ in 0..20 {
        // The whole host stands still for a while.
        guest.now += 10_000;
        let sample = guest.sample(900);
        assert_eq!(judge.sample(sample), None);
    }
    assert!(!judge.stutters());
    // A run that begins anew counts from nothing.
    let sample = Sample { at: guest.now + 1000, done: 0, waiting: 9, p99: None };
    assert_eq!(judge.sample(sample), None);
    assert_eq!(judge.look(), Some(sample.at + WINDOW));
}
