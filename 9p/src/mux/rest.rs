//! The rest of a reader's buffer.
//!
//! Linux's client asks again until a reader's buffer is full or nothing comes
//! (`p9_client_read` in `net/9p/client.c`). A session that speaks its dialect
//! knows such a read, and does not let it wait: the reader would not get what the buffer
//! already holds. One that speaks `9P2000.L.atoll` with the joint does not know of it, so
//! the joint sends a Tflush behind such a read, and says that nothing came when nothing
//! has come until that is answered.

use super::port::Port;
use super::{Asked, Effect, Mux};
use crate::msg::{Tmsg, ty};
use crate::wire::Writer;

/// A read of a file by a client that reads so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    pub(super) fid: u32,
    pub(super) offset: u64,
    /// Whether it continues another.
    pub(super) continues: bool,
}

/// Where the last read of a fid ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// The fid at the server.
    at: u32,
    offset: u64,
    /// How much was asked for; 0 when something was read since.
    asked: u32,
}

impl Port {
    /// Whether a read is for the rest of a buffer. Nothing continues it then but what
    /// comes of it.
    pub(super) fn continues(&mut self, fid: u32, at: u32, offset: u64, count: u32) -> bool {
        let Some(end) = self.ends.get_mut(&fid) else { return false };
        // Its place is kept for the next.
        let asked = core::mem::take(&mut end.asked);
        end.at == at && end.offset == offset && count < asked
    }

    /// So much has come of a read that asked for `asked` bytes.
    pub(super) fn has_read(&mut self, read: Rest, at: u32, came: usize, asked: u32) {
        if self.fids.get(&read.fid) == Some(&at) {
            let offset = read.offset.saturating_add(came as u64);
            self.ends.insert(read.fid, End { at, offset, asked });
        }
    }

    /// Nothing has come of it.
    pub(super) fn has_read_nothing(&mut self, tag: u16) {
        let mut w = Writer::new(&mut self.tx.bytes, ty::TREAD + 1, tag);
        w.u32(0);
        w.finish();
    }
}

impl Mux {
    /// Does not let a request wait at the server.
    pub(super) fn hurry(&mut self, up: u16) {
        let effect = Effect::Flush { tag: up };
        let flush = Asked { client: None, ty: ty::TFLUSH, on: None, also: None, effect };
        if let Ok(flush) = self.ask(flush) {
            Tmsg::Flush { oldtag: up }.encode(flush, &mut self.tx.bytes);
        }
    }
}
