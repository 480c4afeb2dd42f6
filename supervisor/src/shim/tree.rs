//! The tree of a shim: what the daemon reads and writes.

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::stream::Stream;
use atoll_9p::synth::{Command, Files, Synth, Verb};
use tokio::sync::mpsc;

use super::{Order, Report, Spec, State, Status, usage};
use crate::joint::Joint;
use crate::run::{KEEP, STOP};

/// What the shim may be told.
const VERBS: &[Verb] = &[
    Verb::range("stop", "[MS]", 0, 1),
    Verb::new("kill", "", 0),
    Verb::new("pause", "", 0),
    Verb::new("resume", "", 0),
    Verb::new("checkpoint", "", 0),
    Verb::new("restore", "N", 1),
    Verb::new("relocate", "PATH", 1),
    Verb::new("heed", "", 0),
];
/// The longest that a guest may be given to stop.
const MAX_STOP: u64 = 24 * 3600 * 1000;
/// Bytes of events that are kept for a daemon that comes later.
const EVENTS: usize = 8 << 10;

const README: &[u8] = b"\
A shim: the process that a guest runs under.

ctl     stop [MS] | kill | pause | resume | checkpoint | restore N
        heed: tell, once, when the guest is asked something next
status  what the guest's machine does
events  what becomes known, a line each: RUN starting | running BACKEND | paused | resumed |
        stopping | checkpoint FILE | restored N | asked | failed ORDER: WHY | ended JSON
";

/// What the tree is of.
pub(super) struct Guest {
    status: Status,
    events: Stream,
    orders: mpsc::UnboundedSender<Order>,
    /// Where its clients meet, once it was started.
    joint: Option<Joint>,
    /// Whether its checkpoints are kept.
    keeps: bool,
}

impl Guest {
    /// A guest that is about to be started.
    pub(super) fn new(spec: &Spec, orders: mpsc::UnboundedSender<Order>, started: u64) -> Guest {
        let status = Status {
            name: spec.name.clone(),
            run: spec.run,
            epoch: spec.epoch,
            state: State::Starting,
            events: 0,
            backend: String::new(),
            pid: None,
            shim: std::process::id().into(),
            started,
            memory: 0,
            cpu: 0,
            log: 0,
            clients: 0,
        };
        let events = Stream::new(EVENTS);
        let mut guest = Guest { status, events, orders, joint: None, keeps: false };
        guest.event("starting");
        guest
    }

    /// It has a machine.
    pub(super) fn has_machine(&mut self, pid: Option<u32>, joint: Option<Joint>, keeps: bool) {
        (self.status.pid, self.joint, self.keeps) = (pid.map(u64::from), joint, keeps);
    }

    /// Its machine is gone, and used so much.
    pub(super) fn has_none(&mut self, cpu: u64) {
        (self.status.pid, self.joint, self.status.cpu) = (None, None, cpu);
        self.status.state = State::Ended;
    }

    /// Its log has grown.
    pub(super) fn log(&mut self, position: u64) {
        self.status.log = position;
    }

    fn event(&mut self, what: impl std::fmt::Display) {
        self.events.push(format_args!("{} {what}", self.status.run));
    }

    /// Takes note of what became known, and tells it.
    pub(super) fn report(&mut self, report: &Report) {
        let stopping = self.status.state == State::Stopping;
        match report {
            Report::Running(on) => self.status.backend.clone_from(on),
            Report::Stopping => self.status.state = State::Stopping,
            _ => {}
        }
        if !stopping {
            match report {
                Report::Running(_) | Report::Resumed => self.status.state = State::Running,
                Report::Paused => self.status.state = State::Paused,
                _ => {}
            }
        }
        if let Some(line) = line(report) {
            self.event(line);
        }
    }

    fn status(&self) -> Status {
        let mut status = self.status.clone();
        status.events = self.events.lines();
        status.clients = self.joint.as_ref().map_or(0, |j| j.clients() as u64);
        if let Some(used) = status.pid.and_then(|pid| usage::of(pid as u32)) {
            (status.cpu, status.memory) = (used.cpu, used.memory);
        }
        status
    }

    /// An order, if it fits the state.
    fn order(&self, c: &Command<'_>) -> Result<Order, Fault> {
        let state = self.status.state;
        let wrong =
            |why: &str| Err(Fault::new(Errno::EBUSY, format!("{}: the guest {why}", c.verb)));
        if state == State::Ended {
            return wrong("has ended");
        }
        match c.verb {
            "stop" => {
                let usual = if self.keeps { STOP + KEEP } else { STOP }.as_millis() as u64;
                let ms = if c.arg(0).is_empty() { usual } else { c.number(0)? };
                if ms > MAX_STOP {
                    return Err(c.bad("that is more than a day"));
                }
                Ok(Order::Stop(ms))
            }
            "kill" => Ok(Order::Kill),
            "relocate" => match state {
                State::Running if self.keeps => wrong("has a state that is kept on this host"),
                State::Running => c.arg(0).parse().map(Order::Relocate).map_err(|why| c.bad(why)),
                State::Paused => wrong("is paused: resume it first"),
                State::Starting => wrong("has not started yet"),
                _ => wrong("is about to stop"),
            },
            "pause" => match state {
                State::Running => Ok(Order::Pause),
                State::Paused => wrong("is paused already"),
                State::Starting => wrong("has not started yet"),
                _ => wrong("is about to stop"),
            },
            "resume" => match state {
                State::Paused => Ok(Order::Resume),
                _ => wrong("is not paused"),
            },
            _ => match state {
                State::Running if self.keeps && c.verb == "restore" => {
                    Ok(Order::Restore(c.number(0)?))
                }
                State::Running if self.keeps => Ok(Order::Checkpoint),
                State::Running => wrong("has no folder in which checkpoints are kept"),
                State::Paused => wrong("is paused: resume it first"),
                State::Starting => wrong("has not started yet"),
                _ => wrong("is about to stop"),
            },
        }
    }
}

