//! Memory that computed files are shown in.
//!
//! What a file shows is computed whenever it is read from its start, and stays with the open
//! file until then. A few buffers of files that were closed, or are read anew, are kept for
//! the next ones, so that in a steady state showing a file allocates nothing.

use alloc::vec::Vec;

/// So many are kept, and none that is larger.
const SHEETS: usize = 4;
const LARGEST: usize = 4096;
/// What may be left free behind what is shown, beside as much again.
const SLACK: usize = 64;

/// Buffers with nothing in them.
#[derive(Debug, Default)]
pub(super) struct Sheets(Vec<Vec<u8>>);

impl Sheets {
    /// An empty buffer.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    /// One that is not needed any more.
    pub(super) fn put(&mut self, mut sheet: Vec<u8>) {
        if self.0.len() < SHEETS && (1..=LARGEST).contains(&sheet.capacity()) {
            sheet.clear();
            self.0.push(sheet);
        }
    }
}

/// Gives memory back that is much more than what is shown in it.
pub(super) fn fit(shown: &mut Vec<u8>) {
    if shown.capacity() > shown.len() * 2 + SLACK {
        shown.shrink_to_fit();
    }
}
