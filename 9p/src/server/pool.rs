//! Buffers that sessions take turns with.
//!
//! A server of a thousand connections talks with a few of them at a time. What it
//! reads into and writes from lies in a [`Pool`]: a session is lent two buffers
//! while it works ([`super::Session::lend`]) and gives them back when nothing is
//! left in them, so an idle one holds none, and a busy server allocates nothing.

use alloc::vec::Vec;

/// A bounded list of free buffers.
#[derive(Debug)]
pub struct Pool {
    free: Vec<Vec<u8>>,
    size: usize,
    most: usize,
    held: usize,
}

impl Pool {
    /// A pool of buffers of at least `size` bytes each, that keeps up to `most` bytes
    /// of free ones. Buffers of twice the message size let a session take a
    /// message while part of the next is there.
    pub fn new(size: usize, most: usize) -> Pool {
        Pool { free: Vec::new(), size, most, held: 0 }
    }

    /// The least size of a buffer.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes of free buffers.
    pub fn held(&self) -> usize {
        self.held
    }

    /// The buffer that was given back last, whose memory is warm, or a new one.
    #[inline]
    pub(super) fn take(&mut self) -> Vec<u8> {
        match self.free.pop() {
            Some(bytes) => {
                self.held -= bytes.len();
                bytes
            }
            None => alloc::vec![0; self.size],
        }
    }

    /// Keeps a buffer, if it is large enough and there is room for it.
    #[inline]
    pub(super) fn put(&mut self, bytes: Vec<u8>) {
        if bytes.len() >= self.size && self.held + bytes.len() <= self.most {
            self.held += bytes.len();
            self.free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_allowed() {
        let mut pool = Pool::new(100, 250);
        let all: Vec<_> = (0..4).map(|_| pool.take()).collect();
        all.into_iter().for_each(|b| pool.put(b));
        assert_eq!((pool.held(), pool.free.len()), (200, 2));
        pool.put(alloc::vec![0; 50]);
        pool.put(alloc::vec![0; 51]);
        assert_eq!(pool.held(), 200);
        assert_eq!((pool.take().len(), pool.held()), (100, 100));
    }
}
