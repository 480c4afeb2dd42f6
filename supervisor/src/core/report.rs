//! What shims tell, and what a new supervisor finds.

use std::path::PathBuf;

use atoll_9p::fault::{Blame, Errno, Fault};

use super::guest::{Door, Guest, Item, Job, Turn};
use super::io::Seen;
use super::life::{Alive, Found, Kind, Stimulus, Told};
use super::save::{self, Txn, Undo};
use super::stutter::Verdict;
use super::{Core, From, Goal, Input, Name, Output, State, Then, What};
use crate::shim::{End, How, Mark, Order, Report};

impl Core {
    /// What a shim tells of a run. What is not about the run underway is old.
    pub(super) fn report(&mut self, name: Name, run: u64, report: Report) {
        let Some(guest) = self.guests.get_mut(&name) else { return };
        if matches!(guest.door, Door::Closed) || guest.state() == State::Adopting {
            let input = Input::Report { guest: name, run, report };
            // A run has one end, and everything else that it tells follows an order of ours
            // or of somebody who speaks to the shim: those beyond the limit are dropped.
            let last = matches!(&input, Input::Report { report, .. } if is_last(report));
            if last || guest.queue.len() < 4 * super::MAX_QUEUE {
                guest.queue.push_back(Item::Input(input));
            }
            return;
        }
        if guest.record.run != run || !guest.record.is_underway() {
            return;
        }
        match report {
            Report::Running(text) => self.told(&name, Told::Running, |guest, ctx| {
                guest.backend = Some(text.clone());
                guest.up_since = Some(ctx.now.mono);
                guest.record.from = None;
                ctx.event(What::Running(text));
            }),
            Report::Paused => self.told(&name, Told::Paused, |_, ctx| ctx.event(What::Paused)),
            Report::Resumed => self.told(&name, Told::Resumed, |_, ctx| ctx.event(What::Resumed)),
            // Its event is that of the state.
            Report::Stopping => {
                let ms = guest.stop_ms();
                self.told(&name, Told::Stopping(ms), |_, _| {});
            }
            Report::Failed(order, why) => self.order_failed(&name, order, why),
            Report::Checkpoint(path) => self.kept(&name, path),
            Report::Restored(n) => self.with(&name, |guest, ctx| {
                ctx.event(What::Restored(n));
                guest.went_back(Some(n), Ok(()), &mut ctx.turn);
            }),
            // Whoever watches the guest wanted to know.
            Report::Asked => {}
            Report::Ended(end) => self.ended(&name, end),
            Report::Gone(why) => {
                let end = lost(&name, guest, run, why, self.now.wall);
                self.ended(&name, end);
            }
        }
    }

    /// A run is slower than expected, or no longer.
    pub(super) fn judged(&mut self, name: Name, run: u64, verdict: Verdict) {
        let Some(guest) = self.guests.get_mut(&name) else { return };
        if matches!(guest.door, Door::Closed) {
            if guest.queue.len() < super::MAX_QUEUE {
                guest.queue.push_back(Item::Input(Input::Judged { guest: name, run, verdict }));
            }
            return;
        }
        // One that stands still or is about to end is not slow.
        if guest.record.run != run || guest.state() != State::Running {
            return;
        }
        let why = match verdict {
            Verdict::Stuttering(why) => Some(why),
            Verdict::Steady => None,
        };
        if why.is_some() == guest.stutter.is_some() {
            return;
        }
        let then = guest.definition().and_then(|d| d.expect).map(|e| e.then).unwrap_or_default();
        let restart = Kind::Restart(guest.stop_ms());
        let slow = why.is_some();
        let _ = self.go(&name, false, None, |guest, ctx| {
            guest.stutter.clone_from(&why);
            ctx.event(why.map_or(What::Steady, What::Stuttering));
            if slow && then == Then::Restart {
                guest.record.restarts += 1;
                ctx.advance(guest, Stimulus::Verb(restart))?;
            }
            Ok(())
        });
    }

