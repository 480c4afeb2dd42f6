//! The two ends of a byte stream that carries frames: what came in and is not yet
//! handled, and what is to go out.

use alloc::vec::Vec;

use crate::wire::{Front, front};

/// A buffer that is empty and larger than this is given back.
const KEEP: usize = 64 << 10;

/// Received bytes, of which whole frames are taken from the front.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    bytes: Vec<u8>,
    start: usize,
}

impl Incoming {
    /// Adds received bytes.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        if self.bytes.is_empty() && self.bytes.capacity() > KEEP {
            self.bytes = Vec::new();
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes not yet taken.
    pub(crate) fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// What stands at the front.
    pub(crate) fn front(&self, max: u32) -> Front {
        front(self.rest(), max)
    }

    /// The next whole frame, taken.
    pub(crate) fn take(&mut self, max: u32) -> Result<Option<&[u8]>, u32> {
        match self.front(max) {
            Front::Frame(n) if n <= self.rest().len() => {
                let from = self.start;
                self.start += n;
                Ok(self.bytes.get(from..from + n))
            }
            Front::Bad(n) => Err(n),
            _ => Ok(None),
        }
    }
}

/// Bytes to send.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Frames are appended here.
    pub(crate) bytes: Vec<u8>,
    start: usize,
}

impl Outgoing {
    /// Bytes not yet sent.
    pub(crate) fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Says that the first `n` of them were sent.
    pub(crate) fn sent(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.bytes.len());
        // What was sent goes when it is the greater part, so that each byte is
        // moved at most once and what never is quite sent does not pile up.
        if self.start >= self.bytes.len() - self.start {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        if self.bytes.is_empty() && self.bytes.capacity() > KEEP {
            self.bytes = Vec::new();
        }
    }
}
