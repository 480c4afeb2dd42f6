//! The messages of 9P2000 and 9P2000.L.
//!
//! [`Tmsg`] and [`Rmsg`] borrow strings and data from the frame that they were
//! decoded from. Layouts are those of section 5 of Plan 9's manual and of diod's
//! `protocol.md`; a comment gives the fields of each. A message that is not of the
//! dialect spoken has a type that [`Tmsg::decode_in`] reports, and a server answers
//! EOPNOTSUPP.

use crate::types::{Qid, Stat};
use crate::wire::{BadFrame, Fields, MAX_WALK, Writer};

mod answer;
mod request;
mod stat;

pub use answer::Rmsg;
pub use request::{Tmsg, encode_walk};
pub use stat::{Stat9, Wstat, stats};

pub use crate::types::SetAttr;

/// Message types. An answer is its request's type and one.
pub mod ty {
    #![allow(missing_docs)]
    pub const RLERROR: u8 = 7;
    pub const TSTATFS: u8 = 8;
    pub const TLOPEN: u8 = 12;
    pub const TLCREATE: u8 = 14;
    pub const TSYMLINK: u8 = 16;
    pub const TMKNOD: u8 = 18;
    pub const TRENAME: u8 = 20;
    pub const TREADLINK: u8 = 22;
    pub const TGETATTR: u8 = 24;
    pub const TSETATTR: u8 = 26;
    pub const TXATTRWALK: u8 = 30;
    pub const TXATTRCREATE: u8 = 32;
    pub const TREADDIR: u8 = 40;
    pub const TFSYNC: u8 = 50;
    pub const TLOCK: u8 = 52;
    pub const TGETLOCK: u8 = 54;
    pub const TLINK: u8 = 70;
    pub const TMKDIR: u8 = 72;
    pub const TRENAMEAT: u8 = 74;
    pub const TUNLINKAT: u8 = 76;
    pub const TVERSION: u8 = 100;
    pub const TAUTH: u8 = 102;
    pub const TATTACH: u8 = 104;
    pub const RERROR: u8 = 107;
    pub const TFLUSH: u8 = 108;
    pub const TWALK: u8 = 110;
    pub const TOPEN: u8 = 112;
    pub const TCREATE: u8 = 114;
    pub const TREAD: u8 = 116;
    pub const TWRITE: u8 = 118;
    pub const TCLUNK: u8 = 120;
    pub const TREMOVE: u8 = 122;
    pub const TSTAT: u8 = 124;
    pub const TWSTAT: u8 = 126;
}

/// The names of a Twalk, at most [`MAX_WALK`], still in the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names<'a> {
    count: u16,
    bytes: &'a [u8],
}

impl<'a> Names<'a> {
    fn decode(r: &mut Fields<'a>) -> Names<'a> {
        let count = r.u16();
        if usize::from(count) > MAX_WALK {
            r.fail(BadFrame::Names);
            return Names::default();
        }
        let bytes = r.rest();
        for _ in 0..count {
            r.str();
        }
        Names { count, bytes: bytes.get(..bytes.len() - r.rest().len()).unwrap_or_default() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count.into()
    }

    /// Whether there is none: the walk copies a fid.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The names, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut r = Fields::new(self.bytes);
        (0..self.count).map(move |_| r.str())
    }
}

/// The tag of a frame. 0 for a frame without one, which no [`crate::wire::front`] lets through.
pub fn tag(frame: &[u8]) -> u16 {
    match frame {
        [_, _, _, _, _, a, b, ..] => u16::from_le_bytes([*a, *b]),
        _ => 0,
    }
}

fn qid(r: &mut Fields<'_>) -> Qid {
    Qid { ty: r.u8(), version: r.u32(), path: r.u64() }
}

/// Writes a qid.
pub(crate) fn put_qid(w: &mut Writer<'_>, q: Qid) {
    let [v0, v1, v2, v3] = q.version.to_le_bytes();
    let [p0, p1, p2, p3, p4, p5, p6, p7] = q.path.to_le_bytes();
    w.put([q.ty, v0, v1, v2, v3, p0, p1, p2, p3, p4, p5, p6, p7]);
}

/// Bytes of an Rgetattr behind the header.
const STAT: usize = 8 + Qid::SIZE + 3 * 4 + 5 * 8 + 3 * 16 + 4 * 8;

/// Writes the body of an Rgetattr. Of all answers it has the most fields and is asked
/// for most: they are put together where their places are known when this is
/// compiled, and written in one piece.
pub(crate) fn put_stat(w: &mut Writer<'_>, s: &Stat) {
    let mut all = [0; STAT];
    let at = &mut all.as_mut_slice();
    put(at, crate::types::getattr::BASIC.to_le_bytes());
    put(at, [s.qid.ty]);
    put(at, s.qid.version.to_le_bytes());
    put(at, s.qid.path.to_le_bytes());
    for v in [s.mode, s.uid, s.gid] {
        put(at, v.to_le_bytes());
    }
    let blksize = 4096u64;
    for v in [s.nlink, s.rdev, s.size, blksize, s.blocks] {
        put(at, v.to_le_bytes());
    }
    for time in [s.atime, s.mtime, s.ctime] {
        put(at, time.sec.to_le_bytes());
        put(at, u64::from(time.nsec).to_le_bytes());
    }
    // btime, its seconds and nanoseconds; gen; data_version: nothing.
    w.raw(&all);
}

/// Puts a field in front of what is left.
#[inline(always)]
fn put<const N: usize>(at: &mut &mut [u8], v: [u8; N]) {
    if let Some((to, rest)) = core::mem::take(at).split_first_chunk_mut() {
        *to = v;
        *at = rest;
    }
}

/// One entry of an Rreaddir: qid\[13\] offset\[8\] type\[1\] name\[s\].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The file.
    pub qid: Qid,
    /// Where the listing goes on after this entry.
    pub cookie: u64,
    /// `DT_*` of `dirent.h`.
    pub ty: u8,
    /// Its name.
    pub name: &'a str,
}

/// The entries in the data of an Rreaddir. Ends early at a malformed one.
pub fn entries(data: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let mut r = Fields::new(data);
    core::iter::from_fn(move || {
        if r.rest().is_empty() {
            return None;
        }
        let entry = Entry { qid: qid(&mut r), cookie: r.u64(), ty: r.u8(), name: r.str() };
        // Only what was read before something was missing is an entry.
        r.is_good().then_some(entry)
    })
}
