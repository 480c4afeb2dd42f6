//! The tags of a connection: which are in use, and for what.
//!
//! A table with a slot a tag and a list of free slots, so that asking and answering
//! cost the same however many requests are outstanding, and allocate nothing once
//! there were as many before. A tag that a Tflush names is not used again before
//! that Tflush was answered, whether or not its own request was (flush(5)).

use alloc::vec::Vec;

use super::Broken;
use crate::msg::{Rmsg, ty};
use crate::wire::NOTAG;

/// What was asked under a tag.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// The type of the request; 0 when there is none, or it was answered.
    pub(crate) ty: u8,
    /// The most bytes, or names of a walk, that its answer may speak of.
    pub(crate) most: u32,
    /// Whether the answer to a read must tell a position.
    pub(crate) sequenced: bool,
    /// What a Tflush names.
    pub(crate) oldtag: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    asked: Asked,
    /// Outstanding Tflushes that name it.
    flushes: u16,
}

impl Slot {
    fn is_used(&self) -> bool {
        self.asked.ty != 0 || self.flushes > 0
    }
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    slots: Vec<Slot>,
    free: Vec<u16>,
    outstanding: usize,
}

impl Tags {
    /// Requests without an answer.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Whether no tag is left.
    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty() && self.slots.len() >= usize::from(NOTAG)
    }

    /// A tag for a request.
    pub(crate) fn ask(&mut self, mut asked: Asked) -> Option<u16> {
        // A Tflush of a tag that is free ends nothing: the server hears of it before
        // that tag is used again.
        asked.oldtag = asked.oldtag.filter(|old| self.slot(*old).is_some_and(|s| s.is_used()));
        let tag = match self.free.pop() {
            Some(tag) => tag,
            None if self.is_full() => return None,
            None => {
                self.slots.push(Slot::default());
                (self.slots.len() - 1) as u16
            }
        };
        self.slot(tag)?.asked = asked;
        self.outstanding += 1;
        if let Some(old) = asked.oldtag.and_then(|old| self.slot(old)) {
            old.flushes += 1;
        }
        Some(tag)
    }

    /// Takes back the request that was asked last and never queued.
    pub(crate) fn unask(&mut self, tag: u16) {
        self.end(tag);
    }

    /// What was asked under the tag of an answer of this type, which ends it.
    pub(crate) fn answered(&mut self, tag: u16, got: u8) -> Result<Asked, Broken> {
        let slot = self.slot(tag).ok_or(Broken::Unasked)?;
        let asked = slot.asked;
        if asked.ty == 0 || (got != asked.ty + 1 && got != ty::RLERROR) {
            return Err(Broken::Unasked);
        }
        self.end(tag);
        if let Some(old) = asked.oldtag {
            // The answer to a Tflush ends the request that it named, if that had none.
            if let Some(slot) = self.slot(old) {
                slot.flushes = slot.flushes.saturating_sub(1);
                if got == ty::TFLUSH + 1 && slot.asked.ty != 0 {
                    slot.asked = Asked::default();
                    self.outstanding -= 1;
                }
                self.release(old);
            }
        }
        Ok(asked)
    }

    fn end(&mut self, tag: u16) {
        if let Some(slot) = self.slot(tag).filter(|s| s.asked.ty != 0) {
            slot.asked = Asked::default();
            self.outstanding -= 1;
            self.release(tag);
        }
    }

    /// Makes a tag free that neither a request nor a Tflush uses.
    fn release(&mut self, tag: u16) {
        if self.slot(tag).is_some_and(|s| !s.is_used()) {
            self.free.push(tag);
        }
    }

    fn slot(&mut self, tag: u16) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(tag))
    }
}

impl Asked {
    /// Whether an answer may say what it says.
    pub(crate) fn allows(&self, answer: &Rmsg<'_>) -> Result<(), Broken> {
        let much = match answer {
            Rmsg::Read { next, .. } if next.is_some() != self.sequenced => {
                return Err(Broken::Unasked);
            }
            Rmsg::Read { data, .. } | Rmsg::Readdir { data } => data.len() as u64,
            Rmsg::Write { count } => u64::from(*count),
            Rmsg::Walk { count, .. } => u64::from(*count),
            _ => 0,
        };
        if much > u64::from(self.most) { Err(Broken::TooMuch) } else { Ok(()) }
    }
}
