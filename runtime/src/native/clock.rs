//! `clock`: the time, and a tick for whoever waits for one.
//!
//! Ticks are made only while `tick` has readers: a clock that nobody looks at
//! costs nothing.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::Write;

use atoll_9p::fault::Fault;
use serde::{Deserialize, Serialize};

use crate::component::{Component, Cx, Entry, Event, FileKind, FileSpec};
use crate::native::utc::Utc;

const NOW: usize = 0;
const UPTIME: usize = 1;
const TICK: usize = 2;
const TIMER: u32 = 0;

/// See the module.
pub const ENTRY: Entry = Entry {
    kind: "clock",
    state_version: 1,
    files: &[
        FileSpec { name: "now", kind: FileKind::Text },
        FileSpec { name: "uptime", kind: FileKind::Text },
        FileSpec { name: "tick", kind: FileKind::Next { keep: 256 } },
    ],
    starts: false,
    make: |params| Ok(Box::new(Clock { period: super::span(params, 0)?, state: State::default() })),
};

#[derive(Default, Serialize, Deserialize)]
struct State {
    ticks: u64,
}

struct Clock {
    /// Nanoseconds.
    period: u64,
    state: State,
}

impl Component for Clock {
    fn dispatch(&mut self, cx: &mut Cx<'_>, event: Event<'_>) -> Result<(), Fault> {
        // Ticks fall on whole periods since the guest's start.
        let rest = self.period - cx.now().0 % self.period;
        match event {
            Event::Read { file: NOW, out } => {
                let _ = writeln!(out, "{}", Utc(cx.wall()));
            }
            Event::Read { file: UPTIME, out } => {
                let ms = cx.now().0 / 1_000_000;
                let _ = writeln!(out, "{}.{:03}", ms / 1000, ms % 1000);
            }
            Event::Watched { on: true, .. } => cx.after(TIMER, rest),
            Event::Watched { on: false, .. } => cx.cancel(TIMER),
            Event::Timer { .. } => {
                self.state.ticks = self.state.ticks.saturating_add(1);
                cx.emit(TICK, format_args!("{} {}", self.state.ticks, Utc(cx.wall())));
                cx.after(TIMER, rest);
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
