//! One guest as the core has it: its record, where it is in its life, and who waits for
//! what.

use std::collections::VecDeque;

use atoll_9p::fault::{Blame, Errno, Fault};

use super::define::{Definition, Policy};
use super::event::What;
use super::io::{Ask, Input, Now, Output, Start};
use super::life::{self, Act, Goal, Life, Move, Refused, State, Stimulus, Told};
use super::name::Name;
use super::record::Record;
use super::save::Txn;
use crate::shim::{End, How, Order};

/// How much longer than it was given a stop may take before the shim is told to kill, which
/// it should have done by itself, in milliseconds.
pub const GRACE: u64 = 2_000;

/// A guest.
#[derive(Debug)]
pub struct Guest {
    pub(super) record: Record,
    pub(super) life: Life,
    pub(super) door: Door,
    /// What came while the door was closed.
    pub(super) queue: VecDeque<Item>,
    pub(super) waiters: Vec<Waiter>,
    /// Who waits for the checkpoint that its shim makes.
    pub(super) jobs: Vec<Job>,
    /// Who waits for the one after that.
    pub(super) next_jobs: Vec<Job>,
    /// Who waits for it to go back to the checkpoint of that number.
    /// Who waits for it to be somewhere else.
    pub(super) moves: Vec<Ask>,
    pub(super) back: Vec<(Ask, u64)>,
    /// When [`Stimulus::Due`] comes.
    pub(super) due: Option<u64>,
    /// For when the core has an alarm set for it.
    pub(super) alarm: Option<u64>,
    /// When its tree was there, on the clock that never steps.
    pub(super) up_since: Option<u64>,
    /// Where it runs, as its shim says.
    pub(super) backend: Option<String>,
    /// The figure that fell short, while it is slower than expected.
    pub(super) stutter: Option<String>,
}

/// Whether inputs are taken now.
#[derive(Debug)]
pub(super) enum Door {
    /// They are.
    Open,
    /// A step of it is being stored: what comes waits.
    Closed,
    /// What happened could not be stored yet: more of that is taken and stored with it;
    /// what is asked is refused.
    Held(Box<Txn>),
}

/// What waits until a step is stored.
#[derive(Debug)]
pub(super) enum Item {
    Input(Input),
    /// It is to run, because one that imports its tree was started.
    Pull,
}

/// Somebody who waits for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) ask: Ask,
    pub(super) wants: Wants,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    Running,
    Ended,
    Paused,
    Resumed,
}

/// What a checkpoint is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) ask: Ask,
    /// The guest that is to go on from it.
    pub(super) fork: Option<Name>,
}

/// What a step of a guest comes to, until it is stored.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) events: Vec<What>,
    pub(super) claim: Option<(u64, u64)>,
    /// The epoch under which it was found, when the store has an older one.
    pub(super) own: Option<u64>,
    pub(super) after: Vec<Output>,
}

impl Turn {
    pub(super) fn answer(&mut self, ask: Ask, result: Result<(), Fault>) {
        self.after.push(Output::Answer { ask, result });
    }
}

impl Guest {
    pub(super) fn new(record: Record, state: State) -> Guest {
        Guest {
            life: Life { state, goal: record.goal },
            record,
            door: Door::Open,
            queue: VecDeque::new(),
            waiters: Vec::new(),
            jobs: Vec::new(),
            next_jobs: Vec::new(),
            moves: Vec::new(),
            back: Vec::new(),
            due: None,
            alarm: None,
            up_since: None,
            backend: None,
            stutter: None,
        }
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        self.life.state
    }

    /// What is wanted of it.
    pub fn goal(&self) -> Goal {
        self.life.goal
    }

    /// What is stored of it, or is about to be.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What it is defined as.
    pub fn definition(&self) -> Option<&Definition> {
        self.record.config.as_ref().map(|c| &c.definition)
    }

    /// Where it runs, while it does and its shim has said so.
    pub fn backend(&self) -> Option<&str> {
        self.backend.as_deref().filter(|_| self.life.state.is_alive())
    }

    /// The figure that fell short, while it is slower than expected.
    pub fn stutter(&self) -> Option<&str> {
        self.stutter.as_deref().filter(|_| self.life.state.is_alive())
    }

    /// When it is started again or killed, on [`Now::mono`].
    pub fn due(&self) -> Option<u64> {
        self.due
    }

    /// For how many milliseconds its tree has been there.
    pub fn uptime(&self, now: Now) -> Option<u64> {
        let since = self.up_since.filter(|_| self.life.state.is_alive())?;
        Some(now.mono.saturating_sub(since))
    }

    /// How its latest run ended, in a line.
    pub fn why(&self) -> Option<String> {
        self.record.last.as_ref().map(ended)
    }

