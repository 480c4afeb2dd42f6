//! `sensor`: a value that changes over time, for trying out watching.
//!
//! The value is a triangle around `base`, sixty samples long: a function of the
//! time alone, so that reading it needs no timer. Samples are announced on `next`
//! while somebody waits there.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use atoll_9p::fault::Fault;
use atoll_9p::synth::Verb;
use serde::{Deserialize, Serialize};

use crate::component::{Component, Cx, Entry, Event, FileKind, FileSpec};
use crate::platform::Time;

const VALUE: usize = 0;
const NEXT: usize = 1;
const TIMER: u32 = 0;
/// Samples in one period of the triangle.
const WAVE: u64 = 60;

/// See the module.
pub const ENTRY: Entry = Entry {
    kind: "sensor",
    state_version: 1,
    files: &[
        FileSpec { name: "value", kind: FileKind::Text },
        FileSpec { name: "next", kind: FileKind::Next { keep: 512 } },
        FileSpec {
            name: "ctl",
            kind: FileKind::Ctl(&[
                Verb::new("period", "MILLISECONDS", 1),
                Verb::new("base", "THOUSANDTHS", 1),
            ]),
        },
    ],
    starts: false,
    make: |params| {
        let (period, base) = (super::span(params, 0)?, super::int(params, 1)?);
        Ok(Box::new(Sensor {
            state: State { period, base, watched: false },
            swing: super::int(params, 2)?,
            unit: super::text(params, 3)?,
        }))
    },
};

#[derive(Serialize, Deserialize)]
struct State {
    /// Nanoseconds between samples.
    period: u64,
    /// The middle of the values, in thousandths.
    base: i64,
    /// Somebody waits on `next`.
    watched: bool,
}

struct Sensor {
    state: State,
    swing: i64,
    unit: String,
}

/// Thousandths, shown with their point.
struct Milli(i64);

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, abs) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        write!(f, "{sign}{}.{:03}", abs / 1000, abs % 1000)
    }
}

impl Sensor {
    fn value(&self, now: Time) -> Milli {
        let phase = (now.0 / self.state.period % WAVE) as i64;
        let quarter = WAVE as i64 / 4;
        // 0, up to 15, down to -15, and back to 0.
        let height = match phase {
            p if p < quarter => p,
            p if p < 3 * quarter => 2 * quarter - p,
            p => p - 4 * quarter,
        };
        // swing * height / quarter, for any swing.
        let (whole, rest) = (self.swing / quarter, self.swing % quarter);
        Milli(
            self.state
                .base
                .saturating_add((whole * height).saturating_add(rest * height / quarter)),
        )
    }

    fn arm(&self, cx: &mut Cx<'_>) {
        cx.after(TIMER, self.state.period - cx.now().0 % self.state.period);
    }
}

impl Component for Sensor {
    fn dispatch(&mut self, cx: &mut Cx<'_>, event: Event<'_>) -> Result<(), Fault> {
        match event {
            Event::Read { file: VALUE, out } => {
                let _ = writeln!(out, "{} {}", self.value(cx.now()), self.unit);
            }
            Event::Watched { on, .. } => {
                self.state.watched = on;
                if on {
                    self.arm(cx);
                } else {
                    cx.cancel(TIMER);
                }
            }
            Event::Timer { .. } => {
                let ms = cx.now().0 / 1_000_000;
                let value = self.value(cx.now());
                cx.emit(NEXT, format_args!("{ms} {value} {}", self.unit));
                self.arm(cx);
            }
            Event::Command { command, .. } if command.verb == "period" => {
                let ms = command.number(0)?;
                if !(1..=3_600_000).contains(&ms) {
                    return Err(command.bad("a period is 1 to 3600000 milliseconds"));
                }
                self.state.period = ms * 1_000_000;
                if self.state.watched {
                    self.arm(cx);
                }
            }
            Event::Command { command, .. } => match command.arg(0).parse() {
                Ok(base @ -1_000_000..=1_000_000) => self.state.base = base,
                _ => return Err(command.bad("a base is -1000000 to 1000000 thousandths")),
            },
            _ => {}
        }
        Ok(())
    }

    fn save(&self) -> Vec<u8> {
        super::save(&self.state)
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Fault> {
        let state: State = super::restore(state)?;
        if state.period == 0 {
            return Err(super::mismatch());
        }
        self.state = state;
        Ok(())
    }
}
