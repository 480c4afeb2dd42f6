//! One direction: a ring of bytes and two indices, one of which is ours.

use core::sync::atomic::{AtomicU8, Ordering};

use super::end::Lie;
use super::page::Indices;

/// Bytes that the other side may change at any time.
pub trait Bytes {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the bytes that begin at `at`; those beyond the end are not touched.
    fn read(&self, at: usize, out: &mut [u8]);

    /// Copies bytes to `at`; those beyond the end are dropped.
    fn write(&self, at: usize, bytes: &[u8]);
}

impl<T: AsRef<[AtomicU8]>> Bytes for T {
    fn len(&self) -> usize {
        self.as_ref().len()
    }

    fn read(&self, at: usize, out: &mut [u8]) {
        for (to, from) in out.iter_mut().zip(self.as_ref().iter().skip(at)) {
            *to = from.load(Ordering::Relaxed);
        }
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        for (from, to) in bytes.iter().zip(self.as_ref().iter().skip(at)) {
            to.store(*from, Ordering::Relaxed);
        }
    }
}

/// A ring that is read or written here; the length is a power of two.
#[derive(Debug)]
pub(super) struct Ring<B> {
    bytes: B,
    size: u32,
    /// Our index. What stands in the page is told, and never asked.
    pub(super) index: u32,
}

impl<B: Bytes> Ring<B> {
    /// None where the bytes are not as many as a ring has.
    pub(super) fn new(bytes: B, index: u32) -> Option<Ring<B>> {
        let size = u32::try_from(bytes.len()).ok().filter(|n| n.is_power_of_two())?;
        Some(Ring { bytes, size, index })
    }

    /// Bytes that can be read.
    pub(super) fn ready(&self, indices: &Indices) -> Result<u32, Lie> {
        let ready = indices.prod.load(Ordering::Acquire).wrapping_sub(self.index);
        if ready <= self.size { Ok(ready) } else { Err(Lie) }
    }

    /// Bytes that can be written.
    pub(super) fn room(&self, indices: &Indices) -> Result<u32, Lie> {
        let used = self.index.wrapping_sub(indices.cons.load(Ordering::Acquire));
        self.size.checked_sub(used).ok_or(Lie)
    }

    /// Reads what there is and fits.
    pub(super) fn read(&mut self, indices: &Indices, out: &mut [u8]) -> Result<usize, Lie> {
        let ready = self.ready(indices)? as usize;
        let len = ready.min(out.len());
        let (at, first) = self.first(len);
        let (near, far) = out.split_at_mut(first);
        self.bytes.read(at, near);
        self.bytes.read(0, far.get_mut(..len - first).unwrap_or_default());
        self.index = self.index.wrapping_add(len as u32);
        indices.cons.store(self.index, Ordering::Release);
        Ok(len)
    }

    /// Writes as much as there is room for.
    pub(super) fn write(&mut self, indices: &Indices, bytes: &[u8]) -> Result<usize, Lie> {
        let room = self.room(indices)? as usize;
        let len = room.min(bytes.len());
        let (at, first) = self.first(len);
        let (near, far) = bytes.split_at(first);
        self.bytes.write(at, near);
        self.bytes.write(0, far.get(..len - first).unwrap_or_default());
        self.index = self.index.wrapping_add(len as u32);
        indices.prod.store(self.index, Ordering::Release);
        Ok(len)
    }

    /// Where `len` bytes begin, and how many of them lie before the ring's end.
    fn first(&self, len: usize) -> (usize, usize) {
        let at = self.index & (self.size - 1);
        (at as usize, len.min((self.size - at) as usize))
    }
}
