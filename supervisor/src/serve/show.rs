//! What the control tree's files show.

use std::fmt::Write;
use std::time::UNIX_EPOCH;

use atoll_9p::fault::{Errno, Fault};

use super::host;
use super::images::Entry;
use super::state::State;
use crate::checkpoint::state::number;
use crate::core;
use crate::core::guest::Guest;
use crate::shim::{End, How};

atoll_9p::record! {
    /// What there is to know about a guest.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Status = "guest-status", 2 {
        /// Its name.
        pub name: String,
        /// Where it is in its life: new, stopped, moved, waiting, backoff, starting, running,
        /// pausing, paused, resuming, stopping, killing or adopting.
        pub state: String,
        /// Which of its starts; 0 before the first.
        pub run: u64,
        /// The owner epoch of that run.
        pub epoch: u64,
        /// The hash of its image, once it was committed.
        pub image: Option<String>,
        /// What its image calls itself.
        pub program: Option<String>,
        /// Where it runs, such as `process` or `qemu (tcg)`.
        pub backend: Option<String>,
        /// The machine's process.
        pub pid: Option<u64>,
        /// When the run began, milliseconds since 1970 UTC.
        pub started: Option<u64>,
        /// When the last run ended, milliseconds since 1970 UTC.
        pub ended: Option<u64>,
        /// How the last run ended: exited, crashed, killed, lost or unstarted.
        pub how: Option<String>,
        /// The same for people, in one line.
        pub why: Option<String>,
        /// While it is slower than expected: the figure that fell short.
        pub stuttering: Option<String>,
        /// Failures in a row.
        pub failures: u64,
        /// Starts that nobody asked for.
        pub restarts: u64,
        /// Whether config has changes that were not committed.
        pub changed: bool,
    }
}

atoll_9p::record! {
    /// What a guest uses.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Stats = "guest-stats", 1 {
        /// Time for which its machine had a processor, in microseconds.
        pub cpu: u64,
        /// Bytes of memory that its machine has now.
        pub memory: u64,
        /// How long it runs, in milliseconds.
        pub uptime: u64,
        /// Bytes that it has said since ever.
        pub log: u64,
        /// Failures in a row.
        pub failures: u64,
        /// Starts that nobody asked for.
        pub restarts: u64,
    }
}

atoll_9p::record! {
    /// What there is to know about an image.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Image = "image-status", 1 {
        /// Its hash.
        pub hash: String,
        /// Whether it was committed: read, and found whole.
        pub committed: bool,
        /// Bytes of its file.
        pub bytes: u64,
        /// What it calls itself.
        pub name: Option<String>,
        /// Its version.
        pub version: Option<String>,
        /// Memory that its machine has where nothing else is said, in bytes.
        pub memory: Option<u64>,
        /// What its guest can do when it is asked.
        pub can: Vec<String>,
    }
}

/// How a run ended, in one word.
fn how(end: &End) -> &'static str {
    match end.how {
        How::Exited(_) => "exited",
        How::Crashed => "crashed",
        How::Killed => "killed",
        How::Lost => "lost",
        How::Moved => "moved",
        How::Unstarted => "unstarted",
    }
}

/// The same, and why, which may be no more than that.
fn words(end: &End) -> String {
    let how = how(end);
    if end.why == how { how.into() } else { format!("{how} {}", end.why) }
}

fn program<'s>(s: &'s State, view: &Guest) -> Option<&'s str> {
    let image = &view.definition()?.image;
    s.images.whole(image).ok().map(|(_, manifest)| manifest.name())
}

/// `/guests/NAME/status`
pub(super) fn status(s: &mut State, id: u64) -> Result<Status, Fault> {
    let (guest, view) = (s.guest(id)?, s.view(id)?);
    let record = view.record();
    let alive = guest.status.as_ref().filter(|_| view.state().is_alive());
    let last = record.last.as_ref();
    Ok(Status {
        name: guest.name.to_string(),
        state: view.state().to_string(),
        run: record.run,
        epoch: record.epoch,
        image: record.config.as_ref().map(|c| c.definition.image.to_string()),
        program: program(s, view).map(str::to_owned),
        backend: alive.map(|a| a.backend.clone()),
        pid: alive.and_then(|a| a.pid),
        started: alive.map(|a| a.started),
        ended: last.map(|e| e.ended),
        how: last.map(|e| how(e).to_owned()),
        why: last.map(|e| e.why.clone()),
        stuttering: view.stutter().map(str::to_owned),
        failures: record.failures.into(),
        restarts: record.restarts,
        changed: record.draft.is_some(),
    })
}

/// `/guests/NAME/stats`
pub(super) fn stats(s: &mut State, id: u64) -> Result<Stats, Fault> {
    let now = s.now().wall;
    let (guest, view) = (s.guest(id)?, s.view(id)?);
    let record = view.record();
    let alive = guest.status.as_ref().filter(|_| view.state().is_alive());
    let used = alive.and_then(|a| a.pid).and_then(host::used).unwrap_or_default();
    Ok(Stats {
        cpu: used.cpu,
        memory: used.memory,
        uptime: alive.map_or(0, |a| now.saturating_sub(a.started)),
        log: s.said(id)?.newest().unwrap_or_default(),
        failures: record.failures.into(),
        restarts: record.restarts,
    })
}