    /// A step because of what was told; `f` does the rest if the state changes.
    fn told(&mut self, name: &Name, told: Told, f: impl FnOnce(&mut Guest, &mut super::Ctx<'_>)) {
        let _ = self.go(name, false, None, |guest, ctx| {
            let from = guest.state();
            ctx.advance(guest, Stimulus::Told(told))?;
            if guest.state() != from {
                f(guest, ctx);
            }
            Ok(())
        });
    }

    fn order_failed(&mut self, name: &Name, order: Order, why: String) {
        let text = why.clone();
        let freed = self.with(name, |guest, ctx| {
            ctx.event(What::Failed(order.to_string(), text.clone()));
            match order {
                Order::Pause => drop(ctx.advance(guest, Stimulus::Told(Told::NotPaused))),
                Order::Resume => drop(ctx.advance(guest, Stimulus::Told(Told::NotResumed))),
                Order::Checkpoint => {
                    let fault = format!("no checkpoint was kept: {text}");
                    let mut freed = Vec::new();
                    for job in guest.jobs.drain(..) {
                        let fault = Fault::new(Errno::EIO, fault.clone()).blame(Blame::Guest);
                        ctx.turn.answer(job.ask, Err(fault));
                        freed.extend(job.fork);
                    }
                    next_checkpoint(ctx.name, guest, &mut ctx.turn);
                    return freed;
                }
                Order::Restore(n) => guest.went_back(Some(n), Err(&text), &mut ctx.turn),
                Order::Relocate(_) => {
                    guest.went_away(&Err(format!("it was not moved: {text}")), &mut ctx.turn);
                }
                // A stop that fails ends in a kill, and a kill can be told again.
                Order::Stop(_) | Order::Kill => {}
            }
            Vec::new()
        });
        self.reserved.retain(|n| !freed.contains(n));
    }

    /// A step that cannot be refused, with a result.
    fn with<T: Default>(
        &mut self,
        name: &Name,
        f: impl FnOnce(&mut Guest, &mut super::Ctx<'_>) -> T,
    ) -> T {
        let mut result = T::default();
        let _ = self.go(name, false, None, |guest, ctx| {
            result = f(guest, ctx);
            Ok(())
        });
        result
    }

    /// A checkpoint was kept.
    fn kept(&mut self, name: &Name, path: PathBuf) {
        let forks: Vec<Job> = self.with(name, |guest, ctx| {
            ctx.event(What::Checkpoint(path.display().to_string()));
            let mut forks = Vec::new();
            for job in guest.jobs.drain(..) {
                match job.fork {
                    None => ctx.turn.answer(job.ask, Ok(())),
                    Some(_) => forks.push(job),
                }
            }
            next_checkpoint(ctx.name, guest, &mut ctx.turn);
            forks
        });
        for job in forks {
            let Some(to) = job.fork else { continue };
            self.reserved.remove(&to);
            self.fork(name, &to, job.ask, path.clone());
        }
    }

    /// A new guest goes on from a checkpoint of another.
    fn fork(&mut self, of: &Name, to: &Name, ask: u64, path: PathBuf) {
        let Some(guest) = self.guests.get(of) else { return };
        let (config, run) = (guest.record.config.clone(), guest.record.run);
        let mut changes = self.add(to, |record| {
            record.config = config;
            record.goal = Goal::Up;
            record.from = Some(From::File(path));
            record.fork_of = Some(of.clone());
        });
        changes.push(save::event(self.now.wall, Some(of), run, What::Forked(to.clone())));
        changes.push(save::event(self.now.wall, Some(to), 0, What::ForkOf(of.clone())));
        if let Some(guest) = self.guests.get_mut(to) {
            guest.life.state = State::Waiting;
            guest.life.goal = Goal::Up;
        }
        self.submit(Txn {
            guest: Some(to.clone()),
            changes,
            after: vec![Output::Answer { ask, result: Ok(()) }],
            asks: vec![ask],
            undo: Some(Undo::Remove),
        });
        self.sync(to);
        self.recheck = true;
    }

    /// A run has ended.
    fn ended(&mut self, name: &Name, end: End) {
        let missing = self.missing(name);
        let freed = self.with(name, |guest, ctx| {
            let again = guest.note_end(end, ctx.now, ctx.epoch, &mut ctx.turn);
            let told = if guest.has_moved() { Told::Moved } else { Told::Ended(again) };
            let _ = ctx.advance(guest, Stimulus::Told(told));
            after_end(guest, ctx, &missing)
        });
        self.reserved.retain(|n| !freed.contains(n));
    }

    /// What a supervisor that has just started sees of a guest.
    pub(super) fn adopt(&mut self, name: Name, seen: Seen) {
        let Some(guest) = self.guests.get(&name) else {
            if self.orphans.insert(name.clone()) && matches!(seen, Seen::Alive { .. }) {
                let changes = vec![save::event(self.now.wall, Some(&name), 0, What::Orphan)];
                self.pipe.push(Txn { changes, ..Txn::default() });
            }
            return;
        };
        if guest.state() != State::Adopting {
            return;
        }
        let missing = self.missing(&name);
        let mut raised = 0;
        self.with(&name, |guest, ctx| {
            let record = &mut guest.record;
            let underway = record.is_underway();
            let idle = Found::Idle(record.failures > 0);
            let found = match seen {
                _ if record.config.is_none() => Found::Blank,
                Seen::Alive { run, epoch, alive } if run > record.run => {
                    // The store is older than what runs, which counts.
                    (record.run, record.epoch) = (run, epoch.max(record.epoch));
                    raised = record.epoch;
                    ctx.turn.own = Some(raised);
                    Found::Alive(alive)
                }
                Seen::Alive { run, alive, .. } if underway && run == record.run => {
                    Found::Alive(alive)
                }
                Seen::Alive { run, .. } if underway => {
                    // A run whose end was stored: it must not live beside the next.
                    let guest = ctx.name.clone();
                    ctx.turn.after.push(Output::Order { guest, run, order: Order::Kill });
                    Found::Unbegun
                }
                Seen::Ended(end) if end.run > record.run || (underway && end.run == record.run) => {
                    if end.epoch > record.epoch {
                        record.epoch = end.epoch;
                        raised = end.epoch;
                        ctx.turn.own = Some(raised);
                    }
                    let again = guest.note_end(end, ctx.now, ctx.epoch, &mut ctx.turn);
                    if guest.has_moved() { Found::Moved } else { Found::Ended(again) }
                }
                _ if underway => Found::Unbegun,
                _ => idle,
            };
            if found == Found::Unbegun && guest.record.goal != Goal::Up {
                // Nobody wants that run any more, and it has no other end.
                let why = "it was not begun before it was to end".to_owned();
                let (run, wall) = (guest.record.run, ctx.now.wall);
                let end = End { how: How::Unstarted, ..lost(ctx.name, guest, run, why, wall) };
                guest.note_end(end, ctx.now, ctx.epoch, &mut ctx.turn);
            }
            let _ = ctx.advance(guest, Stimulus::Found(found));
            if matches!(found, Found::Alive(Alive::Running | Alive::Paused)) {
                guest.record.from = None;
            }
            if guest.state() == State::Waiting && !missing.is_empty() {
                ctx.event(What::Waiting(missing.clone()));
            }
        });
        self.epoch = self.epoch.max(raised);
        self.drain(&name);
    }
}

/// What is over with a run: who waits for its checkpoints, and what it ran on.
fn after_end(guest: &mut Guest, ctx: &mut super::Ctx<'_>, missing: &[Name]) -> Vec<Name> {
    guest.up_since = None;
    guest.backend = None;
    guest.stutter = None;
    if guest.state() == State::Waiting && !missing.is_empty() {
        ctx.event(What::Waiting(missing.to_vec()));
    }
    let why = guest.why().unwrap_or_default();
    let end = guest.record.last.as_ref().map_or("", |end| &end.why);
    let went = match guest.has_moved() {
        true if Mark::is_sure(end) => Ok(()),
        true => Err(format!("it may have moved: {end}")),
        false => Err(format!("it was not moved: {why}")),
    };
    guest.went_away(&went, &mut ctx.turn);
    guest.went_back(None, Err(&format!("it ended: {why}")), &mut ctx.turn);
    guest.fail_jobs(&format!("it ended: {why}"), &mut ctx.turn)
}

/// Orders the checkpoint for those who asked while one was being made.
fn next_checkpoint(name: &Name, guest: &mut Guest, turn: &mut Turn) {
    if guest.jobs.is_empty() && !guest.next_jobs.is_empty() {
        guest.jobs = std::mem::take(&mut guest.next_jobs);
        let run = guest.record.run;
        turn.after.push(Output::Order { guest: name.clone(), run, order: Order::Checkpoint });
    }
}

fn is_last(report: &Report) -> bool {
    matches!(report, Report::Ended(_) | Report::Gone(_))
}

/// The end of a run of which nobody knows more.
fn lost(name: &Name, guest: &Guest, run: u64, why: String, wall: u64) -> End {
    End {
        format: crate::shim::FORMAT,
        name: name.to_string(),
        run,
        epoch: guest.record.epoch,
        how: How::Lost,
        why,
        asked: false,
        started: wall,
        ended: wall,
        cpu: 0,
        log: 0,
    }
}
