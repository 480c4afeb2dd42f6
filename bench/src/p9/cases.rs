//! What every server is asked to do.

use super::place::{DATA, GUEST_DATA, MANY, OUT, SMALL};
use crate::load::frame::IO_HEADER;
use crate::load::link::Wait;
use crate::load::work::Work;
use crate::load::works::{Getattr, Read, Readdir, Walk, Write};

/// What a case counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Operations.
    Ops,
    /// Bytes, shown as millions.
    Bytes,
}

impl Unit {
    /// The units of its rate, and of what one costs.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Unit::Ops => ("/s", "µs"),
            Unit::Bytes => ("MB/s", "µs/MB"),
        }
    }
}

/// How good is good enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// So many times the peer's rate in the same case.
    Times(f64),
    /// The best rate that the peer has in any case of that kind, at any depth.
    BestOfPeer,
    /// None was set.
    None,
}

/// One thing to do.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What, in words; cases of one kind have the same.
    pub kind: &'static str,
    /// Bytes of one read or write; 0 where there is none.
    pub count: u32,
    /// Requests in flight.
    pub depth: usize,
    /// Bytes of the file that is read.
    pub data: u64,
    /// What is counted.
    pub unit: Unit,
    /// Whether the bare echo can do it.
    pub floor: bool,
    /// How good our server must be.
    pub goal: Goal,
}

impl Case {
    /// Its name in tables.
    pub fn name(&self) -> String {
        let count = match self.count {
            0 => String::new(),
            n if n < 1 << 20 => format!(" {} KiB", n >> 10),
            n => format!(" {} MiB", n >> 20),
        };
        format!("{}{count}, depth {}", self.kind, self.depth)
    }

    /// The messages to agree on: such that the count fits in.
    pub fn msize(&self) -> u32 {
        match self.kind {
            GETATTR | WALK => 8192,
            READDIR => (64 << 10) + IO_HEADER,
            // What Plan 9 and old Linux use: a page and a header, twice that here.
            _ => (self.count + IO_HEADER).max(8192),
        }
    }

    /// The ways in which a client waits that are tried. It matters where answers are
    /// quick.
    pub fn waits(&self) -> &'static [Wait] {
        match self.kind {
            GETATTR | WALK => &[Wait::Recv, Wait::Poll],
            _ => &[Wait::Recv],
        }
    }

    /// The requests.
    pub fn work(&self) -> Box<dyn Work> {
        match self.kind {
            GETATTR => Box::new(Getattr::new(&[SMALL.0], SMALL.1.len() as u64)),
            WALK => Box::new(Walk::new(SMALL.0)),
            READDIR => Box::new(Readdir::new(&[MANY.0], MANY.1)),
            WRITE => Box::new(Write::new(&[OUT.0], OUT.1, self.count)),
            _ => Box::new(Read::new(&[DATA.0], self.data, self.count)),
        }
    }
}

/// Tgetattr.
pub const GETATTR: &str = "getattr";
/// Twalk of one name, and Tclunk.
pub const WALK: &str = "walk + clunk";
/// Tread.
pub const READ: &str = "read";
/// Twrite.
pub const WRITE: &str = "write";
/// Treaddir of a whole directory.
pub const READDIR: &str = "readdir of 10,000 entries";

impl Case {
    fn ops(kind: &'static str, depth: usize) -> Case {
        let (data, unit, goal) = (DATA.1, Unit::Ops, Goal::None);
        Case { kind, count: 0, depth, data, unit, floor: true, goal }
    }

    fn bytes(kind: &'static str, kib: u32, depth: usize) -> Case {
        Case { count: kib << 10, unit: Unit::Bytes, ..Case::ops(kind, depth) }
    }

    fn goal(self, goal: Goal) -> Case {
        Case { goal, ..self }
    }
}

/// Of a server of files, in the order of the table.
pub fn files() -> Vec<Case> {
    let twice = Goal::Times(2.0);
    let mut out = vec![
        Case::ops(GETATTR, 1).goal(twice),
        Case::ops(GETATTR, 8).goal(twice),
        Case::ops(WALK, 1).goal(twice),
        Case::ops(WALK, 8),
    ];
    let sizes = [
        (4, Goal::None),
        (64, Goal::Times(1.0)),
        (512, Goal::BestOfPeer),
        (1024, Goal::BestOfPeer),
    ];
    for (kib, goal) in sizes {
        out.extend([1, 4].map(|depth| Case::bytes(READ, kib, depth).goal(goal)));
    }
    out.extend([1, 4].map(|depth| Case { floor: false, ..Case::bytes(WRITE, 64, depth) }));
    out.push(Case { floor: false, ..Case::ops(READDIR, 1) });
    out
}

/// Of a guest's tree.
pub fn guests() -> Vec<Case> {
    let mut out = Vec::new();
    for kind in [GETATTR, WALK] {
        out.extend([1, 8].map(|depth| Case::ops(kind, depth)));
    }
    out.extend([1, 4].map(|depth| Case { data: GUEST_DATA, ..Case::bytes(READ, 64, depth) }));
    out
}
