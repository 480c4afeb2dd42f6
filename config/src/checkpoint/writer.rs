//! Writing a checkpoint, a frame at a time.

use alloc::vec::Vec;

use lz4_flex::block;

use super::digest::Digest;
use super::records::{CHUNK_IS, COMPONENT, STATE, ZERO};
use super::{CHUNK, FRAME, Header, MAX_NAME};
use crate::payload::Hash;

/// Puts a checkpoint together. Each method adds the frames that are full to `out`, at
/// most one more than fit into what it was given, so whoever takes `out` away as it
/// grows never holds more than a few frames.
///
/// The order is that of [`super::Sink`]: [`Writer::state`] with [`Writer::state_bytes`],
/// then each component with its chunks, then [`Writer::finish`]. What is written in
/// another order, a reader refuses.
#[derive(Debug)]
pub struct Writer {
    digest: Digest,
    increment: bool,
    frame: Vec<u8>,
}

impl Writer {
    /// Begins one.
    pub fn new(header: &Header, out: &mut Vec<u8>) -> Writer {
        let mut digest = Digest::new();
        let bytes = header.bytes();
        digest.update(&bytes);
        out.extend_from_slice(&bytes);
        let increment = header.base.is_some();
        Writer { digest, increment, frame: Vec::with_capacity(FRAME) }
    }

    /// Announces the runtime's part: its version, and its length in bytes.
    pub fn state(&mut self, version: u32, len: u64, out: &mut Vec<u8>) {
        self.put(&[STATE], out);
        self.put(&version.to_le_bytes(), out);
        self.put(&len.to_le_bytes(), out);
    }

    /// The next bytes of the runtime's part.
    pub fn state_bytes(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.put(bytes, out);
    }

    /// A component, and the bytes of its memory (0 where it has none). Of a name longer
    /// than [`MAX_NAME`] bytes, as much as fits.
    pub fn component(&mut self, number: u32, name: &str, memory: u64, out: &mut Vec<u8>) {
        let mut len = name.len().min(MAX_NAME);
        while !name.is_char_boundary(len) {
            len -= 1;
        }
        self.put(&[COMPONENT], out);
        self.put(&number.to_le_bytes(), out);
        self.put(&memory.to_le_bytes(), out);
        self.put(&[len as u8], out);
        self.put(name.as_bytes().get(..len).unwrap_or_default(), out);
    }

    /// A chunk of the last component's memory. One of zeroes takes no room in a whole
    /// checkpoint, and little in an increment.
    pub fn chunk(&mut self, number: u32, data: &[u8; CHUNK], out: &mut Vec<u8>) {
        let zero = data.as_chunks::<8>().0.iter().all(|w| *w == [0; 8]);
        if zero && !self.increment {
            return;
        }
        self.put(&[if zero { ZERO } else { CHUNK_IS }], out);
        self.put(&number.to_le_bytes(), out);
        if !zero {
            self.put(data, out);
        }
    }

    /// Ends it, and gives its hash, by which an increment names its base.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Hash {
        self.flush(out);
        self.digest.update(&[0; 8]);
        out.extend_from_slice(&[0; 8]);
        let hash = Hash(self.digest.hash());
        out.extend_from_slice(&hash.0);
        hash
    }

    fn put(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let room = FRAME - self.frame.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.frame.extend_from_slice(now);
            bytes = later;
            if self.frame.len() == FRAME {
                self.flush(out);
            }
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        let n = self.frame.len();
        if n == 0 {
            return;
        }
        let start = out.len();
        out.extend_from_slice(&(n as u32).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let data = out.len();
        out.resize(data + block::get_maximum_output_size(n), 0);
        let room = out.get_mut(data..).unwrap_or_default();
        let mut packed = block::compress_into(&self.frame, room).unwrap_or(n);
        out.truncate(data + packed.min(n));
        if packed >= n {
            packed = n;
            out.truncate(data);
            out.extend_from_slice(&self.frame);
        }
        if let Some(field) = out.get_mut(start + 4..data) {
            field.copy_from_slice(&(packed as u32).to_le_bytes());
        }
        self.digest.update(out.get(start..).unwrap_or_default());
        self.frame.clear();
    }
}
