//! What the files hold: bytes that tell where in the file they are, so that a
//! sample of an answer proves that it is the right part of the right file.
//!
//! A page of 4 KiB starts with its number; the rest of it is the same noise in
//! every page. So a block at another place is made by patching one word a page.

use anyhow::{Result, bail};

/// Bytes between two page numbers.
pub const PAGE: usize = 4096;

/// The byte at that place of the file.
pub fn byte_at(offset: u64) -> u8 {
    let (page, within) = (offset / PAGE as u64, offset % PAGE as u64);
    match within {
        0..8 => page.to_le_bytes()[within as usize],
        _ => ((within * 0x9E37_79B9) >> 11) as u8,
    }
}

/// A block of the file.
pub fn block(offset: u64, len: usize) -> Vec<u8> {
    let mut page: Vec<u8> = (0..PAGE as u64).map(byte_at).collect();
    let mut out = Vec::with_capacity(len + 2 * PAGE);
    let skip = (offset % PAGE as u64) as usize;
    let mut at = offset - skip as u64;
    while out.len() < skip + len {
        page[..8].copy_from_slice(&(at / PAGE as u64).to_le_bytes());
        out.extend_from_slice(&page);
        at += PAGE as u64;
    }
    out.drain(..skip);
    out.truncate(len);
    out
}

/// Makes a block that starts at a page the one that starts at another page.
pub fn number(block: &mut [u8], offset: u64) {
    for (i, page) in block.chunks_mut(PAGE).enumerate() {
        if let Some(number) = page.first_chunk_mut::<8>() {
            *number = (offset / PAGE as u64 + i as u64).to_le_bytes();
        }
    }
}

/// Looks at both ends of a block and at a page's number within it.
#[inline]
pub fn check(block: &[u8], offset: u64) -> Result<()> {
    let last = block.len().saturating_sub(8);
    let page = (offset.next_multiple_of(PAGE as u64) - offset) as usize;
    for from in [0, page, last] {
        for (i, byte) in block.iter().enumerate().skip(from).take(8) {
            if *byte != byte_at(offset + i as u64) {
                bail!("wrong content {i} bytes behind {offset}: {byte:#04x}");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_recognized() {
        for (offset, len) in [(0, 8), (4090, 20), (65_512, 65_512), (8192, 4096)] {
            let mut bytes = block(offset, len);
            assert_eq!(bytes.len(), len);
            assert!(bytes.iter().zip(offset..).all(|(b, o)| *b == byte_at(o)));
            assert!(check(&bytes, offset).is_ok());
            if len > PAGE {
                assert!(check(&bytes, offset + PAGE as u64).is_err());
            }
            *bytes.last_mut().unwrap() ^= 1;
            assert!(check(&bytes, offset).is_err());
        }
    }

    #[test]
    fn a_block_can_be_moved() {
        let mut bytes = block(0, 3 * PAGE);
        number(&mut bytes, 7 * PAGE as u64);
        assert_eq!(bytes, block(7 * PAGE as u64, 3 * PAGE));
    }
}
