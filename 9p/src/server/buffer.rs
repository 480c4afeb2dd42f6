//! Bytes on their way in or out.
//!
//! The memory behind a [`Buffer`] is cleared once, when it is got, and from then on
//! only written over: a read of 64 KiB does not first write 64 KiB of zeros.

use alloc::vec::Vec;

use super::pool::Pool;
use crate::wire::Writer;

/// What is left behind in a buffer that is lent is moved out of it up to this size.
pub(super) const SMALL: usize = 512;

/// Bytes between two places of a vector.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// What is in it.
    #[inline]
    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes of memory behind it.
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// Gives its memory back.
    pub(super) fn free(&mut self) {
        *self = Buffer::default();
    }

    /// Takes bytes from its front.
    #[inline]
    pub(super) fn take(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Says that `n` bytes were put behind its end.
    pub(super) fn put(&mut self, n: usize) {
        self.end = self.end.saturating_add(n).min(self.bytes.len());
    }

    /// Moves what is in it to the front of its memory.
    pub(super) fn compact(&mut self) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
    }

    /// Moves it when that costs no more than what was taken already.
    pub(super) fn settle(&mut self) {
        if self.start >= self.len() {
            self.compact();
        }
    }

    /// Room behind its end: so much that it could hold `want` bytes, and more up to
    /// `most` where there is memory already.
    pub(super) fn room(&mut self, want: usize, most: usize) -> &mut [u8] {
        let have = self.len();
        let moves = have <= SMALL || self.start + want > self.bytes.len();
        if want > have && moves {
            self.compact();
        }
        let need = self.start + want;
        if need > self.bytes.len() {
            self.bytes.resize(need, 0);
        }
        let to = need.max(most.min(self.bytes.len()));
        self.bytes.get_mut(self.end..to).unwrap_or_default()
    }

    /// Starts a frame behind its end.
    #[inline(never)]
    pub(super) fn frame(&mut self, ty: u8, tag: u16) -> Writer<'_> {
        Writer::within(&mut self.bytes, &mut self.end, ty, tag)
    }

    /// Gives it memory of the pool's, if it has less.
    #[inline]
    pub(super) fn lend(&mut self, pool: &mut Pool) {
        let n = self.len();
        if self.bytes.len() >= pool.size() || n > pool.size() {
            return;
        }
        let mut bytes = pool.take();
        if n > 0
            && let Some(to) = bytes.get_mut(..n)
        {
            to.copy_from_slice(self.filled());
        }
        (self.bytes, self.start, self.end) = (bytes, 0, n);
    }

    /// Gives its memory to the pool, unless much is in it.
    #[inline]
    pub(super) fn give_back(&mut self, pool: &mut Pool) {
        let n = self.len();
        if n > SMALL || self.bytes.len() < pool.size() {
            return;
        }
        let rest = if n > 0 { self.filled().to_vec() } else { Vec::new() };
        pool.put(core::mem::replace(&mut self.bytes, rest));
        (self.start, self.end) = (0, n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(b: &mut Buffer, bytes: &[u8]) {
        b.room(b.len() + bytes.len(), 0)[..bytes.len()].copy_from_slice(bytes);
        b.put(bytes.len());
    }

    #[test]
    fn what_is_put_is_taken_in_order() {
        let mut b = Buffer::default();
        put(&mut b, b"abcdef");
        b.take(2);
        put(&mut b, b"gh");
        assert_eq!(b.filled(), b"cdefgh");
        b.settle();
        b.take(4);
        b.settle();
        assert_eq!(b.filled(), b"gh");
        b.take(usize::MAX);
        assert!(b.is_empty() && b.filled().is_empty());
    }

    #[test]
    fn frames_are_written_over_old_bytes_and_only_finished_ones_count() {
        let mut b = Buffer::default();
        b.room(100, 0).fill(0xaa);
        let mut w = b.frame(9, 1);
        w.u32(7);
        w.finish();
        b.frame(10, 2).u64(3);
        assert_eq!(b.filled(), [11, 0, 0, 0, 9, 1, 0, 7, 0, 0, 0]);
        b.take(11);
        let mut w = b.frame(9, 1);
        w.fill(8, |to| {
            assert_eq!(to.len(), 8);
            to[0] = 1;
            Ok::<_, ()>((1, ()))
        })
        .unwrap();
        assert!(w.fill(8, |_| Err::<(usize, ()), _>(())).is_err());
        w.raw(&[5; 500]);
        w.finish();
        assert_eq!(b.len(), 7 + 4 + 1 + 500);
        assert_eq!(b.filled()[..12], [0, 2, 0, 0, 9, 1, 0, 1, 0, 0, 0, 1]);
    }

    #[test]
    fn memory_comes_from_the_pool_and_goes_back() {
        let mut pool = Pool::new(4096, 8192);
        let mut b = Buffer::default();
        put(&mut b, b"rest");
        b.lend(&mut pool);
        assert_eq!((b.filled(), b.held()), (&b"rest"[..], 4096));
        b.give_back(&mut pool);
        assert_eq!((b.filled(), b.held(), pool.held()), (&b"rest"[..], 4, 4096));
        b.lend(&mut pool);
        put(&mut b, &[1; 1000]);
        b.give_back(&mut pool);
        assert_eq!((b.len(), b.held(), pool.held()), (1004, 4096, 0));
        b.take(1004);
        b.give_back(&mut pool);
        assert_eq!((b.held(), pool.held()), (0, 4096));
    }
}
