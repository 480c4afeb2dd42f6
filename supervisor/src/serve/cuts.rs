//! Lines of gaps that a reader takes in parts.
//!
//! A gap in a log is a line that is in no file: `gap N`. Who reads fewer bytes than that at
//! a time gets the rest of it with the next reads. Until then the place of such a reader is no
//! position but the number of what is kept here, and what is kept is the line as it was
//! when it began: the gap may have grown meanwhile.

use std::collections::BTreeMap;

use atoll_9p::tree::slice_at;

/// In a place that is the number of a line.
const CUT: u64 = 1 << 63;
/// The last place that is a position.
pub const LAST: u64 = CUT - 1;

/// Lines that were begun.
#[derive(Debug, Default)]
pub struct Cuts {
    last: u64,
    /// What is left to be read, and the position behind it.
    lines: BTreeMap<u64, (Vec<u8>, u64)>,
}

impl Cuts {
    /// A gap of `n` bytes begins at a place: how much of its line was read.
    pub fn begin(&mut self, place: &mut u64, n: u64, buf: &mut [u8]) -> usize {
        self.last += 1;
        let line = format!("gap {n}\n").into_bytes();
        self.lines.insert(self.last, (line, place.saturating_add(n).min(LAST)));
        *place = CUT | self.last;
        self.read(place, buf).unwrap_or_default()
    }

    /// How much was read of the rest of a line, if one was begun.
    pub fn read(&mut self, place: &mut u64, buf: &mut [u8]) -> Option<usize> {
        let number = *place & LAST;
        let (line, next) = self.lines.get_mut(&number).filter(|_| *place > LAST)?;
        let n = slice_at(line, 0, buf);
        line.drain(..n);
        if line.is_empty() {
            *place = *next;
            self.lines.remove(&number);
        }
        Some(n)
    }

    /// Nobody reads on at a place.
    pub fn end(&mut self, place: u64) {
        if place > LAST {
            self.lines.remove(&(place & LAST));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whole_however_small_the_reads_are() {
        for size in 1..20 {
            let (mut cuts, mut place, mut buf) = (Cuts::default(), 7, vec![0; size]);
            assert_eq!(cuts.read(&mut place, &mut buf), None);
            let mut all = Vec::new();
            let n = cuts.begin(&mut place, 12345, &mut buf);
            all.extend(&buf[..n]);
            while let Some(n) = cuts.read(&mut place, &mut buf) {
                all.extend(&buf[..n]);
            }
            assert_eq!((&*all, place), (&b"gap 12345\n"[..], 12_352), "{size}");
            assert!(cuts.lines.is_empty());
        }
    }

    #[test]
    fn readers_do_not_disturb_each_other_and_leave_nothing() {
        let (mut cuts, mut buf) = (Cuts::default(), [0; 4]);
        let mut places = [1, 1, u64::MAX];
        assert_eq!(cuts.begin(&mut places[0], 5, &mut buf), 4);
        assert_eq!(cuts.begin(&mut places[1], 6, &mut buf), 4);
        assert_eq!(cuts.read(&mut places[2], &mut buf), None);
        assert_eq!((cuts.read(&mut places[1], &mut buf), &buf[..2]), (Some(2), &b"6\n"[..]));
        cuts.end(places[0]);
        cuts.end(places[1]);
        assert_eq!((places[1], cuts.lines.len()), (7, 0));
    }
}
