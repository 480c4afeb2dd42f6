//! The bytes of a message: few of them lie in place, so that most messages take no
//! memory but that of the queue.
//!
//! Those lie in whole words. A message is moved several times on its way, soon after it
//! was written; a processor that reads in other pieces than were just written waits
//! until they are in its cache, which took a tenth of the time of a message.

use alloc::vec::Vec;
use core::ops::Deref;

/// Bytes that lie in place.
const SHORT: usize = 24;

/// Bytes on their way.
#[derive(Clone, Debug)]
pub(crate) enum Load {
    Short(usize, Words),
    Long(Vec<u8>),
}

/// Words, little endian.
#[derive(Clone, Copy, Debug)]
#[repr(align(8))]
pub(crate) struct Words([[u8; 8]; SHORT / 8]);

impl Load {
    pub(crate) const NONE: Load = Load::Short(0, Words([[0; 8]; SHORT / 8]));
}

/// The first word of some bytes, as if zeros followed.
fn word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(word) => u64::from_le_bytes(*word),
        None => bytes.iter().rev().fold(0, |word, b| word << 8 | u64::from(*b)),
    }
}

impl Load {
    /// Takes the place of [`Load::NONE`]. What is to lie in a queue is put there first and
    /// filled then, for the reason in the module's text.
    #[inline]
    pub(crate) fn fill(&mut self, bytes: &[u8]) {
        match self {
            Load::Short(len, words) if bytes.len() <= SHORT => {
                *len = bytes.len();
                for (at, to) in (0..).step_by(8).zip(&mut words.0) {
                    *to = word(bytes.get(at..).unwrap_or_default()).to_le_bytes();
                }
            }
            _ => *self = Load::Long(bytes.to_vec()),
        }
    }
}

impl From<&[u8]> for Load {
    #[inline]
    fn from(bytes: &[u8]) -> Load {
        let mut load = Load::NONE;
        load.fill(bytes);
        load
    }
}

impl Deref for Load {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Load::Short(len, words) => words.0.as_flattened().get(..*len).unwrap_or_default(),
            Load::Long(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_length_come_back() {
        let all: Vec<u8> = (0..100).collect();
        for n in 0..all.len() {
            let load = Load::from(&all[..n]);
            assert_eq!(&*load, &all[..n]);
            assert_eq!(matches!(load, Load::Short(..)), n <= SHORT);
        }
    }
}
