//! One whole guest, between two dispatches, as bytes that any machine reads.
//!
//! A guest is stopped on one kind of machine and goes on, bit for bit, on another; what
//! crosses is this. It is little endian and has no pointer and no native code in it. It
//! is bound to the payload that it was taken of, and whoever reads it learns before the
//! guest is changed that all of it is there: the last bytes are a hash of the rest.
//! [`Writer`] and [`Reader`] take and give it in pieces, so neither end holds all of it.
//! docs/checkpoint.md is the specification.
//!
//! ```text
//! offset  size
//!      0     8   magic "ATOLLCKP"
//!      8     4   format ([`FORMAT`])
//!     12     4   flags: 1: it is what changed since the checkpoint `base`
//!     16    32   hash of the payload
//!     48    32   hash of the checkpoint that it builds on; zeroes without flag 1
//!     80     8   the guest's time, in nanoseconds since it started
//!     88         frames, each: length n unpacked (4), length m packed (4), m bytes;
//!                n is 1 to [`FRAME`]; m = n: as they are, m < n: one LZ4 block
//!      …     8   zeroes: the last frame
//!      …    32   BLAKE3 of all bytes before it
//! ```
//!
//! The frames' contents, unpacked, are one run of records (`records.rs`), which frames
//! may cut anywhere.

mod bad;
mod digest;
mod reader;
mod records;
mod whole;
mod writer;

pub use bad::{Bad, Why};
pub use reader::Reader;
pub use whole::{Component, Whole};
pub use writer::Writer;

use crate::payload::Hash;

/// The first eight bytes.
pub const MAGIC: [u8; 8] = *b"ATOLLCKP";
/// The format that this crate writes, and the only one it reads.
pub const FORMAT: u32 = 1;
/// Bytes before the first frame.
pub const HEADER: usize = 88;
/// The most bytes in a frame, unpacked.
pub const FRAME: usize = 32 << 10;
/// Bytes in a chunk of memory.
pub const CHUNK: usize = 4096;
/// The most bytes of one component's memory: what 32 bits address.
pub const MAX_MEMORY: u64 = 1 << 32;
/// The most bytes of a component's name.
pub const MAX_NAME: usize = 255;

const INCREMENT: u32 = 1;

/// What a checkpoint says of itself before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The payload that the guest was started with.
    pub payload: Hash,
    /// The checkpoint that this one builds on, by its own hash. None: it is whole.
    pub base: Option<Hash>,
    /// The guest's time at the cut, in nanoseconds since it started.
    pub time: u64,
}

impl Header {
    /// The bytes.
    pub fn bytes(&self) -> [u8; HEADER] {
        let flags = if self.base.is_some() { INCREMENT } else { 0 };
        let mut out = [0; HEADER];
        let mut at = 0;
        let base = self.base.unwrap_or(Hash([0; 32]));
        let (format, flags) = (FORMAT.to_le_bytes(), flags.to_le_bytes());
        let time = self.time.to_le_bytes();
        let fields: [&[u8]; 6] = [&MAGIC, &format, &flags, &self.payload.0, &base.0, &time];
        for field in fields {
            if let Some(to) = out.get_mut(at..at + field.len()) {
                to.copy_from_slice(field);
            }
            at += field.len();
        }
        out
    }

    /// Reads the first [`HEADER`] bytes of a checkpoint; what follows is not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Header, Bad> {
        let bad = |at, why| Err(Bad { at, why });
        if bytes.iter().zip(MAGIC).any(|(one, other)| *one != other) {
            return bad(0, Why::Magic);
        }
        let (Some(format), Some(flags)) = (word(bytes, 8), word(bytes, 12)) else {
            return bad(bytes.len() as u64, Why::Cut);
        };
        if format != FORMAT {
            return bad(8, Why::Format(format));
        }
        if flags & !INCREMENT != 0 {
            return bad(12, Why::Flags(flags));
        }
        let fields = || Some((hash(bytes, 16)?, hash(bytes, 48)?, long(bytes, 80)?));
        let Some((payload, base, time)) = fields() else {
            return bad(bytes.len() as u64, Why::Cut);
        };
        if flags == 0 && base.0 != [0; 32] {
            return bad(48, Why::Flags(flags));
        }
        Ok(Header { payload, base: (flags == INCREMENT).then_some(base), time })
    }
}

/// What a [`Reader`] finds, in order. A refusal is the reason why the whole is refused.
///
/// All of it is a claim until the reader says that the checkpoint is whole: what must not
/// be half done is done in a second reading, or with what was kept aside.
#[expect(unused_variables, reason = "each takes what it wants")]
pub trait Sink {
    /// The header: first, and once.
    fn header(&mut self, header: &Header) -> Result<(), &'static str> {
        Ok(())
    }

    /// The runtime's part, in this version, has so many bytes. Once, after the header.
    fn state(&mut self, version: u32, len: u64) -> Result<(), &'static str> {
        Ok(())
    }

    /// The next bytes of the runtime's part.
    fn state_bytes(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        Ok(())
    }

    /// A component, with so many bytes of memory (0 where it has none). Each has a
    /// greater number than the one before it.
    fn component(&mut self, number: u32, name: &str, memory: u64) -> Result<(), &'static str> {
        Ok(())
    }

    /// A chunk of the last component's memory, in rising order. Chunks that are not named
    /// are zero, and in an increment what they are in its base.
    fn chunk(&mut self, number: u32, data: &[u8; CHUNK]) -> Result<(), &'static str> {
        Ok(())
    }
}

/// Finds nothing wrong and keeps nothing: for a reading that only checks.
impl Sink for () {}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn hash(bytes: &[u8], at: usize) -> Option<Hash> {
    Some(Hash(*bytes.get(at..)?.first_chunk()?))
}
