//! The fids of a session.
//!
//! A fid is a slot in one vector, found through an [`Index`]. A slot that is free
//! again is the next to be used, and keeps the memory of its name: walking and
//! clunking allocate nothing once a client has done it before.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::index::{Index, NONE};
use crate::fault::{Errno, Fault};
use crate::tree::Tree;
use crate::types::OpenFlags;
use crate::wire::NOFID;

/// What a fid stands for.
pub(super) struct Fid<T: Tree> {
    pub(super) node: T::Node,
    pub(super) state: State<T>,
    /// The qid's path of where it was attached: `..` goes no further up.
    pub(super) root: u64,
    /// The user whom its client attached as.
    pub(super) uid: u32,
    /// The first of its reads and of its writes that wait.
    pub(super) waits: [u32; 2],
}

impl<T: Tree> Fid<T> {
    pub(super) fn new(node: T::Node, root: u64, uid: u32) -> Fid<T> {
        Fid { node, state: State::Idle, root, uid, waits: [NONE; 2] }
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// What it is open as, if it is.
    #[inline]
    pub(super) fn opened(&mut self) -> Option<&mut Opened<T>> {
        match &mut self.state {
            State::Open(opened) => Some(opened),
            _ => None,
        }
    }
}

/// What has been done with a fid.
pub(super) enum State<T: Tree> {
    /// Nothing since it was walked to.
    Idle,
    /// It was opened.
    Open(Opened<T>),
    /// It is the list of a file's extended attributes, of which there are none.
    Attributes,
}

/// An open fid.
pub(super) struct Opened<T: Tree> {
    pub(super) open: T::Open,
    pub(super) flags: OpenFlags,
    pub(super) dir: bool,
    /// Where the last read that got less than it asked for ended, and for how much
    /// it asked.
    pub(super) short: (u64, u32),
    /// What only 9P2000 wants to know.
    pub(super) plain: Option<Box<Plain>>,
}

impl<T: Tree> Opened<T> {
    /// Whether its file goes when the fid does.
    pub(super) fn is_removed_on_close(&mut self) -> bool {
        self.plain.as_ref().is_some_and(|p| p.remove)
    }
}

/// More about a fid that was opened in 9P2000.
#[derive(Debug, Default)]
pub(super) struct Plain {
    /// Where the last read of a directory ended, in bytes,
    pub(super) offset: u64,
    /// and behind which of its entries.
    pub(super) cookie: u64,
    /// Whether the file goes when the fid does.
    pub(super) remove: bool,
}

struct Slot<T: Tree> {
    /// Its number; the next free slot where there is no fid in it.
    number: u32,
    /// The last name that was walked; empty if that is not known.
    name: String,
    fid: Option<Fid<T>>,
}

/// All fids of a session.
pub(super) struct Fids<T: Tree> {
    index: Index,
    slots: Vec<Slot<T>>,
    free: u32,
    live: u32,
}

impl<T: Tree> Default for Fids<T> {
    fn default() -> Self {
        Fids { index: Index::default(), slots: Vec::new(), free: NONE, live: 0 }
    }
}

/// Below this many slots none are given back.
const FEW: usize = 32;

impl<T: Tree> Fids<T> {
    #[inline]
    fn place(&self, number: u32) -> Option<u32> {
        let number_of = |at: u32| self.slots.get(at as usize).map_or(NOFID, |s| s.number);
        self.index.get(number, number_of)
    }

    /// The fid of that number.
    #[inline(never)]
    pub(super) fn get(&mut self, number: u32) -> Result<&mut Fid<T>, Fault> {
        let slot = self.place(number).and_then(|at| self.slots.get_mut(at as usize));
        slot.and_then(|s| s.fid.as_mut()).ok_or(Errno::EBADF.into())
    }

    /// Its last name, or nothing if that is not known.
    pub(super) fn name(&mut self, number: u32) -> Option<&mut String> {
        let at = self.place(number)?;
        self.slots.get_mut(at as usize).map(|s| &mut s.name)
    }

    /// Whether a fid of that number may be made.
    #[inline]
    pub(super) fn vacant(&self, number: u32, most: u32) -> Result<(), Fault> {
        if self.place(number).is_some() {
            Err(Fault::new(Errno::EBADF, "this fid is in use"))
        } else if number == NOFID {
            Err(Errno::EBADF.into())
        } else if self.live >= most {
            Err(Errno::EMFILE.into())
        } else {
            Ok(())
        }
    }

    /// Makes a fid of a number that is vacant. Its name is to be written.
    pub(super) fn insert(&mut self, number: u32, fid: Fid<T>) -> Option<&mut String> {
        let at = match self.slots.get_mut(self.free as usize) {
            Some(slot) => {
                let at = core::mem::replace(&mut self.free, slot.number);
                slot.number = number;
                slot.fid = Some(fid);
                at
            }
            None => {
                self.slots.push(Slot { number, name: String::new(), fid: Some(fid) });
                self.slots.len() as u32 - 1
            }
        };
        self.live += 1;
        let slots = &self.slots;
        self.index.insert(number, at, |at| slots.get(at as usize).map_or(NOFID, |s| s.number));
        let name = &mut self.slots.get_mut(at as usize)?.name;
        name.clear();
        Some(name)
    }

    /// Takes a fid away.
    pub(super) fn remove(&mut self, number: u32) -> Option<Fid<T>> {
        let slots = &self.slots;
        let number_of = |at: u32| slots.get(at as usize).map_or(NOFID, |s| s.number);
        let at = self.index.remove(number, number_of)?;
        let slot = self.slots.get_mut(at as usize)?;
        slot.number = core::mem::replace(&mut self.free, at);
        let fid = slot.fid.take();
        self.live -= 1;
        if self.slots.len() > FEW && (self.live as usize) < self.slots.len() / 4 {
            self.shrink();
        }
        fid
    }

    /// Gives the memory of many free slots back.
    #[cold]
    fn shrink(&mut self) {
        let old = core::mem::take(self);
        self.slots.reserve(old.live as usize * 2);
        for slot in old.slots {
            if let Some(fid) = slot.fid
                && let Some(name) = self.insert(slot.number, fid)
            {
                *name = slot.name;
            }
        }
    }

    /// Those whose file goes when they do.
    pub(super) fn removed_on_close(&mut self) -> Vec<u32> {
        let goes = |f: &mut Fid<T>| f.opened().is_some_and(Opened::is_removed_on_close);
        let slots = self.slots.iter_mut();
        slots.filter_map(|s| s.fid.as_mut().is_some_and(goes).then_some(s.number)).collect()
    }

    /// Takes all of them away.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Fid<T>> + use<T> {
        core::mem::take(self).slots.into_iter().filter_map(|s| s.fid)
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.live as usize
    }

    /// Bytes of memory behind it.
    pub(super) fn held(&self) -> usize {
        let names: usize = self.slots.iter().map(|s| s.name.capacity()).sum();
        self.slots.capacity() * size_of::<Slot<T>>() + names + self.index.held()
    }
}
