//! The console: where the log goes, and the record of a death.
//!
//! A line that finds no room is lost, because a guest does not wait for whoever reads its
//! log; how many were is said as soon as there is room. A record waits, for a while.

use core::fmt::Write;

use atoll_xen::guest::event::{self, Port};
use atoll_xen::guest::ring::ConsoleRing;
use atoll_xen::guest::sched;
use heapless::String;

use super::clock;
use crate::arch::Lone;

struct Console {
    ring: &'static ConsoleRing,
    port: Port,
    lost: u32,
}

static CONSOLE: Lone<Option<Console>> = Lone::new(None);

/// Readings of the ring, 10 ms apart, before nobody counts as reading it.
const PATIENCE: u32 = 100;
const APART: u64 = 10_000_000;

/// Begins.
///
/// # Safety
/// The address is that of the console's ring, and mapped for good.
pub(super) unsafe fn start((address, port): (u64, u32)) {
    // SAFETY: as above; every byte of the ring is an atomic's.
    let ring = unsafe { &*(address as *const ConsoleRing) };
    CONSOLE.with(|c| *c = Some(Console { ring, port, lost: 0 }));
}

/// The port is another one, after a suspension.
pub(super) fn resume(port: Port) {
    with(|c| c.port = port);
}

fn with<R>(f: impl FnOnce(&mut Console) -> R) -> Option<R> {
    CONSOLE.with(|c| c.as_mut().map(f)).flatten()
}

/// Writes a line of the log.
pub(crate) fn line(text: &str) {
    with(|c| {
        if c.lost != 0 {
            let mut said = String::<40>::new();
            let _ = write!(said, "({} lines lost)", c.lost);
            if c.whole(&said) {
                c.lost = 0;
            }
        }
        if c.lost != 0 || !c.whole(text) {
            c.lost = c.lost.saturating_add(1);
        }
    });
}

/// Writes a part of a record, and waits for room. Says whether it was written.
pub(crate) fn record(text: &str) -> bool {
    with(|c| {
        for part in text.split_inclusive('\n') {
            let line = part.strip_suffix('\n');
            if !c.all(line.unwrap_or(part)) || (line.is_some() && !c.all("\r\n")) {
                return false;
            }
        }
        true
    })
    .unwrap_or(false)
}

impl Console {
    /// Writes a whole line, if there is room for it.
    fn whole(&mut self, text: &str) -> bool {
        self.ring.ignore();
        let fits = self.ring.room() >= text.len() + 2;
        if fits {
            self.ring.send(text.as_bytes());
            self.ring.send(b"\r\n");
            // Xen refuses it only for a port that is none.
            let _ = event::send(self.port);
        }
        fits
    }

    fn all(&mut self, text: &str) -> bool {
        let mut rest = text.as_bytes();
        for _ in 0..PATIENCE {
            let n = self.ring.send(rest);
            rest = rest.get(n..).unwrap_or_default();
            let _ = event::send(self.port);
            if rest.is_empty() {
                return true;
            }
            clock::clear(self.port);
            if self.ring.room() == 0 {
                let _ = sched::poll(&[self.port], Some(clock::soon(APART)));
            }
        }
        false
    }
}
