//! `greeter`: the smallest component that has state, a ctl file and events.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use atoll_9p::fault::Fault;
use atoll_9p::synth::Verb;
use serde::{Deserialize, Serialize};

use crate::component::{Component, Cx, Entry, Event, FileKind, FileSpec};

const GREETING: usize = 0;
const COUNT: usize = 1;
const EVENTS: usize = 3;
const MAX_NAME: usize = 64;

/// See the module.
pub const ENTRY: Entry = Entry {
    kind: "greeter",
    state_version: 1,
    files: &[
        FileSpec { name: "greeting", kind: FileKind::Text },
        FileSpec { name: "count", kind: FileKind::Text },
        FileSpec {
            name: "ctl",
            kind: FileKind::Ctl(&[
                Verb::range("greet", "NAME", 1, usize::MAX),
                Verb::new("reset", "", 0),
            ]),
        },
        FileSpec { name: "events", kind: FileKind::Events { keep: 1024 } },
    ],
    starts: false,
    make: |params| {
        let (greeting, name) = (super::text(params, 0)?, super::text(params, 1)?);
        let first = name.clone();
        Ok(Box::new(Greeter { state: State { greeting, name, count: 0 }, first }))
    },
};

#[derive(Serialize, Deserialize)]
struct State {
    greeting: String,
    name: String,
    /// Greetings changed since the start or the last reset.
    count: u64,
}

struct Greeter {
    state: State,
    /// The configured name, which `reset` puts back.
    first: String,
}

impl Component for Greeter {
    fn dispatch(&mut self, cx: &mut Cx<'_>, event: Event<'_>) -> Result<(), Fault> {
        let state = &mut self.state;
        match event {
            Event::Read { file: GREETING, out } => {
                let _ = writeln!(out, "{}, {}!", state.greeting, state.name);
            }
            Event::Read { file: COUNT, out } => {
                let _ = writeln!(out, "{}", state.count);
            }
            Event::Command { command, .. } if command.verb == "greet" => {
                if command.rest.len() > MAX_NAME {
                    return Err(command.bad("a name has at most 64 bytes"));
                }
                state.name = command.rest.into();
                state.count = state.count.saturating_add(1);
                cx.emit(EVENTS, format_args!("greet {}", state.name));
            }
            Event::Command { .. } => {
                state.name.clone_from(&self.first);
                state.count = 0;
                cx.emit(EVENTS, "reset");
            }
            _ => {}
        }
        Ok(())
    }

    fn save(&self) -> Vec<u8> {
        super::save(&self.state)
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Fault> {
        self.state = super::restore(state)?;
        Ok(())
    }
}
