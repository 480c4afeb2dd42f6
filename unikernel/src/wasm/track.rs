//! Which pages of a memory have changed: the processor notes it in the page tables.

use alloc::vec::Vec;

use atoll_engine::Track;

use super::{rooms, tables};
use crate::logic::ram::PAGE;

/// See the module's text.
#[derive(Default)]
pub(super) struct Bits {
    /// There was a first time.
    began: bool,
}

impl Track for Bits {
    fn dirty(&mut self, memory: &[u8], out: &mut Vec<u32>) {
        let (at, size) = (memory.as_ptr() as u64, memory.len() as u64);
        let first = out.len();
        if !self.began {
            out.extend(rooms::shown(at, size).into_iter().map(|n| n as u32));
        }
        rooms::pages(at, size, |n, entry| {
            let changed = match self.began {
                true => rooms::take_dirty(entry, false),
                false => *entry & tables::OWN != 0 && !is_zero(memory, n),
            };
            if changed {
                out.push(n as u32);
            }
        });
        if let Some(new) = out.get_mut(first..) {
            new.sort_unstable();
        }
    }

    fn clear(&mut self, memory: &[u8]) {
        self.began = true;
        rooms::pages(memory.as_ptr() as u64, memory.len() as u64, |_, entry| {
            rooms::take_dirty(entry, true);
        });
        tables::flush();
    }
}

fn is_zero(memory: &[u8], page: u64) -> bool {
    let page = memory.chunks(PAGE as usize).nth(page as usize);
    page.is_none_or(|bytes| bytes.iter().all(|b| *b == 0))
}
