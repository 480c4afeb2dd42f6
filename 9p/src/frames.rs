//! The two ends of a byte stream that carries frames: what came in and is not yet
//! handled, and what is to go out.
//!
//! A payload is to be copied once, from here to where it is wanted. So room for
//! received bytes ends with the frame that is being received, where that is large:
//! no part of the next one has to be moved to the front of the buffer afterwards.

use alloc::vec::Vec;
use core::ops::Range;

use crate::wire::{Front, front};

/// Room that is made for bytes whose frame is not known yet, and what counts as large.
const CHUNK: usize = 4096;

/// Received bytes, of which whole frames are taken from the front.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    /// Its length is the room that there is; bytes stand in `start..end`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The size of the last frame, if it was large: the next is likely to be as large.
    large: usize,
}

impl Incoming {
    /// Room for received bytes, never none; `max` is the size of the largest frame.
    pub(crate) fn spare(&mut self, max: u32) -> &mut [u8] {
        let held = self.end - self.start;
        let (room, exact) = match self.front(max) {
            Front::Frame(n) if n > held.max(CHUNK) => (n - held, true),
            _ if held == 0 && self.large > 0 => (self.large, true),
            _ => (CHUNK, false),
        };
        self.make(room);
        let end = if exact { self.end + room } else { self.bytes.len() };
        self.bytes.get_mut(self.end..end).unwrap_or_default()
    }

    /// Says that `n` bytes were put at the start of [`Incoming::spare`].
    pub(crate) fn received(&mut self, n: usize) {
        self.end = self.end.saturating_add(n).min(self.bytes.len());
    }

    /// Adds received bytes.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.make(bytes.len());
        if let Some(room) = self.bytes.get_mut(self.end..self.end + bytes.len()) {
            room.copy_from_slice(bytes);
            self.end += bytes.len();
        }
    }

    /// Makes room for so many bytes behind those that are held.
    fn make(&mut self, room: usize) {
        if self.start > 0 && (self.start == self.end || self.bytes.len() - self.end < room) {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.bytes.len() - self.end < room {
            self.bytes.resize(self.end + room, 0);
        }
    }

    /// Takes so many bytes from the front.
    pub(crate) fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.end);
    }

    /// Bytes of memory behind it.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Gives the buffer away when nothing is in it.
    pub(crate) fn trim(&mut self) {
        if self.start == self.end {
            *self = Incoming::default();
        }
    }

    /// Bytes not yet taken.
    pub(crate) fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// What stands at the front.
    pub(crate) fn front(&self, max: u32) -> Front {
        front(self.rest(), max)
    }

    /// Where the next whole frame stands, which is taken: it can be looked at until
    /// more is received.
    pub(crate) fn take_range(&mut self, max: u32) -> Result<Option<Range<usize>>, u32> {
        match self.front(max) {
            Front::Frame(n) if n <= self.end - self.start => {
                let from = self.start;
                self.start += n;
                self.large = if n > CHUNK { n } else { 0 };
                Ok(Some(from..from + n))
            }
            Front::Bad(n) => Err(n),
            _ => Ok(None),
        }
    }

    /// The bytes of a frame that was taken.
    pub(crate) fn at(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// The next whole frame, taken.
    pub(crate) fn take(&mut self, max: u32) -> Result<Option<&[u8]>, u32> {
        Ok(self.take_range(max)?.map(|range| self.at(range)))
    }
}

/// Bytes to send.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Frames are appended here.
    pub(crate) bytes: Vec<u8>,
    start: usize,
    /// Bytes that were ever sent.
    gone: u64,
}

impl Outgoing {
    /// Bytes not yet sent.
    pub(crate) fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Says that the first `n` of them were sent.
    pub(crate) fn sent(&mut self, n: usize) {
        let n = n.min(self.bytes.len() - self.start);
        self.gone += n as u64;
        self.start += n;
        // What was sent goes when it is the greater part, so that each byte is
        // moved at most once and what never is quite sent does not pile up.
        if self.start >= self.bytes.len() - self.start {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Bytes that were ever sent, and bytes that were ever to be sent.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.gone, self.gone + self.rest().len() as u64)
    }

    /// Gives a buffer larger than so many bytes away when nothing is in it.
    pub(crate) fn trim(&mut self, keep: usize) {
        if self.bytes.is_empty() && self.bytes.capacity() > keep {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(n: usize) -> Vec<u8> {
        let mut f = alloc::vec![n as u8; n];
        f[..4].copy_from_slice(&(n as u32).to_le_bytes());
        f
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let sizes = [7, 5000, 8, 70_000, 70_000, 4096, 4097, 9, 100, 70_000];
        let stream: Vec<u8> = sizes.iter().flat_map(|&n| frame(n)).collect();
        for cut in [1, 3, 4000, 4096, 100_000] {
            let (mut rx, mut at, mut got) = (Incoming::default(), 0, Vec::new());
            while at < stream.len() {
                let room = rx.spare(1 << 20);
                let n = room.len().min(cut).min(stream.len() - at);
                assert!(n > 0);
                room[..n].copy_from_slice(&stream[at..at + n]);
                rx.received(n);
                at += n;
                while let Some(f) = rx.take(1 << 20).unwrap() {
                    assert_eq!(f, frame(f.len()));
                    got.push(f.len());
                }
            }
            assert_eq!(got, sizes);
            rx.trim();
            assert!(rx.bytes.is_empty() && rx.bytes.capacity() == 0);
        }
    }

    #[test]
    fn large_frames_are_never_moved() {
        let mut rx = Incoming::default();
        for _ in 0..3 {
            let f = frame(70_000);
            let mut at = 0;
            while at < f.len() {
                let room = rx.spare(1 << 20);
                let n = room.len();
                assert!(n <= f.len() - at, "no room for the next frame's bytes");
                room.copy_from_slice(&f[at..at + n]);
                rx.received(n);
                at += n;
            }
            assert_eq!(rx.take(1 << 20).unwrap().map(<[u8]>::len), Some(70_000));
        }
    }
}
