//! A machine that is a value: simulated time, wires in memory, injected faults.
//!
//! A [`Fake`] never waits. Sleeping moves its clock to whatever comes next, and is
//! counted, so that a test can tell that nothing ticks. Its faults are those that
//! real transports have and a guest must not notice: short reads and writes, refused
//! writes, signals that come late or for nothing. All come from one seed.
//!
//! The other ends are here too: a [`Peer`] is a client of `control`, a [`Host`]
//! serves a tree on `host`, and [`drive`] runs everything until nobody has anything
//! left to do.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;

use crate::platform::{Conn, Memory, Platform, Signal, Stream, Time, Trap};
use crate::random::Random;

mod ends;
pub use ends::{Answer, End, Host, Peer, World, drive, drive_until, step_all};

/// What goes wrong, each in so many of 100 cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Reads that give fewer bytes than there are, or none, with a signal to follow.
    pub short: u8,
    /// Writes of which only a part is accepted, or nothing, with a signal to follow.
    pub refuse: u8,
    /// Polls that give a signal without a reason.
    pub spurious: u8,
    /// Signals that come up to a millisecond late.
    pub late: u8,
    /// Polls after which the other end of some connection is gone.
    pub close: u8,
}

impl Faults {
    /// All that a client must not notice.
    pub const HARMLESS: Faults = Faults { short: 40, refuse: 40, spurious: 20, late: 30, close: 0 };
}

/// One connection.
#[derive(Debug)]
struct Wire {
    stream: Stream,
    to_guest: VecDeque<u8>,
    from_guest: Vec<u8>,
    /// A write was cut short.
    refused: bool,
    /// The other end is there.
    peer: bool,
    /// The guest's end is there.
    guest: bool,
}

/// A machine in memory.
pub struct Fake {
    /// The time, in nanoseconds.
    pub now: u64,
    /// The time of day at the start.
    pub wall: u64,
    /// Its guest is to go on from a checkpoint.
    pub holds: bool,
    /// Its host keeps what its guest stores.
    pub keeps: bool,
    /// CPU time used. A test's components may hold it too, and add what they use.
    pub cpu: Rc<Cell<u64>>,
    /// CPU time that each step uses. (A step asks for the time once.)
    pub cost: u64,
    /// How often the CPU time was asked for.
    pub cpu_asked: u64,
    /// How often the machine's figures were asked for.
    pub stats_asked: u64,
    /// How often it slept.
    pub idles: u64,
    /// What the guest said.
    pub log: Vec<String>,
    /// Lines of the machine's own that the guest has not taken yet.
    pub machine_log: Vec<String>,
    /// What `mem` shows.
    pub memory: Memory,
    /// Ways to die that were asked for.
    pub traps: Vec<Trap>,
    /// Bytes of answers that a connection holds for an end that does not read.
    pub room: usize,
    /// What goes wrong.
    pub faults: Faults,
    wires: BTreeMap<u32, Wire>,
    next: u32,
    /// When, and what.
    signals: VecDeque<(u64, Signal)>,
    chance: Random,
}

impl Fake {
    /// A machine whose guest's generator, and whose faults, come from a seed.
    pub fn new(seed: u64) -> Fake {
        let mut bytes = [0; 32];
        for (i, word) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *word = (seed.wrapping_add(i as u64)).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        }
        Fake {
            now: 0,
            wall: 1_700_000_000_000_000_000,
            holds: false,
            keeps: false,
            cpu: Rc::new(Cell::new(0)),
            cost: 1000,
            cpu_asked: 0,
            stats_asked: 0,
            idles: 0,
            log: Vec::new(),
            machine_log: Vec::new(),
            memory: Memory { total: 4 << 20, used: 1 << 20, peak: 2 << 20 },
            traps: Vec::new(),
            room: 64 << 10,
            faults: Faults::default(),
            wires: BTreeMap::new(),
            next: 1,
            signals: VecDeque::new(),
            chance: Random::new(bytes),
        }
    }

    /// The same machine with faults.
    #[must_use]
    pub fn with(self, faults: Faults) -> Fake {
        Fake { faults, ..self }
    }

    /// A number below `n`, from the machine's seed.
    pub fn below(&mut self, n: usize) -> usize {
        (self.chance.next() % n.max(1) as u64) as usize
    }

    fn happens(&mut self, percent: u8) -> bool {
        percent > 0 && self.below(100) < usize::from(percent)
    }

    /// Reports something to the guest, behind all that was reported before.
    pub fn signal(&mut self, signal: Signal) {
        let late = if self.happens(self.faults.late) { self.below(1_000_000) as u64 } else { 0 };
        let last = self.signals.back().map_or(0, |s| s.0);
        self.signals.push_back(((self.now + late).max(last), signal));
    }

    /// When the next signal comes, if one is under way.
    pub fn next_signal(&self) -> Option<Time> {
        self.signals.front().map(|s| Time(s.0))
    }

    /// Makes a connection that nobody is told of.
    pub fn wire(&mut self, stream: Stream) -> Conn {
        let conn = Conn(self.next);
        self.next += 1;
        let wire = Wire {
            stream,
            to_guest: VecDeque::new(),
            from_guest: Vec::new(),
            refused: false,
            peer: true,
            guest: true,
        };
        self.wires.insert(conn.0, wire);
        conn
    }

    /// Opens a connection from outside.
    pub fn open(&mut self, stream: Stream) -> Conn {
        let conn = self.wire(stream);
        self.signal(Signal::Opened(stream, conn));
        conn
    }

    /// Sends the guest bytes.
    pub fn push(&mut self, conn: Conn, bytes: &[u8]) {
        if let Some(w) = self.wires.get_mut(&conn.0)
            && w.guest
            && w.peer
            && !bytes.is_empty()
        {
            w.to_guest.extend(bytes);
            self.signal(Signal::Readable(conn));
        }
    }

    /// Takes what the guest has sent.
    pub fn take(&mut self, conn: Conn) -> Vec<u8> {
        let Some(w) = self.wires.get_mut(&conn.0) else { return Vec::new() };
        let bytes = core::mem::take(&mut w.from_guest);
        if core::mem::take(&mut w.refused) && w.guest && w.peer {
            self.signal(Signal::Writable(conn));
        }
        bytes
    }

    /// Closes a connection from outside.
    pub fn hang_up(&mut self, conn: Conn) {
        if let Some(w) = self.wires.get_mut(&conn.0)
            && core::mem::take(&mut w.peer)
        {
            w.to_guest.clear();
            if w.guest {
                self.signal(Signal::Closed(conn));
            }
        }
    }

    /// Whether both ends are there.
    pub fn is_open(&self, conn: Conn) -> bool {
        self.wires.get(&conn.0).is_some_and(|w| w.peer && w.guest)
    }

    /// The connections of a stream that are open at both ends.
    pub fn open_conns(&self, stream: Stream) -> Vec<Conn> {
        let open = self.wires.iter().filter(|(_, w)| w.stream == stream && w.peer && w.guest);
        open.map(|(n, _)| Conn(*n)).collect()
    }

    fn any_open(&mut self) -> Option<Conn> {
        let open: Vec<u32> =
            self.wires.iter().filter(|(_, w)| w.guest && w.peer).map(|(n, _)| *n).collect();
        let at = self.below(open.len());
        open.get(at).map(|n| Conn(*n))
    }
}

