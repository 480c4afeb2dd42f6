//! A checkpoint is taken: all of it at one moment, packed, and kept until it was read.
//!
//! What an increment holds is what has changed since the last checkpoint that somebody
//! read to its end; of one that was given up, what had changed by then is remembered. An
//! instance that was made meanwhile has nothing in common with the one before it: all of
//! its memory is in the increment.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_config::checkpoint::{Header, Writer};
use atoll_config::payload::Hash;

use super::state::VERSION;
use crate::component::{CHUNK, ComponentId, Memory};
use crate::core::Core;

/// Bytes that are kept together.
const PIECE: usize = 32 << 10;

/// The chunks of components' memories that have changed, by component.
pub(crate) type Changed = BTreeMap<u32, BTreeSet<u32>>;

/// A checkpoint that an increment may build on.
pub(crate) struct Base {
    hash: Hash,
    /// The components that it has, each with how often it was made anew by then.
    made: Vec<(u32, u64)>,
}

/// A checkpoint as bytes.
pub struct Cut {
    /// Each with where it begins.
    pieces: Vec<(u64, Vec<u8>)>,
    len: u64,
    base: Base,
    changed: Changed,
}

impl Cut {
    /// Its bytes.
    #[allow(clippy::len_without_is_empty)] // none is
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The hash at its end.
    pub fn hash(&self) -> Hash {
        self.base.hash
    }

    /// Copies bytes from `offset` on: how many.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let mut done = 0;
        let from = self.pieces.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        for (start, piece) in self.pieces.iter().skip(from) {
            let skip = (offset + done as u64).saturating_sub(*start);
            let there =
                piece.get(usize::try_from(skip).unwrap_or(usize::MAX)..).unwrap_or_default();
            let Some(room) = buf.get_mut(done..).filter(|r| !r.is_empty()) else { break };
            let n = there.len().min(room.len());
            for (to, from) in room.iter_mut().zip(there) {
                *to = *from;
            }
            done += n;
        }
        done
    }

    fn add(&mut self, out: &mut Vec<u8>, most: u64) -> Result<(), Fault> {
        let full = || {
            let text = "the machine has no memory for a checkpoint as large as this";
            Fault::new(Errno::ENOMEM, text).blame(Blame::Host)
        };
        let mut piece = Vec::new();
        piece.try_reserve_exact(out.len()).map_err(|_| full())?;
        piece.append(out);
        let start = self.len;
        self.len += piece.len() as u64;
        self.pieces.push((start, piece));
        if self.len > most { Err(full()) } else { Ok(()) }
    }
}

impl Core<'_> {
    /// The most bytes that may be taken of the machine's memory for this: half of what
    /// is free.
    pub(super) fn spare(&self) -> u64 {
        let memory = self.machine.0;
        match memory.total {
            0 => u64::MAX,
            total => total.saturating_sub(memory.used) / 2,
        }
    }

    /// Takes a checkpoint of the guest as it is now: all of it, or with `since` what has
    /// changed since the last one that was [kept](Core::kept); ENODATA where there is
    /// none. ENOMEM where the machine cannot hold it.
    pub fn cut(&mut self, since: bool) -> Result<Cut, Fault> {
        let base = match (since, &self.snaps.base) {
            (true, None) => {
                let text = "there is no checkpoint that this could build on: read checkpoint/new";
                return Err(Fault::new(Errno::ENODATA, text));
            }
            (true, Some(base)) => Some((base.hash, base.made.clone())),
            (false, _) => None,
        };
        let mut cut = Cut {
            pieces: Vec::new(),
            len: 0,
            base: Base { hash: Hash([0; 32]), made: Vec::new() },
            changed: core::mem::take(&mut self.snaps.changed),
        };
        match self.fill(&mut cut, base) {
            Ok(()) => Ok(cut),
            Err(fault) => {
                self.give_up(cut);
                Err(fault)
            }
        }
    }

    fn fill(&mut self, cut: &mut Cut, base: Option<(Hash, Vec<(u32, u64)>)>) -> Result<(), Fault> {
        let most = self.spare();
        let state = self.capture().to_bytes();
        let (hash, known) = base.map_or((None, Vec::new()), |(h, made)| (Some(h), made));
        let header = Header { payload: self.hash, base: hash, time: self.now.0 };
        let mut out = Vec::new();
        let mut w = Writer::new(&header, &mut out);
        w.state(VERSION, state.len() as u64, &mut out);
        for bytes in state.chunks(PIECE) {
            w.state_bytes(bytes, &mut out);
            cut.add(&mut out, most)?;
        }
        drop(state);
        for (ComponentId(id), slot) in self.slots.all_mut() {
            let made = (id, slot.restarts);
            cut.base.made.push(made);
            let Some(memory) = slot.body.as_mut().and_then(|b| b.memory()) else {
                w.component(id, &slot.name, 0, &mut out);
                continue;
            };
            w.component(id, &slot.name, memory.size(), &mut out);
            let changed = cut.changed.entry(id).or_default();
            let mut dirty = Vec::new();
            memory.dirty(&mut dirty);
            memory.clear();
            changed.extend(dirty);
            let which = if known.contains(&made) { Some(changed.clone()) } else { None };
            write(&mut w, memory, which, &mut |out| cut.add(out, most), &mut out)?;
        }
        cut.base.hash = w.finish(&mut out);
        cut.add(&mut out, most)
    }

    /// Somebody has all of a checkpoint: the next increment builds on it.
    pub fn kept(&mut self, cut: Cut) {
        self.snaps.base = Some(cut.base);
        self.snaps.back.kept();
    }

    /// A checkpoint was not read to its end: what it says has changed is remembered.
    pub fn give_up(&mut self, cut: Cut) {
        for (id, chunks) in cut.changed {
            self.snaps.changed.entry(id).or_default().extend(chunks);
        }
    }
}

/// Writes chunks of a memory: these, or all.
fn write(
    w: &mut Writer,
    memory: &mut dyn Memory,
    which: Option<BTreeSet<u32>>,
    add: &mut dyn FnMut(&mut Vec<u8>) -> Result<(), Fault>,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let end = memory.size().div_ceil(CHUNK as u64);
    let end = u32::try_from(end).unwrap_or(u32::MAX);
    let mut data = [0; CHUNK];
    let mut one = |n: u32| {
        memory.read(n, &mut data);
        w.chunk(n, &data, out);
        if out.len() >= PIECE { add(out) } else { Ok(()) }
    };
    match which {
        Some(which) => which.into_iter().filter(|n| *n < end).try_for_each(&mut one),
        None => (0..end).try_for_each(&mut one),
    }
}
