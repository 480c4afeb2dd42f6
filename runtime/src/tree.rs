//! The tree of a guest: what its files are called and what they show.
//!
//! The names at the root are those of every guest; what a guest is for lies in
//! `export/`. Everything is text, a record a line, `key value`; what is a record
//! (`records.rs`) is bytes too, at the same path below `rec/`.

use alloc::borrow::Cow;
use alloc::string::String;

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::record::{About, Numbers, Of, Record};
use atoll_9p::synth::{Command, Node, Sink, Synth, Verb};

#[cfg(feature = "atoms")]
use crate::atoms::entries::Dir as Entries;
use crate::component::{ComponentId, Event, FileKind, FileSpec};
use crate::core::{Core, MAX_STATUS};
use crate::records::{Account, Component, Mem, State, Stats, Status};
#[cfg(feature = "atoms")]
use crate::snapshot::{self, files::Nodes};

const CTL: &[Verb] = &[Verb::range("stop", "[STATUS]", 0, 1)];

/// The status of a `stop`, which the log has then.
fn status_of(core: &mut Core<'_>, c: &Command<'_>) -> Result<u8, Fault> {
    let status = if c.rest.is_empty() { 0 } else { c.number(0)? };
    if status > MAX_STATUS.into() {
        return Err(c.bad("a status is 0 to 63"));
    }
    core.say("ctl", &alloc::format!("stop {status}"));
    Ok(status as u8)
}

fn ctl(core: &mut Core<'_>, c: &Command<'_>) -> Result<(), Fault> {
    let status = status_of(core, c)?;
    core.stop(status);
    Ok(())
}

#[cfg(feature = "atoms")]
type Ctl = fn(&mut Core<'_>, &Command<'_>) -> Result<(), Fault>;

/// The ctl of a guest that can be checkpointed.
#[cfg(feature = "atoms")]
const ALL: &[Verb] =
    &[Verb::range("stop", "[STATUS]", 0, 1), snapshot::files::CHECKPOINT, snapshot::files::RESTORE];

#[cfg(feature = "atoms")]
fn ctl_all(core: &mut Core<'_>, c: &Command<'_>) -> Result<(), Fault> {
    match c.verb {
        "stop" => {
            let status = status_of(core, c)?;
            snapshot::files::stop(core, status);
            Ok(())
        }
        _ => snapshot::files::ctl(core, c),
    }
}

fn status(core: &mut Core<'_>) -> Status {
    Status {
        state: if core.exit().is_some() { State::Stopping } else { State::Running },
        uptime_ms: core.now().0 / 1_000_000,
        payload: core.hash.0,
        components: core.payload.components.len() as u32,
        abandoned: core.counters.abandoned,
    }
}

fn stats(core: &mut Core<'_>) -> Stats {
    let c = core.counters;
    let mut figures = core.pace.figures();
    figures.extend(core.machine.1.iter().map(|(name, value)| (Cow::Borrowed(*name), *value)));
    Stats {
        requests: c.requests,
        dispatches: c.dispatches,
        refused: c.refused,
        abandoned: c.abandoned,
        waiting: core.queued() as u64,
        cpu_ns: core.sponsor.cpu,
        machine: Numbers(figures),
    }
}

fn mem(core: &mut Core<'_>) -> Mem {
    let m = core.machine.0;
    Mem { total: m.total, used: m.used, peak: m.peak }
}

fn sponsor(core: &mut Core<'_>) -> Account {
    let s = core.sponsor;
    Account {
        memory: Of { used: s.used.memory, limit: s.limit.memory },
        messages: Of { used: s.used.messages.into(), limit: s.limit.messages.into() },
        cpu_ns: s.cpu,
    }
}

fn ns(core: &mut Core<'_>, out: &mut String) -> Result<(), Fault> {
    core.namespace.show(out);
    Ok(())
}

fn name(core: &mut Core<'_>, out: &mut String) -> Result<(), Fault> {
    line(core.payload.name, out)
}

fn version(core: &mut Core<'_>, out: &mut String) -> Result<(), Fault> {
    line(core.payload.version, out)
}

fn line(text: &str, out: &mut String) -> Result<(), Fault> {
    *out += text;
    *out += "\n";
    Ok(())
}