/// What is told of a report, behind the number of the run.
fn line(report: &Report) -> Option<String> {
    Some(match report {
        Report::Running(on) => format!("running {on}"),
        Report::Paused => "paused".into(),
        Report::Resumed => "resumed".into(),
        Report::Stopping => "stopping".into(),
        Report::Checkpoint(path) => format!("checkpoint {}", path.display()),
        Report::Restored(n) => format!("restored {n}"),
        Report::Asked => "asked".into(),
        Report::Failed(order, why) => format!("failed {order}: {why}"),
        Report::Ended(end) => format!("ended {}", serde_json::to_string(end).ok()?),
        Report::Gone(_) => return None,
    })
}

/// What a line told, as the other end reads it.
pub(super) fn parse(line: &str, run: u64) -> Option<Report> {
    let (of, what) = line.split_once(' ')?;
    if of.parse() != Ok(run) {
        return None;
    }
    let (word, rest) = what.split_once(' ').unwrap_or((what, ""));
    Some(match word {
        "running" => Report::Running(rest.into()),
        "paused" => Report::Paused,
        "resumed" => Report::Resumed,
        "stopping" => Report::Stopping,
        "checkpoint" => Report::Checkpoint(rest.into()),
        "restored" => Report::Restored(rest.parse().ok()?),
        "asked" => Report::Asked,
        "failed" => {
            let (order, why) = rest.split_once(": ")?;
            Report::Failed(order.parse().ok()?, why.into())
        }
        "ended" => Report::Ended(super::End::from_json(rest.as_bytes()).ok()?),
        _ => return None,
    })
}

/// The tree.
pub(super) fn files(guest: Guest) -> Files<'static, Guest> {
    let mut synth = Synth::new();
    let root = synth.root();
    synth.bytes(root, "README", README);
    synth.ctl(root, "ctl", VERBS, |g: &mut Guest, c| {
        if c.verb == "heed" {
            g.joint.iter().for_each(Joint::heed);
            return Ok(());
        }
        let order = g.order(c)?;
        // Where nobody takes orders any more, the end is about to be told.
        let _ = g.orders.send(order);
        Ok(())
    });
    synth.record(root, "status", |g: &mut Guest| Ok(g.status()));
    synth.stream(root, "events", |g: &mut Guest| &mut g.events);
    Files { synth, state: guest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::{End, FORMAT, How};

    #[test]
    fn what_is_told_is_what_is_read() {
        let end = End {
            format: FORMAT,
            name: "a".into(),
            run: 7,
            epoch: 1,
            how: How::Exited(3),
            why: "it ended with status 3".into(),
            asked: false,
            started: 1,
            ended: 2,
            cpu: 3,
            log: 4,
        };
        for report in [
            Report::Running("qemu (tcg)".into()),
            Report::Paused,
            Report::Resumed,
            Report::Stopping,
            Report::Checkpoint("/a b/1.checkpoint".into()),
            Report::Restored(7),
            Report::Failed(Order::Restore(7), "no".into()),
            Report::Asked,
            Report::Failed(Order::Pause, "no: not now".into()),
            Report::Failed(Order::Stop(5), "no".into()),
            Report::Failed(Order::Relocate("/run/b".parse().unwrap()), "no: it".into()),
            Report::Ended(end),
        ] {
            let text = format!("7 {}", line(&report).unwrap());
            assert_eq!(parse(&text, 7), Some(report));
            assert_eq!(parse(&text, 8), None);
        }
        for bad in ["", "7", "7 starting", "x paused", "7 failed x", "7 ended {}", "gap 7"] {
            assert_eq!(parse(bad, 7), None, "{bad}");
        }
    }

    #[test]
    fn an_order_must_fit_the_state() {
        let (to, mut orders) = mpsc::unbounded_channel();
        let mut guest = Guest::new(&Spec::new("a", std::path::Path::new("/a")), to, 0);
        let order = |g: &Guest, line: &'static str| {
            g.order(&Command::parse(VERBS, line.as_bytes()).unwrap())
        };
        assert_eq!(order(&guest, "stop"), Ok(Order::Stop(2000)));
        assert!(order(&guest, "pause").is_err() && order(&guest, "resume").is_err());
        guest.report(&Report::Running("process".into()));
        assert_eq!(order(&guest, "pause"), Ok(Order::Pause));
        assert!(order(&guest, "resume").is_err() && order(&guest, "checkpoint").is_err());
        guest.keeps = true;
        assert_eq!(order(&guest, "checkpoint"), Ok(Order::Checkpoint));
        assert_eq!(order(&guest, "restore 3"), Ok(Order::Restore(3)));
        guest.report(&Report::Paused);
        assert!(order(&guest, "restore 3").is_err());
        assert_eq!(order(&guest, "resume"), Ok(Order::Resume));
        assert_eq!(order(&guest, "stop 7"), Ok(Order::Stop(7)));
        assert!(order(&guest, "stop x").is_err() && order(&guest, "checkpoint").is_err());
        guest.report(&Report::Stopping);
        guest.report(&Report::Resumed);
        assert_eq!(guest.status().state, State::Stopping);
        assert!(order(&guest, "pause").is_err());
        assert_eq!(order(&guest, "kill"), Ok(Order::Kill));
        guest.has_none(5);
        assert!(order(&guest, "kill").is_err());
        assert!(orders.try_recv().is_err());
    }
}
