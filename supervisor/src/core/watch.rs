//! What a guest that is watched is asked, and when: between its `stats` and its [`Judge`].
//!
//! One question is put when somebody has asked something of the guest, and then one each time
//! that the judge wants to look. A guest that does not answer at all is as slow as one can
//! be: then nothing is known but that, and it is said as soon as [`SHORT`] windows have
//! gone by. It is all numbers and text, so that the simulated days (`stutter_tests.rs`) go
//! through it as the daemon does.

use std::collections::BTreeMap;

use super::define::Expect;
use super::stutter::{Judge, LATE, SHORT, Sample, Verdict, WINDOW};

/// What a guest's `stats` say, as far as it is judged by that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Dispatches that have ended since its start, however they did.
    pub done: u64,
    /// Events that wait.
    pub waiting: u64,
    /// By how many microseconds they took less than, and no less than half of that.
    pub took: BTreeMap<u64, u64>,
}

impl Figures {
    /// Reads a guest's `stats`; nothing where it does not say what is needed.
    pub fn parse(stats: &str) -> Option<Figures> {
        let (mut done, mut waiting, mut took) = (None::<u64>, None, BTreeMap::new());
        for line in stats.lines() {
            let (name, text) = line.split_once(' ')?;
            let Ok(n) = text.parse::<u64>() else { continue };
            match name {
                "dispatches" | "refused" | "abandoned" => {
                    done = Some(done.unwrap_or_default().saturating_add(n));
                }
                "waiting" => waiting = Some(n),
                _ => {
                    let us = name.strip_prefix("took_").and_then(|s| s.strip_suffix("us"));
                    took.extend(us.and_then(|us| us.parse::<u64>().ok()).map(|us| (us, n)));
                }
            }
        }
        Some(Figures { done: done?, waiting: waiting?, took })
    }

    /// Of what was dispatched since then, one of 100 took at least so many microseconds.
    /// That is what is certain: it may have been nearly twice as long. Nothing when there
    /// was none, or it began anew meanwhile.
    fn p99_since(&self, before: &Figures) -> Option<u64> {
        let fresh = |(us, n): (&u64, &u64)| {
            let old = before.took.get(us).copied().unwrap_or_default();
            n.checked_sub(old).map(|n| (*us, n))
        };
        let fresh: Vec<(u64, u64)> = self.took.iter().map(fresh).collect::<Option<_>>()?;
        let all = fresh.iter().fold(0u64, |all, (_, n)| all.saturating_add(*n));
        // So many may take longer.
        let mut slower = all / 100;
        let p99 = fresh.iter().rev().find(|(_, n)| {
            let found = *n > slower;
            slower = slower.saturating_sub(*n);
            found
        });
        p99.map(|(us, _)| us / 2)
    }
}

/// A question that is not answered yet.
#[derive(Clone, Copy, Debug)]
struct Question {
    since: u64,
    /// When somebody last looked for an answer.
    looked: u64,
    /// How often in a row.
    windows: u32,
}

/// Watches one run of one guest. All times are milliseconds on a clock that does not step.
#[derive(Debug)]
pub struct Watch {
    judge: Judge,
    last: Option<(u64, Figures)>,
    question: Option<Question>,
}

impl Watch {
    /// Watches a run that has just begun, or was just found.
    pub fn new(expect: Expect) -> Watch {
        Watch { judge: Judge::new(expect), last: None, question: None }
    }

    /// When the next question is to be put, if `asked` says whether somebody has asked
    /// something of the guest since before the last one; never while it has nothing to do.
    pub fn due(&self, now: u64, asked: bool) -> Option<u64> {
        let last = self.last.as_ref().map(|(at, _)| at.saturating_add(WINDOW));
        self.judge.look().or(asked.then(|| last.unwrap_or(now)))
    }

    /// The guest is asked for its `stats`.
    pub fn ask(&mut self, now: u64) {
        self.question = Some(Question { since: now, looked: now, windows: 0 });
    }

