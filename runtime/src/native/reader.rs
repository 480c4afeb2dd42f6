//! `reader`: reads a file of the guest's namespace, and shows what it read.
//!
//! It holds one result at a time. A read that is asked for while another is under
//! way is refused, so that nobody takes one file's bytes for another's.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::ops::What;
use atoll_9p::synth::Verb;
use serde::{Deserialize, Serialize};

use crate::component::{CallId, Component, Cx, Entry, Event, FileKind, FileSpec};

const STATUS: usize = 0;
const CONTENT: usize = 1;
const EVENTS: usize = 3;
/// The most that is read.
const MAX: usize = 64 << 10;

/// See the module.
pub const ENTRY: Entry = Entry {
    kind: "reader",
    state_version: 1,
    files: &[
        FileSpec { name: "status", kind: FileKind::Text },
        FileSpec { name: "content", kind: FileKind::Text },
        FileSpec {
            name: "ctl",
            kind: FileKind::Ctl(&[Verb::new("read", "PATH", 1), Verb::new("list", "PATH", 1)]),
        },
        FileSpec { name: "events", kind: FileKind::Events { keep: 1024 } },
    ],
    starts: true,
    make: |params| Ok(Box::new(Reader { first: super::text(params, 0)?, state: State::default() })),
};

#[derive(Default, Serialize, Deserialize)]
struct State {
    path: String,
    /// The call under way.
    call: Option<u64>,
    content: String,
    /// Why the last read failed.
    failed: Option<String>,
}

struct Reader {
    /// What is read at the start.
    first: String,
    state: State,
}

impl Reader {
    fn start(&mut self, cx: &mut Cx<'_>, path: &str, what: What) {
        let CallId(call) = cx.call(path, what);
        self.state = State { path: path.to_string(), call: Some(call), ..State::default() };
    }
}

impl Component for Reader {
    fn dispatch(&mut self, cx: &mut Cx<'_>, event: Event<'_>) -> Result<(), Fault> {
        match event {
            Event::Start if !self.first.is_empty() => {
                let path = self.first.clone();
                self.start(cx, &path, What::Read { max: MAX });
            }
            Event::Read { file: STATUS, out } => {
                let s = &self.state;
                *out += &match (s.call, &s.failed) {
                    (Some(_), _) => alloc::format!("reading {}\n", s.path),
                    (None, Some(why)) => alloc::format!("failed {}: {why}\n", s.path),
                    (None, None) if s.path.is_empty() => "idle\n".to_string(),
                    (None, None) => alloc::format!("done {} {}\n", s.path, s.content.len()),
                };
            }
            Event::Read { file: CONTENT, out } => *out += &self.state.content,
            Event::Command { command, .. } => {
                if self.state.call.is_some() {
                    return Err(Fault::new(Errno::EBUSY, "a read is under way"));
                }
                let what = match command.verb {
                    "list" => What::List { max: MAX },
                    _ => What::Read { max: MAX },
                };
                self.start(cx, command.arg(0), what);
            }
            Event::Done { call, result, .. } if self.state.call == Some(call.0) => {
                let s = &mut self.state;
                s.call = None;
                match result {
                    Ok(bytes) => {
                        s.content = String::from_utf8_lossy(bytes).into_owned();
                        cx.emit(EVENTS, format_args!("done {} {}", s.path, bytes.len()));
                    }
                    Err(fault) => {
                        // One record a line, whatever the host's text holds.
                        s.failed = Some(fault.to_string().replace('\n', " "));
                        cx.emit(EVENTS, format_args!("failed {}: {fault}", s.path));
                    }
                }
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
