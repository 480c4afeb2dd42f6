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

/// Reads the fields of a frame, and tells at the end whether all were there.
///
/// What is missing reads as zeros and empty texts until [`Fields::end`] says so. A
/// question after every field would be half of the code of decoding, which is
/// also why its methods are kept out of line: there are some 150 calls of them.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    bad: Option<BadFrame>,
}

impl<'a> Fields<'a> {
    /// Starts at the first byte.
    pub(crate) fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { rest: bytes, bad: None }
    }

    /// Says that the frame is bad. What was said first counts.
    #[cold]
    #[inline(never)]
    pub(crate) fn fail(&mut self, why: BadFrame) {
        self.bad = self.bad.or(Some(why));
        self.rest = &[];
    }

    /// The next `n` bytes.
    #[inline(never)]
    pub(crate) fn take(&mut self, n: usize) -> &'a [u8] {
        match self.rest.split_at_checked(n) {
            Some((head, tail)) => {
                self.rest = tail;
                head
            }
            None => {
                self.fail(BadFrame::Length);
                &[]
            }
        }
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        match self.rest.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.rest = tail;
                *head
            }
            None => {
                self.fail(BadFrame::Length);
                [0; N]
            }
        }
    }

    #[inline(never)]
    pub(crate) fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    #[inline(never)]
    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    #[inline(never)]
    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    #[inline(never)]
    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// A string: its length in two bytes, then UTF-8.
    #[inline(never)]
    pub(crate) fn str(&mut self) -> &'a str {
        let n = self.u16();
        match core::str::from_utf8(self.take(n.into())) {
            Ok(text) => text,
            Err(_) => {
                self.fail(BadFrame::Text);
                ""
            }
        }
    }

    /// Data: its length in four bytes, then the bytes.
    pub(crate) fn data(&mut self) -> &'a [u8] {
        let n = self.u32();
        self.take(n as usize)
    }

    /// Bytes not yet read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether nothing was missing so far.
    pub(crate) fn is_good(&self) -> bool {
        self.bad.is_none()
    }

    /// Whether all fields were there, and nothing behind them.
    pub(crate) fn end(&self) -> Result<(), BadFrame> {
        match self.bad {
            None if self.rest.is_empty() => Ok(()),
            None => Err(BadFrame::Length),
            Some(why) => Err(why),
        }
    }
}

/// Writes fields of one frame, and its size when done.
///
/// A frame goes to the end of a vector; or, in a session, into a buffer that is
/// longer than what was written so far, so that no memory is cleared twice.
#[derive(Debug)]
pub struct Writer<'a> {
    buf: &'a mut Vec<u8>,
    start: usize,
    /// The frame's end so far. Behind it the buffer holds anything.
    end: usize,
    /// Where the end goes, for a buffer that keeps what is behind it.
    keep: Option<&'a mut usize>,
}

/// Bytes that are cleared ahead of what is written, when a buffer grows.
const AHEAD: usize = 248;

impl<'a> Writer<'a> {
    /// Starts a frame at the end of a vector. It is whole after [`Writer::finish`].
    pub fn new(out: &'a mut Vec<u8>, ty: u8, tag: u16) -> Writer<'a> {
        let start = out.len();
        Writer { buf: out, start, end: start, keep: None }.begin(ty, tag)
    }

    /// Starts a frame at `end` of a buffer; [`Writer::finish`] moves `end` behind it.
    /// A frame that is not finished was never there.
    pub(crate) fn within(buf: &'a mut Vec<u8>, end: &'a mut usize, ty: u8, tag: u16) -> Self {
        let start = *end;
        Writer { buf, start, end: start, keep: Some(end) }.begin(ty, tag)
    }

    fn begin(mut self, ty: u8, tag: u16) -> Self {
        let [a, b] = tag.to_le_bytes();
        self.put([0, 0, 0, 0, ty, a, b]);
        self
    }

    /// Several fields at once, already as bytes.
    pub(crate) fn put<const N: usize>(&mut self, v: [u8; N]) {
        let end = self.end + N;
        if self.buf.len() < end {
            self.grow(end);
        }
        if let Some(slot) = self.buf.get_mut(self.end..).and_then(|b| b.first_chunk_mut()) {
            *slot = v;
        }
        self.end = end;
    }

    /// Makes room for what ends at `end`, and a little more.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, end: usize) {
        self.buf.resize(end + AHEAD, 0);
    }

