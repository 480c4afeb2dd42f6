//! What is asked for: attributes, walks, reads, writes, a directory.

use anyhow::{Context, Result, bail};

use super::content;
use super::frame::{
    self, GETATTR, HEADER, IO_HEADER, OFFSET_AT, READ_DATA, WRITE_DATA, answer, ty,
};
use super::link::{Link, ROOT};
use super::work::Work;

/// The fid of the file or directory that is worked on.
const FILE: u32 = 1;
/// The first fid of walks; each slot has its own.
const WALKED: u32 = 100;
/// Flags of Tlopen: for reading, for writing, a directory.
const O_RDONLY: u32 = 0;
const O_WRONLY: u32 = 1;
const O_DIRECTORY: u32 = 0o200_000;
/// The bit of a qid's type that says directory.
const QID_DIR: u8 = 0x80;

/// A path below the root, for messages that are at most 16 names long.
pub type Path = &'static [&'static str];

/// The attributes of one file, again and again.
#[derive(Clone, Debug)]
pub struct Getattr {
    path: Path,
    size: u64,
    frames: Vec<Vec<u8>>,
}

impl Getattr {
    /// Of the file at that path, which has so many bytes.
    pub fn new(path: Path, size: u64) -> Getattr {
        Getattr { path, size, frames: Vec::new() }
    }
}

impl Work for Getattr {
    fn begin(&mut self, link: &mut Link, depth: usize) -> Result<()> {
        self.frames = (0..depth).map(|s| frame::getattr(s as u16, FILE)).collect();
        link.walk(FILE, self.path)
    }

    fn turn(&mut self, _slot: usize) {}

    fn ask(&self, slot: usize) -> &[u8] {
        &self.frames[slot]
    }

    fn hear(&mut self, _slot: usize, frame: &[u8]) -> Result<u64> {
        let body = answer(frame, ty::TGETATTR, GETATTR.1 - HEADER)?;
        // valid[8] qid[13] mode[4] uid[4] gid[4] nlink[8] rdev[8] size[8]
        let size = frame::u64_at(body, 49);
        if frame.len() != GETATTR.1 || size != self.size {
            bail!("attributes of another file: {size} bytes long");
        }
        Ok(1)
    }
}

/// A walk of one name to a new fid, and its clunk: one unit for both.
#[derive(Clone, Debug)]
pub struct Walk {
    name: &'static str,
    walks: Vec<Vec<u8>>,
    clunks: Vec<Vec<u8>>,
    walked: Vec<bool>,
}

impl Walk {
    /// To that file in the root.
    pub fn new(name: &'static str) -> Walk {
        Walk { name, walks: Vec::new(), clunks: Vec::new(), walked: Vec::new() }
    }
}

impl Work for Walk {
    fn begin(&mut self, _: &mut Link, depth: usize) -> Result<()> {
        let fid = |slot: usize| WALKED + slot as u32;
        let walk = |s: usize| frame::walk(s as u16, ROOT, fid(s), &[self.name]);
        self.walks = (0..depth).map(walk).collect();
        self.clunks = (0..depth).map(|s| frame::clunk(s as u16, fid(s))).collect();
        self.walked = vec![false; depth];
        Ok(())
    }

    fn turn(&mut self, _slot: usize) {}

    fn ask(&self, slot: usize) -> &[u8] {
        if self.walked[slot] { &self.clunks[slot] } else { &self.walks[slot] }
    }

    fn hear(&mut self, slot: usize, frame: &[u8]) -> Result<u64> {
        let walked = &mut self.walked[slot];
        *walked = !*walked;
        if !*walked {
            answer(frame, ty::TCLUNK, 0)?;
            return Ok(1);
        }
        // nwqid[2] nwqid*(qid[13])
        let body = answer(frame, ty::TWALK, 15)?;
        if body.len() != 15 || body[2] & QID_DIR != 0 {
            bail!("a walk of one name that led elsewhere");
        }
        Ok(0)
    }

    fn rests(&self, slot: usize) -> bool {
        !self.walked[slot]
    }
}

/// Places in a file that is read or written in order, from its begin again when it
/// ends.
#[derive(Clone, Debug, Default)]
struct Places {
    unit: u64,
    end: u64,
    next: u64,
    of: Vec<u64>,
}

impl Places {
    fn begin(&mut self, unit: u32, size: u64, depth: usize) {
        let unit = u64::from(unit);
        *self = Places { unit, end: size / unit * unit, next: 0, of: vec![0; depth] };
    }

    fn turn(&mut self, slot: usize, frame: &mut [u8]) -> u64 {
        let at = self.next;
        self.next = if at + self.unit >= self.end { 0 } else { at + self.unit };
        self.of[slot] = at;
        frame[OFFSET_AT..OFFSET_AT + 8].copy_from_slice(&at.to_le_bytes());
        at
    }
}

/// Reads of a file, in order. A unit is a byte.
#[derive(Clone, Debug)]
pub struct Read {
    path: Path,
    size: u64,
    count: u32,
    checks: bool,
    places: Places,
    frames: Vec<Vec<u8>>,
}

impl Read {
    /// Of the file at that path, which has so many bytes of [`content`], by so many
    /// bytes at once, or as many as messages have room for.
    pub fn new(path: Path, size: u64, count: u32) -> Read {
        Read { path, size, count, checks: true, places: Places::default(), frames: Vec::new() }
    }
}

