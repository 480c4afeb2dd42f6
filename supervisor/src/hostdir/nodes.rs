//! The files that clients hold, each by a descriptor.

use atoll_9p::fault::{Errno, Fault};
use rustix::fd::OwnedFd;

/// A file that clients know.
#[derive(Debug)]
pub(super) struct Known {
    /// Which folder it was found in.
    pub(super) export: u32,
    refs: u32,
    /// The number of this use of the place, so that an old name finds nothing.
    uses: u32,
    /// An `O_PATH` descriptor of it.
    pub(super) fd: OwnedFd,
}

/// The table of them. A node is a place in it, from 1, and the count of the place's
/// uses above that; 0 is no file's.
#[derive(Debug)]
pub(super) struct Nodes {
    known: Vec<Option<Known>>,
    free: Vec<u32>,
    uses: u32,
    /// Descriptors of open files.
    open: usize,
    /// The most descriptors.
    pub(super) limit: usize,
}

impl Default for Nodes {
    fn default() -> Nodes {
        Nodes { known: Vec::new(), free: Vec::new(), uses: 0, open: 0, limit: usize::MAX }
    }
}

fn place(node: u64) -> usize {
    ((node & 0xffff_ffff) as usize).wrapping_sub(1)
}

impl Nodes {
    pub(super) fn held(&self) -> usize {
        self.known.len() - self.free.len()
    }

    /// Whether there may be another descriptor.
    pub(super) fn room(&self) -> Result<(), Fault> {
        if self.held() + self.open < self.limit {
            return Ok(());
        }
        let text = "the server has no more descriptors for files (its RLIMIT_NOFILE)";
        Err(Fault::new(Errno::EMFILE, text))
    }

    pub(super) fn insert(&mut self, export: u32, fd: OwnedFd) -> u64 {
        self.uses = self.uses.wrapping_add(1);
        let known = Some(Known { export, refs: 1, uses: self.uses, fd });
        let at = match self.free.pop() {
            Some(at) => {
                self.known[at as usize] = known;
                at
            }
            None => {
                self.known.push(known);
                (self.known.len() - 1) as u32
            }
        };
        u64::from(self.uses) << 32 | (u64::from(at) + 1)
    }

    pub(super) fn get(&self, node: u64) -> Result<&Known, Fault> {
        match self.known.get(place(node)) {
            Some(Some(known)) if u64::from(known.uses) == node >> 32 => Ok(known),
            _ => Err(Errno::ESTALE.into()),
        }
    }

    fn refs(&mut self, node: u64) -> Option<&mut u32> {
        match self.known.get_mut(place(node)) {
            Some(Some(known)) if u64::from(known.uses) == node >> 32 => Some(&mut known.refs),
            _ => None,
        }
    }

    pub(super) fn again(&mut self, node: u64) {
        if let Some(refs) = self.refs(node) {
            *refs += 1;
        }
    }

    pub(super) fn forget(&mut self, node: u64) {
        let Some(refs) = self.refs(node) else { return };
        *refs -= 1;
        if *refs == 0 {
            let at = place(node);
            self.known[at] = None;
            self.free.push(at as u32);
        }
    }

    pub(super) fn opened(&mut self) {
        self.open += 1;
    }

    pub(super) fn closed(&mut self) {
        self.open = self.open.saturating_sub(1);
    }
}
