//! Whole files, with several requests underway.
//!
//! One request at a time leaves the connection idle for as long as a message takes
//! there and back. A [`Fetch`] asks ahead, a [`Store`] sends ahead, and what comes of
//! it is what one request at a time would have given: a short read ends what was
//! asked ahead, and the error is that of the first offset that failed. They begin
//! with one request and send more only after one that was answered in full, so a
//! small file costs what it did.
//!
//! Not for files whose reads take something away, or whose writes go to the end: for
//! those the window is 1.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::link::Ask;
use super::{Tag, fault};
use crate::fault::{Blame, Errno, Fault};
use crate::msg::{Rmsg, Tmsg};
use crate::wire::{NOTAG, READ_OVERHEAD, WRITE_OVERHEAD};

/// Requests ahead where nobody says otherwise.
pub const WINDOW: usize = 8;

/// Something that sends requests and is told their answers until it is done.
pub trait Transfer {
    /// Sends what may be sent now. What is not taken fails it.
    fn pump(&mut self, ask: &mut dyn Ask, sent: &mut dyn FnMut(Tag));
    /// Takes an answer; false if it is to nothing of its own.
    fn answer(&mut self, tag: Tag, answer: &Rmsg<'_>) -> bool;
    /// Whether nothing is underway any more, nor to be sent.
    fn is_done(&self) -> bool;
    /// What came of it: what was read, or nothing.
    fn result(self) -> Result<Vec<u8>, Fault>;
}

/// Part of a file that is underway.
#[derive(Clone, Copy, Debug)]
struct Piece {
    tag: Tag,
    offset: u64,
    count: u32,
}

/// Takes the piece of a tag out of those underway.
fn take(pieces: &mut VecDeque<Piece>, tag: Tag) -> Option<Piece> {
    let at = pieces.iter().position(|p| p.tag == tag)?;
    pieces.remove(at)
}

/// Keeps the first of two errors, by their offsets.
fn fail(failed: &mut Option<(u64, Fault)>, offset: u64, fault: Fault) {
    if failed.as_ref().is_none_or(|f| f.0 > offset) {
        *failed = Some((offset, fault));
    }
}

fn wrong_kind() -> Fault {
    Fault::new(Errno::EPROTO, "the server's answer is of the wrong kind").blame(Blame::Host)
}

/// Reads a file from an offset to its end.
#[derive(Debug)]
pub struct Fetch {
    fid: u32,
    from: u64,
    max: usize,
    /// The most requests underway, and how many may be now.
    most: usize,
    window: usize,
    /// Where the next read is.
    next: u64,
    pieces: VecDeque<Piece>,
    /// Where the first short answer ended, and where the first empty one was.
    cut: Option<u64>,
    empty: Option<u64>,
    ended: bool,
    data: Vec<u8>,
    failed: Option<(u64, Fault)>,
}

impl Fetch {
    /// A read of an open fid, of at most `max` bytes and with at most `window`
    /// requests underway. `data` is the buffer to use; what it holds is dropped.
    pub fn new(fid: u32, from: u64, max: usize, window: usize, mut data: Vec<u8>) -> Fetch {
        data.clear();
        Fetch {
            fid,
            from,
            max,
            most: window.max(1),
            window: 1,
            next: from,
            pieces: VecDeque::new(),
            cut: None,
            empty: None,
            ended: false,
            data,
            failed: None,
        }
    }

    fn put(&mut self, piece: Piece, data: &[u8]) {
        let end = piece.offset + data.len() as u64;
        if (data.len() as u64) < u64::from(piece.count) {
            self.cut = Some(self.cut.map_or(end, |c| c.min(end)));
            self.window = 1;
            if data.is_empty() {
                self.empty = Some(self.empty.map_or(end, |e| e.min(end)));
            }
        } else {
            self.window = (self.window * 2).min(self.most);
        }
        let at = usize::try_from(piece.offset - self.from).unwrap_or(usize::MAX);
        if at.saturating_add(data.len()) > self.max {
            let text = alloc::format!("more than the {} bytes that were asked for", self.max);
            return fail(&mut self.failed, piece.offset, Fault::new(Errno::EFBIG, text));
        }
        if at == self.data.len() {
            return self.data.extend_from_slice(data);
        }
        if self.data.len() < at + data.len() {
            self.data.resize(at + data.len(), 0);
        }
        if let Some(room) = self.data.get_mut(at..at + data.len()) {
            room.copy_from_slice(data);
        }
    }

    /// All that was asked ahead is answered: what lies beyond a short read is
    /// dropped, with its errors, and reading goes on there, or has come to the end.
    fn settle(&mut self) {
        let Some(cut) = self.cut.take() else { return };
        if self.failed.as_ref().is_some_and(|f| f.0 >= cut) {
            self.failed = None;
        }
        self.data.truncate(usize::try_from(cut - self.from).unwrap_or(usize::MAX));
        self.next = cut;
        self.ended = self.empty.take() == Some(cut);
    }
}

impl Transfer for Fetch {
    fn pump(&mut self, ask: &mut dyn Ask, sent: &mut dyn FnMut(Tag)) {
        let count = ask.msize() - READ_OVERHEAD;
        while self.pieces.len() < self.window
            && self.cut.is_none()
            && !self.ended
            && self.failed.is_none()
        {
            let offset = self.next;
            let tag = ask.send(&Tmsg::Read { fid: self.fid, offset, count });
            if tag.0 == NOTAG {
                if self.pieces.is_empty() {
                    fail(&mut self.failed, offset, Errno::ENOBUFS.into());
                }
                return;
            }
            sent(tag);
            self.next += u64::from(count);
            self.pieces.push_back(Piece { tag, offset, count });
        }
    }