impl Work for Read {
    fn begin(&mut self, link: &mut Link, depth: usize) -> Result<()> {
        let count = self.count.min(link.unit());
        if u64::from(count) > self.size {
            bail!("the file is too short to be read by {count} bytes");
        }
        self.places.begin(count, self.size, depth);
        self.frames = (0..depth).map(|s| frame::read(s as u16, FILE, 0, count)).collect();
        link.walk(FILE, self.path)?;
        link.lopen(FILE, O_RDONLY)
    }

    fn turn(&mut self, slot: usize) {
        self.places.turn(slot, &mut self.frames[slot]);
    }

    fn ask(&self, slot: usize) -> &[u8] {
        &self.frames[slot]
    }

    fn hear(&mut self, slot: usize, frame: &[u8]) -> Result<u64> {
        let body = answer(frame, ty::TREAD, 4)?;
        let n = frame.len() - READ_DATA;
        if n as u64 != self.places.unit || u64::from(frame::u32_at(body, 0)) != self.places.unit {
            bail!("{n} bytes came, {} were asked for", self.places.unit);
        }
        if self.checks {
            content::check(&frame[READ_DATA..], self.places.of[slot])?;
        }
        Ok(n as u64)
    }
}

/// Writes of a file, in order. A unit is a byte.
#[derive(Clone, Debug)]
pub struct Write {
    path: Path,
    size: u64,
    count: u32,
    places: Places,
    frames: Vec<Vec<u8>>,
}

impl Write {
    /// Over the first so many bytes of the file at that path, by so many at once.
    pub fn new(path: Path, size: u64, count: u32) -> Write {
        Write { path, size, count, places: Places::default(), frames: Vec::new() }
    }
}

impl Work for Write {
    fn begin(&mut self, link: &mut Link, depth: usize) -> Result<()> {
        // Whole pages, so that their numbers are where they are expected.
        let page = content::PAGE as u32;
        let count = self.count.min(link.unit()) / page * page;
        if count == 0 {
            bail!("messages of {} bytes are too small to write a page", link.msize());
        }
        self.places.begin(count, self.size, depth);
        let data = content::block(0, count as usize);
        self.frames = (0..depth).map(|s| frame::write(s as u16, FILE, 0, &data)).collect();
        link.walk(FILE, self.path)?;
        link.lopen(FILE, O_WRONLY)
    }

    fn turn(&mut self, slot: usize) {
        let at = self.places.turn(slot, &mut self.frames[slot]);
        content::number(&mut self.frames[slot][WRITE_DATA..], at);
    }

    fn ask(&self, slot: usize) -> &[u8] {
        &self.frames[slot]
    }

    fn hear(&mut self, _slot: usize, frame: &[u8]) -> Result<u64> {
        let n = frame::u32_at(answer(frame, ty::TWRITE, 4)?, 0);
        if u64::from(n) != self.places.unit {
            bail!("{n} bytes were written of {}", self.places.unit);
        }
        Ok(n.into())
    }
}

/// A directory, from its first entry to its last. A unit is an entry other than
/// `.` and `..`.
#[derive(Clone, Debug)]
pub struct Readdir {
    path: Path,
    entries: u64,
    seen: u64,
    cookie: u64,
    frame: Vec<u8>,
}

impl Readdir {
    /// Of the directory at that path, which has so many entries.
    pub fn new(path: Path, entries: u64) -> Readdir {
        Readdir { path, entries, seen: 0, cookie: 0, frame: Vec::new() }
    }
}

impl Work for Readdir {
    fn begin(&mut self, link: &mut Link, depth: usize) -> Result<()> {
        if depth != 1 {
            bail!("where a directory goes on is known only when an answer is here");
        }
        self.frame = frame::readdir(0, FILE, 0, link.msize() - IO_HEADER);
        link.walk(FILE, self.path)?;
        link.lopen(FILE, O_RDONLY | O_DIRECTORY)
    }

    fn turn(&mut self, _slot: usize) {
        self.frame[OFFSET_AT..OFFSET_AT + 8].copy_from_slice(&self.cookie.to_le_bytes());
    }

    fn ask(&self, _slot: usize) -> &[u8] {
        &self.frame
    }

    fn hear(&mut self, _slot: usize, frame: &[u8]) -> Result<u64> {
        let body = answer(frame, ty::TREADDIR, 4)?;
        let mut rest = &body[4..];
        if rest.is_empty() {
            if self.seen != self.entries {
                bail!("{} entries in a directory that has {}", self.seen, self.entries);
            }
            (self.seen, self.cookie) = (0, 0);
            return Ok(0);
        }
        let mut n = 0;
        while !rest.is_empty() {
            // qid[13] offset[8] type[1] name[s]
            let (head, tail) = rest.split_first_chunk::<24>().context("a broken entry")?;
            let len = usize::from(u16::from_le_bytes([head[22], head[23]]));
            let (name, tail) = tail.split_at_checked(len).context("a name that is cut off")?;
            n += u64::from(name != b"." && name != b"..");
            self.cookie = frame::u64_at(head, 13);
            rest = tail;
        }
        self.seen += n;
        Ok(n)
    }

    fn rests(&self, _slot: usize) -> bool {
        self.cookie == 0
    }
}
