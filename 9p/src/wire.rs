//! Cursors over bytes, and the numbers of the protocol.
//!
//! Reading checks every length before it is used and allocates nothing: strings
//! and data are borrowed from the frame. Writing appends to a vector and cannot
//! fail.

use alloc::vec::Vec;

/// Bytes of size, type and tag.
pub const HEADER: usize = 7;
/// The tag of Tversion.
pub const NOTAG: u16 = 0xffff;
/// The fid that stands for none.
pub const NOFID: u32 = 0xffff_ffff;
/// The most names in one Twalk.
pub const MAX_WALK: usize = 16;
/// The most bytes in a name.
pub const MAX_NAME: usize = 255;
/// Bytes of an Rread before its data: header and count.
pub const READ_OVERHEAD: u32 = 11;
/// Bytes of a Twrite before its data: header, fid, offset and count.
pub const WRITE_OVERHEAD: u32 = 23;
/// The least message size that a session accepts: one directory entry with the
/// longest name must fit.
pub const MIN_MSIZE: u32 = 512;

/// Why a frame is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFrame {
    /// It ends before its last field, or goes on after it.
    Length,
    /// A string is not UTF-8.
    Text,
    /// Its type is none that is known: the number.
    Type(u8),
    /// More names than [`MAX_WALK`].
    Names,
    /// A number that stands for nothing, where it should for something.
    Value,
}

/// Reads fields from a frame.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], BadFrame> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(BadFrame::Length)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadFrame> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(BadFrame::Length)?;
        self.0 = tail;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, BadFrame> {
        self.array::<1>().map(|[b]| b)
    }

    /// Two bytes, little endian, as all that follow.
    pub fn u16(&mut self) -> Result<u16, BadFrame> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, BadFrame> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, BadFrame> {
        self.array().map(u64::from_le_bytes)
    }

    /// A string: its length in two bytes, then UTF-8.
    pub fn str(&mut self) -> Result<&'a str, BadFrame> {
        let n = self.u16()?;
        core::str::from_utf8(self.take(n.into())?).map_err(|_| BadFrame::Text)
    }

    /// Data: its length in four bytes, then the bytes.
    pub fn data(&mut self) -> Result<&'a [u8], BadFrame> {
        let n = self.u32()?;
        self.take(n as usize)
    }

    /// Bytes not yet read.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Says that nothing may follow.
    pub fn end(&self) -> Result<(), BadFrame> {
        if self.0.is_empty() { Ok(()) } else { Err(BadFrame::Length) }
    }
}

/// Writes fields of one frame at the end of a vector, and its size when done.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    /// Starts a frame.
    pub fn new(out: &'a mut Vec<u8>, ty: u8, tag: u16) -> Writer<'a> {
        let start = out.len();
        let mut w = Writer { out, start };
        w.u32(0);
        w.u8(ty);
        w.u16(tag);
        w
    }

    /// One byte.
    pub fn u8(&mut self, v: u8) {
        self.out.push(v);
    }

    /// Two bytes.
    pub fn u16(&mut self, v: u16) {
        self.out.extend_from_slice(&v.to_le_bytes());
    }

    /// Four bytes.
    pub fn u32(&mut self, v: u32) {
        self.out.extend_from_slice(&v.to_le_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, v: u64) {
        self.out.extend_from_slice(&v.to_le_bytes());
    }

    /// A string. What is past 65,535 bytes is cut off at a character.
    pub fn str(&mut self, v: &str) {
        let mut n = v.len().min(u16::MAX.into());
        while !v.is_char_boundary(n) {
            n -= 1;
        }
        let bytes = v.as_bytes().get(..n).unwrap_or_default();
        self.u16(n as u16);
        self.out.extend_from_slice(bytes);
    }

    /// Bytes without a length.
    pub fn raw(&mut self, v: &[u8]) {
        self.out.extend_from_slice(v);
    }

    /// Data: its length in four bytes, then the bytes.
    pub fn data(&mut self, v: &[u8]) {
        self.u32(v.len() as u32);
        self.raw(v);
    }

    /// A count and up to `max` bytes that `fill` writes; `fill` says how many. On
    /// an error the frame is as it was before the call.
    pub fn fill<R, E>(
        &mut self,
        max: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(usize, R), E>,
    ) -> Result<R, E> {
        let count_at = self.out.len();
        let data_at = count_at + 4;
        self.out.resize(data_at + max, 0);
        match fill(self.out.get_mut(data_at..).unwrap_or_default()) {
            Ok((n, r)) => {
                let n = n.min(max);
                self.out.truncate(data_at + n);
                patch(self.out, count_at, n as u32);
                Ok(r)
            }
            Err(e) => {
                self.out.truncate(count_at);
                Err(e)
            }
        }
    }

    /// Bytes of the frame so far.
    pub fn len(&self) -> usize {
        self.out.len() - self.start
    }

    /// Whether nothing was written; never so, a frame has a header.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops the frame as if it had never been started.
    pub fn abandon(self) {
        self.out.truncate(self.start);
    }

    /// Ends the frame: its size goes to its front.
    pub fn finish(self) {
        let size = self.len() as u32;
        patch(self.out, self.start, size);
    }
}

/// Overwrites four bytes at `at`, little endian.
pub(crate) fn patch(out: &mut [u8], at: usize, v: u32) {
    if let Some(slot) = out.get_mut(at..at + 4) {
        slot.copy_from_slice(&v.to_le_bytes());
    }
}

/// What stands at the front of a stream of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// Fewer bytes than a size field.
    Unknown,
    /// A frame of this many bytes, of which not all need be here yet.
    Frame(usize),
    /// A size that cannot be: less than a header or more than was agreed.
    Bad(u32),
}

/// Looks at the size field at the front of `bytes`.
pub fn front(bytes: &[u8], max: u32) -> Front {
    match bytes.first_chunk::<4>() {
        None => Front::Unknown,
        Some(size) => match u32::from_le_bytes(*size) {
            n if n < HEADER as u32 || n > max => Front::Bad(n),
            n => Front::Frame(n as usize),
        },
    }
}
