//! A guest that is slow is a fault too, and this says when it is.
//!
//! It is judged only while there is work. Whoever reads a guest's figures ([`super::watch`])
//! gives them as samples: one when something was asked of the guest, and then one each time
//! that [`Judge::look`] names, for as long as something waits. Of an idle guest nobody asks
//! anything, so it costs nothing.
//!
//! What lies between two samples is a *window*. It says something about progress only if
//! less was done in it than waited at its beginning: then there was work all the time. How
//! long its dispatches took it says whenever there were some. A
//! window that is much longer than it was to be says nothing: it was the supervisor that
//! did not run. One short window is chance; [`SHORT`] in a row are a fault, which is less
//! than five seconds after it began.

use std::collections::VecDeque;

use super::define::Expect;

/// Milliseconds from one sample to the next while work waits.
pub const WINDOW: u64 = 1_000;
/// A window that is longer was not the guest's, in milliseconds.
pub(super) const LATE: u64 = 2_500;
/// A window that is shorter is put together with the next, in milliseconds.
const LEAST: u64 = 500;
/// So many windows in a row that fall short are a fault, and so many good ones end it.
pub const SHORT: u32 = 3;
/// Windows from which a steady state is learned.
const STEADY: usize = 60;
/// Windows that are remembered for that.
const MEMORY: usize = 300;
/// What is learned may be missed by this factor.
const SLACK: u64 = 4;
/// A p99 of fewer dispatches says nothing that could be learned.
const ENOUGH: u64 = 20;

/// A guest's figures at one moment of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When, in milliseconds on a clock that does not step.
    pub at: u64,
    /// Dispatches that have ended since its start, however they did.
    pub done: u64,
    /// Events that wait.
    pub waiting: u64,
    /// Of the dispatches since the last sample 99 of 100 took at most so many
    /// microseconds; none when nobody knows.
    pub p99: Option<u64>,
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is slower than expected: the figure that fell short.
    Stuttering(String),
    /// It is as fast as expected again, or has nothing to do.
    Steady,
}

/// Watches one run of one guest.
#[derive(Debug)]
pub struct Judge {
    expect: Expect,
    last: Option<Sample>,
    /// Windows in a row that fell short, and what the latest lacked.
    short: u32,
    why: String,
    /// Windows in a row that did not, while it stutters.
    good: u32,
    stutters: bool,
    /// Dispatches a second, a thousand times that, of windows that were full of work; what
    /// nine of ten exceed.
    rates: Usual,
    /// Microseconds; what one of ten exceeds.
    p99s: Usual,
}

/// What is usual of a figure.
#[derive(Debug)]
struct Usual {
    percent: usize,
    windows: VecDeque<u64>,
    /// What so many of a hundred windows do not exceed, once enough are known.
    figure: Option<u64>,
    /// Windows since that was found.
    since: usize,
}

impl Usual {
    fn new(percent: usize) -> Usual {
        Usual { percent, windows: VecDeque::new(), figure: None, since: 0 }
    }

    fn learn(&mut self, figure: u64) {
        if self.windows.len() >= MEMORY {
            self.windows.pop_front();
        }
        self.windows.push_back(figure);
        self.since += 1;
        if self.windows.len() < STEADY || (self.since < STEADY && self.figure.is_some()) {
            return;
        }
        self.since = 0;
        let mut sorted: Vec<u64> = self.windows.iter().copied().collect();
        sorted.sort_unstable();
        self.figure = sorted.get((sorted.len() - 1) * self.percent / 100).copied();
    }
}

impl Judge {
    /// Watches a run that has just begun, or goes on after a pause.
    pub fn new(expect: Expect) -> Judge {
        Judge {
            expect,
            last: None,
            short: 0,
            why: String::new(),
            good: 0,
            stutters: false,
            rates: Usual::new(10),
            p99s: Usual::new(90),
        }
    }

    /// Whether it stutters.
    pub fn stutters(&self) -> bool {
        self.stutters
    }

