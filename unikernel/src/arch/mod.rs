//! The processor: everything that only this instruction set knows.
//!
//! One processor runs, interrupts are taken only inside [`lapic::wait`], and
//! exceptions do not return. So whatever is static in here is used by one flow
//! of control at a time; [`Lone`] is where that argument is made.

pub(crate) mod boot;
pub(crate) mod exit;
#[cfg(feature = "qemu")]
pub(crate) mod ioapic;
#[cfg_attr(not(feature = "qemu"), allow(dead_code, reason = "Xen's own calls are used"))]
pub(crate) mod lapic;
pub(crate) mod mem;
pub(crate) mod paging;
pub(crate) mod stacks;
pub(crate) mod tables;
#[cfg_attr(not(feature = "qemu"), allow(dead_code, reason = "Xen tells the time"))]
pub(crate) mod time;
pub(crate) mod traps;

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// A static of a machine with one flow of control.
///
/// An exception may begin while the value is in use and wants it for the record;
/// it is then refused, which is why access may fail.
pub(crate) struct Lone<T> {
    value: UnsafeCell<T>,
    used: AtomicBool,
}

// SAFETY: there is one processor, and `with` lets one user in at a time.
unsafe impl<T> Sync for Lone<T> {}

impl<T> Lone<T> {
    pub(crate) const fn new(value: T) -> Lone<T> {
        Lone { value: UnsafeCell::new(value), used: AtomicBool::new(false) }
    }

    /// Uses the value, unless it is in use further out.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        if self.used.load(Ordering::Relaxed) {
            return None;
        }
        self.used.store(true, Ordering::Relaxed);
        // SAFETY: `used` was clear, so no other reference is alive; what could
        // come between (an exception) does not return.
        let out = f(unsafe { &mut *self.value.get() });
        self.used.store(false, Ordering::Relaxed);
        Some(out)
    }
}
