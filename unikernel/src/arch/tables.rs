//! The descriptor tables: segments, the task state with its stacks, the gates.
//!
//! All flat and all constant but for addresses. The gates cover the processor's
//! 32 exceptions and the three interrupts that exist here; any other vector has
//! no gate and would show as a general protection fault.

use core::cell::UnsafeCell;

use x86_64::PrivilegeLevel;
use x86_64::VirtAddr;
use x86_64::instructions::tables::{lidt, load_tss};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::{Descriptor, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;

use super::stacks::{self, Ist};
use super::traps;

/// Code at 8, data at 16, the task state at 24.
#[repr(C, align(8))]
pub(crate) struct Gdt(UnsafeCell<[u64; 5]>);
// SAFETY: written once, at boot, before the processor reads the entry.
unsafe impl Sync for Gdt {}

pub(crate) static GDT: Gdt =
    Gdt(UnsafeCell::new([0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0, 0]));
pub(crate) const GDT_LIMIT: u16 = 39;

struct Tss(UnsafeCell<TaskStateSegment>);
// SAFETY: the processor reads it; Rust writes it at boot and in `break_faults`.
unsafe impl Sync for Tss {}
static TSS: Tss = Tss(UnsafeCell::new(TaskStateSegment::new()));

#[cfg(not(feature = "atoms"))]
const GATES: usize = 48;
#[cfg(feature = "atoms")]
const GATES: usize = 49;

/// One gate: two words.
#[repr(C, align(16))]
struct Idt(UnsafeCell<[[u64; 2]; GATES]>);
// SAFETY: written once, at boot, before it is loaded.
unsafe impl Sync for Idt {}
static IDT: Idt = Idt(UnsafeCell::new([[0; 2]; GATES]));

/// The vector of devices' interrupts.
pub(crate) const DEVICE: u8 = 32;
/// The vector of the timer.
pub(crate) const TIMER: u8 = 33;
/// The vector of an interrupt that was withdrawn while it was delivered.
pub(crate) const SPURIOUS: u8 = 47;

/// The vector of the timer while an atom runs: of a higher priority than all above.
#[cfg(feature = "atoms")]
pub(crate) const WATCHDOG: u8 = 48;

/// Loads all of them. From here on a fault is recorded.
pub(crate) fn load() {
    // SAFETY: called once, at boot; nothing else refers to the three tables,
    // and what they name (handlers, stacks) is there for good.
    unsafe {
        let tss = &mut *TSS.0.get();
        let mut table = [VirtAddr::zero(); 7];
        for (entry, top) in table.iter_mut().zip(stacks::tops()) {
            *entry = VirtAddr::new_truncate(top);
        }
        tss.interrupt_stack_table = table;
        if let Descriptor::SystemSegment(low, high) = Descriptor::tss_segment_unchecked(TSS.0.get())
        {
            let gdt = &mut *GDT.0.get();
            gdt[3] = low;
            gdt[4] = high;
        }
        load_tss(SegmentSelector::new(3, PrivilegeLevel::Ring0));

        let idt = &mut *IDT.0.get();
        for (vector, gate) in idt.iter_mut().enumerate() {
            *gate = match vector as u8 {
                8 => entry(traps::exception(vector), Ist::Double),
                2 => entry(traps::exception(vector), Ist::Nmi),
                0..32 => entry(traps::exception(vector), Ist::Fault),
                DEVICE => entry(traps::device(), Ist::Interrupt),
                TIMER => entry(traps::timer(), Ist::Interrupt),
                SPURIOUS => entry(traps::spurious(), Ist::Interrupt),
                #[cfg(feature = "atoms")]
                WATCHDOG => entry(traps::watchdog(), Ist::Interrupt),
                _ => continue,
            };
        }
        lidt(&DescriptorTablePointer {
            limit: size_of::<Idt>() as u16 - 1,
            base: VirtAddr::new_truncate(IDT.0.get() as u64),
        });
    }
}

/// An interrupt gate: present, ring 0, interrupts off.
const fn entry(handler: u64, ist: Ist) -> [u64; 2] {
    let low = (handler & 0xffff)
        | 8 << 16
        | (ist as u64) << 32
        | 0x8e << 40
        | (handler >> 16 & 0xffff) << 48;
    [low, handler >> 32]
}

/// Takes the fault stack away, so that the next fault cannot be delivered.
pub(crate) fn break_faults() {
    // SAFETY: the processor reads the entry when it delivers a fault; page 0 is
    // not mapped, so that delivery faults in turn, on the double fault's stack.
    unsafe {
        let entry = &raw mut (*TSS.0.get()).interrupt_stack_table;
        entry.cast::<VirtAddr>().write_unaligned(VirtAddr::new_truncate(0x800));
    }
}
