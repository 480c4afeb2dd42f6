//! The page tables: physical addresses are virtual ones, and no page is both
//! writable and executable.
//!
//! Around the kernel and at ragged ends pages are 4 KiB, elsewhere 2 MiB. The
//! tables are static, and are the boot code's own, changed in place. What is not
//! named here is not mapped: page 0, the firmware, the guard under each stack.

use core::cell::UnsafeCell;

use x86_64::registers::control::{Cr3, Cr4, Cr4Flags};

use super::stacks;
use crate::logic::ram::{PAGE, REGIONS, Ram, Region};
use heapless::Vec;

const PRESENT: u64 = 1;
const WRITE: u64 = 2;
const UNCACHED: u64 = 0x18;
const LARGE: u64 = 0x80;
const NO_EXECUTE: u64 = 1 << 63;

/// Readable and executable.
const CODE: u64 = PRESENT;
/// Readable.
const CONST: u64 = PRESENT | NO_EXECUTE;
/// Readable and writable.
const DATA: u64 = PRESENT | WRITE | NO_EXECUTE;
/// Registers of devices.
const DEVICE: u64 = DATA | UNCACHED;
/// A table below a table.
const TABLE: u64 = PRESENT | WRITE;

const CHUNK: u64 = 2 << 20;
const GIB: u64 = 1 << 30;

type Table = [u64; 512];

/// Chunks that the kernel may lie in.
#[cfg(not(feature = "atoms"))]
const KERNEL: usize = 1;
#[cfg(feature = "atoms")]
const KERNEL: usize = 2;
/// Tables of 4 KiB pages.
const SMALL: usize = KERNEL + 2;
const ALL: usize = 6 + SMALL;

/// The two upper levels, a directory for each GiB below 4, and tables of 4 KiB
/// pages: for the chunks of the kernel, the one where the payload ends and the one
/// where memory ends.
#[repr(C, align(4096))]
pub(crate) struct Tables(UnsafeCell<[Table; ALL]>);
// SAFETY: the boot code writes it before Rust runs, then `map_all`, once.
unsafe impl Sync for Tables {}

pub(crate) static TABLES: Tables = Tables(UnsafeCell::new([[0; 512]; ALL]));

/// Where the parts of the image lie; from the linker script and the payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image {
    pub(crate) text: u64,
    pub(crate) rodata: u64,
    pub(crate) data: u64,
    pub(crate) end: u64,
    pub(crate) payload_end: u64,
}

/// The uppermost table, for what lies beyond the first 4 GiB.
#[cfg(feature = "atoms")]
pub(crate) fn root() -> *mut u64 {
    TABLES.0.get().cast()
}

/// Makes the first GiB's 2 MiB around an address readable, before `map_all`.
/// Says whether that could be done.
pub(crate) fn reach(address: u64, size: u64) -> bool {
    let Some(end) = address.checked_add(size).filter(|e| *e <= GIB) else { return false };
    // SAFETY: no other reference into the tables is alive.
    let tables = unsafe { &mut *TABLES.0.get() };
    let [_, _, directory, ..] = tables;
    let chunks = directory.iter_mut().enumerate().skip((address / CHUNK) as usize);
    for (n, entry) in chunks.take_while(|(n, _)| (*n as u64) * CHUNK < end) {
        if *entry == 0 {
            *entry = (n as u64 * CHUNK) | CONST | LARGE;
        }
    }
    true
}

/// Makes the first GiB's 2 MiB around an address writable too, before `map_all`. Says
/// whether that could be done.
#[cfg(feature = "atoms")]
pub(crate) fn reach_to_write(address: u64, size: u64) -> bool {
    if !reach(address, size) {
        return false;
    }
    // SAFETY: no other reference into the tables is alive.
    let [_, _, directory, ..] = unsafe { &mut *TABLES.0.get() };
    let chunks = (address / CHUNK) as usize..=((address + size) / CHUNK) as usize;
    for (_, entry) in directory.iter_mut().enumerate().filter(|(n, _)| chunks.contains(n)) {
        if *entry != 0 {
            *entry |= WRITE;
        }
    }
    let (frame, flags) = Cr3::read();
    // SAFETY: the tables map all that they did.
    unsafe { Cr3::write(frame, flags) };
    true
}

