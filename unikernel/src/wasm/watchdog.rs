//! What ends a dispatch that runs too long: the timer's interrupt.
//!
//! Interrupts are on while an atom runs, and only then; those of devices wait, because
//! the processor's priority is above theirs. On Xen there are none, and the priority stays
//! as it is: QEMU 7.2 ends when a guest of a Xen that it runs writes it while an interrupt
//! waits for that guest (`helper_write_crN` calls `cpu_interrupt` without the lock it wants).
//! Arming costs no trip to the timer as
//! long as it ticks for an earlier dispatch: it goes on ticking, four times in a
//! dispatch's limit, until the machine sleeps. The tick that finds a dispatch for the
//! fifth time knows that it has had its time, and at most a quarter more. It lets the
//! machine go on at the module's tripwire, at once or on the way back from the kernel
//! (`atoll_engine`, `guard.rs` and `exits.rs`).

use core::arch::asm;
use core::cell::Cell;
use core::ptr::{self, null_mut};
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, compiler_fence};

use atoll_engine::{Code, Exits, Guard};

use crate::arch::{tables, time};

/// The shortest and the longest time between two ticks, in nanoseconds.
const SHORTEST: u64 = 100_000;
const LONGEST: u64 = 1_000_000_000;

/// What the kernel and the interrupt know of each other.
struct Watch {
    /// The code of the dispatch that runs; null where none does.
    code: AtomicPtr<Code>,
    /// How that code was left. Written while there is no code only.
    exits: Cell<Option<Exits>>,
    /// How long it may run.
    limit: AtomicU64,
    /// Counts dispatches.
    number: AtomicU64,
    /// It has run longer.
    fired: AtomicBool,
    /// The dispatch that the last tick found, and for how long it has been found.
    seen: AtomicU64,
    passed: AtomicU64,
    /// Nanoseconds between two ticks; 0 while there are none.
    period: AtomicU64,
    /// No other interrupt than the timer's ever comes.
    alone: AtomicBool,
}

// SAFETY: there is one processor, and the interrupt only reads `exits`, while there is
// code; it is written while there is none.
unsafe impl Sync for Watch {}

static WATCH: Watch = Watch {
    code: AtomicPtr::new(null_mut()),
    exits: Cell::new(None),
    limit: AtomicU64::new(0),
    number: AtomicU64::new(0),
    fired: AtomicBool::new(false),
    seen: AtomicU64::new(0),
    passed: AtomicU64::new(0),
    period: AtomicU64::new(0),
    alone: AtomicBool::new(false),
};

impl Watch {
    /// Lets only interrupts above this priority come.
    fn set_priority(&self, priority: u64) {
        if !self.alone.load(Relaxed) {
            // SAFETY: interrupts are off, and nobody else writes it.
            unsafe { asm!("mov cr8, {}", in(reg) priority, options(nomem, nostack)) };
        }
    }
}

/// See the module's text.
pub(super) struct Watchdog;

impl Guard for Watchdog {
    unsafe fn arm(&self, ns: u64, code: &Code, exits: Exits) {
        let w = &WATCH;
        w.fired.store(false, Relaxed);
        w.limit.store(ns, Relaxed);
        w.number.store(w.number.load(Relaxed) + 1, Relaxed);
        w.exits.set(Some(exits));
        compiler_fence(SeqCst);
        w.code.store(ptr::from_ref(code).cast_mut(), Relaxed);
        let (period, now) = ((ns / 4).clamp(SHORTEST, LONGEST), w.period.load(Relaxed));
        if now == 0 || now > period {
            w.period.store(period, Relaxed);
            time::tick(period);
        }
        w.set_priority(u64::from(tables::SPURIOUS >> 4));
        // SAFETY: from here on an interrupt may come, on a stack of its own, and only
        // the one that `came` deals with.
        unsafe { asm!("sti", options(nostack)) };
    }

    fn fired(&self) -> bool {
        WATCH.fired.load(Relaxed)
    }

    fn disarm(&self) -> bool {
        // SAFETY: as everywhere else in the kernel, no interrupt comes from here on.
        unsafe { asm!("cli", options(nostack)) };
        WATCH.set_priority(0);
        WATCH.code.store(null_mut(), Relaxed);
        WATCH.fired.load(Relaxed)
    }
}

/// This machine has no other interrupt than the timer's.
#[cfg(feature = "xen")]
pub(crate) fn alone() {
    WATCH.alone.store(true, Relaxed);
}

/// The machine is about to sleep: the timer is wanted for other things.
pub(crate) fn rest() {
    WATCH.period.store(0, Relaxed);
}

/// Whether a dispatch is watched, with interrupts on.
pub(super) fn watches() -> bool {
    !WATCH.code.load(Relaxed).is_null()
}

/// The timer has ticked, at an instruction with the stack so. Where to go on instead.
pub(super) fn came(pc: u64, sp: u64) -> Option<u64> {
    let w = &WATCH;
    // SAFETY: whoever armed keeps it alive until it is null again.
    let code = unsafe { w.code.load(Relaxed).as_ref() }?;
    let number = w.number.load(Relaxed);
    if w.seen.load(Relaxed) != number {
        w.seen.store(number, Relaxed);
        w.passed.store(0, Relaxed);
        return None;
    }
    let passed = w.passed.load(Relaxed) + w.period.load(Relaxed);
    w.passed.store(passed, Relaxed);
    if passed < w.limit.load(Relaxed) {
        return None;
    }
    w.fired.store(true, Relaxed);
    if code.holds(pc as usize) {
        return Some(code.tripwire() as u64);
    }
    if !code.covers(pc as usize)
        && let Some(exits) = w.exits.get()
    {
        // SAFETY: this is the interrupt of the one processor, and whoever armed keeps
        // the store alive.
        unsafe { exits.trip(sp as usize, code) };
    }
    None
}
