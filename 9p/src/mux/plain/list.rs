//! Tread of a directory: Treaddir, and what there is to know of each entry.
//!
//! The pieces are those that a session reads ([`crate::plain::piece`]), but each
//! entry is looked at by itself, and may have changed since it was listed.

use alloc::vec::Vec;

use super::{Got, Script, Turn, Work, odd};
use crate::fault::{Errno, Fault};
use crate::msg::{Rmsg, Tmsg, entries, ty};
use crate::mux::{ClientId, Mux};
use crate::plain::{piece, put_stat9, unseen};
use crate::server::name_is_free;
use crate::types::{Qid, Stat, getattr};
use crate::wire::{HEADER, READ_OVERHEAD, Writer};

/// How far a client has read a directory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Read {
    /// Where the last read ended, in bytes,
    offset: u64,
    /// and behind which entry.
    cookie: u64,
    /// Where the last read that got something ended, and for how much it asked.
    short: (u64, u32),
}

/// A read of a directory.
#[derive(Debug)]
pub(super) struct Piece {
    fid: u32,
    count: u32,
    /// How far it has come.
    read: Read,
    /// Entries that are yet to be looked at, as they came.
    list: Vec<u8>,
    /// How many bytes of them are done.
    at: usize,
    /// What the answer holds so far.
    data: Vec<u8>,
    /// Whether an entry did not fit.
    full: bool,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    List,
    /// The entry is walked to, by this fid,
    Walk(u32),
    /// and looked at.
    Look(u32),
}

impl Piece {
    /// Bytes of memory behind it.
    pub(super) fn held(&self) -> usize {
        self.list.capacity() + self.data.capacity()
    }
}

impl Mux {
    pub(super) fn read_dir(
        &mut self,
        id: ClientId,
        s: &mut Script,
        fid: u32,
        offset: u64,
        count: u32,
    ) -> Result<Work, Fault> {
        let most = self.ports.get(&id).map_or(0, |p| p.msize - READ_OVERHEAD);
        let count = count.min(most);
        let (at, file) = self.file(id, fid)?;
        let read = match &mut file.opened {
            Some(opened) if offset == 0 => {
                (opened.read.offset, opened.read.cookie) = (0, 0);
                opened.read
            }
            Some(opened) if offset == opened.read.offset => opened.read,
            _ => return Err(Fault::new(Errno::EINVAL, "bad offset in directory read")),
        };
        let m = Tmsg::Readdir { fid: at, offset: read.cookie, count: piece(count) as u32 };
        self.put(id, s, &m)?;
        Ok(Work::Read(Piece {
            fid,
            count,
            read,
            list: Vec::new(),
            at: 0,
            data: Vec::new(),
            full: false,
            step: Step::List,
        }))
    }

    pub(super) fn listed(
        &mut self,
        id: ClientId,
        s: &mut Script,
        mut piece: Piece,
        got: Got<'_>,
    ) -> Turn {
        match (piece.step, got) {
            (Step::List, got) => {
                let Rmsg::Readdir { data } = got? else { return Err(odd()) };
                piece.list = data.to_vec();
            }
            (Step::Walk(at), Ok(_)) => {
                piece.step = Step::Look(at);
                self.put(id, s, &Tmsg::Getattr { fid: at, mask: getattr::BASIC })?;
                return Ok(Some(Work::Read(piece)));
            }
            (Step::Walk(_), Err(_)) => piece.add(None),
            (Step::Look(at), got) => {
                self.drop_temp(s, at);
                match got {
                    Ok(Rmsg::Getattr { stat }) => piece.add(Some(stat)),
                    _ => piece.add(None),
                }
            }
        }
        let dir = self.file(id, piece.fid)?.0;
        while !piece.full
            && let Some(entry) = piece.list.get(piece.at..).and_then(|l| entries(l).next())
        {
            if name_is_free(entry.name).is_err() {
                piece.add(None);
                continue;
            }
            let at = self.temp(s);
            self.put_walk(id, s, dir, at, entry.name)?;
            piece.step = Step::Walk(at);
            return Ok(Some(Work::Read(piece)));
        }
        self.read_to_end(id, s, piece)
    }

    /// All is looked at that there is, or for which there is room.
    fn read_to_end(&mut self, id: ClientId, s: &mut Script, mut piece: Piece) -> Turn {
        let file = self.file(id, piece.fid)?.1;
        let Some(opened) = &mut file.opened else { return Err(Errno::EBADF.into()) };
        let data = &*piece.data;
        // Linux's client asks for the rest of its buffer until nothing comes.
        let (end, asked) = core::mem::take(&mut opened.read.short);
        let fills_up = end == piece.read.offset && piece.count < asked;
        if data.is_empty() && !fills_up && piece.full {
            return Err(Fault::new(Errno::EINVAL, "the count is too small for the next entry"));
        }
        piece.read.offset += data.len() as u64;
        piece.read.short = match data.is_empty() {
            true => (0, 0),
            false => (piece.read.offset, piece.count),
        };
        opened.read = piece.read;
        self.reply(id, s, ty::TREAD, |w| w.data(data));
        Ok(None)
    }
}

impl Piece {
    /// Puts the next entry of the list into the answer, or finds that it does not fit.
    fn add(&mut self, stat: Option<Stat>) {
        let list = self.list.get(self.at..).unwrap_or_default();
        let Some(entry) = entries(list).next() else { return };
        let mut frame = Vec::new();
        let mut w = Writer::new(&mut frame, ty::TREAD, 0);
        put_stat9(&mut w, &stat.unwrap_or_else(|| unseen(entry.qid)), entry.name);
        w.finish();
        let stat = frame.get(HEADER..).unwrap_or_default();
        if self.data.len() + stat.len() > self.count as usize {
            self.full = true;
            return;
        }
        self.data.extend_from_slice(stat);
        self.read.cookie = entry.cookie;
        self.at += Qid::SIZE + 8 + 1 + 2 + entry.name.len();
    }
}
