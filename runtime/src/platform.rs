//! All that a runtime asks of the machine it runs on.
//!
//! The whole seam is this file. There are three implementations: the kernel's
//! (`unikernel/src/plat.rs`), the tender's (`tender/src/plat.rs`) and the fake
//! one of the tests (`fake.rs`), around which a fault injector fits.
//!
//! Invariant: nothing here calls back into the runtime. A platform answers, and
//! [`Platform::idle`] returns; so no dispatch can ever begin inside another.

/// Nanoseconds since the guest's machine started. Never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// This moment and `ns` nanoseconds.
    #[must_use]
    pub fn after(self, ns: u64) -> Time {
        Time(self.0.saturating_add(ns))
    }
}

/// The two byte streams that every backend gives a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The guest is the 9P server: its tree.
    Control,
    /// The guest is the 9P client of what its supervisor composed for it.
    Host,
}

/// One connection of a stream. A number is never used again in one run, so a
/// byte of an old connection cannot reach a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conn(pub u32);

/// What a platform reports. Signals are edges: one is enough for any number of
/// bytes, and a spurious one does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The other end opened a connection.
    Opened(Stream, Conn),
    /// There may be bytes to [`Platform::recv`].
    Readable(Conn),
    /// A [`Platform::send`] that was cut short may go on.
    Writable(Conn),
    /// The other end is gone; bytes not yet received are gone too.
    Closed(Conn),
    /// Whoever runs this machine asks the guest to stop.
    Stop,
}

/// The machine's memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// What there is for the heap.
    pub total: u64,
    /// What is handed out now.
    pub used: u64,
    /// The most that was ever handed out at one time.
    pub peak: u64,
}

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// 0 for a guest that stopped as it was asked to, 1 to 63 for its own
    /// reasons. (A hypervisor's exit port has few bits.)
    pub status: u8,
}

/// A way to die that only the machine can provide, for tests of the fault record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// A read of an address where nothing is mapped.
    Read,
    /// A write to the guest's own code.
    Code,
    /// A jump into data.
    Data,
    /// A fault while a fault is delivered.
    Double,
}

/// A machine.
pub trait Platform {
    /// The time now.
    fn now(&mut self) -> Time;

    /// The time of day at [`Time`] zero, nanoseconds since 1970 UTC; 0 when the
    /// host did not say.
    fn wall(&self) -> u64;

    /// Whether its guest is to go on from a checkpoint: then it does nothing until it was
    /// given one, at `checkpoint/restore` in its tree. Only guests with atoms can.
    fn holds(&self) -> bool {
        false
    }

    /// Whether its host keeps what the guest stores (`.store` on [`Stream::Host`]), and has what
    /// was stored before. Only guests with atoms store anything.
    fn keeps(&self) -> bool {
        false
    }

    /// 32 bytes nobody can guess, for the guest's generator.
    fn seed(&mut self) -> [u8; 32];

    /// The next signal, if there is one. Never blocks.
    fn poll(&mut self) -> Option<Signal>;

    /// Takes received bytes into `buf`, and says how many. 0 when there are none now.
    fn recv(&mut self, conn: Conn, buf: &mut [u8]) -> usize;

    /// Sends bytes, and says how many were accepted; [`Signal::Writable`] follows
    /// when fewer were accepted than given and there is room again. All are
    /// accepted (and dropped) on a closed connection.
    fn send(&mut self, conn: Conn, bytes: &[u8]) -> usize;

    /// Ends a connection from this side. No signal follows for it.
    fn close(&mut self, conn: Conn);

    /// Sleeps until there is a signal or the time has come, whichever is first.
    /// Costs nothing while it sleeps. May return early.
    fn idle(&mut self, until: Option<Time>);

    /// CPU time this machine has used so far, in nanoseconds, for charging. A
    /// machine that has its processor to itself answers as [`Platform::now`].
    fn cpu(&mut self) -> u64;

    /// The machine's memory.
    fn memory(&self) -> Memory;

    /// Keeps a line where it outlives the guest: the last ones are part of a
    /// fault record. One line, without its end.
    fn log(&mut self, line: &str);

    /// Hands over the machine's own log lines since the last call, oldest first.
    fn machine_log(&mut self, sink: &mut dyn FnMut(&str));

    /// Figures of the machine itself for the guest's `stats`, as name and value.
    fn stats(&mut self, sink: &mut dyn FnMut(&'static str, u64)) {
        let _ = sink;
    }

    /// Dies in the way asked for. Returns where the machine knows no such way.
    fn trap(&mut self, how: Trap) {
        let _ = how;
    }
}
