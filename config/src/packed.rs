//! Native code, packed: what an image carries of it.
//!
//! Half and more of a small image with atoms would be their machine code, with pages of
//! zeroes between. So the image's segment is one LZ4 block. Its memory has room for
//! both: a kernel moves the block behind that room and unpacks it to where it lay,
//! so that the code begins at the page that the segment begins at.
//!
//! ```text
//! offset  size
//!      0     8   magic "ATOLLPAK"
//!      8     4   bytes of the code, little endian
//!     12     4   bytes of the block, little endian
//!     16     …   the block: the code as [`crate::code`] says
//! ```

#[cfg(feature = "std")]
use alloc::vec::Vec;

use crate::code::{self, BadCode};

/// The first eight bytes.
pub const MAGIC: [u8; 8] = *b"ATOLLPAK";
/// Bytes before the block.
pub const HEADER: usize = 16;
/// The most that LZ4 makes of one byte.
const RATIO: usize = 255;
/// What the block begins at a multiple of, once it is moved.
const ALIGN: usize = 16;

/// A header: claims about what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Bytes of the code, at most those of [`code::MAX_BODY`] and its header.
    pub code: usize,
    /// Bytes of the block.
    pub block: usize,
}

impl Lengths {
    /// Reads a header. None where there is no packed code.
    pub fn parse(header: &[u8; HEADER]) -> Option<Result<Lengths, BadCode>> {
        let [magic @ .., a, b, c, d, e, f, g, h] = header;
        if *magic != MAGIC {
            return None;
        }
        let stated = u32::from_le_bytes([*a, *b, *c, *d]);
        let block = u32::from_le_bytes([*e, *f, *g, *h]) as usize;
        let code = stated as usize;
        let bearable = code <= code::HEADER + code::MAX_BODY && code / RATIO <= block;
        Some(bearable.then_some(Lengths { code, block }).ok_or(BadCode::Length(stated)))
    }

    /// Where the block is moved to, counted from the start of the segment.
    pub fn aside(self) -> usize {
        self.code.max(HEADER).next_multiple_of(ALIGN)
    }

    /// Bytes of memory that the segment needs.
    pub fn memory(self) -> usize {
        self.aside().saturating_add(self.block)
    }
}

/// Unpacks a block to `out`, which is as long as the header said that the code is.
pub fn unpack(block: &[u8], out: &mut [u8]) -> Result<(), BadCode> {
    match lz4_flex::block::decompress_into(block, out) {
        Ok(n) if n == out.len() => Ok(()),
        _ => Err(BadCode::Packed),
    }
}

/// The code of a segment, unpacked. Checked is only that it could be.
#[cfg(feature = "std")]
pub fn open(segment: &[u8]) -> Result<Vec<u8>, BadCode> {
    let (header, block) = segment.split_first_chunk().ok_or(BadCode::Magic)?;
    let lengths = Lengths::parse(header).ok_or(BadCode::Magic)??;
    if block.len() != lengths.block {
        return Err(BadCode::Length(lengths.block as u32));
    }
    let mut out = alloc::vec![0; lengths.code];
    unpack(block, &mut out)?;
    Ok(out)
}

/// A segment of a block that `code` bytes were packed to. None when it is too long.
#[cfg(feature = "std")]
pub fn segment(code: usize, block: &[u8]) -> Option<Vec<u8>> {
    let mut out = MAGIC.to_vec();
    for len in [code, block.len()] {
        out.extend_from_slice(&u32::try_from(len).ok()?.to_le_bytes());
    }
    out.extend_from_slice(block);
    Some(out)
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_back_and_what_cannot_be_is_refused() {
        let code: Vec<u8> = (0..9000u32).map(|i| (i / 7) as u8).collect();
        let whole = segment(code.len(), &lz4_flex::block::compress(&code)).unwrap();
        assert!(whole.len() < code.len());
        assert_eq!(open(&whole).unwrap(), code);
        let lengths = Lengths::parse(whole.first_chunk().unwrap()).unwrap().unwrap();
        assert_eq!((lengths.code, lengths.aside()), (9000, 9008));
        assert_eq!(lengths.memory(), 9008 + whole.len() - HEADER);

        assert_eq!(open(&whole[..15]).unwrap_err(), BadCode::Magic);
        assert_eq!(open(&[0; 20]).unwrap_err(), BadCode::Magic);
        let cut = open(&whole[..whole.len() - 1]).unwrap_err();
        assert_eq!(cut, BadCode::Length(lengths.block as u32));
        for size in [8999u32, 9001] {
            let mut other = whole.clone();
            other[8..12].copy_from_slice(&size.to_le_bytes());
            assert_eq!(open(&other).unwrap_err(), BadCode::Packed, "{size}");
        }
        let mut bomb = whole;
        bomb[8..12].copy_from_slice(&(100u32 << 20).to_le_bytes());
        assert_eq!(open(&bomb).unwrap_err(), BadCode::Length(100 << 20));
    }
}
