//! Reading a checkpoint, as its bytes come.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use lz4_flex::block;

use super::digest::Digest;
use super::records::Records;
use super::{Bad, FRAME, HEADER, Header, Sink, Why, word};
use crate::payload::Hash;

/// Takes a checkpoint in pieces of any length, and tells a [`Sink`] what is in it. It
/// holds a frame at a time, whatever the bytes claim.
pub struct Reader {
    stage: Stage,
    /// Where the field or frame begins whose bytes are being taken.
    at: u64,
    held: Vec<u8>,
    len: usize,
    unpacked: Vec<u8>,
    digest: Digest,
    header: Option<Header>,
    records: Records,
}

#[derive(Clone, Copy)]
enum Stage {
    Header,
    /// The lengths of a frame.
    Lengths,
    /// So many bytes, which unpack to so many.
    Frame(usize, usize),
    Hash,
    Whole(Hash),
    /// What was wrong; nothing is taken any more.
    Refused(Bad),
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("at", &self.at).field("held", &self.len).finish()
    }
}

impl Default for Reader {
    fn default() -> Reader {
        Reader::new()
    }
}

impl Reader {
    /// One that has read nothing.
    pub fn new() -> Reader {
        Reader {
            stage: Stage::Header,
            at: 0,
            held: vec![0; FRAME],
            len: 0,
            unpacked: vec![0; FRAME],
            digest: Digest::new(),
            header: None,
            records: Records::new(false),
        }
    }

    /// The header, once it was read.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// The checkpoint's hash, once all of it was read and is found to be whole.
    pub fn whole(&self) -> Option<Hash> {
        match self.stage {
            Stage::Whole(hash) => Some(hash),
            _ => None,
        }
    }

    /// Takes the next bytes. What is wrong once stays wrong.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Bad> {
        let done = self.take(bytes, sink);
        if let Err(bad) = done {
            self.stage = Stage::Refused(bad);
        }
        done
    }

    /// Says that no more bytes come.
    pub fn finish(&self) -> Result<(Header, Hash), Bad> {
        match (self.stage, self.header) {
            (Stage::Whole(hash), Some(header)) => Ok((header, hash)),
            (Stage::Refused(bad), _) => Err(bad),
            _ => Err(Bad { at: self.at + self.len as u64, why: Why::Cut }),
        }
    }

    /// Reads a checkpoint that lies in memory as a whole.
    pub fn read(bytes: &[u8], sink: &mut dyn Sink) -> Result<(Header, Hash), Bad> {
        let mut reader = Reader::new();
        reader.feed(bytes, sink)?;
        reader.finish()
    }

    fn take(&mut self, mut bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Bad> {
        while !bytes.is_empty() {
            let need = match self.stage {
                Stage::Header => HEADER,
                Stage::Lengths => 8,
                Stage::Frame(packed, _) => packed,
                Stage::Hash => 32,
                Stage::Whole(_) => return Err(Bad { at: self.at, why: Why::Behind }),
                Stage::Refused(bad) => return Err(bad),
            };
            let n = need.saturating_sub(self.len).min(bytes.len());
            let (now, later) = bytes.split_at(n);
            if let Some(to) = self.held.get_mut(self.len..self.len + n) {
                to.copy_from_slice(now);
            }
            self.len += n;
            bytes = later;
            if self.len < need {
                // A file of another kind is known by its first bytes, however short.
                if matches!(self.stage, Stage::Header) {
                    match Header::parse(self.held.get(..self.len).unwrap_or_default()) {
                        Err(Bad { why: Why::Cut, .. }) => {}
                        other => drop(other?),
                    }
                }
                return Ok(());
            }
            let why = self.step(sink);
            self.stage = why.map_err(|(at, why)| Bad { at: self.at + at, why })?;
            self.at += self.len as u64;
            self.len = 0;
        }
        Ok(())
    }

    /// What was being taken is all there: what comes next, or what is wrong how far into
    /// it.
    fn step(&mut self, sink: &mut dyn Sink) -> Result<Stage, (u64, Why)> {
        let held = self.held.get(..self.len).unwrap_or_default();
        let here = |why| (0, why);
        if !matches!(self.stage, Stage::Hash) {
            self.digest.update(held);
        }
        match self.stage {
            Stage::Header => {
                let header = Header::parse(held).map_err(|bad| (bad.at, bad.why))?;
                self.header = Some(header);
                self.records = Records::new(header.base.is_some());
                sink.header(&header).map_err(Why::Refused).map_err(here)?;
                Ok(Stage::Lengths)
            }
            Stage::Lengths => {
                let lengths = (word(held, 0), word(held, 4));
                let (Some(raw), Some(packed)) = lengths else { return Err(here(Why::Cut)) };
                let (raw, packed) = (raw as usize, packed as usize);
                match (raw, packed) {
                    (0, 0) => self.records.complete().map_err(here).map(|()| Stage::Hash),
                    (1..=FRAME, 1..) if packed <= raw => Ok(Stage::Frame(packed, raw)),
                    _ => Err(here(Why::Frame)),
                }
            }
            Stage::Frame(packed, raw) => {
                let data = if packed == raw {
                    held
                } else {
                    let room = self.unpacked.get_mut(..raw).unwrap_or_default();
                    if block::decompress_into(held, room).ok() != Some(raw) {
                        return Err(here(Why::Packed));
                    }
                    room
                };
                self.records.feed(data, sink).map_err(here)?;
                Ok(Stage::Lengths)
            }
            Stage::Hash => {
                let hash = self.digest.hash();
                match held == hash {
                    true => Ok(Stage::Whole(Hash(hash))),
                    false => Err(here(Why::Hash)),
                }
            }
            stage @ (Stage::Whole(_) | Stage::Refused(_)) => Ok(stage),
        }
    }
}
