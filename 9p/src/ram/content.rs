//! What is in a plain file.
//!
//! Bytes lie in pieces of a fixed size, so that a file grows without being copied and
//! a write far behind the end costs what it writes, not what it skips.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Bytes of a piece.
const PIECE: u64 = 64 << 10;
/// The largest length: that of a signed offset.
pub(super) const MAX_SIZE: u64 = i64::MAX as u64;

/// The bytes of a file. What no piece holds is zero.
#[derive(Debug, Default)]
pub(super) struct Content {
    size: u64,
    held: u64,
    /// By number; each holds at most [`PIECE`] bytes, and what it is short of is zero.
    pieces: BTreeMap<u64, Vec<u8>>,
}

/// The pieces that a range lies in: number, first and last offset inside.
fn pieces(offset: u64, len: u64) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset.saturating_add(len);
    (offset / PIECE..end.div_ceil(PIECE)).map(move |n| {
        let start = n * PIECE;
        let from = offset.saturating_sub(start);
        (n, from as usize, (end - start).min(PIECE) as usize)
    })
}

impl Content {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of memory that count.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// How many more bytes would be held after a write there.
    pub(super) fn growth(&self, offset: u64, len: u64) -> u64 {
        let grows = |(n, _, end): (u64, usize, usize)| {
            end.saturating_sub(self.pieces.get(&n).map_or(0, Vec::len)) as u64
        };
        if len == 0 { 0 } else { pieces(offset, len).map(grows).sum() }
    }

    pub(super) fn write(&mut self, offset: u64, mut data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let end = offset + data.len() as u64;
        for (n, from, to) in pieces(offset, data.len() as u64) {
            let piece = self.pieces.entry(n).or_default();
            if piece.len() < to {
                self.held += (to - piece.len()) as u64;
                piece.resize(to, 0);
            }
            let (here, rest) = data.split_at(to - from);
            if let Some(room) = piece.get_mut(from..to) {
                room.copy_from_slice(here);
            }
            data = rest;
        }
        self.size = self.size.max(end);
    }

    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let n = self.size.saturating_sub(offset).min(buf.len() as u64);
        let mut rest = buf.get_mut(..n as usize).unwrap_or_default();
        for (number, from, to) in pieces(offset, n) {
            let (room, after) = rest.split_at_mut(to - from);
            rest = after;
            let piece = self.pieces.get(&number).map_or(&[][..], |p| p);
            let there = piece.get(from..to.min(piece.len())).unwrap_or_default();
            let (data, zeros) = room.split_at_mut(there.len());
            data.copy_from_slice(there);
            zeros.fill(0);
        }
        n as usize
    }

    /// Cuts the file, or lets it end with zeros.
    pub(super) fn resize(&mut self, size: u64) {
        if size < self.size {
            let gone = self.pieces.split_off(&size.div_ceil(PIECE));
            self.held -= gone.values().map(|p| p.len() as u64).sum::<u64>();
            if let Some(piece) = self.pieces.get_mut(&(size / PIECE)) {
                let keep = (size % PIECE) as usize;
                self.held -= piece.len().saturating_sub(keep) as u64;
                piece.truncate(keep);
                piece.shrink_to_fit();
            }
        }
        self.size = size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_file_is_a_row_of_bytes(
            ops in prop::collection::vec((0..3u8, 0..300_000u64, 0..140_000usize, any::<u8>()), 1..20),
        ) {
            let (mut c, mut model) = (Content::default(), Vec::<u8>::new());
            for (op, at, n, fill) in ops {
                match op {
                    0 => {
                        let before = c.held();
                        let grows = c.growth(at, n as u64);
                        c.write(at, &alloc::vec![fill; n]);
                        prop_assert_eq!(c.held(), before + grows);
                        if n > 0 {
                            let end = at as usize + n;
                            model.resize(model.len().max(end), 0);
                            model[at as usize..end].fill(fill);
                        }
                    }
                    1 => {
                        c.resize(at);
                        model.resize(at as usize, 0);
                    }
                    _ => {
                        let mut buf = alloc::vec![7; n];
                        let got = c.read(at, &mut buf);
                        let from = (at as usize).min(model.len());
                        let want = &model[from..(from + n).min(model.len())];
                        prop_assert!(&buf[..got] == want);
                    }
                }
                prop_assert_eq!(c.size(), model.len() as u64);
                prop_assert_eq!(c.held(), c.pieces.values().map(|p| p.len() as u64).sum::<u64>());
                prop_assert!(c.held() <= c.size());
            }
        }
    }

    #[test]
    fn a_hole_costs_nothing() {
        let mut c = Content::default();
        c.write(1 << 40, b"x");
        assert!(c.held() <= PIECE && c.size() == (1 << 40) + 1);
        c.resize(MAX_SIZE);
        let mut buf = [1; 9];
        assert_eq!((c.read(MAX_SIZE - 4, &mut buf), &buf[..4]), (4, &[0; 4][..]));
    }
}
