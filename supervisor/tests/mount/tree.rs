//! The trees that the cases are asked about, for FUSE and for v9fs alike.

use atoll_9p::ram::{Budget, Ram};
use atoll_9p::stream::Stream;
use atoll_9p::synth::{Files, Synth, Verb};

/// What the computed files show.
pub(crate) struct State {
    pub(crate) level: u64,
    pub(crate) writes: u64,
    pub(crate) log: Stream,
}

const VERBS: &[Verb] = &[Verb::new("level", "N", 1), Verb::new("say", "WORD", 1)];

/// Computed files.
pub(crate) fn live() -> Files<'static, State> {
    let mut synth = Synth::new();
    let root = synth.root();
    synth.bytes(root, "README", b"A tree for a test.\n");
    synth.text(root, "level", |s: &mut State, out| {
        *out += &format!("{}\n", s.level);
        Ok(())
    });
    synth.text(root, "writes", |s: &mut State, out| {
        *out += &format!("{}\n", s.writes);
        Ok(())
    });
    synth.ctl(root, "ctl", VERBS, |s: &mut State, c| {
        s.writes += 1;
        match c.verb {
            "level" => s.level = c.number(0)?,
            _ => s.log.push(c.arg(0)),
        }
        Ok(())
    });
    synth.stream(root, "log", |s: &mut State| &mut s.log);
    let many = synth.dir(root, "many");
    for i in 0..500 {
        synth.bytes(many, format!("file-with-a-long-name-{i:03}"), b"x");
    }
    Files { synth, state: State { level: 0, writes: 0, log: Stream::new(4096) } }
}

/// Files in memory.
pub(crate) fn files() -> Ram {
    Ram::new(Budget::default())
}
