//! A request of the asker's, for as long as it has no answer.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::file::File;
use crate::types::{OpenFlags, Qid};

/// A buffer larger than this does not outlive its request.
const KEEP: usize = 1024;

/// Where a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: its tag is free.
    #[default]
    Free,
    /// With the keeper, in one of its queues.
    Waiting,
    /// At the server, under this tag; its last byte is that many in all that was sent.
    Sent { up: u16, end: u64 },
    /// The file that it opened is being looked at, under this tag.
    Looking { up: u16 },
    /// Its answer is here.
    Done,
}

/// What was asked with a Tlopen, and what was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    pub(super) fid: u32,
    pub(super) flags: OpenFlags,
    pub(super) qid: Qid,
    pub(super) iounit: u32,
}

/// A request.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) place: Place,
    /// Requests are in this order.
    pub(super) serial: u64,
    /// As the asker sent it, in 9P2000.L.
    pub(super) frame: Vec<u8>,
    /// What a write is named, once it is.
    pub(super) seq: Option<u64>,
    /// Whether it may have reached a server before.
    pub(super) was_sent: bool,
    /// A read of a stream that is to go to a position first.
    pub(super) resumes: bool,
    /// Where a walk leads.
    pub(super) leads: Option<Box<File>>,
    /// What a Tflush names: the tag, and which request's it was.
    pub(super) flushes: Option<(u16, u64)>,
    /// What a Tlopen has made, while that is looked at.
    pub(super) opened: Option<Opened>,
}

impl Held {
    /// Makes it free, and keeps what the next one can use.
    pub(super) fn clear(&mut self) {
        let mut frame = core::mem::take(&mut self.frame);
        frame.clear();
        *self = Held { frame, ..Held::default() };
        if self.frame.capacity() > KEEP {
            self.frame = Vec::new();
        }
    }
}
