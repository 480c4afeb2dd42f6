//! The guest's memory is counted where it is handed out.
//!
//! A limit of the system would end the process at some later page fault, with no
//! word about why. So the allocator itself refuses what goes beyond the guest's
//! memory: what can do without goes on, and what cannot ends in a record that says
//! out of memory. (The system's limit stays behind it, as the second wall.)

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// An allocator that counts, and refuses what goes beyond a budget.
#[derive(Debug)]
pub struct Counting {
    used: AtomicU64,
    peak: AtomicU64,
    budget: AtomicU64,
    refused: AtomicU64,
}

impl Default for Counting {
    fn default() -> Counting {
        Counting::new()
    }
}

impl Counting {
    /// An allocator without a budget.
    pub const fn new() -> Counting {
        Counting {
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            budget: AtomicU64::new(u64::MAX),
            refused: AtomicU64::new(0),
        }
    }

    /// From now on hands out at most `bytes`, besides what is in use now.
    pub fn limit(&self, bytes: u64) {
        self.budget.store(self.used().saturating_add(bytes), Relaxed);
    }

    /// Bytes handed out now.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// The most bytes that were handed out at one time.
    pub fn peak(&self) -> u64 {
        self.peak.load(Relaxed)
    }

    /// The size of the last allocation that was refused; 0 when none was.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let used = self.used.fetch_add(bytes, Relaxed).saturating_add(bytes);
        if used > self.budget.load(Relaxed) {
            self.give(bytes as usize);
            self.refused.store(bytes.max(1), Relaxed);
            return false;
        }
        if used > self.peak.load(Relaxed) {
            self.peak.store(used, Relaxed);
        }
        true
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes as u64, Relaxed);
    }
}

// SAFETY: every call goes on to the system's allocator with the layout it came
// with; refusing is answering null, which the trait allows.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !self.take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise about the layout is passed on.
        let p = unsafe { System.alloc(layout) };
        if p.is_null() {
            self.give(layout.size());
            self.refused.store(layout.size() as u64, Relaxed);
        }
        p
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !self.take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise about the layout is passed on.
        let p = unsafe { System.alloc_zeroed(layout) };
        if p.is_null() {
            self.give(layout.size());
            self.refused.store(layout.size() as u64, Relaxed);
        }
        p
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: `p` came from the system's allocator, with this layout.
        unsafe { System.dealloc(p, layout) };
        self.give(layout.size());
    }

    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let more = size.saturating_sub(layout.size());
        if more > 0 && !self.take(more) {
            return std::ptr::null_mut();
        }
        // SAFETY: `p` came from the system's allocator, with this layout, and the
        // caller promises that the size is a good one.
        let new = unsafe { System.realloc(p, layout, size) };
        if new.is_null() {
            self.give(more);
            self.refused.store(size as u64, Relaxed);
        } else {
            self.give(layout.size().saturating_sub(size));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_beyond_the_budget_is_refused_and_nothing_is_lost() {
        let counting = Counting::new();
        let layout = Layout::from_size_align(1000, 8).unwrap();
        counting.limit(3000);
        // SAFETY: the layouts are not empty, and each block is given back as it was got.
        unsafe {
            let a = counting.alloc(layout);
            let b = counting.realloc(a, layout, 2500);
            assert!(!b.is_null() && counting.used() == 2500);
            assert!(counting.alloc(layout).is_null());
            assert_eq!((counting.refused(), counting.used()), (1000, 2500));
            let big = Layout::from_size_align(2500, 8).unwrap();
            assert!(counting.realloc(b, big, 4000).is_null());
            let c = counting.realloc(b, big, 10);
            counting.dealloc(c, Layout::from_size_align(10, 8).unwrap());
        }
        assert_eq!((counting.used(), counting.peak()), (0, 2500));
    }
}
