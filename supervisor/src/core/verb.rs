//! The lines that a guest's `ctl` takes.
//!
//! An error echoes the line and says what would be legal: for a word that is none, the
//! words that are; for a verb that has no place in the guest's state, those that have one.
//! Both lists come from the table itself ([`life::step`]), so they cannot be wrong.

use atoll_9p::fault::{Errno, Fault};

use super::life::{self, Goal, Kind, Life, State, Stimulus};
use super::name::Name;
use crate::shim::Place;

/// The longest line, in bytes.
pub const MAX_LINE: usize = 512;
/// The longest time that a stop may be given, in milliseconds: a day.
pub const MAX_STOP: u64 = 24 * 3600 * 1000;

/// What somebody may ask of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `commit`: what `config` says counts from the next start on. Whoever reads the
    /// configuration gives it as [`super::Input::Define`].
    Commit,
    /// `start`: answered when it runs, or with why it does not.
    Start,
    /// `start anyway`: the same for one that has moved, by somebody who knows that it does not
    /// run elsewhere.
    Anyway,
    /// `stop [MS]`: ask it, and kill it after so many milliseconds; answered when it has
    /// ended.
    Stop(Option<u64>),
    /// `kill`: answered when it has ended.
    Kill,
    /// `pause`: answered when it stands still.
    Pause,
    /// `resume`: answered when it goes on.
    Resume,
    /// `restart [MS]`: stop, then start; answered when it runs again.
    Restart(Option<u64>),
    /// `checkpoint`: answered when it is kept.
    Checkpoint,
    /// `restore N`: start, and go on from that checkpoint, or go back to it in the run that
    /// there is; answered when it runs from there.
    Restore(u64),
    /// `fork NAME`: a new guest that goes on from a checkpoint of this one; answered when
    /// it is defined.
    Fork(Name),
    /// `relocate PATH`: move it to whoever takes it at this socket; answered when it runs
    /// there, and no longer here.
    Relocate(Place),
    /// `rmdir` of its folder.
    Forget,
}

/// The only verb of two words.
const ANYWAY: &str = "start anyway";

/// What a `ctl` file takes: name, arguments, and what stands for it in the table.
const LINES: &[(&str, &str, Kind)] = &[
    ("commit", "", Kind::Commit),
    ("start", "", Kind::Start),
    (ANYWAY, "", Kind::Anyway),
    ("stop", "[MS]", Kind::Stop(0)),
    ("kill", "", Kind::Kill),
    ("pause", "", Kind::Pause),
    ("resume", "", Kind::Resume),
    ("restart", "[MS]", Kind::Restart(0)),
    ("checkpoint", "", Kind::Checkpoint),
    ("restore", "N", Kind::Restore),
    ("fork", "NAME", Kind::Fork),
    ("relocate", "PATH", Kind::Relocate),
];

impl Verb {
    /// Reads a line, as it may be told to a guest in this state.
    ///
    /// EINVAL for a line that means nothing, EBUSY for one that has no place in the state.
    /// What is named as legal depends on what the guest `can` do.
    pub fn parse(line: &[u8], state: State, can: Can) -> Result<Verb, Fault> {
        let verb = Verb::read(line).map_err(|why| {
            let echo = echo(line);
            Fault::new(Errno::EINVAL, format!("{echo}: {why}"))
        })?;
        verb.check(state, can)?;
        Ok(verb)
    }