impl Platform for Fake {
    fn now(&mut self) -> Time {
        self.cpu.set(self.cpu.get() + self.cost);
        Time(self.now)
    }

    fn wall(&self) -> u64 {
        self.wall
    }

    fn holds(&self) -> bool {
        self.holds
    }

    fn keeps(&self) -> bool {
        self.keeps
    }

    fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        for word in seed.as_chunks_mut::<8>().0 {
            *word = self.chance.next().to_le_bytes();
        }
        seed
    }

    fn poll(&mut self) -> Option<Signal> {
        if self.happens(self.faults.close)
            && let Some(conn) = self.any_open()
        {
            self.hang_up(conn);
        }
        let opened = |f: &Fake, c| {
            !f.signals.iter().any(|(_, s)| matches!(s, Signal::Opened(_, o) if *o == c))
        };
        if self.happens(self.faults.spurious)
            && let Some(conn) = self.any_open()
            && opened(self, conn)
        {
            return Some(match self.below(2) {
                0 => Signal::Readable(conn),
                _ => Signal::Writable(conn),
            });
        }
        if self.signals.front()?.0 > self.now {
            return None;
        }
        self.signals.pop_front().map(|s| s.1)
    }

    fn recv(&mut self, conn: Conn, buf: &mut [u8]) -> usize {
        let short = self.happens(self.faults.short);
        let Some(w) = self.wires.get_mut(&conn.0) else { return 0 };
        let there = w.to_guest.len().min(buf.len());
        let n = if short { (self.chance.next() % (there as u64 + 1)) as usize } else { there };
        for (to, from) in buf.iter_mut().zip(w.to_guest.drain(..n)) {
            *to = from;
        }
        if n == 0 && there > 0 {
            self.signal(Signal::Readable(conn));
        }
        n
    }

    fn send(&mut self, conn: Conn, bytes: &[u8]) -> usize {
        let short = self.happens(self.faults.refuse);
        let part = self.below(bytes.len() + 1);
        let Some(w) = self.wires.get_mut(&conn.0) else { return bytes.len() };
        if !w.peer || !w.guest {
            return bytes.len();
        }
        let room = self.room.saturating_sub(w.from_guest.len()).min(bytes.len());
        let n = if short { part.min(room) } else { room };
        w.from_guest.extend(bytes.iter().take(n));
        w.refused |= n < bytes.len();
        if n < room {
            w.refused = false;
            self.signal(Signal::Writable(conn));
        }
        n
    }

    fn close(&mut self, conn: Conn) {
        if let Some(w) = self.wires.get_mut(&conn.0) {
            w.guest = false;
            w.to_guest.clear();
        }
        let of = |s: &Signal| match *s {
            Signal::Opened(_, c)
            | Signal::Readable(c)
            | Signal::Writable(c)
            | Signal::Closed(c) => Some(c),
            Signal::Stop => None,
        };
        self.signals.retain(|(_, s)| of(s) != Some(conn));
    }

    fn idle(&mut self, until: Option<Time>) {
        self.idles += 1;
        let next = [until, self.next_signal()].into_iter().flatten().min();
        let next = next.expect("asleep, and nothing is left that could wake it");
        self.now = self.now.max(next.0);
    }

    fn cpu(&mut self) -> u64 {
        self.cpu_asked += 1;
        self.cpu.get()
    }

    fn memory(&self) -> Memory {
        self.memory
    }

    fn log(&mut self, line: &str) {
        self.log.push(line.into());
    }

    fn machine_log(&mut self, sink: &mut dyn FnMut(&str)) {
        self.machine_log.drain(..).for_each(|line| sink(&line));
    }

    fn stats(&mut self, sink: &mut dyn FnMut(&'static str, u64)) {
        self.stats_asked += 1;
        sink("wires", self.wires.values().filter(|w| w.guest && w.peer).count() as u64);
    }

    fn trap(&mut self, how: Trap) {
        self.traps.push(how);
    }
}