type Render = fn(&mut Core<'_>, &mut String) -> Result<(), Fault>;

type Get = fn(&mut Core<'_>, u64, Sink<'_>) -> Result<(), Fault>;

/// The records of every guest. A table, because a kernel under an emulator pays for
/// each instruction that it meets for the first time.
const RECORDS: [(&About, Get); 4] = [
    (&Status::ABOUT, |core, _, sink| give(&status(core), sink)),
    (&Stats::ABOUT, |core, _, sink| give(&stats(core), sink)),
    (&Mem::ABOUT, |core, _, sink| give(&mem(core), sink)),
    (&Account::ABOUT, |core, _, sink| give(&sponsor(core), sink)),
];

pub(crate) fn give(record: &impl Record, sink: Sink<'_>) -> Result<(), Fault> {
    sink(&record.values());
    Ok(())
}

/// The names of a guest, and which of them are directories that atoms fill.
#[cfg(feature = "atoms")]
type Built<'a> = (Synth<'a, Core<'a>>, (alloc::vec::Vec<Entries>, Option<Nodes>));
#[cfg(not(feature = "atoms"))]
type Built<'a> = Synth<'a, Core<'a>>;

/// Builds the names of a guest.
pub(crate) fn build<'a>(core: &Core<'a>) -> Built<'a> {
    #[cfg(feature = "atoms")]
    let mut entries = alloc::vec::Vec::new();
    let mut t = Synth::new();
    let root = t.root();
    t.text(root, "name", name as Render);
    t.text(root, "version", version as Render);
    #[cfg(feature = "atoms")]
    let (verbs, ctl) = if core.has_atoms() { (ALL, ctl_all as Ctl) } else { (CTL, ctl as Ctl) };
    #[cfg(not(feature = "atoms"))]
    let verbs = CTL;
    t.ctl(root, "ctl", verbs, ctl);
    for (about, get) in RECORDS {
        t.record_of(root, about.name, about, get);
    }
    t.text(root, "ns", ns as Render);
    t.stream(root, "log", |core: &mut Core<'a>| &mut core.log);
    let components = t.dir(root, "component");
    let export = t.dir(root, "export");
    for file in &core.payload.files {
        let (mut at, mut rest) = (export, file.path);
        while let Some((dir, below)) = cut(rest) {
            at = t.dir_or_new(at, dir);
            rest = below;
        }
        t.bytes(at, rest, file.data);
    }
    for (i, plan) in core.payload.components.iter().enumerate() {
        let id = ComponentId(i as u32);
        let about = t.dir(components, plan.name);
        t.record_of(about, "status", &Component::ABOUT, move |core: &mut Core<'a>, _, sink| {
            give(&core.about_component(id).ok_or(Errno::ESTALE)?, sink)
        });
        let dir = t.dir_or_new(export, plan.name);
        let Some(slot) = core.slots.get(id) else { continue };
        for (file, spec) in slot.files.iter().enumerate() {
            let writable = core.payload.writable.iter().any(|w| covers(w, plan.name, spec.name));
            #[cfg(feature = "atoms")]
            if let FileKind::Names = spec.kind {
                let node = t.dir(dir, spec.name);
                entries.push(Entries { node, of: id, file, writable });
            }
            add(&mut t, dir, id, (file, *spec), writable);
        }
    }
    #[cfg(feature = "atoms")]
    if core.has_atoms() {
        crate::atoms::tree::add(&mut t, root);
        let nodes = snapshot::files::add(&mut t, root);
        return (t, (entries, Some(nodes)));
    }
    #[cfg(feature = "atoms")]
    return (t, (entries, None));
    #[cfg(not(feature = "atoms"))]
    t
}

/// Adds a file of a component.
fn add<'a>(
    t: &mut Synth<'a, Core<'a>>,
    dir: Node,
    id: ComponentId,
    (file, spec): (usize, FileSpec<'a>),
    writable: bool,
) {
    match spec.kind {
        FileKind::Text => {
            t.text(dir, spec.name, move |core: &mut Core<'a>, out| {
                core.dispatch(id, Event::Read { file, out })
            });
        }
        FileKind::Ctl(verbs) => {
            let node = t.ctl(dir, spec.name, verbs, move |core: &mut Core<'a>, command| {
                core.dispatch(id, Event::Command { file, command })
            });
            if !writable {
                t.read_only(node);
            }
        }
        // The directory is there, where there are atoms.
        FileKind::Names => {}
        FileKind::Events { .. } | FileKind::Next { .. } => {
            t.each_stream(dir, spec.name, move |core: &mut Core<'a>, _| core.stream(id, file));
        }
    }
}

/// A path in two, at its first slash.
fn cut(path: &str) -> Option<(&str, &str)> {
    let at = path.bytes().position(|b| b == b'/')?;
    Some((path.get(..at)?, path.get(at + 1..)?))
}

/// Whether a writable path covers a component's file: it is empty, the component,
/// or the file.
fn covers(path: &str, component: &str, file: &str) -> bool {
    match cut(path) {
        None => path.is_empty() || path == component,
        Some((dir, name)) => dir == component && name == file,
    }
}