    /// Reads a line without regard to any state.
    fn read(line: &[u8]) -> Result<Verb, String> {
        if line.len() > MAX_LINE {
            return Err(format!("a line has at most {MAX_LINE} bytes"));
        }
        let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8 text".to_owned())?;
        let text = text.trim();
        if text.contains('\n') {
            return Err("one line a write, please".into());
        }
        let mut words = text.split_whitespace().peekable();
        let name = match words.next().unwrap_or_default() {
            "start" if words.next_if_eq(&"anyway").is_some() => ANYWAY,
            name => name,
        };
        let Some((_, usage, kind)) = LINES.iter().find(|(n, ..)| *n == name) else {
            let names: Vec<&str> = LINES.iter().map(|(n, ..)| *n).collect();
            return Err(format!("no such verb; there are {}", names.join(", ")));
        };
        let (arg, more) = (words.next(), words.next());
        let wants = || match *usage {
            "" => format!("{name} takes nothing behind it"),
            usage => format!("the form is {name} {usage}"),
        };
        if more.is_some() || (arg.is_some() && usage.is_empty()) {
            return Err(wants());
        }
        let number = |text: &str| text.parse::<u64>().map_err(|_| wants());
        let ms = |arg: Option<&str>| match arg.map(number).transpose()? {
            Some(ms) if ms > MAX_STOP => Err(format!("at most {MAX_STOP} ms, which is a day")),
            ms => Ok(ms),
        };
        Ok(match kind {
            Kind::Commit => Verb::Commit,
            Kind::Start => Verb::Start,
            Kind::Anyway => Verb::Anyway,
            Kind::Stop(_) => Verb::Stop(ms(arg)?),
            Kind::Kill => Verb::Kill,
            Kind::Pause => Verb::Pause,
            Kind::Resume => Verb::Resume,
            Kind::Restart(_) => Verb::Restart(ms(arg)?),
            Kind::Checkpoint => Verb::Checkpoint,
            Kind::Restore => Verb::Restore(number(arg.ok_or_else(wants)?)?),
            Kind::Fork => {
                Verb::Fork(Name::new(arg.ok_or_else(wants)?).map_err(|why| why.to_string())?)
            }
            Kind::Relocate => Verb::Relocate(arg.ok_or_else(wants)?.parse()?),
            Kind::Forget => return Err("a guest is forgotten by rmdir of its folder".into()),
        })
    }

    /// The verb's line.
    pub fn line(&self) -> String {
        match self {
            Verb::Commit => "commit".into(),
            Verb::Start => "start".into(),
            Verb::Anyway => ANYWAY.into(),
            Verb::Stop(None) => "stop".into(),
            Verb::Stop(Some(ms)) => format!("stop {ms}"),
            Verb::Kill => "kill".into(),
            Verb::Pause => "pause".into(),
            Verb::Resume => "resume".into(),
            Verb::Restart(None) => "restart".into(),
            Verb::Restart(Some(ms)) => format!("restart {ms}"),
            Verb::Checkpoint => "checkpoint".into(),
            Verb::Restore(n) => format!("restore {n}"),
            Verb::Fork(name) => format!("fork {name}"),
            Verb::Relocate(to) => format!("relocate {to}"),
            Verb::Forget => "rmdir".into(),
        }
    }

    /// What stands for it in the table, where a stop may take so long.
    pub fn kind(&self, stop: u64) -> Kind {
        match self {
            Verb::Commit => Kind::Commit,
            Verb::Start => Kind::Start,
            Verb::Anyway => Kind::Anyway,
            Verb::Stop(ms) => Kind::Stop(ms.unwrap_or(stop)),
            Verb::Kill => Kind::Kill,
            Verb::Pause => Kind::Pause,
            Verb::Resume => Kind::Resume,
            Verb::Restart(ms) => Kind::Restart(ms.unwrap_or(stop)),
            Verb::Checkpoint => Kind::Checkpoint,
            Verb::Restore(_) => Kind::Restore,
            Verb::Fork(_) => Kind::Fork,
            Verb::Relocate(_) => Kind::Relocate,
            Verb::Forget => Kind::Forget,
        }
    }

    /// Whether it has a place in a state. What is asked while a supervisor is still
    /// looking for a guest waits until it knows.
    pub fn check(&self, state: State, can: Can) -> Result<(), Fault> {
        if state == State::Adopting || takes(state, self.kind(0)) {
            return Ok(());
        }
        let why = match (self, state) {
            (Verb::Forget, _) => "only a stopped guest can be forgotten",
            (Verb::Start | Verb::Restart(_) | Verb::Restore(_), State::Moved) => {
                "it runs elsewhere, or may, and would run twice: look there first"
            }
            (Verb::Anyway, _) => "it has not moved",
            (_, State::New) => "it has no configuration yet: write config, then commit",
            _ => "not now",
        };
        let line = self.line();
        let legal = legal(state, can).join(", ");
        Err(Fault::new(
            Errno::EBUSY,
            format!("\"{line}\": {why}; the guest is {state}, and takes {legal}"),
        ))
    }
}

