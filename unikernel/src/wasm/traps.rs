//! Exceptions and interrupts that an atom has caused, or has to hear of.

use x86_64::registers::control::Cr2;

use super::{code, platform, rooms, watchdog};
use crate::arch::lapic;
use crate::arch::tables::WATCHDOG;
use crate::arch::traps::Frame;

const DIVIDE: u64 = 0;
const UNDEFINED: u64 = 6;
const PAGE_FAULT: u64 = 14;

/// Bits of a page fault's error: it was a write; it was the fetch of an instruction.
const WROTE: u64 = 2;
const FETCHED: u64 = 16;

/// Deals with what has come. False where the machine is to die of it.
pub(crate) fn take(frame: &mut Frame) -> bool {
    match frame.vector {
        v if v == WATCHDOG.into() => {
            if let Some(instead) = watchdog::came(frame.rip, frame.rsp) {
                frame.rip = instead;
            }
            if !watchdog::watches() {
                // The tick was on its way when the machine went to sleep: it is awake
                // now, and takes no interrupt where it does not wait for one. One of a
                // device would not be told to have ended, and be the last.
                frame.disable_interrupts();
            }
            lapic::end_of_interrupt();
            true
        }
        PAGE_FAULT => {
            let at = Cr2::read_raw();
            if frame.error & FETCHED == 0 && rooms::touched(at, frame.error & WROTE != 0) {
                return true;
            }
            failed(frame, Some(at))
        }
        DIVIDE | UNDEFINED => failed(frame, None),
        _ => false,
    }
}

/// An instruction of an atom's cannot be carried out. wasmtime goes on where it called
/// the atom, and what it leaves behind on this stack is of no use to anybody.
fn failed(frame: &Frame, address: Option<u64>) -> bool {
    if code::holds(frame.rip) {
        platform::trap(frame.rip, frame.rbp(), address);
    }
    false
}
