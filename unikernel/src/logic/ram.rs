//! Which memory is ours: the host's map, cut down to what the kernel may use.
//!
//! The map is a claim. What is taken from it lies below 4 GiB, begins and ends
//! on pages, and is none of page 0 (where a null pointer must fault), the
//! firmware's area below 1 MiB, or the kernel and its payload.

use heapless::Vec;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Regions of memory that are kept track of; further ones are not used.
pub const REGIONS: usize = 4;

/// A range of physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The first address.
    pub start: u64,
    /// The first address behind it.
    pub end: u64,
}

/// The machine's memory as the kernel uses it.
#[derive(Clone, Debug, Default)]
pub struct Ram {
    /// Usable regions, in the order of the map.
    pub regions: Vec<Region, REGIONS>,
    /// Bytes that are there but out of reach, above 4 GiB.
    pub ignored: u64,
}

impl Ram {
    /// Adds a usable region of the host's map.
    pub fn add(&mut self, start: u64, size: u64) {
        const LIMIT: u64 = 1 << 32;
        let Some(end) = start.checked_add(size) else { return };
        self.ignored += end.saturating_sub(start.max(LIMIT));
        let start = start.max(PAGE).next_multiple_of(PAGE);
        let end = end.min(LIMIT) & !(PAGE - 1);
        if start < end {
            // A fifth region is memory that stays unused, which harms nobody.
            let _ = self.regions.push(Region { start, end });
        }
    }

    /// The region that holds an address.
    pub fn around(&self, address: u64) -> Option<Region> {
        self.regions.iter().copied().find(|r| (r.start..r.end).contains(&address))
    }

    /// What is left for the heap when everything from `from` up to `to` is taken:
    /// first what follows `to`, then the rest.
    pub fn heap(&self, from: u64, to: u64) -> Vec<Region, REGIONS> {
        let mut out = Vec::new();
        for last in [false, true] {
            for r in &self.regions {
                let holds = (r.start..r.end).contains(&from);
                let free = if holds { Region { start: to, end: r.end } } else { *r };
                if holds != last && free.start < free.end {
                    let _ = out.push(free);
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::{Ram, Region};

    #[test]
    fn a_small_machine() {
        let mut ram = Ram::default();
        ram.add(0, 0x9fc00);
        ram.add(0x10_0000, 0x10_0000);
        assert_eq!(
            ram.regions.as_slice(),
            [Region { start: 0x1000, end: 0x9f000 }, Region { start: 0x10_0000, end: 0x20_0000 },]
        );
        assert_eq!(ram.around(0x15_0000), Some(Region { start: 0x10_0000, end: 0x20_0000 }));
        assert_eq!(ram.around(0x20_0000), None);
        assert_eq!(
            ram.heap(0x10_0000, 0x16_0000).as_slice(),
            [Region { start: 0x16_0000, end: 0x20_0000 }, Region { start: 0x1000, end: 0x9f000 },]
        );
        assert_eq!(ram.heap(0x10_0000, 0x20_0000).len(), 1);
    }

    #[test]
    fn what_lies_above_4_gib_or_wraps_is_not_ours() {
        let mut ram = Ram::default();
        ram.add(0x10_0000, 1 << 33);
        ram.add(1 << 32, 1 << 20);
        ram.add(u64::MAX - 10, 20);
        ram.add(5, 10);
        assert_eq!(ram.regions.as_slice(), [Region { start: 0x10_0000, end: 1 << 32 }]);
        assert_eq!(ram.ignored, (1 << 33) + 0x10_0000 - (1 << 32) + (1 << 20));
    }
}