    /// It has not answered yet: to be said each [`WINDOW`] until it does.
    pub fn silence(&mut self, now: u64) -> Option<Verdict> {
        let q = self.question.as_mut()?;
        if now.saturating_sub(q.looked) > LATE {
            // It was not the guest alone that stood still.
            (q.since, q.windows) = (now, 0);
        } else {
            q.windows = q.windows.saturating_add(1);
        }
        q.looked = now;
        let ms = now.saturating_sub(q.since);
        let hangs = q.windows >= SHORT;
        hangs.then(|| self.judge.hangs(format!("no answer in {ms} ms"))).flatten()
    }

    /// It has answered.
    pub fn answer(&mut self, at: u64, figures: Figures) -> Option<Verdict> {
        self.question = None;
        let p99 = self.last.as_ref().and_then(|(_, before)| figures.p99_since(before));
        let (done, waiting) = (figures.done, figures.waiting);
        self.last = Some((at, figures));
        self.judge.sample(Sample { at, done, waiting, p99 })
    }

    /// It stands still because that was wanted: what comes next begins anew.
    pub fn rest(&mut self) {
        (self.last, self.question) = (None, None);
        self.judge.forget_last();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(took: &[(u64, u64)]) -> Figures {
        Figures { took: took.iter().copied().collect(), ..Figures::default() }
    }

    #[test]
    fn what_a_guest_says_is_read() {
        let stats = "requests 9\ndispatches 5\nrefused 2\nabandoned 1\nwaiting 3\ncpu_ns 77\n\
                     took_1us 6\ntook_512us 2\nwires 1\nboot_tsc 12\ntook_xus 5\n";
        let read = Figures::parse(stats).unwrap();
        assert_eq!(read, Figures { done: 8, waiting: 3, ..figures(&[(1, 6), (512, 2)]) });
        for bad in ["", "dispatches 5\n", "waiting 5\n", "dispatches x\nwaiting 1\n", "dispatches"]
        {
            assert_eq!(Figures::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn one_of_a_hundred_may_take_longer() {
        let none = Figures::default();
        assert_eq!(none.p99_since(&none), None);
        for (took, p99) in [
            (&[(1, 5)][..], 0),
            (&[(8, 1)], 4),
            (&[(8, 98), (1024, 1)], 512),
            (&[(8, 99), (1024, 1)], 4),
            (&[(8, 197), (1024, 2), (4096, 1)], 512),
            (&[(8, 198), (1024, 1), (4096, 1)], 4),
            (&[(8, 990), (1024, 5), (4096, 5)], 4),
        ] {
            assert_eq!(figures(took).p99_since(&none), Some(p99), "{took:?}");
        }
        let before = figures(&[(8, 10), (1024, 5)]);
        assert_eq!(before.p99_since(&before), None);
        assert_eq!(figures(&[(8, 11), (1024, 5)]).p99_since(&before), Some(4));
        // It began anew.
        assert_eq!(figures(&[(8, 11)]).p99_since(&figures(&[(8, 12)])), None);
    }

    #[test]
    fn who_does_not_answer_is_told_of_and_when_it_is_over() {
        let mut watch = Watch::new(Expect::default());
        assert_eq!((watch.due(5, false), watch.due(5, true)), (None, Some(5)));
        watch.ask(5);
        assert_eq!([1005, 2005].map(|at| watch.silence(at)), [None, None]);
        let told = Some(Verdict::Stuttering("no answer in 3000 ms".into()));
        assert_eq!(watch.silence(3005), told);
        assert_eq!(watch.silence(4005), None);
        assert_eq!(watch.answer(9000, figures(&[(8, 5)])), Some(Verdict::Steady));
        // Idle, it is asked nothing.
        assert_eq!((watch.due(9500, false), watch.due(9500, true)), (None, Some(10_000)));
    }

    #[test]
    fn a_daemon_that_stood_still_blames_nobody() {
        let mut watch = Watch::new(Expect::default());
        watch.ask(0);
        for round in 0..9 {
            let late = round * 10_000 + 9_000;
            assert_eq!(
                [late, late + 1000, late + 2000].map(|at| watch.silence(at)),
                [const { None }; 3]
            );
        }
        assert!(watch.silence(92_000).is_some());
        watch.rest();
        assert_eq!(watch.silence(93_000), None);
    }
}
