//! What is where in the room of a linear memory.
//!
//! wasmtime asks for a large run of addresses and says, piece by piece, what may be
//! done with it. An [`Areas`] remembers that, so that a page is only made when it is
//! first touched. Addresses are counted from the start of the room, and are of whole
//! pages.

use core::ops::Range;

extern crate alloc;
use alloc::vec::Vec;

/// What a page is made of when it is first touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<I> {
    /// Zeroes.
    Zero,
    /// A copy of an image's page: the image, and where in it the area begins.
    Image(I, u64),
}

/// A run of pages that may be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area<I> {
    /// Where it lies.
    pub at: Range<u64>,
    /// Whether it may be written.
    pub write: bool,
    /// What is in it.
    pub content: Content<I>,
}

/// The areas of a room, in order; what is in none must not be touched.
#[derive(Clone, Debug)]
pub struct Areas<I>(Vec<Area<I>>);

impl<I: Clone + PartialEq> Areas<I> {
    /// A room in which nothing may be touched.
    pub const fn new() -> Areas<I> {
        Areas(Vec::new())
    }

    /// The area of an address.
    pub fn find(&self, at: u64) -> Option<&Area<I>> {
        let next = self.0.partition_point(|a| a.at.start <= at);
        self.0.get(next.checked_sub(1)?).filter(|a| a.at.contains(&at))
    }

    /// Bytes that may be written.
    pub fn writable(&self) -> u64 {
        self.0.iter().filter(|a| a.write).map(|a| a.at.end - a.at.start).sum()
    }

    /// Takes a range out of all areas.
    pub fn clear(&mut self, range: Range<u64>) {
        self.split(range.start);
        self.split(range.end);
        self.0.retain(|a| a.at.start < range.start || a.at.end > range.end);
    }

    /// Puts an area in the place of what was there.
    pub fn put(&mut self, area: Area<I>) {
        if area.at.is_empty() {
            return;
        }
        self.clear(area.at.clone());
        let place = self.0.partition_point(|a| a.at.start < area.at.start);
        self.0.insert(place, area);
        self.join(place);
        self.join(place.wrapping_sub(1));
    }

    /// Lets a range be written, or only read. What was in no area is zeroes.
    pub fn allow(&mut self, range: Range<u64>, write: bool) {
        self.split(range.start);
        self.split(range.end);
        let mut at = range.start;
        let mut gaps = Vec::new();
        for area in &mut self.0 {
            if area.at.start >= range.start && area.at.end <= range.end {
                area.write = write;
                gaps.push(at..area.at.start);
                at = area.at.end;
            }
        }
        gaps.push(at..range.end);
        for gap in gaps {
            self.put(Area { at: gap, write, content: Content::Zero });
        }
    }

    /// Makes an address the border of two areas, if it lies inside of one.
    fn split(&mut self, at: u64) {
        let Some(place) = self.0.iter().position(|a| a.at.start < at && at < a.at.end) else {
            return;
        };
        let Some(area) = self.0.get_mut(place) else { return };
        let mut upper = area.clone();
        if let Content::Image(_, from) = &mut upper.content {
            *from += at - area.at.start;
        }
        upper.at.start = at;
        area.at.end = at;
        self.0.insert(place + 1, upper);
    }

    /// Joins an area of zeroes with a like one behind it.
    fn join(&mut self, place: usize) {
        let Some(next) = place.checked_add(1).and_then(|n| self.0.get(n)) else { return };
        let (end, next) = (next.at.end, next.clone());
        if let Some(area) = self.0.get_mut(place)
            && area.at.end == next.at.start
            && area.write == next.write
            && area.content == Content::Zero
            && next.content == Content::Zero
        {
            area.at.end = end;
            self.0.remove(place + 1);
        }
    }
}

impl<I: Clone + PartialEq> Default for Areas<I> {
    fn default() -> Areas<I> {
        Areas::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zero(at: Range<u64>, write: bool) -> Area<char> {
        Area { at, write, content: Content::Zero }
    }

    #[test]
    fn a_memory_with_an_image_that_grows() {
        let mut areas = Areas::new();
        areas.put(Area { at: 10..14, write: true, content: Content::Image('i', 0) });
        areas.allow(10..20, true);
        assert_eq!(areas.0.len(), 2);
        areas.allow(10..40, true);
        assert_eq!(areas.0.len(), 2, "zeroes beside zeroes are one area");
        assert_eq!(areas.find(9), None);
        assert_eq!(areas.find(13).map(|a| a.content.clone()), Some(Content::Image('i', 0)));
        assert_eq!(areas.find(14), Some(&zero(14..40, true)));
        assert_eq!(areas.find(40), None);
        assert_eq!(areas.writable(), 30);
        // An image's upper part knows where in the image it begins.
        areas.clear(11..12);
        assert_eq!(areas.find(11), None);
        assert_eq!(areas.find(12).map(|a| a.content.clone()), Some(Content::Image('i', 2)));
        areas.clear(0..100);
        assert_eq!(areas.0, []);
    }

    /// Random operations against a table of pages.
    #[test]
    fn areas_are_a_table_of_pages() {
        const PAGES: usize = 24;
        let mut seed = 1u64;
        let mut next = |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        let mut areas = Areas::new();
        let mut table: [Option<(bool, Content<u64>)>; PAGES] = core::array::from_fn(|_| None);
        for step in 0..20_000 {
            let start = next(PAGES as u64);
            let end = start + next(PAGES as u64 - start + 1);
            let (write, op) = (next(2) == 0, next(3));
            let pages = table.iter_mut().enumerate().skip(start as usize);
            for (i, page) in pages.take((end - start) as usize) {
                *page = match op {
                    0 => None,
                    1 => Some((write, Content::Image(step, i as u64 - start))),
                    _ => {
                        let content = page.take().map_or(Content::Zero, |p| p.1);
                        Some((write, content))
                    }
                };
            }
            match op {
                0 => areas.clear(start..end),
                1 => {
                    areas.put(Area { at: start..end, write, content: Content::Image(step, 0) });
                }
                _ => areas.allow(start..end, write),
            }
            for (i, page) in table.iter().enumerate() {
                let found = areas.find(i as u64).map(|a| match a.content {
                    Content::Zero => (a.write, Content::Zero),
                    Content::Image(image, from) => {
                        (a.write, Content::Image(image, from + i as u64 - a.at.start))
                    }
                });
                assert_eq!(found, *page, "page {i} after {step}");
            }
        }
    }
}
