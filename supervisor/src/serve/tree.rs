//! The control tree: which files there are, and what they show.
//!
//! Everything that can be done to a supervisor is done here, by whatever client; the
//! command line has no other way. Files that are more than a function each are in
//! `files.rs`.

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::synth::{FileLimits, Files, Growing, Names, Node, Synth, Verb};

use super::authority::Act;
use super::events::Events;
use super::files::{Config, GuestCtl, ImageCtl, ImageFile, Log, Wait};
use super::state::{State, Todo};
use super::{host, metrics, show};
use crate::core::{self, Input, Name};

/// What `/README` says.
const README: &[u8] = include_bytes!("readme.txt");
/// The commands of `/ctl`.
const VERBS: &[Verb] = &[Verb::new("stop", "", 0)];
/// What all open files may show together: `/index` and `/stats` of some thousand guests are long.
const LIMITS: FileLimits =
    FileLimits { opens: 1 << 16, readers: 1 << 14, text: 4 << 20, held: 64 << 20 };

/// The tree that clients are served.
pub type Control = Growing<'static, State>;

/// The tree of a supervisor.
pub fn tree(mut state: State) -> Control {
    let mut t = Synth::new();
    t.limits = LIMITS;
    t.uid = rustix::process::geteuid().as_raw();
    t.gid = rustix::process::getegid().as_raw();
    t.mtime = state.started / 1000;
    let root = t.root();
    t.bytes(root, "README", README);
    t.bytes(root, "version", concat!(env!("CARGO_PKG_VERSION"), "\n").as_bytes());
    t.ctl(root, "ctl", VERBS, |s: &mut State, c| {
        s.may(Act::Host(c.verb))?;
        s.to_do(Todo::End);
        Ok(())
    });
    t.text(root, "index", show::index);
    t.text(root, "stats", show::all_stats);
    t.text(root, "metrics", metrics::put);
    t.text(root, "orphans", |s, out| {
        s.core.orphans().for_each(|name| *out += &format!("{name}\n"));
        Ok(())
    });
    state.nodes.log = Some(t.special(root, "log", Events { all: true }));
    t.stream(root, "audit", |s| &mut s.audit);
    let host = t.dir(root, "host");
    t.text(host, "cpu", |_, out| host::cpu(out));
    t.text(host, "memory", |_, out| host::memory(out));
    if state.xenstore.is_some() {
        let xen = t.dir(root, "xen");
        t.mount(xen, "store");
        t.text(xen, "shells", |s, out| {
            *out += &s.shells;
            Ok(())
        });
    }
    images(&mut t, root, &mut state);
    guests(&mut t, root, &mut state);
    let tree = Growing::new(Files { synth: t, state });
    tree.gate(|s, _| s.may(Act::Attach)).news(|s| std::mem::take(&mut s.stirred))
}

fn images(t: &mut Synth<'static, State>, root: Node, state: &mut State) {
    let names = Names::new(
        |s: &mut State, name| s.images.find(name),
        |s, from, each| {
            let mut all = s.images.from(from);
            while all.next().is_some_and(|(id, e)| each(id, e.hash.as_str())) {}
        },
    );
    let names = names.create(|s, name| {
        s.may(Act::Host("mkdir image"))?;
        s.images.begin(name)
    });
    let names = names.remove(|s, id| {
        s.may(Act::Host("rmdir image"))?;
        let entry = s.images.get(id)?;
        if entry.manifest.is_some() {
            let hash = entry.hash.clone();
            s.ask_now(|ask| Input::DropImage { ask, hash })?;
        }
        s.images.remove(id)
    });
    let each = t.named(root, "images", names);
    state.nodes.image = Some(t.special(each, "ctl", ImageCtl));
    t.special(each, "image", ImageFile);
    t.each_text(each, "manifest", |s, id, out| {
        match &s.images.get(id)?.manifest {
            Some(manifest) => *out += &String::from_utf8_lossy(&manifest.to_json()),
            None => return Err(Fault::new(Errno::ENODATA, "the image is not committed yet")),
        }
        Ok(())
    });
    t.each_record(each, "status", |s, id| show::image(s.images.get(id)?));
}

fn guests(t: &mut Synth<'static, State>, root: Node, state: &mut State) {
    let names = Names::new(
        |s: &mut State, name| s.id(name),
        |s, from, each| {
            let mut all = s.guests.range(from..);
            while all.next().is_some_and(|(id, g)| each(*id, g.name.as_str())) {}
        },
    );
    let names = names.create(|s, name| {
        let guest = Name::new(name)
            .map_err(|why| Fault::new(Errno::EINVAL, format!("\"{name}\": {why}")))?;
        s.may(Act::Guest(name, "mkdir"))?;
        s.ask_now(|ask| Input::Make { ask, guest })?;
        s.id(name).ok_or(Errno::ESTALE.into())
    });
    let names = names.remove(|s, id| {
        let guest = s.guest(id)?.name.clone();
        s.may(Act::Guest(guest.as_str(), "rmdir"))?;
        s.ask_now(|ask| Input::Ask { ask, guest, verb: core::Verb::Forget })
    });
    let each = t.named(root, "guests", names);
    state.nodes.ctl = Some(t.special(each, "ctl", GuestCtl));
    t.special(each, "config", Config);
    t.each_record(each, "status", show::status);
    t.each_record(each, "stats", show::stats);
    state.nodes.said = Some(t.special(each, "log", Log));
    state.nodes.wait = Some(t.special(each, "wait", Wait));
    state.nodes.events = Some(t.special(each, "events", Events { all: false }));
    t.each_text(each, "history", show::history);
    t.mount(each, "fs");
}
