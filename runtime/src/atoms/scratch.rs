//! Scratch memory: bytes that all components of a guest share.
//!
//! Since one dispatch runs at a time, each read and write is atomic as it is. A
//! dispatch that fails leaves no trace: a block is kept as it was when the dispatch first
//! writes to it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use atoll_9p::fault::{Errno, Fault};

use super::Undo;
use crate::effects::Cx;
use crate::sponsor::Amount;

/// Bytes of scratch memory.
pub(crate) const SCRATCH: usize = 1 << 16;
/// Bytes that are kept together.
const BLOCK: usize = 256;

/// Some bytes of scratch memory as they were.
pub(super) type Block = [u8; BLOCK];

/// The memory. There is none until somebody writes to it.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) bytes: Vec<u8>,
    /// A bit for each block that this dispatch has changed.
    changed: [u64; SCRATCH / BLOCK / 64],
}

impl Scratch {
    pub(super) fn put_back(&mut self, n: u8, block: &Block) {
        if let Some(to) = self.bytes.as_chunks_mut().0.get_mut(usize::from(n)) {
            *to = *block;
        }
    }

    /// A dispatch is over.
    pub(super) fn settle(&mut self) {
        self.changed = Default::default();
    }

    fn get(&self, at: u64, len: usize) -> Result<&[u8], Fault> {
        let at = check(at, len)?;
        Ok(self.bytes.get(at..at + len).unwrap_or_default())
    }
}

/// Where it lies, if all of it is there.
fn check(at: u64, len: usize) -> Result<usize, Fault> {
    let at = usize::try_from(at).map_err(|_| Errno::EFAULT)?;
    let end = at.checked_add(len).filter(|end| *end <= SCRATCH);
    end.map(|_| at).ok_or(Errno::EFAULT.into())
}

impl Cx<'_> {
    /// Copies bytes of the guest's scratch memory: 65,536 bytes, at first 0. EFAULT
    /// beyond them.
    pub fn scratch_read(&self, at: u64, out: &mut [u8]) -> Result<(), Fault> {
        let bytes = self.atoms.scratch.get(at, out.len())?;
        if bytes.is_empty() {
            out.fill(0);
        } else {
            out.copy_from_slice(bytes);
        }
        Ok(())
    }

    /// Writes bytes of the guest's scratch memory.
    pub fn scratch_write(&mut self, at: u64, data: &[u8]) -> Result<(), Fault> {
        let at = check(at, data.len())?;
        if data.is_empty() {
            return Ok(());
        }
        if self.atoms.scratch.bytes.is_empty() {
            self.pay(Amount { memory: SCRATCH as u64, messages: 0 })?;
            self.atoms.scratch.bytes.resize(SCRATCH, 0);
            self.effects.undo.push(Undo::NoScratch);
        }
        for n in at / BLOCK..=(at + data.len() - 1) / BLOCK {
            self.keep(n)?;
        }
        if let Some(to) = self.atoms.scratch.bytes.get_mut(at..at + data.len()) {
            to.copy_from_slice(data);
        }
        Ok(())
    }

    /// Keeps a block as it is, for the case that this dispatch fails.
    fn keep(&mut self, n: usize) -> Result<(), Fault> {
        let scratch = &mut self.atoms.scratch;
        let (Some(changed), Some(block)) =
            (scratch.changed.get_mut(n / 64), scratch.bytes.as_chunks().0.get(n))
        else {
            return Ok(());
        };
        if *changed >> (n % 64) & 1 == 0 {
            *changed |= 1 << (n % 64);
            let block = Box::new(*block);
            if !self.pass(BLOCK) {
                return Err(Errno::EDQUOT.into());
            }
            self.effects.undo.push(Undo::Scratch(n as u8, block));
        }
        Ok(())
    }

    /// The number of eight bytes at a multiple of eight.
    fn number_at(&self, at: u64) -> Result<i64, Fault> {
        let mut bytes = [0; 8];
        self.scratch_read(at, &mut bytes)?;
        if at.is_multiple_of(8) { Ok(i64::from_le_bytes(bytes)) } else { Err(Errno::EINVAL.into()) }
    }

    /// Adds to a number of eight bytes in scratch memory, little endian, and says
    /// what it was. EINVAL where `at` is no multiple of 8.
    pub fn scratch_add(&mut self, at: u64, add: i64) -> Result<i64, Fault> {
        let old = self.number_at(at)?;
        self.scratch_write(at, &old.wrapping_add(add).to_le_bytes())?;
        Ok(old)
    }

    /// Puts `new` in the place of such a number, if it is `old`, and says what it was.
    pub fn scratch_cas(&mut self, at: u64, old: i64, new: i64) -> Result<i64, Fault> {
        let was = self.number_at(at)?;
        if was == old {
            self.scratch_write(at, &new.to_le_bytes())?;
        }
        Ok(was)
    }
}