    /// When the next sample is wanted; not at all while nothing waits, except to see that
    /// one that was slow has nothing to do any more.
    pub fn look(&self) -> Option<u64> {
        self.last.filter(|l| l.waiting > 0 || self.stutters).map(|l| l.at.saturating_add(WINDOW))
    }

    /// The guest stood still or the supervisor did: the next sample is a first one.
    pub fn forget_last(&mut self) {
        self.last = None;
        self.short = 0;
    }

    /// Takes a sample; what is to be told, if anything is.
    pub fn sample(&mut self, sample: Sample) -> Option<Verdict> {
        let Some(last) = self.last else {
            self.last = Some(sample);
            return if sample.waiting == 0 { self.ended() } else { None };
        };
        let time = sample.at.saturating_sub(last.at);
        if sample.done < last.done || time > LATE {
            // Another run's figures, or a supervisor that was away.
            self.last = Some(sample);
            self.short = 0;
            return if sample.waiting == 0 { self.ended() } else { None };
        }
        if last.waiting > 0 && time < LEAST {
            // Others may ask for figures too: that is no window.
            return None;
        }
        self.last = Some(sample);
        let done = sample.done - last.done;
        if last.waiting == 0 && (done == 0 || sample.p99.is_none()) {
            return if sample.waiting == 0 { self.ended() } else { None };
        }
        match self.lacks(&last, &sample, done, time) {
            Some(why) => {
                self.why = why;
                self.good = 0;
                self.short = self.short.saturating_add(1);
                if self.short < SHORT || self.stutters {
                    return None;
                }
                self.stutters = true;
                Some(Verdict::Stuttering(self.why.clone()))
            }
            None => {
                self.short = 0;
                self.good = self.good.saturating_add(1);
                if sample.waiting == 0 || self.good >= SHORT { self.ended() } else { None }
            }
        }
    }

    /// It does not even say how it is doing: what is to be told.
    pub fn hangs(&mut self, why: String) -> Option<Verdict> {
        (self.short, self.good) = (SHORT, 0);
        let told = std::mem::replace(&mut self.stutters, true);
        (!told).then_some(Verdict::Stuttering(why))
    }

    fn ended(&mut self) -> Option<Verdict> {
        self.short = 0;
        std::mem::take(&mut self.stutters).then_some(Verdict::Steady)
    }

    /// What a window lacks, if anything; what it does not is learned from.
    fn lacks(&mut self, from: &Sample, to: &Sample, done: u64, time: u64) -> Option<String> {
        let (waiting, learns) = (from.waiting, self.expect.learn);
        // What was taken back is not missing.
        let work = to.waiting > 0;
        if done == 0 && work {
            return Some(format!("no dispatch in {time} ms while {waiting} events waited"));
        }
        let mut lacks = None;
        if done < waiting && work {
            let rate = done.saturating_mul(1_000_000) / time.max(1);
            let stated = self.expect.progress.map(|p| (p * 1000.0) as u64);
            let learned = || self.rates.figure.filter(|_| learns).map(|r| r / SLACK);
            if let Some(least) = stated.or_else(learned)
                && rate < least
            {
                lacks = Some(format!(
                    "{} dispatches a second while {waiting} events waited, expected {}",
                    thousandths(rate),
                    thousandths(least)
                ));
            } else {
                self.rates.learn(rate);
            }
        }
        if let Some(p99) = to.p99 {
            let learned = || {
                let usual = self.p99s.figure.filter(|_| learns && done >= ENOUGH);
                usual.map(|p| p.saturating_mul(SLACK))
            };
            if let Some(most) = self.expect.dispatch_p99.or_else(learned)
                && p99 > most
            {
                lacks = lacks.or(Some(format!("dispatch p99 {p99} us, expected {most} us")));
            } else if done >= ENOUGH {
                self.p99s.learn(p99);
            }
        }
        lacks
    }
}

/// A figure that is a thousand times what is meant.
fn thousandths(n: u64) -> String {
    let text = format!("{}.{:03}", n / 1000, n % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
#[path = "stutter_tests.rs"]
mod tests;
