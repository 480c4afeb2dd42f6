//! The machine that a process is, for the runtime.

use atoll_config::launch::Launch;
use atoll_engine::Watchdog;
use atoll_runtime::platform::{Conn, Memory, Platform, Signal, Time, Trap};
use rustix::event::Timespec;
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, clock_gettime};

use crate::alloc::Counting;
use crate::wire::Wires;
use crate::{record, signal};

/// A process, seen as a machine.
#[derive(Debug)]
pub struct Machine {
    wires: Wires,
    started: u64,
    launch: Launch,
    memory: &'static Counting,
    /// What was in use before the guest came.
    base: u64,
    total: u64,
    /// Lines that the tender itself has to say.
    notes: Vec<String>,
    watchdog: Option<Watchdog>,
}

impl Machine {
    /// A machine with so much memory, of which the host said this.
    pub fn new(
        wires: Wires,
        memory: &'static Counting,
        total: u64,
        launch: Launch,
        notes: Vec<String>,
        watchdog: Option<Watchdog>,
    ) -> Machine {
        let base = memory.used();
        Machine { wires, started: record::started(), launch, memory, base, total, notes, watchdog }
    }
}

impl Platform for Machine {
    fn now(&mut self) -> Time {
        Time(record::now().saturating_sub(self.started))
    }

    fn wall(&self) -> u64 {
        self.launch.wall
    }

    fn holds(&self) -> bool {
        self.launch.restore
    }

    fn keeps(&self) -> bool {
        self.launch.store
    }

    fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        // Up to 256 bytes come whole once the system's pool is ready.
        match getrandom(&mut seed, GetRandomFlags::empty()) {
            Ok(32) => seed,
            other => panic!("the system gave no random bytes: {other:?}"),
        }
    }

    fn poll(&mut self) -> Option<Signal> {
        if let Some(signal) = self.wires.signal() {
            return Some(signal);
        }
        self.wires.wait(Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        self.wires.signal()
    }

    fn recv(&mut self, conn: Conn, buf: &mut [u8]) -> usize {
        self.wires.recv(conn, buf)
    }

    fn send(&mut self, conn: Conn, bytes: &[u8]) -> usize {
        self.wires.send(conn, bytes)
    }

    fn close(&mut self, conn: Conn) {
        self.wires.close(conn);
    }

    fn idle(&mut self, until: Option<Time>) {
        if self.wires.pending() {
            return;
        }
        let timeout = until.map(|until| {
            let ns = until.0.saturating_sub(self.now().0);
            Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 }
        });
        if let Some(watchdog) = self.watchdog {
            watchdog.rest();
        }
        self.wires.wait(timeout.as_ref());
    }

    fn cpu(&mut self) -> u64 {
        let t = clock_gettime(ClockId::ProcessCPUTime);
        t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
    }

    fn memory(&self) -> Memory {
        Memory {
            total: self.total,
            used: self.memory.used().saturating_sub(self.base),
            peak: self.memory.peak().saturating_sub(self.base),
        }
    }

    fn log(&mut self, line: &str) {
        record::log(line);
    }

    fn machine_log(&mut self, sink: &mut dyn FnMut(&str)) {
        for line in self.notes.drain(..) {
            sink(&line);
        }
    }

    fn stats(&mut self, sink: &mut dyn FnMut(&'static str, u64)) {
        sink("connections", self.wires.connections() as u64);
        sink("connections_ever", self.wires.ever());
    }

    fn trap(&mut self, how: Trap) {
        signal::die(how);
    }
}
