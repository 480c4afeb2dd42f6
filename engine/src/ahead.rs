//! Pages of a memory that are about to be written, asked for several at a time.
//!
//! A memory is given pages as they are touched, each by a fault; when a checkpoint is
//! restored those were a third of the work. Its chunks come in order, so behind a run of
//! them more of it are to be expected: as many as the run has, so that for each page that
//! was asked for in vain there is one that was not.

use core::ops::Range;

use atoll_runtime::component::CHUNK;

/// The most chunks that are asked for at a time.
const MOST: usize = 64;

/// How far a memory's pages have been asked for.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// Where the run of chunks began that is being written, and the next one of it.
    run: Range<usize>,
    /// Up to here they are there.
    until: usize,
}

impl Ahead {
    /// The chunk is going to be written now, in a memory of so many. Those that are worth
    /// asking for, which it is the first of.
    pub(crate) fn next(&mut self, chunk: usize, of: usize) -> Option<Range<usize>> {
        if chunk != self.run.end {
            self.run = chunk..chunk;
        }
        self.run.end = chunk + 1;
        // The first one of a run comes as others do.
        if chunk < self.until || chunk >= of || self.run.len() < 2 {
            return None;
        }
        self.until = of.min(chunk + self.run.len().min(MOST));
        Some(chunk..self.until)
    }
}

/// Has the system make these pages present. Nothing depends on it: what it does not do, it
/// does when they are touched.
#[cfg(feature = "std")]
pub(crate) fn populate(pages: &mut [u8]) {
    // SAFETY: the pages are ours to write, and what is in them is not changed.
    unsafe { libc::madvise(pages.as_mut_ptr().cast(), pages.len(), libc::MADV_POPULATE_WRITE) };
}

/// A kernel's faults are its own, and take less than asking.
#[cfg(not(feature = "std"))]
pub(crate) fn populate(_: &mut [u8]) {}

/// The bytes of some chunks.
pub(crate) fn bytes(memory: &mut [u8], chunks: Range<usize>) -> &mut [u8] {
    memory.get_mut(chunks.start * CHUNK..chunks.end * CHUNK).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn asked(chunks: impl IntoIterator<Item = usize>, of: usize) -> Vec<Range<usize>> {
        let mut ahead = Ahead::default();
        chunks.into_iter().filter_map(|chunk| ahead.next(chunk, of)).collect()
    }

    #[test]
    fn a_run_is_asked_for_in_growing_pieces_to_the_end_of_the_memory() {
        assert_eq!(asked(10..30, 25), [11..13, 13..17, 17..25]);
        let all = asked(0..1000, 1000);
        assert_eq!((all.first(), all.last()), (Some(&(1..3)), Some(&(959..1000))));
        assert!(all.windows(2).all(|two| two[0].end == two[1].start && two[1].len() <= MOST));
    }

    #[test]
    fn chunks_that_stand_alone_are_not_asked_for() {
        assert_eq!(asked((0..100).step_by(2), 100), []);
    }

    #[test]
    fn no_more_is_asked_for_in_vain_than_was_written() {
        for end in 1..300 {
            let until = asked(0..end, 1000).last().map_or(0, |last| last.end);
            assert!(until <= 2 * end, "{end}: {until}");
        }
    }
}