/// `/images/HASH/status`
pub(super) fn image(entry: &Entry) -> Result<Image, Fault> {
    let manifest = entry.manifest.as_ref();
    let known = manifest.map(|m| m.image(entry.bytes));
    Ok(Image {
        hash: entry.hash.to_string(),
        committed: manifest.is_some(),
        bytes: entry.bytes,
        name: manifest.map(|m| m.name().to_owned()),
        version: manifest.and_then(|m| m.version()).map(str::to_owned),
        memory: known.as_ref().map(|i| i.memory),
        can: known.map(|i| i.can).unwrap_or_default(),
    })
}

/// `/index`: a line a guest, its name and then `key=value`; `why` is last, and goes on to
/// the line's end.
pub(super) fn index(s: &mut State, out: &mut String) -> Result<(), Fault> {
    lines(s, false, out);
    Ok(())
}

/// `/stats`: the same with what each guest uses that has a machine: `cpu`, microseconds for
/// which it had a processor, and `memory`, bytes that it has now. So whoever watches all
/// guests asks for one file.
pub(super) fn all_stats(s: &mut State, out: &mut String) -> Result<(), Fault> {
    lines(s, true, out);
    Ok(())
}

fn lines(s: &State, figures: bool, out: &mut String) {
    for guest in s.guests.values() {
        let Some(view) = s.core.guest(&guest.name) else { continue };
        let record = view.record();
        let _ = write!(out, "{} state={} run={}", guest.name, view.state(), record.run);
        if let Some(program) = program(s, view) {
            let _ = write!(out, " program={program}");
        }
        if let Some(alive) = guest.status.as_ref().filter(|_| view.state().is_alive()) {
            let backend = alive.backend.replace(' ', "");
            let _ = write!(out, " backend={backend} since={}", alive.started);
            if let Some(pid) = alive.pid {
                let _ = write!(out, " pid={pid}");
            }
            if let Some(used) = alive.pid.filter(|_| figures).and_then(host::used) {
                let _ = write!(out, " cpu={} memory={}", used.cpu, used.memory);
            }
        } else if let Some(end) = &record.last {
            let _ = write!(out, " since={} how={}", end.ended, how(end));
        }
        if record.restarts > 0 {
            let _ = write!(out, " restarts={}", record.restarts);
        }
        if let Some(end) = record.last.as_ref().filter(|_| !view.state().is_alive()) {
            let _ = write!(out, " why={}", end.why);
        } else if let Some(figure) = view.stutter() {
            let _ = write!(out, " why=stuttering: {figure}");
        }
        out.push('\n');
    }
}

/// `/guests/NAME/wait`: `RUN HOW [STATUS] WHY`, or `0 never` for a guest without a run.
pub(super) fn ended(s: &State, id: u64) -> Result<String, Fault> {
    let view = s.view(id)?;
    Ok(match &view.record().last {
        None => "0 never\n".into(),
        Some(End { how: How::Exited(status), run, why, .. }) => {
            format!("{run} exited {status} {why}\n")
        }
        Some(end) => format!("{} {}\n", end.run, words(end)),
    })
}

/// `/guests/NAME/history`: its checkpoints and its runs, oldest first; the record of a failure
/// below the run that it ended.
pub(super) fn history(s: &mut State, id: u64, out: &mut String) -> Result<(), Fault> {
    let home = s.home(&s.guest(id)?.name);
    for (n, path) in super::numbered(&home.join(super::CHECKPOINTS), number) {
        let Ok(meta) = path.metadata() else { continue };
        let time = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let ms = time.map_or(0, |t| t.as_millis());
        let _ = writeln!(out, "checkpoint {n} time {ms} bytes {}", meta.len());
    }
    for (run, path) in super::numbered(&home.join("history"), |name| name.parse().ok()) {
        let end = std::fs::read(path.join("end.json")).ok();
        let _ = match end.and_then(|text| End::from_json(&text).ok()) {
            Some(end) => writeln!(out, "run {run} time {} {}", end.ended, words(&end)),
            None => writeln!(out, "run {run}"),
        };
        let record = std::fs::read_to_string(path.join("record")).unwrap_or_default();
        record.lines().take(256).for_each(|line| {
            let _ = writeln!(out, "  {}", crate::record::printable(line.as_bytes()));
        });
    }
    Ok(())
}

/// How many guests are in each state.
pub(super) fn census(s: &State) -> Vec<(core::State, usize)> {
    let count = |state| s.core.guests().filter(|(_, v)| v.state() == state).count();
    core::State::ALL.into_iter().map(|state| (state, count(state))).collect()
}

/// For figures that are not there.
pub(super) fn none() -> Fault {
    Fault::new(Errno::ENODATA, "this system does not tell")
}
