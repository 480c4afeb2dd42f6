//! What the frames hold: records, one behind the other.
//!
//! ```text
//! 1 state      version (4), length n (8), n bytes       once, and first
//! 2 component  number (4), bytes of memory (8), length of its name (1), its name
//! 3 chunk      number (4), 4096 bytes                   of the component before it
//! 4 zero       number (4)                               the same, in increments only
//! ```

use alloc::boxed::Box;

use super::{CHUNK, MAX_MEMORY, Sink, Why, long, word};

pub(super) const STATE: u8 = 1;
pub(super) const COMPONENT: u8 = 2;
pub(super) const CHUNK_IS: u8 = 3;
pub(super) const ZERO: u8 = 4;

/// The longest record, or part of one, that is held together.
const LONGEST: usize = 1 + 4 + CHUNK;

/// Takes records as they come, in pieces of any length.
pub(super) struct Records {
    /// Bytes of a record that is not all there, and how many.
    held: Box<[u8; LONGEST]>,
    len: usize,
    order: Order,
}

/// What may come next.
struct Order {
    increment: bool,
    /// Bytes of the state that are still to come; None before it.
    state: Option<u64>,
    /// The last component: its number, its memory's size, and the first chunk that may
    /// come.
    last: Option<(u32, u64, u64)>,
}

impl Records {
    pub(super) fn new(increment: bool) -> Records {
        let order = Order { increment, state: None, last: None };
        Records { held: Box::new([0; LONGEST]), len: 0, order }
    }

    /// Whether the records may end here.
    pub(super) fn complete(&self) -> Result<(), Why> {
        match (self.len, self.order.state) {
            (0, Some(0)) => Ok(()),
            (0, None) => Err(Why::State),
            _ => Err(Why::Cut),
        }
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Why> {
        while !bytes.is_empty() {
            if let Some(left) = self.order.state.as_mut().filter(|left| **left > 0) {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                let (now, later) = bytes.split_at(n);
                *left -= n as u64;
                bytes = later;
                sink.state_bytes(now).map_err(Why::Refused)?;
                continue;
            }
            let held = self.held.get(..self.len).unwrap_or_default();
            let need = need(held)?;
            let n = (need - self.len).min(bytes.len());
            let (now, later) = bytes.split_at(n);
            if let Some(to) = self.held.get_mut(self.len..self.len + n) {
                to.copy_from_slice(now);
            }
            self.len += n;
            bytes = later;
            let held = self.held.get(..self.len).unwrap_or_default();
            if self::need(held)? == self.len {
                self.order.record(held, sink)?;
                self.len = 0;
            }
        }
        Ok(())
    }
}

impl Order {
    fn record(&mut self, record: &[u8], sink: &mut dyn Sink) -> Result<(), Why> {
        let kind = record.first().copied().unwrap_or_default();
        let number = word(record, 1).ok_or(Why::Cut)?;
        match kind {
            STATE if self.state.is_some() => Err(Why::State),
            STATE => {
                let len = long(record, 5).ok_or(Why::Cut)?;
                self.state = Some(len);
                sink.state(number, len).map_err(Why::Refused)
            }
            _ if self.state.is_none() => Err(Why::State),
            COMPONENT => {
                let size = long(record, 5).ok_or(Why::Cut)?;
                let name = core::str::from_utf8(record.get(14..).unwrap_or_default());
                let name = name.map_err(|_| Why::Component)?;
                let order = self.last.is_none_or(|(last, ..)| last < number);
                if !order || size > MAX_MEMORY || name.chars().any(char::is_control) {
                    return Err(Why::Component);
                }
                self.last = Some((number, size, 0));
                sink.component(number, name, size).map_err(Why::Refused)
            }
            ZERO if self.increment => self.chunk(number, &[0; CHUNK], sink),
            CHUNK_IS => {
                let data = record.get(5..).and_then(<[u8]>::first_chunk).ok_or(Why::Cut)?;
                self.chunk(number, data, sink)
            }
            kind => Err(Why::Kind(kind)),
        }
    }

    fn chunk(&mut self, number: u32, data: &[u8; CHUNK], sink: &mut dyn Sink) -> Result<(), Why> {
        let (_, size, next) = self.last.as_mut().ok_or(Why::Chunk)?;
        let start = u64::from(number) * CHUNK as u64;
        if u64::from(number) < *next || start >= *size {
            return Err(Why::Chunk);
        }
        *next = u64::from(number) + 1;
        let inside = usize::try_from(*size - start).unwrap_or(CHUNK).min(CHUNK);
        if data.get(inside..).unwrap_or_default().iter().any(|b| *b != 0) {
            return Err(Why::Chunk);
        }
        sink.chunk(number, data).map_err(Why::Refused)
    }
}

/// How many bytes the record has that begins so; while they cannot tell, how many tell
/// more.
fn need(held: &[u8]) -> Result<usize, Why> {
    Ok(match (held.first(), held.get(13)) {
        (None, _) => 1,
        (Some(&STATE), _) => 13,
        (Some(&COMPONENT), None) => 14,
        (Some(&COMPONENT), Some(len)) => 14 + usize::from(*len),
        (Some(&CHUNK_IS), _) => 5 + CHUNK,
        (Some(&ZERO), _) => 5,
        (Some(kind), _) => return Err(Why::Kind(*kind)),
    })
}