    fn answer(&mut self, tag: Tag, answer: &Rmsg<'_>) -> bool {
        let Some(piece) = take(&mut self.pieces, tag) else { return false };
        match *answer {
            Rmsg::Read { data, .. } => self.put(piece, data),
            Rmsg::Lerror { errno, text } => {
                fail(&mut self.failed, piece.offset, fault(errno, text));
            }
            _ => fail(&mut self.failed, piece.offset, wrong_kind()),
        }
        if self.pieces.is_empty() {
            self.settle();
        }
        true
    }

    fn is_done(&self) -> bool {
        self.pieces.is_empty() && (self.ended || self.failed.is_some())
    }

    fn result(self) -> Result<Vec<u8>, Fault> {
        self.failed.map_or(Ok(self.data), |(_, fault)| Err(fault))
    }
}

/// Writes bytes to a file at an offset.
#[derive(Debug)]
pub struct Store<B> {
    fid: u32,
    from: u64,
    most: usize,
    window: usize,
    data: B,
    /// How much was sent, and what is to be sent again: what a short answer left.
    next: usize,
    left: VecDeque<(usize, usize)>,
    pieces: VecDeque<Piece>,
    failed: Option<(u64, Fault)>,
    /// Whether anything was sent: no bytes are one write too.
    begun: bool,
}

impl<B: AsRef<[u8]>> Store<B> {
    /// A write to an open fid, with at most `window` requests underway.
    pub fn new(fid: u32, from: u64, data: B, window: usize) -> Store<B> {
        Store {
            fid,
            from,
            most: window.max(1),
            window: 1,
            data,
            next: 0,
            left: VecDeque::new(),
            pieces: VecDeque::new(),
            failed: None,
            begun: false,
        }
    }

    fn len(&self) -> usize {
        self.data.as_ref().len()
    }

    fn took(&mut self, piece: Piece, n: u32) {
        let at = (piece.offset - self.from) as usize;
        match piece.count.checked_sub(n) {
            Some(0) => self.window = (self.window * 2).min(self.most),
            Some(rest) if n > 0 => {
                self.window = 1;
                self.left.push_back((at + n as usize, rest as usize));
            }
            _ => {
                let text = alloc::format!("only {at} of {} bytes were taken", self.len());
                fail(&mut self.failed, piece.offset, Fault::new(Errno::ENOSPC, text));
            }
        }
    }
}

impl<B: AsRef<[u8]>> Transfer for Store<B> {
    fn pump(&mut self, ask: &mut dyn Ask, sent: &mut dyn FnMut(Tag)) {
        // Room for the name that a write may get on its way.
        let room = (ask.msize() - WRITE_OVERHEAD) as usize - crate::types::OpId::SIZE;
        while self.pieces.len() < self.window && self.failed.is_none() {
            let (at, n) = match self.left.pop_front() {
                Some(left) => left,
                None if self.next < self.len() || !self.begun => {
                    let n = room.min(self.len() - self.next);
                    self.next += n;
                    (self.next - n, n)
                }
                None => return,
            };
            let data = self.data.as_ref().get(at..at + n).unwrap_or_default();
            let offset = self.from + at as u64;
            let tag = ask.send(&Tmsg::Write { fid: self.fid, offset, data, op: None });
            if tag.0 == NOTAG {
                self.left.push_front((at, n));
                if self.pieces.is_empty() {
                    fail(&mut self.failed, offset, Errno::ENOBUFS.into());
                }
                return;
            }
            sent(tag);
            self.begun = true;
            self.pieces.push_back(Piece { tag, offset, count: n as u32 });
        }
    }

    fn answer(&mut self, tag: Tag, answer: &Rmsg<'_>) -> bool {
        let Some(piece) = take(&mut self.pieces, tag) else { return false };
        match *answer {
            Rmsg::Write { count } if piece.count > 0 || count > 0 => self.took(piece, count),
            Rmsg::Write { .. } => {}
            Rmsg::Lerror { errno, text } => {
                fail(&mut self.failed, piece.offset, fault(errno, text));
            }
            _ => fail(&mut self.failed, piece.offset, wrong_kind()),
        }
        true
    }

    fn is_done(&self) -> bool {
        let all = self.begun && self.next >= self.len() && self.left.is_empty();
        self.pieces.is_empty() && (all || self.failed.is_some())
    }

    fn result(self) -> Result<Vec<u8>, Fault> {
        self.failed.map_or(Ok(Vec::new()), |(_, fault)| Err(fault))
    }
}
