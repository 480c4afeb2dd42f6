//! Numbers that are the switch's own, each used by one thing at a time.

use alloc::vec::Vec;

use super::OWN_FIDS;

/// Fids of [`OWN_FIDS`], but the last.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    next: u32,
    free: Vec<u32>,
}

impl Numbers {
    /// One that is not in use, if there is any left.
    pub(super) fn take(&mut self) -> Option<u32> {
        if let Some(fid) = self.free.pop() {
            return Some(fid);
        }
        let fid = OWN_FIDS.start + self.next;
        if fid >= OWN_FIDS.end - 1 {
            return None;
        }
        self.next += 1;
        Some(fid)
    }

    /// It is not in use any more.
    pub(super) fn give_back(&mut self, fid: u32) {
        self.free.push(fid);
    }
}
