//! The changes in a frame's body.
//!
//! ```text
//! 0                                        nothing is stored any more
//! 1 name key length (4) value              a value is put under a key
//! 2 name key                               a key is taken away
//! 3 name number (8) length (4) record      a record is appended, and has this number;
//!                                          if there is one of that number, nothing
//! ```
//!
//! `name` is the component's and `key` is a key: each a length (1) and its bytes.

use alloc::vec::Vec;

use super::Bad;

/// A change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// Nothing is stored any more, of any component's.
    Clear,
    /// A value is put under a key.
    Put {
        /// The component.
        of: &'a str,
        /// The key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// A key is taken away.
    Del {
        /// The component.
        of: &'a str,
        /// The key.
        key: &'a [u8],
    },
    /// A record is appended.
    Append {
        /// The component.
        of: &'a str,
        /// The record's number.
        n: u64,
        /// The record.
        record: &'a [u8],
    },
}

fn short(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = bytes.get(..bytes.len().min(255)).unwrap_or_default();
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

fn long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

impl Op<'_> {
    /// Appends its bytes. Names and keys have at most 255.
    pub fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Op::Clear => out.push(0),
            Op::Put { of, key, value } => {
                out.push(1);
                short(out, of.as_bytes());
                short(out, key);
                long(out, value);
            }
            Op::Del { of, key } => {
                out.push(2);
                short(out, of.as_bytes());
                short(out, key);
            }
            Op::Append { of, n, record } => {
                out.push(3);
                short(out, of.as_bytes());
                out.extend_from_slice(&n.to_le_bytes());
                long(out, record);
            }
        }
    }

    /// How many bytes it is.
    pub fn size(&self) -> usize {
        match self {
            Op::Clear => 1,
            Op::Put { of, key, value } => 1 + 1 + of.len() + 1 + key.len() + 4 + value.len(),
            Op::Del { of, key } => 1 + 1 + of.len() + 1 + key.len(),
            Op::Append { of, record, .. } => 1 + 1 + of.len() + 8 + 4 + record.len(),
        }
    }
}

/// The changes of a body, in order. It ends with the first that is none.
pub fn ops(body: &[u8]) -> impl Iterator<Item = Result<Op<'_>, Bad>> {
    let mut rest = body;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let op = op(&mut rest);
        if op.is_none() {
            rest = &[];
        }
        Some(op.ok_or(Bad::Change))
    })
}

fn take<'a>(from: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (front, rest) = from.split_at_checked(n)?;
    *from = rest;
    Some(front)
}

fn op<'a>(from: &mut &'a [u8]) -> Option<Op<'a>> {
    let byte = |from: &mut &'a [u8]| take(from, 1)?.first().copied();
    let short = |from: &mut &'a [u8]| {
        let n = byte(from)?;
        take(from, n.into())
    };
    let name = |from: &mut &'a [u8]| core::str::from_utf8(short(from)?).ok();
    let long = |from: &mut &'a [u8]| {
        let n = u32::from_le_bytes(*take(from, 4)?.first_chunk()?);
        take(from, n as usize)
    };
    Some(match byte(from)? {
        0 => Op::Clear,
        1 => Op::Put { of: name(from)?, key: short(from)?, value: long(from)? },
        2 => Op::Del { of: name(from)?, key: short(from)? },
        3 => Op::Append {
            of: name(from)?,
            n: u64::from_le_bytes(*take(from, 8)?.first_chunk()?),
            record: long(from)?,
        },
        _ => return None,
    })
}
