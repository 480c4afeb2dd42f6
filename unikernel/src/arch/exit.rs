//! The ports through which a guest leaves: the record's and the status'.
//!
//! On Xen there is a console for the one and a call for the other. Both are QEMU devices made for tests of kernels, and cost nothing until used:
//! `isa-debugcon` takes text, `isa-debug-exit` ends QEMU with status 2v + 1.

use core::fmt;

use x86_64::instructions::port::PortWriteOnly;
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;

/// The status written after a record.
pub(crate) const RECORDED: u8 = 64;

/// The debug console.
pub(crate) struct Debug;

impl fmt::Write for Debug {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        #[cfg(feature = "xen")]
        if crate::xen::console::record(s) {
            return Ok(());
        }
        let mut port = PortWriteOnly::<u8>::new(0xe9);
        for byte in s.bytes() {
            // SAFETY: the port takes bytes of text, or is not there and takes nothing.
            unsafe { port.write(byte) };
        }
        Ok(())
    }
}

/// Ends the machine.
pub(crate) fn exit(status: u8) -> ! {
    #[cfg(feature = "xen")]
    crate::xen::crash();
    // SAFETY: where the port exists this ends the machine; else it does nothing.
    unsafe { PortWriteOnly::<u8>::new(0xf4).write(status) };
    // No such port: without an interrupt table the next exception resets the
    // machine, which its host takes as the end (`-no-reboot`).
    let none = DescriptorTablePointer { limit: 0, base: x86_64::VirtAddr::zero() };
    // SAFETY: nothing runs after this, so nothing needs the table.
    unsafe {
        lidt(&none);
        core::arch::asm!("ud2", options(noreturn));
    }
}
