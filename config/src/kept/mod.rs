//! What a guest has stored, as its host keeps it: a log of changes.
//!
//! The guest writes what its components put, took away and appended; the host adds it to a
//! file, and when a guest starts anew it reads the file from its beginning. Changes of one
//! dispatch are a *group*: all of them are there afterwards, or none.
//!
//! The file is a run of frames, little endian:
//!
//! ```text
//! offset  size
//!      0     4   magic "AKPT"
//!      4     4   length of the body; bit 31: the group goes on in the next frame
//!      8     8   number: 1, 2, 3 ... from the file's beginning
//!     16     8   number of the last frame that was known to last when this one was written
//!     24     8   the first bytes of BLAKE3 of magic to here and the body
//!     32         body: changes (`ops.rs`), none of which is cut
//! ```
//!
//! A guest sends frames whose last three fields are zeroes; its host seals them. A machine
//! that loses its power leaves an end that is not whole: [`Scan`] says up to where the file
//! is good, and [`is_damage`] whether what is not was more than such an end.

mod ops;
mod scan;

pub use ops::{Op, ops};
pub use scan::{Scan, is_damage};

use alloc::vec::Vec;
use core::fmt;

/// The first bytes of a frame.
pub const MAGIC: [u8; 4] = *b"AKPT";
/// Bytes of a frame before its body.
pub const HEADER: usize = 32;
/// The most bytes of a body. The largest change fits.
pub const BODY: usize = 96 << 10;

const MORE: u32 = 1 << 31;

/// Why bytes are no such log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// No frame begins there.
    Magic,
    /// A body is too long.
    Length(u32),
    /// A frame has another sum, or another number, than it ought to.
    Sum,
    /// A body has something in it that is no change.
    Change,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bad::Magic => f.write_str("no frame begins there"),
            Bad::Length(n) => write!(f, "a body of {n} bytes, but {BODY} are the most"),
            Bad::Sum => f.write_str("a frame is not as it was written"),
            Bad::Change => f.write_str("something that is no change"),
        }
    }
}

impl core::error::Error for Bad {}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of its body.
    pub len: usize,
    /// The group goes on in the next frame.
    pub more: bool,
    /// Its number.
    pub number: u64,
    /// The last frame that was known to last.
    pub synced: u64,
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}

impl Head {
    /// Reads the front of a frame. None: there are too few bytes.
    pub fn parse(bytes: &[u8]) -> Result<Option<Head>, Bad> {
        let magic = bytes.get(..4.min(bytes.len())).unwrap_or_default();
        if !MAGIC.starts_with(magic) {
            return Err(Bad::Magic);
        }
        let Some(len) = bytes.get(4..).and_then(|b| b.first_chunk()) else { return Ok(None) };
        let len = u32::from_le_bytes(*len);
        let (more, len) = (len & MORE != 0, len & !MORE);
        if len as usize > BODY {
            return Err(Bad::Length(len));
        }
        let (Some(number), Some(synced), Some(_)) =
            (long(bytes, 8), long(bytes, 16), long(bytes, 24))
        else {
            return Ok(None);
        };
        Ok(Some(Head { len: len as usize, more, number, synced }))
    }
}

/// A frame that is not sealed yet. `body` is at most [`BODY`] bytes.
pub fn frame(body: &[u8], more: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + body.len());
    out.extend_from_slice(&MAGIC);
    let len = body.len().min(BODY) as u32 | if more { MORE } else { 0 };
    out.extend_from_slice(&len.to_le_bytes());
    out.resize(HEADER, 0);
    out.extend_from_slice(body);
    out
}

/// Gives a whole frame its number, and its sum.
pub fn seal(frame: &mut [u8], number: u64, synced: u64) {
    for (at, value) in [(8, number), (16, synced)] {
        if let Some(to) = frame.get_mut(at..at + 8) {
            to.copy_from_slice(&value.to_le_bytes());
        }
    }
    let sum = sum(frame);
    if let Some(to) = frame.get_mut(24..HEADER) {
        to.copy_from_slice(&sum);
    }
}

/// Whether a whole frame is as it was sealed.
pub fn is_sealed(frame: &[u8]) -> bool {
    frame.get(24..HEADER) == Some(&sum(frame))
}

fn sum(frame: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(frame.get(..24).unwrap_or_default());
    hasher.update(frame.get(HEADER..).unwrap_or_default());
    let mut sum = [0; 8];
    sum.copy_from_slice(hasher.finalize().as_bytes().first_chunk::<8>().unwrap_or(&[0; 8]));
    sum
}

/// Takes frames out of bytes that come in pieces.
#[derive(Debug, Default)]
pub struct Frames {
    held: Vec<u8>,
    /// Those before were taken.
    taken: usize,
}

impl Frames {
    /// Takes bytes. What is held is at most one frame longer than what was given since the
    /// last frame was taken.
    pub fn feed(&mut self, bytes: &[u8]) {
        // Here and not for each frame: a piece may have thousands.
        self.held.drain(..core::mem::take(&mut self.taken));
        self.held.extend_from_slice(bytes);
    }

    fn left(&self) -> &[u8] {
        self.held.get(self.taken..).unwrap_or_default()
    }

    /// Bytes that are not part of a whole frame yet, once all of those were taken.
    pub fn rest(&self) -> usize {
        self.left().len()
    }

    /// The next whole frame.
    pub fn take(&mut self) -> Result<Option<(Head, Vec<u8>)>, Bad> {
        let left = self.left();
        let Some(head) = Head::parse(left)? else { return Ok(None) };
        let Some(frame) = left.get(..HEADER + head.len).map(<[u8]>::to_vec) else {
            return Ok(None);
        };
        self.taken += frame.len();
        Ok(Some((head, frame)))
    }
}

#[cfg(test)]
mod tests;
