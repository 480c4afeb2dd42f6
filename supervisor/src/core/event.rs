//! What happened: numbered, one line each.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::name::Name;

/// One thing that happened, as `events` and the supervisor's `log` show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Its number: each is one more than the one before, for as long as the store lives.
    pub seq: u64,
    /// When it was noticed, milliseconds since 1970 UTC. Clocks step; only `seq` orders.
    pub time: u64,
    /// Whom it is about; nobody when it is about the supervisor.
    pub guest: Option<Name>,
    /// The guest's run, 0 before its first.
    pub run: u64,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The guest's folder was made.
    Defined,
    /// Its configuration counts from the next start on.
    Committed,
    /// Its folder was removed.
    Forgotten,
    /// It is to run, once these run.
    Waiting(Vec<Name>),
    /// A run begins, under this epoch.
    Starting(u64),
    /// Its tree is there; where it runs.
    Running(String),
    /// It stands still.
    Paused,
    /// It goes on.
    Resumed,
    /// It was asked to end.
    Stopping,
    /// It is killed.
    Killing,
    /// Its run has ended: how, in a line.
    Ended(String),
    /// It is started again in so many milliseconds, after so many failures in a row.
    Again(u64, u32),
    /// It is not started again, after so many failures in a row.
    GaveUp(u32),
    /// It is no longer wanted to run, before it did.
    Cancelled,
    /// A checkpoint was kept in this file.
    Checkpoint(String),
    /// It went back to the checkpoint of this number.
    Restored(u64),
    /// It goes on as another guest too.
    Forked(Name),
    /// It came of another guest.
    ForkOf(Name),
    /// What a shim could not do, and why.
    Failed(String, String),
    /// It is slower than expected: the figure that fell short.
    Stuttering(String),
    /// It is as fast as expected again.
    Steady,
    /// A shim was found of which the store knows nothing.
    Orphan,
    /// Here may be missing what happened while no supervisor watched.
    Gap,
    /// An image was added or removed.
    Image(String, bool),
}

impl What {
    /// In one word: the third of an event's line.
    pub fn name(&self) -> &'static str {
        match self {
            What::Defined => "defined",
            What::Committed => "committed",
            What::Forgotten => "forgotten",
            What::Waiting(_) => "waiting",
            What::Starting(_) => "starting",
            What::Running(_) => "running",
            What::Paused => "paused",
            What::Resumed => "resumed",
            What::Stopping => "stopping",
            What::Killing => "killing",
            What::Ended(_) => "ended",
            What::Again(..) => "again",
            What::GaveUp(_) => "gave-up",
            What::Cancelled => "cancelled",
            What::Checkpoint(_) => "checkpoint",
            What::Restored(_) => "restored",
            What::Forked(_) => "forked",
            What::ForkOf(_) => "fork-of",
            What::Failed(..) => "failed",
            What::Stuttering(_) => "stuttering",
            What::Steady => "steady",
            What::Orphan => "orphan",
            What::Gap => "gap",
            What::Image(_, true) => "image",
            What::Image(_, false) => "image-gone",
        }
    }
}

/// What follows the word, with a space before it; texts of others are kept to one line.
impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            What::Waiting(names) => names.iter().try_for_each(|n| write!(f, " {n}")),
            What::Starting(epoch) => write!(f, " epoch {epoch}"),
            What::Running(text) | What::Ended(text) | What::Checkpoint(text) => Line(text).fmt(f),
            What::Stuttering(text) | What::Image(text, _) => Line(text).fmt(f),
            What::Again(ms, failures) => write!(f, " in {ms} ms, failures {failures}"),
            What::GaveUp(failures) => write!(f, " failures {failures}"),
            What::Restored(n) => write!(f, " {n}"),
            What::Forked(name) | What::ForkOf(name) => write!(f, " {name}"),
            What::Failed(what, why) => {
                Line(what).fmt(f)?;
                f.write_str(":")?;
                Line(why).fmt(f)
            }
            _ => Ok(()),
        }
    }
}

/// A text in one line, behind a space.
struct Line<'t>(&'t str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let clean = |c: char| if c.is_control() { '?' } else { c };
        f.write_char(' ')?;
        self.0.chars().map(clean).try_for_each(|c| f.write_char(c))
    }
}

/// `SEQ TIME GUEST RUN WHAT ...`; the guest is `-` when it is about the supervisor.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guest = self.guest.as_ref().map_or("-", Name::as_str);
        write!(f, "{} {} {guest} {} {}", self.seq, self.time, self.run, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_a_guest_said() {
        let name = Name::new("web").unwrap();
        let of = |what| Event { seq: 7, time: 1000, guest: Some(name.clone()), run: 3, what };
        for (what, line) in [
            (What::Starting(9), "7 1000 web 3 starting epoch 9"),
            (What::Waiting(vec![Name::new("db").unwrap()]), "7 1000 web 3 waiting db"),
            (What::Ended("panic: a\nb\x1b[2J".into()), "7 1000 web 3 ended panic: a?b?[2J"),
            (What::Failed("pause".into(), "no\r".into()), "7 1000 web 3 failed pause: no?"),
            (What::Again(500, 2), "7 1000 web 3 again in 500 ms, failures 2"),
        ] {
            let event = of(what);
            assert_eq!(event.to_string(), line);
            let json = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
        }
        let gap = Event { guest: None, run: 0, ..of(What::Gap) };
        assert_eq!(gap.to_string(), "7 1000 - 0 gap");
    }
}
