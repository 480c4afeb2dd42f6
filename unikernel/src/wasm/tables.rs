//! Page tables above the first 4 GiB: made on demand, of frames of the heap.
//!
//! The kernel's own tables ([`crate::arch::paging`]) map memory where it is and never
//! change again. Everything here hangs below other entries of the same root.

use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;
use core::arch::asm;
use core::ops::Range;

use crate::arch::paging;
use crate::logic::ram::PAGE;

pub(super) const PRESENT: u64 = 1;
pub(super) const WRITE: u64 = 2;
/// Set by the processor when it writes.
pub(super) const DIRTY: u64 = 1 << 6;
/// Ours: the frame is this page's alone, and is given back with it.
pub(super) const OWN: u64 = 1 << 9;
pub(super) const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What a table of each level covers with one entry, below the root's.
const LEVELS: [u64; 3] = [1 << 39, 1 << 30, 1 << 21];

const FRAME: Layout = match Layout::from_size_align(PAGE as usize, PAGE as usize) {
    Ok(layout) => layout,
    Err(_) => panic!("a page is a layout"),
};

/// A frame of the heap, with whatever is in it.
pub(super) fn frame() -> Option<u64> {
    // SAFETY: the layout is not empty.
    let block = unsafe { alloc(FRAME) };
    (!block.is_null()).then_some(block as u64)
}

/// Gives a frame back.
///
/// # Safety
/// It came from [`frame`], and nothing refers to it any more.
pub(super) unsafe fn free(frame: u64) {
    // SAFETY: says the caller.
    unsafe { dealloc(frame as *mut u8, FRAME) };
}

/// The frame that an entry names.
pub(super) fn frame_of(entry: u64) -> u64 {
    entry & ADDRESS
}

fn index(at: u64, covers: u64) -> usize {
    (at / covers % 512) as usize
}

/// The entry of a page, and the tables above it where they are wanted.
///
/// The pointer is good until the tables of that range are given back.
pub(super) fn entry(at: u64, make: bool) -> Option<*mut u64> {
    let mut table = paging::root();
    for covers in LEVELS {
        // SAFETY: a table has 512 entries, and only this flow of control writes them.
        let entry = unsafe { table.add(index(at, covers)) };
        // SAFETY: as above.
        if unsafe { *entry } & PRESENT == 0 {
            if !make {
                return None;
            }
            let new = frame()?;
            // SAFETY: a fresh frame; memory is mapped where it is.
            unsafe {
                (new as *mut u8).write_bytes(0, PAGE as usize);
                *entry = new | PRESENT | WRITE;
            }
        }
        // SAFETY: as above.
        table = frame_of(unsafe { *entry }) as *mut u64;
    }
    // SAFETY: as above.
    Some(unsafe { table.add(index(at, PAGE)) })
}

/// Calls a function with every page of a range that is there, and its entry.
pub(super) fn each(range: Range<u64>, mut f: impl FnMut(u64, &mut u64)) {
    let mut at = range.start;
    while at < range.end {
        let next = ((at >> 21) + 1) << 21;
        let Some(first) = entry(at, false) else {
            at = skip(at).max(next);
            continue;
        };
        let end = next.min(range.end);
        for n in 0..(end - at) / PAGE {
            // SAFETY: the entries up to `next` are in the same table; `f` has the only
            // reference.
            let entry = unsafe { &mut *first.add(n as usize) };
            if *entry & PRESENT != 0 {
                f(at + n * PAGE, entry);
            }
        }
        at = end;
    }
}

/// Where to look next when there is no table for an address: rooms are mostly empty.
fn skip(at: u64) -> u64 {
    let mut table = paging::root();
    for covers in LEVELS {
        // SAFETY: as in `entry`.
        let entry = unsafe { *table.add(index(at, covers)) };
        if entry & PRESENT == 0 {
            return (at / covers + 1) * covers;
        }
        table = frame_of(entry) as *mut u64;
    }
    at
}

/// Gives back the tables of whole GiB, whose pages are gone.
pub(super) fn drop_tables(range: Range<u64>) {
    for gib in (range.start..range.end).step_by(1 << 30) {
        let mut table = paging::root();
        // SAFETY: as in `entry`. The lowest table but one of this GiB is unlinked, with
        // those below it, before they are given back; none has pages any more.
        unsafe {
            let root = *table.add(index(gib, LEVELS[0]));
            if root & PRESENT == 0 {
                continue;
            }
            table = frame_of(root) as *mut u64;
            let entry = table.add(index(gib, LEVELS[1]));
            if *entry & PRESENT == 0 {
                continue;
            }
            let directory = frame_of(*entry);
            *entry = 0;
            for n in 0..512 {
                let small = *(directory as *const u64).add(n);
                if small & PRESENT != 0 {
                    free(frame_of(small));
                }
            }
            free(directory);
        }
    }
    flush();
}

/// Forgets what the processor remembers of one page.
pub(super) fn forget(at: u64) {
    // SAFETY: it only forgets.
    unsafe { asm!("invlpg [{}]", in(reg) at, options(nostack, preserves_flags)) };
}

/// Forgets all that the processor remembers.
pub(super) fn flush() {
    // SAFETY: the same tables again.
    unsafe {
        asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack, preserves_flags));
    }
}
