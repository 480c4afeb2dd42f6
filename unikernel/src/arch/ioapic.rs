//! The I/O APIC: brings a device's line to the processor.

use super::tables::DEVICE;

const SELECT: *mut u32 = 0xfec0_0000 as *mut u32;
const WINDOW: *mut u32 = 0xfec0_0010 as *mut u32;

const LEVEL: u32 = 1 << 15;

/// Routes an input to the first processor. Level, not edge: a device that wants
/// attention while it is being attended to then asks again by itself.
pub(crate) fn route(line: u8) {
    let entry = 0x10 + 2 * u32::from(line);
    // SAFETY: the page is mapped uncached; the registers are the I/O APIC's, and
    // one that does not exist takes the write without effect.
    unsafe {
        SELECT.write_volatile(entry + 1);
        WINDOW.write_volatile(0);
        SELECT.write_volatile(entry);
        WINDOW.write_volatile(LEVEL | u32::from(DEVICE));
    }
}