    /// One byte.
    #[inline(never)]
    pub fn u8(&mut self, v: u8) {
        self.put([v]);
    }

    /// Two bytes, little endian, as all that follow.
    #[inline(never)]
    pub fn u16(&mut self, v: u16) {
        self.put(v.to_le_bytes());
    }

    /// Four bytes.
    #[inline(never)]
    pub fn u32(&mut self, v: u32) {
        self.put(v.to_le_bytes());
    }

    /// Eight bytes.
    #[inline(never)]
    pub fn u64(&mut self, v: u64) {
        self.put(v.to_le_bytes());
    }

    /// A string. What is past 65,535 bytes is cut off at a character.
    #[inline(never)]
    pub fn str(&mut self, v: &str) {
        let mut n = v.len().min(u16::MAX.into());
        while !v.is_char_boundary(n) {
            n -= 1;
        }
        let bytes = v.as_bytes().get(..n).unwrap_or_default();
        self.u16(n as u16);
        self.raw(bytes);
    }

    /// Bytes without a length.
    #[inline(never)]
    pub fn raw(&mut self, v: &[u8]) {
        let end = self.end + v.len();
        match self.buf.get_mut(self.end..end) {
            Some(slot) => slot.copy_from_slice(v),
            // Appended, so that nothing is cleared first.
            None => {
                self.buf.truncate(self.end);
                self.buf.extend_from_slice(v);
            }
        }
        self.end = end;
    }

    /// Data: its length in four bytes, then the bytes.
    pub fn data(&mut self, v: &[u8]) {
        self.u32(v.len() as u32);
        self.raw(v);
    }

    /// A count and up to `max` bytes that `fill` writes over what the buffer holds;
    /// `fill` says how many. On an error the frame is as it was before the call.
    pub fn fill<R, E>(
        &mut self,
        max: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(usize, R), E>,
    ) -> Result<R, E> {
        let count_at = self.end;
        let data_at = count_at + 4;
        let need = data_at + max;
        if self.buf.len() < need {
            self.buf.resize(need, 0);
        }
        let (n, r) = fill(self.buf.get_mut(data_at..need).unwrap_or_default())?;
        let n = n.min(max);
        patch(self.buf, count_at, n as u32);
        self.end = data_at + n;
        Ok(r)
    }

    /// Bytes of the frame so far.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether nothing was written; never so, a frame has a header.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Overwrites four bytes at `at`, counted from the frame's start.
    pub(crate) fn patch_u32(&mut self, at: usize, v: u32) {
        patch(self.buf, self.start + at, v);
    }

    /// Overwrites two bytes at `at`, counted from the frame's start.
    pub(crate) fn patch_u16(&mut self, at: usize, v: u16) {
        let at = self.start + at;
        if let Some(slot) = self.buf.get_mut(at..at + 2) {
            slot.copy_from_slice(&v.to_le_bytes());
        }
    }

    /// Takes back what was written after the frame was this long.
    pub(crate) fn shorten(&mut self, len: usize) {
        self.end = self.end.min(self.start + len);
    }

    /// Drops the frame as if it had never been started.
    pub fn abandon(self) {
        if self.keep.is_none() {
            self.buf.truncate(self.start);
        }
    }

    /// Ends the frame: its size goes to its front.
    pub fn finish(self) {
        let size = self.len() as u32;
        patch(self.buf, self.start, size);
        match self.keep {
            Some(end) => *end = self.end,
            None => self.buf.truncate(self.end),
        }
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
