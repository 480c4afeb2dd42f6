//! A tree with a file of events: whoever reads `events` waits until somebody writes
//! `say TEXT` to `ctl`, and every reader then gets the line.
//!
//! ```text
//! cargo run --package atoll-9p --features std --example events /tmp/events.sock
//! atoll cat /tmp/events.sock /events
//! atoll write /tmp/events.sock /ctl "say hello"
//! ```

use std::io;
use std::os::unix::net::UnixListener;

use atoll_9p::net;
use atoll_9p::stream::Stream;
use atoll_9p::synth::{Files, Synth, Verb};

const VERBS: &[Verb] = &[Verb::range("say", "TEXT", 1, usize::MAX)];

struct State {
    events: Stream,
    said: u64,
}

fn main() -> io::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let Some(path) = args.next() else {
        return Err(io::Error::other("usage: events SOCKET"));
    };
    let mut synth = Synth::new();
    let root = synth.root();
    synth.text(root, "said", |s: &mut State, out| {
        *out += &format!("{}\n", s.said);
        Ok(())
    });
    synth.stream(root, "events", |s| &mut s.events);
    synth.ctl(root, "ctl", VERBS, |s, command| {
        s.said += 1;
        s.events.push(command.rest);
        Ok(())
    });
    let state = State { events: Stream::new(64 << 10).from_newest(), said: 0 };
    net::serve(UnixListener::bind(path)?, Files { synth, state })
}
