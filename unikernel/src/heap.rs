//! The heap: a buddy allocator that is given memory only when it needs it.
//!
//! The allocator keeps its lists inside free blocks, so a page it owns is a page
//! it may write. It therefore starts with nothing and is handed the next piece
//! of a region when it runs short: memory beyond the frontier is never touched,
//! costs the host nothing, and need not be copied when a guest is moved.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

use atoll_runtime::platform::Memory;
use buddy_system_allocator::Heap;
use heapless::Vec;

use crate::arch::Lone;
use crate::logic::ram::{PAGE, REGIONS, Region};

/// The least that is handed out at a time, in bytes.
const STEP: usize = 16 << 10;
/// Blocks of up to 2^(ORDER - 1) bytes: 2 GiB.
const ORDER: usize = 32;

struct State {
    heap: Heap<ORDER>,
    /// What was never handed out.
    untouched: Vec<Region, REGIONS>,
    total: u64,
    peak: u64,
    /// Set aside for pages of atoms that were not touched yet.
    #[cfg(feature = "atoms")]
    reserved: u64,
    /// The size that could not be had last.
    failed: Option<usize>,
}

static STATE: Lone<State> = Lone::new(State {
    heap: Heap::empty(),
    untouched: Vec::new(),
    total: 0,
    peak: 0,
    #[cfg(feature = "atoms")]
    reserved: 0,
    failed: None,
});

struct Kernel;

#[global_allocator]
static KERNEL: Kernel = Kernel;

/// Gives the heap its memory.
///
/// # Safety
/// The regions are mapped, writable, and used by nothing else.
pub(crate) unsafe fn give(regions: Vec<Region, REGIONS>) {
    STATE.with(|s| {
        s.total = regions.iter().map(|r| r.end - r.start).sum();
        s.untouched = regions;
    });
}

/// Figures for the guest's tree.
pub(crate) fn memory() -> Memory {
    STATE
        .with(|s| Memory { total: s.total, used: s.heap.stats_alloc_actual() as u64, peak: s.peak })
        .unwrap_or_default()
}

/// The size that an allocation failed for last.
pub(crate) fn failed() -> Option<usize> {
    STATE.with(|s| s.failed).flatten()
}

/// Whole pages for good, for a device: they hold whatever the machine's memory
/// held, and are not cleared, which would cost more than all else at boot.
pub(crate) fn pages(bytes: usize) -> Option<&'static mut [u8]> {
    let layout =
        Layout::from_size_align(bytes.next_multiple_of(PAGE as usize), PAGE as usize).ok()?;
    let block = STATE.with(|s| s.alloc(layout)).flatten()?;
    // SAFETY: the block is as long as asked for, of memory that the processor has
    // always been able to read (so every byte has a value), and is never freed.
    Some(unsafe { core::slice::from_raw_parts_mut(block.as_ptr(), bytes) })
}

/// Sets bytes aside for pages that come later. False when there are not so many.
#[cfg(feature = "atoms")]
pub(crate) fn reserve(bytes: u64) -> bool {
    STATE
        .with(|s| {
            let fits = s.free() >= bytes;
            s.reserved += if fits { bytes } else { 0 };
            fits
        })
        .unwrap_or(false)
}

/// Gives back what was set aside, or is about to be used.
#[cfg(feature = "atoms")]
pub(crate) fn release(bytes: u64) {
    STATE.with(|s| s.reserved = s.reserved.saturating_sub(bytes));
}

impl State {
    /// Bytes that are neither in use nor set aside.
    #[cfg(feature = "atoms")]
    fn free(&self) -> u64 {
        self.total.saturating_sub(self.heap.stats_alloc_actual() as u64 + self.reserved)
    }

    fn alloc(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        #[cfg(feature = "atoms")]
        if self.free() < layout.size() as u64 {
            self.failed = Some(layout.size());
            return None;
        }
        let block = loop {
            if let Ok(block) = self.heap.alloc(layout) {
                break block;
            }
            if !self.grow(layout) {
                self.failed = Some(layout.size());
                return None;
            }
        };
        self.peak = self.peak.max(self.heap.stats_alloc_actual() as u64);
        Some(block)
    }

    /// Hands out what a block of that layout needs: blocks are aligned to their
    /// size, so what lies before the next such address is handed out with it.
    fn grow(&mut self, layout: Layout) -> bool {
        let Some(block) = layout.size().max(layout.align()).checked_next_power_of_two() else {
            return false;
        };
        let step = block.max(STEP);
        for region in &mut self.untouched {
            // The step if it fits, else just the block.
            for size in [step, block.max(PAGE as usize)] {
                let size = size as u64;
                let end = region.start.next_multiple_of(size).saturating_add(size);
                if end <= region.end {
                    // SAFETY: `give` promised the region, and this part of it is
                    // handed out now, once.
                    unsafe { self.heap.add_to_heap(region.start as usize, end as usize) };
                    region.start = end;
                    return true;
                }
            }
        }
        false
    }
}

// SAFETY: blocks come from a buddy allocator over memory that nothing else uses;
// none overlap, and each is at least as large and as aligned as its layout.
unsafe impl GlobalAlloc for Kernel {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        STATE.with(|s| s.alloc(layout)).flatten().map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller had the block from `alloc` with this layout.
            STATE.with(|s| unsafe { s.heap.dealloc(block, layout) });
        }
    }
}