/// 2 MiB of addresses that are not the machine's own memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outside {
    /// An address in them.
    pub(crate) at: u64,
    /// They are registers, not memory that somebody else has too.
    pub(crate) registers: bool,
}

/// Maps memory, what lies outside of it and the image for good, and gives the memory that is
/// left for the heap.
pub(crate) fn map_all(ram: &Ram, image: Image, outside: &[Outside]) -> Vec<Region, REGIONS> {
    let mut heap = ram.heap(image.text, image.payload_end);
    for region in &mut heap {
        // A ragged end above 1 GiB is not mapped.
        if region.end > GIB {
            region.end &= !(CHUNK - 1);
        }
    }
    // SAFETY: no other reference into the tables is alive.
    let [_, gibs, d0, d1, d2, d3, small @ ..] = unsafe { &mut *TABLES.0.get() };
    // What the kernel itself lies in is in use, with these tables.
    for entry in d0.iter_mut().skip(KERNEL) {
        *entry = 0;
    }
    let mut map = Map { directories: [d0, d1, d2, d3], small, used: [None; SMALL] };
    for region in &heap {
        map.range(region.start, region.end, DATA);
    }
    map.range(image.text, image.rodata, CODE);
    map.range(image.rodata, image.data, CONST);
    map.range(image.data, image.end, DATA);
    map.range(image.end, image.payload_end, CONST);
    for (guard, _) in stacks::guards() {
        map.range(guard, guard + PAGE, 0);
    }
    for Outside { at, registers } in outside {
        let at = at & !(CHUNK - 1);
        map.range(at, at + CHUNK, if *registers { DEVICE } else { DATA });
    }
    let Map { directories, small, used } = map;
    for (entry, directory) in gibs.iter_mut().zip(&directories) {
        *entry = directory.as_ptr() as u64 | TABLE;
    }
    let [d0, ..] = directories;
    // A chunk that the kernel does not reach into, and nothing else does, was the boot's.
    for (n, entry) in d0.iter_mut().enumerate().take(KERNEL).skip(1) {
        if *entry & (PRESENT | WRITE | NO_EXECUTE) == PRESENT | WRITE && !used.contains(&Some(n)) {
            *entry = 0;
        }
    }
    for (table, chunk) in small.iter().zip(used) {
        if let Some(entry) = chunk.and_then(|c| d0.get_mut(c)) {
            *entry = table.as_ptr() as u64 | TABLE;
        }
    }
    let (frame, flags) = Cr3::read();
    // SAFETY: the tables map all that is in use where it was.
    unsafe { Cr3::write(frame, flags) };
    if core::arch::x86_64::__cpuid_count(7, 0).ebx & 1 << 7 != 0 {
        // SAFETY: there are no user pages, so nothing that is executed is affected.
        unsafe { Cr4::update(|cr4| cr4.insert(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION)) };
    }
    heap
}

struct Map<'a> {
    directories: [&'a mut Table; 4],
    small: &'a mut [Table],
    /// The chunks, all of the first GiB, that the small tables are for.
    used: [Option<usize>; SMALL],
}

impl Map<'_> {
    fn range(&mut self, mut at: u64, end: u64, flags: u64) {
        while at < end {
            let next = (at / CHUNK + 1) * CHUNK;
            if at.is_multiple_of(CHUNK) && next <= end {
                let directory = self.directories.get_mut((at / GIB) as usize);
                if let Some(entry) = directory.and_then(|d| d.get_mut((at % GIB / CHUNK) as usize))
                {
                    *entry = at | flags | LARGE;
                }
            } else if at < GIB {
                let pages = (next.min(end) - at) / PAGE;
                if let Some(table) = self.table((at / CHUNK) as usize) {
                    let entries = table.iter_mut().skip((at % CHUNK / PAGE) as usize);
                    for (n, entry) in entries.take(pages as usize).enumerate() {
                        *entry = if flags == 0 { 0 } else { (at + n as u64 * PAGE) | flags };
                    }
                }
            }
            at = next;
        }
    }

    /// The table of 4 KiB pages for a chunk of the first GiB.
    fn table(&mut self, chunk: usize) -> Option<&mut Table> {
        let known = self.used.iter().position(|u| *u == Some(chunk));
        let slot = known.or_else(|| self.used.iter().position(Option::is_none))?;
        *self.used.get_mut(slot)? = Some(chunk);
        self.small.get_mut(slot)
    }
}
