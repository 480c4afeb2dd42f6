//! `crash`: dies in a chosen way, so that every way to die can be tested.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hint::black_box;

use atoll_9p::fault::Fault;
use atoll_9p::synth::Verb;

use crate::component::{Component, Cx, Entry, Event, FileKind, FileSpec};
use crate::platform::Trap;

/// See the module.
pub const ENTRY: Entry = Entry {
    kind: "crash",
    state_version: 1,
    files: &[FileSpec {
        name: "ctl",
        kind: FileKind::Ctl(&[
            Verb::new("panic", "", 0),
            Verb::new("overflow", "", 0),
            Verb::new("oom", "", 0),
            Verb::new("budget", "", 0),
            Verb::new("read", "", 0),
            Verb::new("code", "", 0),
            Verb::new("data", "", 0),
            Verb::new("double", "", 0),
            Verb::new("exit", "STATUS", 1),
        ]),
    }],
    starts: false,
    make: |_| Ok(Box::new(Crash)),
};

struct Crash;

impl Component for Crash {
    fn dispatch(&mut self, cx: &mut Cx<'_>, event: Event<'_>) -> Result<(), Fault> {
        let Event::Command { command, .. } = event else { return Ok(()) };
        match command.verb {
            "panic" => panic!("asked to panic"),
            "overflow" => {
                black_box(dive(1));
            }
            "oom" => {
                let mut hoard: Vec<Vec<u8>> = Vec::new();
                loop {
                    hoard.push(alloc::vec![0xa7; black_box(64 << 10)]);
                }
            }
            "budget" => (0..u32::MAX).take_while(|&n| !over(cx, n)).for_each(|_| {}),
            "read" => cx.trap(Trap::Read),
            "code" => cx.trap(Trap::Code),
            "data" => cx.trap(Trap::Data),
            "double" => cx.trap(Trap::Double),
            _ => cx.exit(command.number(0)?.min(63) as u8),
        }
        Ok(())
    }

    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Fault> {
        super::restore(state)
    }
}

/// Sets one more timer; true once the sponsor pays for none.
fn over(cx: &mut Cx<'_>, n: u32) -> bool {
    cx.after(n, 1);
    cx.is_over_budget()
}

/// Recurses until the stack ends.
#[allow(unconditional_recursion)]
#[inline(never)]
fn dive(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    dive(black_box(depth + 1)).wrapping_add(frame.iter().sum())
}