fn takes(state: State, kind: Kind) -> bool {
    life::step(Life { state, goal: Goal::Up }, Stimulus::Verb(kind)).is_ok()
}

/// What not every guest can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Can {
    /// To be written down as a checkpoint, and to go on from one.
    pub keep: bool,
    /// To move to another host.
    pub relocate: bool,
}

/// Whether a guest in this state is offered a verb: never one of what it cannot do.
fn offers(state: State, can: Can, kind: Kind) -> bool {
    let able = match kind {
        Kind::Checkpoint | Kind::Restore | Kind::Fork => can.keep,
        Kind::Relocate => can.relocate,
        _ => true,
    };
    able && takes(state, kind)
}

/// The verbs that a guest in this state is offered.
pub fn legal(state: State, can: Can) -> Vec<&'static str> {
    let offered = LINES.iter().filter(|(_, _, kind)| offers(state, can, *kind));
    let lines = offered.map(|(name, ..)| *name);
    let rmdir = takes(state, Kind::Forget).then_some("rmdir");
    lines.chain(rmdir).collect()
}

/// What a `ctl` file of a guest says when it is read: one form a line, and which verbs
/// it is offered in its state.
pub fn usage(state: State, can: Can) -> String {
    let mut out = String::new();
    for (name, usage, kind) in LINES {
        if offers(state, can, *kind) {
            out += name;
            if !usage.is_empty() {
                out += " ";
                out += usage;
            }
            out += "\n";
        }
    }
    out
}