    /// Why a verb has no place in its state: of one that has moved also where to.
    pub fn refuses(&self, fault: Fault) -> Fault {
        match self.why().filter(|_| self.state() == State::Moved) {
            Some(why) => Fault::new(fault.errno, format!("{}; {why}", fault.text())),
            None => fault,
        }
    }

    /// Whether its latest run goes on elsewhere, or may.
    pub(super) fn has_moved(&self) -> bool {
        let moved = self.record.last.as_ref().is_some_and(|end| end.how == How::Moved);
        moved && !self.record.is_underway()
    }

    pub(super) fn stop_ms(&self) -> u64 {
        self.definition().map_or(super::define::STOP, |d| d.stop)
    }

    /// Goes one step. What follows is collected in `turn`; `epoch` is the greatest one that
    /// was ever given.
    pub(super) fn advance(
        &mut self,
        name: &Name,
        stimulus: Stimulus,
        now: Now,
        epoch: &mut u64,
        turn: &mut Turn,
    ) -> Result<(), Refused> {
        let from = self.life;
        let Move { mut life, act } = life::step(from, stimulus)?;
        if life.state == State::Stopped && self.has_moved() {
            // It waited to run here all the same, and is not to any more; or it is looked for by
            // a supervisor that was not told.
            life.state = State::Moved;
        }
        self.life = life;
        self.record.goal = life.goal;
        if from.state != life.state {
            self.due = None;
            self.entered(from.state, now, turn);
        }
        let order = match act {
            Act::Launch => {
                let held = self.record.epoch;
                *epoch += 1;
                self.record.run += 1;
                self.record.epoch = *epoch;
                self.up_since = None;
                self.backend = None;
                turn.claim = Some((held, *epoch));
                turn.events.push(What::Starting(*epoch));
                turn.after.extend(self.start(name));
                None
            }
            Act::Relaunch => {
                turn.after.extend(self.start(name));
                None
            }
            Act::Stop(ms) => {
                let due = now.mono.saturating_add(ms).saturating_add(GRACE);
                let before = self.due.filter(|_| from.state == State::Stopping);
                self.due = Some(before.map_or(due, |d| d.min(due)));
                Some(Order::Stop(ms))
            }
            Act::Kill => Some(Order::Kill),
            Act::Pause => Some(Order::Pause),
            Act::Resume => Some(Order::Resume),
            // A checkpoint's order is given by whoever keeps the list of who waits.
            Act::Checkpoint | Act::Restore | Act::Relocate | Act::Forget | Act::Nothing => None,
        };
        let run = self.record.run;
        turn.after.extend(order.map(|order| Output::Order { guest: name.clone(), run, order }));
        self.settle(stimulus, turn);
        Ok(())
    }

    fn start(&self, name: &Name) -> Option<Output> {
        Some(Output::Start(Box::new(Start {
            guest: name.clone(),
            id: self.record.id,
            run: self.record.run,
            epoch: self.record.epoch,
            definition: self.definition()?.clone(),
            from: self.record.from.clone(),
        })))
    }

    /// What is said and waited for because of the state that it has now.
    fn entered(&mut self, from: State, now: Now, turn: &mut Turn) {
        match self.life.state {
            State::Stopping => {
                let ms = self.stop_ms().saturating_add(GRACE);
                self.due = Some(now.mono.saturating_add(ms));
                turn.events.push(What::Stopping);
            }
            State::Killing => turn.events.push(What::Killing),
            State::Stopped | State::Moved if matches!(from, State::Waiting | State::Backoff) => {
                turn.events.push(What::Cancelled);
            }
            State::Backoff => {
                let failures = self.record.failures;
                let delay = self.definition().map_or(0, |d| d.restart.delay(failures));
                self.due = Some(now.mono.saturating_add(delay));
                turn.events.push(What::Again(delay, failures));
            }
            _ => {}
        }
    }

    /// Answers everybody who has what they waited for, or never will.
    fn settle(&mut self, stimulus: Stimulus, turn: &mut Turn) {
        use State::*;
        let state = self.life.state;
        let over = matches!(
            stimulus,
            Stimulus::Told(Told::Ended(_) | Told::Moved)
                | Stimulus::Found(life::Found::Ended(_) | life::Found::Moved)
        );
        let fault = |what: &str, errno| {
            let why = match &self.record.last {
                Some(last) if over => format!("{what}: {}", ended(last)),
                _ => what.to_owned(),
            };
            let blame = if over { Blame::Guest } else { Blame::Operator };
            Err(Fault::new(errno, why).blame(blame))
        };
        let verdict = |wants| match (wants, state) {
            (Wants::Running, Running) => Some(Ok(())),
            (Wants::Running, Backoff) if over => {
                Some(fault("it ended, and is started again after a delay", Errno::EIO))
            }
            (Wants::Running, Stopped | Moved) if over => Some(fault("it ended", Errno::EIO)),
            (Wants::Running, Stopped | Moved) => {
                Some(fault("it was stopped before it ran", Errno::ECANCELED))
            }
            (Wants::Ended, s) if over || !s.is_alive() => Some(Ok(())),
            (Wants::Paused, Paused) | (Wants::Resumed, Running) => Some(Ok(())),
            (Wants::Paused, Pausing) | (Wants::Resumed, Resuming) => None,
            (Wants::Paused, Running) => Some(fault("it could not be paused", Errno::EIO)),
            (Wants::Resumed, Paused) => Some(fault("it could not go on", Errno::EIO)),
            (Wants::Paused | Wants::Resumed, _) => {
                Some(fault(&format!("it is {state} now"), Errno::ECANCELED))
            }
            (Wants::Running | Wants::Ended, _) => None,
        };
        let mut answers = Vec::new();
        self.waiters.retain(|w| match verdict(w.wants) {
            Some(result) => {
                answers.push((w.ask, result));
                false
            }
            None => true,
        });
        for (ask, result) in answers {
            turn.answer(ask, result);
        }
    }

