//! Guests' folders and their shims, as a supervisor sees them. They outlive it.

use std::path::PathBuf;

use super::world::{Rng, end};
use crate::core::{Alive, Name, Seen};
use crate::shim::{End, How, Order, Report};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Running,
    Paused,
    Stopping,
}

/// A guest's folder.
#[derive(Debug, Default)]
pub(super) struct Host {
    pub(super) shim: Option<Shim>,
    /// The latest run that was begun here: that of `spec.json`.
    pub(super) begun: u64,
    /// How the latest run ended of which that is known: `end.json`.
    pub(super) end: Option<End>,
    /// The latest run whose tree was there.
    pub(super) ran: u64,
    /// When it last stood still, went on, kept a checkpoint, and went back to one: the
    /// world's steps.
    pub(super) paused: Option<u64>,
    pub(super) resumed: Option<u64>,
    pub(super) kept: Option<u64>,
    pub(super) restored: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Shim {
    pub(super) run: u64,
    pub(super) epoch: u64,
    pub(super) phase: Phase,
    pub(super) connected: bool,
    pub(super) kill: bool,
    /// It ends next, like this.
    pub(super) doomed: Option<How>,
    /// It does not stop when it is asked to, nor when its time is over.
    stuck: bool,
    stop_at: u64,
    orders: Vec<Order>,
    files: u64,
}

impl Host {
    /// The run that is alive.
    pub(super) fn run(&self) -> Option<u64> {
        self.shim.as_ref().map(|s| s.run)
    }

    /// What a supervisor finds that looks here for the first time.
    pub(super) fn look(&mut self, name: &Name) -> Seen {
        if let Some(shim) = &mut self.shim {
            shim.connected = true;
            let alive = match shim.phase {
                Phase::Starting => Alive::Starting,
                Phase::Running => Alive::Running,
                Phase::Paused => Alive::Paused,
                Phase::Stopping => Alive::Stopping,
            };
            return Seen::Alive { run: shim.run, epoch: shim.epoch, alive };
        }
        match &self.end {
            _ if self.begun == 0 => Seen::Nothing,
            Some(end) if end.run == self.begun => Seen::Ended(end.clone()),
            _ => Seen::Ended(end(name, self.begun, 0)),
        }
    }

    /// Something happens: what is told, and whether it is over (and how, if it says so).
    pub(super) fn step(
        &mut self,
        rng: &mut Rng,
        now: u64,
        step: u64,
        calm: bool,
    ) -> (Vec<Report>, Option<Option<How>>) {
        let Some(shim) = &mut self.shim else { return (Vec::new(), None) };
        let luck = if calm { 50 } else { rng.below(100) };
        let mut told = Vec::new();
        if shim.kill {
            return (told, Some(Some(How::Killed)));
        }
        if let Some(how) = shim.doomed {
            return (told, Some(Some(how)));
        }
        if luck < 2 {
            return (told, Some(None));
        }
        match shim.phase {
            Phase::Stopping => {
                let over = if shim.stuck { None } else { Some(Some(How::Exited(0))) };
                let forced = (now >= shim.stop_at && !shim.stuck).then_some(Some(How::Killed));
                return (told, if luck < 60 { over } else { forced });
            }
            Phase::Starting if luck < 12 => return (told, Some(Some(How::Crashed))),
            Phase::Starting => {
                shim.phase = Phase::Running;
                self.ran = shim.run;
                told.push(Report::Running("process".into()));
            }
            Phase::Running | Phase::Paused if luck < 6 => {
                let exited = How::Exited(luck as u8 % 2);
                return (told, Some(Some(if luck == 5 { How::Moved } else { exited })));
            }
            Phase::Running | Phase::Paused => {
                let order = if shim.orders.is_empty() { None } else { Some(shim.orders.remove(0)) };
                // Others can speak to a shim too.
                let order = order.or(match luck {
                    6..=9 => Some(Order::Pause),
                    10..=13 => Some(Order::Resume),
                    14..=15 => Some(Order::Checkpoint),
                    _ => None,
                });
                let Some(order) = order else { return (told, None) };
                match (order.clone(), shim.phase) {
                    _ if luck > 90 => told.push(Report::Failed(order, "no".into())),
                    (Order::Pause, Phase::Running) => {
                        shim.phase = Phase::Paused;
                        self.paused = Some(step);
                        told.push(Report::Paused);
                    }
                    (Order::Resume, Phase::Paused) => {
                        shim.phase = Phase::Running;
                        self.resumed = Some(step);
                        told.push(Report::Resumed);
                    }
                    (Order::Checkpoint, Phase::Running) => {
                        shim.files += 1;
                        self.kept = Some(step);
                        let file = PathBuf::from(format!("{}.checkpoint", shim.files));
                        told.push(Report::Checkpoint(file));
                    }
                    (Order::Restore(n), Phase::Running) => {
                        self.restored = Some(step);
                        told.push(Report::Restored(n));
                    }
                    _ => told.push(Report::Failed(order, "not now".into())),
                }
            }
        }
        (told, None)
    }
}

impl Shim {
    pub(super) fn new(run: u64, epoch: u64, stuck: bool) -> Shim {
        Shim {
            run,
            epoch,
            phase: Phase::Starting,
            connected: true,
            kill: false,
            doomed: None,
            stuck,
            stop_at: 0,
            orders: Vec::new(),
            files: 0,
        }
    }

    /// What a supervisor tells it.
    pub(super) fn order(&mut self, order: Order, now: u64) {
        match order {
            Order::Kill => self.kill = true,
            Order::Stop(ms) => {
                self.phase = Phase::Stopping;
                self.stop_at = now + ms;
                self.orders.clear();
            }
            order => self.orders.push(order),
        }
    }

    /// Whether it does nothing by itself when all is calm.
    pub(super) fn is_still(&self) -> bool {
        let rests = matches!(self.phase, Phase::Running | Phase::Paused);
        let stuck = self.phase == Phase::Stopping && self.stuck;
        !self.kill && ((rests && self.orders.is_empty()) || stuck)
    }
}
