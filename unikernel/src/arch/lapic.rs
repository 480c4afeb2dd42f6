//! The local APIC: the timer, the end of an interrupt, and sleep.
//!
//! Its timer counts down at 1 GHz / 16, on QEMU as on KVM; on Xen at 100 MHz / 16, where it
//! is used for the watchdog of atoms alone. It is used in its
//! periodic mode even for one shot: a one-shot counter stays at zero once it has
//! fired, and the time since then would be lost to the clock's calibration.

use core::arch::asm;
#[cfg(all(feature = "xen", feature = "atoms"))]
use core::sync::atomic::{AtomicBool, Ordering};

use super::tables::{SPURIOUS, TIMER};

const BASE: usize = 0xfee0_0000;
const EOI: usize = 0xb0;
const SPURIOUS_VECTOR: usize = 0xf0;
const LVT_TIMER: usize = 0x320;
const INITIAL: usize = 0x380;
const CURRENT: usize = 0x390;
const DIVIDE: usize = 0x3e0;

const MASKED: u32 = 1 << 16;
const PERIODIC: u32 = 1 << 17;

/// Nanoseconds a count.
pub(crate) const COUNT_NS: u64 = 16;

fn write(register: usize, value: u32) {
    // SAFETY: the page is mapped uncached, and these are registers of the APIC.
    unsafe { ((BASE + register) as *mut u32).write_volatile(value) };
}

/// Switches it on with its timer counting, so that calibration has begun.
pub(crate) fn start() {
    write(SPURIOUS_VECTOR, 0x100 | u32::from(SPURIOUS));
    write(DIVIDE, 0b0011);
    write(LVT_TIMER, MASKED | PERIODIC | u32::from(TIMER));
    write(INITIAL, u32::MAX);
}

/// Switches it on where it is Xen's, with its timer stopped.
#[cfg(all(feature = "xen", feature = "atoms"))]
pub(crate) fn start_slow() {
    SLOW.store(true, Ordering::Relaxed);
    write(SPURIOUS_VECTOR, 0x100 | u32::from(SPURIOUS));
    write(DIVIDE, 0b0011);
    disarm();
}

/// Its timer is Xen's (`APIC_BUS_CYCLE_NS`).
#[cfg(all(feature = "xen", feature = "atoms"))]
static SLOW: AtomicBool = AtomicBool::new(false);

/// Nanoseconds a count of the watchdog's timer.
#[cfg(feature = "atoms")]
pub(crate) fn count_ns() -> u64 {
    #[cfg(feature = "xen")]
    if SLOW.load(Ordering::Relaxed) {
        return 10 * COUNT_NS;
    }
    COUNT_NS
}

/// What the timer has left to count.
pub(crate) fn count() -> u32 {
    // SAFETY: as in `write`; reading has no effect.
    unsafe { ((BASE + CURRENT) as *const u32).read_volatile() }
}

/// Lets the timer fire after that many counts.
pub(crate) fn arm(counts: u32) {
    write(LVT_TIMER, PERIODIC | u32::from(TIMER));
    write(INITIAL, counts);
}

/// Lets the timer fire again and again, after that many counts, with a vector.
#[cfg(feature = "atoms")]
pub(crate) fn tick(counts: u32, vector: u8) {
    write(LVT_TIMER, PERIODIC | u32::from(vector));
    write(INITIAL, counts);
}

/// The timer fires no more.
pub(crate) fn disarm() {
    write(LVT_TIMER, MASKED | PERIODIC | u32::from(TIMER));
}

/// The interrupt that was taken is dealt with.
pub(crate) fn end_of_interrupt() {
    write(EOI, 0);
}

/// Sleeps until an interrupt. Interrupts are off before and after; one that
/// came before is taken at once, because `sti` takes effect with the `hlt`.
pub(crate) fn wait() {
    // SAFETY: the interrupt's stub runs on a stack of its own, changes no
    // register, and returns with interrupts off.
    unsafe { asm!("sti", "hlt") };
}
