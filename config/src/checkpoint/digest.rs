//! BLAKE3 of bytes that come in pieces of odd lengths, in runs that it is fast with.
//!
//! BLAKE3 hashes pieces of 1 KiB, as many side by side as a processor has lanes for, but
//! only such as make a whole subtree together. Of a frame that begins at an odd place most
//! do not: they were hashed one, two, four at a time. So they are put together first to
//! runs that begin where a subtree does.

use alloc::boxed::Box;
use core::fmt;

use blake3::Hasher;

/// Bytes of a run: a lane each for AVX-512, which has the most.
const RUN: usize = 16 << 10;

/// See the module's text.
pub(super) struct Digest {
    /// Has taken whole runs only.
    hasher: Hasher,
    held: Box<[u8; RUN]>,
    len: usize,
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digest").field("held", &self.len).finish_non_exhaustive()
    }
}

impl Digest {
    /// Of no bytes.
    pub(super) fn new() -> Digest {
        Digest { hasher: Hasher::new(), held: Box::new([0; RUN]), len: 0 }
    }

    /// Takes the next bytes.
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        if self.len > 0 {
            bytes = self.hold(bytes);
            if self.len < RUN {
                return;
            }
            self.hasher.update(&*self.held);
            self.len = 0;
        }
        let (runs, rest) = bytes.split_at(bytes.len() - bytes.len() % RUN);
        self.hasher.update(runs);
        self.hold(rest);
    }

    /// Holds as many bytes as make a run; gives the others.
    fn hold<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let room = self.held.get_mut(self.len..).unwrap_or_default();
        let (now, later) = bytes.split_at(room.len().min(bytes.len()));
        if let Some(to) = room.get_mut(..now.len()) {
            to.copy_from_slice(now);
        }
        self.len += now.len();
        later
    }

    /// The hash of all of them.
    pub(super) fn hash(&self) -> [u8; 32] {
        let mut hasher = self.hasher.clone();
        hasher.update(self.held.get(..self.len).unwrap_or_default());
        *hasher.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_length_have_the_hash_of_the_whole() {
        let all: alloc::vec::Vec<u8> =
            (0..200_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        for piece in [1, 8, 1023, 1024, RUN - 1, RUN, RUN + 1, 32_768, 65_512, 200_000] {
            let (mut digest, mut so_far) = (Digest::new(), 0);
            for bytes in all.chunks(piece) {
                digest.update(bytes);
                so_far += bytes.len();
                if piece > 1000 || so_far == all.len() {
                    assert_eq!(digest.hash(), *blake3::hash(&all[..so_far]).as_bytes(), "{piece}");
                }
            }
        }
    }
}