    /// Takes note of an end; whether the guest is to be started again if nobody asked for
    /// it.
    pub(super) fn note_end(
        &mut self,
        end: End,
        now: Now,
        epoch: &mut u64,
        turn: &mut Turn,
    ) -> bool {
        let asked = end.asked || !matches!(self.life.goal, Goal::Up | Goal::Down);
        let ran = match self.up_since {
            Some(since) => now.mono.saturating_sub(since),
            // It was started by another supervisor: by the clock of the day.
            None => end.ended.saturating_sub(end.started),
        };
        let restart = self.definition().map(|d| d.restart).unwrap_or_default();
        let moved = end.how == How::Moved;
        let well = end.is_well() || moved;
        // A run that was too short counts as failed however it ended.
        self.record.failures = match (asked, ran >= restart.healthy, well) {
            (true, ..) | (_, true, true) => 0,
            (_, true, false) => 1,
            _ => self.record.failures.saturating_add(1),
        };
        let wanted = match restart.policy {
            Policy::Never => false,
            Policy::OnFailure => !well,
            Policy::Always => true,
        };
        turn.events.push(What::Ended(ended(&end)));
        if moved {
            // Under the epoch after that of its run here, it is another's; ours come after it.
            let next = end.epoch.saturating_add(1).max(self.record.epoch);
            self.record.epoch = next;
            *epoch = (*epoch).max(next);
            turn.own = Some(next);
        }
        self.record.run = self.record.run.max(end.run);
        self.record.ended = self.record.run;
        self.record.last = Some(end);
        // What runs elsewhere is not to run here too.
        let wanted = wanted && !asked && !moved;
        let tired = restart.tries > 0 && self.record.failures >= restart.tries;
        if wanted && tired {
            turn.events.push(What::GaveUp(self.record.failures));
        }
        wanted && !tired
    }

    /// Answers those who wait for it to be somewhere else.
    pub(super) fn went_away(&mut self, result: &Result<(), String>, turn: &mut Turn) {
        for ask in std::mem::take(&mut self.moves) {
            let failed = |why| Fault::new(Errno::EIO, why).blame(Blame::Operator);
            turn.answer(ask, result.clone().map_err(failed));
        }
    }

    /// Answers those who wait for it to go back to a checkpoint; all when no number is given.
    pub(super) fn went_back(&mut self, n: Option<u64>, result: Result<(), &str>, turn: &mut Turn) {
        for (ask, of) in std::mem::take(&mut self.back) {
            if n.is_some_and(|n| n != of) {
                self.back.push((ask, of));
                continue;
            }
            turn.answer(
                ask,
                result.map_err(|why| {
                    let text = format!("it did not go back to checkpoint {of}: {why}");
                    Fault::new(Errno::EIO, text).blame(Blame::Guest)
                }),
            );
        }
    }

    /// Nobody who waits for a checkpoint gets one.
    pub(super) fn fail_jobs(&mut self, why: &str, turn: &mut Turn) -> Vec<Name> {
        let mut freed = Vec::new();
        for job in self.jobs.drain(..).chain(self.next_jobs.drain(..)) {
            let fault = Fault::new(Errno::EIO, format!("no checkpoint was kept: {why}"));
            turn.answer(job.ask, Err(fault.blame(Blame::Guest)));
            freed.extend(job.fork);
        }
        freed
    }
}

/// How a run ended, in a line.
pub fn ended(end: &End) -> String {
    let how = match end.how {
        How::Exited(0) => return "well".into(),
        How::Exited(n) => return format!("with status {n}"),
        How::Crashed => "crashed",
        How::Killed => "killed",
        How::Lost => "lost",
        How::Moved => "moved",
        How::Unstarted => "never ran",
    };
    if end.why.is_empty() || end.why == how { how.into() } else { format!("{how}: {}", end.why) }
}
