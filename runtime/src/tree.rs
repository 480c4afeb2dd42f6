//! The tree of a guest: what its files are called and what they show.
//!
//! The names at the root are those of every guest; what a guest is for lies in
//! `export/`. Everything is text, a record a line, `key value`.

use alloc::string::String;
use core::fmt::Write;

use atoll_9p::fault::Fault;
use atoll_9p::synth::{Command, Node, Synth, Verb};

use crate::component::{ComponentId, Entry, Event, FileKind};
use crate::core::{Core, MAX_STATUS};

const CTL: &[Verb] = &[Verb::range("stop", "[STATUS]", 0, 1)];

fn ctl(core: &mut Core<'_>, c: &Command<'_>) -> Result<(), Fault> {
    let status = if c.rest.is_empty() { 0 } else { c.number(0)? };
    if status > MAX_STATUS.into() {
        return Err(c.bad("a status is 0 to 63"));
    }
    core.say("ctl", format_args!("stop {status}"));
    core.stop(status as u8);
    Ok(())
}

fn status(core: &mut Core<'_>, out: &mut String) -> Result<(), Fault> {
    let state = if core.exit().is_some() { "stopping" } else { "running" };
    let _ = writeln!(out, "state {state}");
    let _ = writeln!(out, "uptime_ms {}", core.now().0 / 1_000_000);
    let _ = writeln!(out, "payload {}", core.hash);
    let _ = writeln!(out, "components {}", core.payload.components.len());
    let _ = writeln!(out, "abandoned {}", core.counters.abandoned);
    Ok(())
}

fn stats(core: &mut Core<'_>, out: &mut String) -> Result<(), Fault> {
    let c = core.counters;
    let _ = writeln!(out, "requests {}", c.requests);
    let _ = writeln!(out, "dispatches {}", c.dispatches);
    let _ = writeln!(out, "refused {}", c.refused);
    let _ = writeln!(out, "abandoned {}", c.abandoned);
    let _ = writeln!(out, "cpu_ns {}", core.sponsor.cpu);
    for (name, value) in &core.machine.1 {
        let _ = writeln!(out, "{name} {value}");
    }
    Ok(())
}

fn mem(core: &mut Core<'_>, out: &mut String) -> Result<(), Fault> {
    let m = core.machine.0;
    let _ = writeln!(out, "total {}\nused {}\npeak {}", m.total, m.used, m.peak);
    Ok(())
}

fn sponsor(core: &mut Core<'_>, out: &mut String) -> Result<(), Fault> {
    let s = core.sponsor;
    let _ = writeln!(out, "memory {} of {}", s.used.memory, s.limit.memory);
    let _ = writeln!(out, "messages {} of {}", s.used.messages, s.limit.messages);
    let _ = writeln!(out, "cpu_ns {}", s.cpu);
    Ok(())
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

/// The text files of every guest. A table, because a kernel under an emulator pays
/// for each instruction that it meets for the first time.
const TEXTS: [(&str, Render); 7] = [
    ("name", name),
    ("version", version),
    ("status", status),
    ("stats", stats),
    ("mem", mem),
    ("sponsor", sponsor),
    ("ns", ns),
];

/// Builds the names of a guest.
pub(crate) fn build<'a>(core: &Core<'a>, registry: &'static [Entry]) -> Synth<'a, Core<'a>> {
    let mut t = Synth::new();
    let root = t.root();
    for (name, render) in TEXTS {
        if name == "status" {
            t.ctl(root, "ctl", CTL, ctl);
        }
        t.text(root, name, render);
    }
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
        let id = ComponentId(i as u16);
        let about = t.dir(components, plan.name);
        t.text(about, "status", move |core: &mut Core<'a>, out| {
            core.show_component(id, out);
            Ok(())
        });
        let dir = t.dir_or_new(export, plan.name);
        let Some(entry) = registry.iter().find(|e| e.kind == plan.kind) else { continue };
        for file in 0..entry.files.len() {
            add(&mut t, dir, plan.name, id, entry, file, &core.payload.writable);
        }
    }
    t
}

/// Adds a file of a component.
fn add<'a>(
    t: &mut Synth<'a, Core<'a>>,
    dir: Node,
    component: &str,
    id: ComponentId,
    entry: &'static Entry,
    file: usize,
    writable: &[&str],
) {
    let Some(spec) = entry.files.get(file) else { return };
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
            if !writable.iter().any(|w| covers(w, component, spec.name)) {
                t.read_only(node);
            }
        }
        FileKind::Events { .. } | FileKind::Next { .. } => {
            t.stream(dir, spec.name, move |core: &mut Core<'a>| core.stream(id, file));
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