/// A line as an error shows it: cut, and with nothing that moves a terminal's cursor.
fn echo(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line.get(..line.len().min(256)).unwrap_or_default());
    let text = text.trim();
    let clean = |c: char| if c.is_control() { '?' } else { c };
    let part: String = text.chars().take(40).map(clean).collect();
    let more = if text.chars().nth(40).is_some() || line.len() > 256 { "..." } else { "" };
    format!("\"{part}\"{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Can = Can { keep: true, relocate: true };

    #[test]
    fn lines_are_read_as_they_are_written() {
        let name = Name::new("b").unwrap();
        for (line, verb, state) in [
            ("start\n", Verb::Start, State::Stopped),
            (" stop  100 ", Verb::Stop(Some(100)), State::Running),
            ("stop", Verb::Stop(None), State::Waiting),
            ("kill", Verb::Kill, State::Stopping),
            ("pause", Verb::Pause, State::Running),
            ("resume", Verb::Resume, State::Paused),
            ("restart 7", Verb::Restart(Some(7)), State::Running),
            ("restart", Verb::Restart(None), State::Stopped),
            ("checkpoint", Verb::Checkpoint, State::Running),
            ("restore 3", Verb::Restore(3), State::Stopped),
            ("fork b", Verb::Fork(name), State::Running),
            ("relocate /run/b", Verb::Relocate("/run/b".parse().unwrap()), State::Running),
            ("start   anyway", Verb::Anyway, State::Moved),
            ("commit", Verb::Commit, State::New),
        ] {
            let read = Verb::parse(line.as_bytes(), state, ALL).unwrap();
            assert_eq!(read, verb);
            assert_eq!(Verb::parse(read.line().as_bytes(), state, ALL).unwrap(), verb);
        }
    }

    #[test]
    fn a_line_that_means_nothing_is_echoed_with_what_would() {
        for (line, why) in [
            ("", "\"\": no such verb; there are commit, start, start anyway, stop"),
            ("fly away", "\"fly away\": no such verb; there are commit, start"),
            ("start now", "\"start now\": start takes nothing behind it"),
            ("start anyway now", "\"start anyway now\": start anyway takes nothing behind it"),
            ("anyway", "\"anyway\": no such verb; there are commit, start, start anyway"),
            ("stop soon", "\"stop soon\": the form is stop [MS]"),
            ("stop 1 2", "\"stop 1 2\": the form is stop [MS]"),
            ("stop -1", "\"stop -1\": the form is stop [MS]"),
            ("stop 86400001", "at most 86400000 ms"),
            ("restore", "\"restore\": the form is restore N"),
            ("fork", "\"fork\": the form is fork NAME"),
            ("fork ../b", "\"fork ../b\": no name of a guest"),
            ("relocate", "\"relocate\": the form is relocate PATH"),
            ("relocate b", "moved to the path of a unix socket"),
            ("start\nstop", "one line a write"),
            ("\x1b[2Jstart", "\"?[2Jstart\": no such verb"),
        ] {
            let fault = Verb::parse(line.as_bytes(), State::Running, ALL).unwrap_err();
            assert_eq!(fault.errno, Errno::EINVAL);
            assert!(fault.text().contains(why), "{line:?}: {}", fault.text());
        }
        let long = Verb::parse(&[b'x'; 4096], State::Running, ALL).unwrap_err();
        assert!(long.text().len() < 128 && long.text().contains("at most 512 bytes"));
        assert!(Verb::parse(b"\xff\xfe", State::Running, ALL).is_err());
    }

    #[test]
    fn a_verb_out_of_place_says_which_have_one() {
        let refused = |line: &str, state| {
            let fault = Verb::parse(line.as_bytes(), state, ALL).unwrap_err();
            assert_eq!(fault.errno, Errno::EBUSY);
            fault.text().to_owned()
        };
        assert_eq!(
            refused("start", State::Running),
            "\"start\": not now; the guest is running, and takes commit, stop, kill, pause, \
             restart, checkpoint, restore, fork, relocate"
        );
        assert_eq!(
            refused("start", State::New),
            "\"start\": it has no configuration yet: write config, then commit; the guest is \
             new, and takes commit, rmdir"
        );
        assert!(
            refused("stop", State::Stopped).ends_with(
                "the guest is stopped, and takes commit, start, restart, restore, rmdir"
            )
        );
        for line in ["start", "restart", "restart 5", "restore 1"] {
            let why = "it runs elsewhere, or may, and would run twice: look there first; the \
                guest is moved, and takes commit, start anyway, rmdir";
            assert_eq!(refused(line, State::Moved), format!("\"{line}\": {why}"));
        }
        assert!(refused("start anyway", State::Stopped).contains("it has not moved"));
        let fault = Verb::Forget.check(State::Running, ALL).unwrap_err();
        assert!(fault.text().contains("only a stopped guest can be forgotten"));
    }

    #[test]
    fn every_state_takes_something_and_says_the_same_twice() {
        for state in State::ALL.into_iter().filter(|s| *s != State::Adopting) {
            let legal = legal(state, ALL);
            assert!(!legal.is_empty());
            for (name, usage, _) in LINES {
                let line = match *usage {
                    "N" => format!("{name} 1"),
                    "NAME" => format!("{name} b"),
                    "PATH" => format!("{name} /run/b"),
                    _ => (*name).to_owned(),
                };
                let taken = Verb::parse(line.as_bytes(), state, ALL).is_ok();
                assert_eq!(taken, legal.contains(name), "{name} in {state}");
                let shown = super::usage(state, ALL);
                let form = format!("{name} {usage}").trim_end().to_owned();
                assert_eq!(taken, shown.lines().any(|l| l == form), "{form} in {state}");
            }
        }
    }

    #[test]
    fn what_a_guest_cannot_do_is_not_offered() {
        let all = legal(State::Running, ALL);
        for (can, without) in [
            (Can { keep: false, ..ALL }, vec!["checkpoint", "restore", "fork"]),
            (Can { relocate: false, ..ALL }, vec!["relocate"]),
        ] {
            let fewer: Vec<_> = all.iter().copied().filter(|v| !without.contains(v)).collect();
            assert_eq!(legal(State::Running, can), fewer);
            let usage = usage(State::Running, can);
            assert!(without.iter().all(|v| !usage.contains(v)), "{usage}");
        }
    }
}
