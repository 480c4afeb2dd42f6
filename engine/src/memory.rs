//! Which chunks of a memory have changed since a checkpoint.
//!
//! How that is found out is the machine's: a kernel has bits in its page tables. A
//! process compares ([`Compare`]): it keeps a hash of each chunk of 4 KiB. (What Linux
//! offers instead is not there on every system, or needs files and rights that a
//! sandboxed process has given up.) The hash is NH, of which it is proven that two
//! different chunks have the same one with a chance of 2^-64, whoever chose them, as
//! long as he does not know the key: Black et al., "UMAC: Fast and Secure Message
//! Authentication", CRYPTO 1999, theorem 4.1. It takes one multiplication for 16 bytes.

use alloc::boxed::Box;
use alloc::vec::Vec;

use atoll_runtime::component::CHUNK;

/// Finds the chunks that have changed.
pub trait Track {
    /// Adds the numbers of the chunks of `memory` that may have changed since the last
    /// [`Track::clear`], in order; before there was one, those that are not all zero.
    fn dirty(&mut self, memory: &[u8], out: &mut Vec<u32>);

    /// Takes what there is as unchanged.
    fn clear(&mut self, memory: &[u8]);
}

/// Words in a chunk.
const WORDS: usize = CHUNK / 8;

/// A key that nobody knows, for [`Compare`].
#[derive(Clone)]
pub struct Key(Box<[u64; WORDS]>);

impl Key {
    /// A key from 32 bytes that nobody can guess.
    pub fn new(seed: &[u8; 32]) -> Key {
        let mut bytes = [0; CHUNK];
        blake3::Hasher::new_keyed(seed).finalize_xof().fill(&mut bytes);
        let mut key = Box::new([0; WORDS]);
        for (word, bytes) in key.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Key(key)
    }

    /// NH of a chunk.
    fn hash(&self, chunk: &[u8; CHUNK]) -> u128 {
        let pairs = chunk.as_chunks::<16>().0.iter().zip(self.0.as_chunks::<2>().0);
        pairs.fold(0u128, |sum, (bytes, [k, l])| {
            let both = u128::from_le_bytes(*bytes);
            let (a, b) = (both as u64, (both >> 64) as u64);
            let product = u128::from(a.wrapping_add(*k)) * u128::from(b.wrapping_add(*l));
            sum.wrapping_add(product)
        })
    }
}

/// Compares the chunks' hashes with those of the last time.
pub struct Compare {
    key: Key,
    zero: u128,
    seen: Vec<u128>,
}

impl Compare {
    /// A memory of which all is new.
    pub fn new(key: Key) -> Compare {
        let zero = key.hash(&[0; CHUNK]);
        Compare { key, zero, seen: Vec::new() }
    }
}

impl Track for Compare {
    fn dirty(&mut self, memory: &[u8], out: &mut Vec<u32>) {
        for (i, chunk) in memory.as_chunks().0.iter().enumerate() {
            if self.key.hash(chunk) != *self.seen.get(i).unwrap_or(&self.zero) {
                out.push(i as u32);
            }
        }
    }

    fn clear(&mut self, memory: &[u8]) {
        self.seen.clear();
        self.seen.extend(memory.as_chunks().0.iter().map(|chunk| self.key.hash(chunk)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirty(track: &mut Compare, memory: &[u8]) -> Vec<u32> {
        let mut out = Vec::new();
        track.dirty(memory, &mut out);
        out
    }

    #[test]
    fn a_chunk_is_dirty_when_any_of_its_bytes_changes() {
        let mut track = Compare::new(Key::new(&[3; 32]));
        let mut memory = alloc::vec![0; 16 * CHUNK];
        assert!(dirty(&mut track, &memory).is_empty());
        memory[5 * CHUNK] = 1;
        memory[7 * CHUNK - 1] = 1;
        assert_eq!(dirty(&mut track, &memory), [5, 6]);
        track.clear(&memory);
        assert!(dirty(&mut track, &memory).is_empty());
        for i in 0..CHUNK {
            memory[3 * CHUNK + i] ^= 0x40;
            assert_eq!(dirty(&mut track, &memory), [3], "byte {i}");
            memory[3 * CHUNK + i] ^= 0x40;
        }
        // One that is zero again has changed too, and so has what was added.
        memory[5 * CHUNK] = 0;
        memory.resize(18 * CHUNK, 0);
        assert_eq!(dirty(&mut track, &memory), [5]);
        memory[17 * CHUNK + 9] = 9;
        assert_eq!(dirty(&mut track, &memory), [5, 17]);
    }

    #[test]
    fn words_that_change_places_change_the_hash() {
        let key = Key::new(&[5; 32]);
        let mut chunk = [0; CHUNK];
        let mut seen = alloc::collections::BTreeSet::new();
        for word in 0..WORDS {
            chunk[word * 8..][..8].copy_from_slice(&[0xff; 8]);
            assert!(seen.insert(key.hash(&chunk)), "{word}");
            chunk[word * 8..][..8].copy_from_slice(&[0; 8]);
        }
    }
}
