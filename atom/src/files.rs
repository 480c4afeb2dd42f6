//! Files of the atom's private namespace, and the event files that it has itself.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::abi;
pub use crate::abi::flags;
use crate::error::{Errno, Error, Result, check};
use crate::future::{Call, Typed};

/// Reads at most `count` bytes from `from` on; fewer only at the file's end.
pub fn read(path: &str, from: u64, count: u32) -> Call {
    Call::new(abi::file_read(path.as_bytes(), place(from), count))
}

/// Reads a text that is not longer than a message may be.
pub fn read_text(path: &str) -> Typed<String> {
    Typed::new(read(path, 0, abi::MAX_BODY as u32), text)
}

/// Writes at `from`: all of it, or it fails.
pub fn write_at(path: &str, from: u64, data: &[u8]) -> Typed<()> {
    Typed::new(Call::new(abi::file_write(path.as_bytes(), place(from), data)), nothing)
}

/// Replaces what is in the file.
pub fn write(path: &str, data: &[u8]) -> Typed<()> {
    Typed::new(Call::new(abi::file_write(path.as_bytes(), -1, data)), nothing)
}

/// The names in a directory; a directory's own with `/` behind it.
pub fn list(path: &str) -> Typed<Vec<String>> {
    Typed::new(Call::new(abi::file_list(path.as_bytes())), |body| {
        Ok(text(body)?.lines().map(String::from).collect())
    })
}

/// What is known of a file.
pub fn stat(path: &str) -> Typed<Stat> {
    Typed::new(Call::new(abi::file_stat(path.as_bytes())), Stat::read)
}

/// What is known of a file (ABI.md, section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub length: u64,
    /// Last change, nanoseconds since 1970 UTC.
    pub mtime: u64,
    /// Type and permissions, as in `sys/stat.h`.
    pub mode: u32,
    /// The qid: type, version, path.
    pub qid: (u8, u32, u64),
}

impl Stat {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.qid.0 & 0x80 != 0
    }

    /// As it crosses the ABI.
    pub fn bytes(&self) -> Vec<u8> {
        let (ty, version, path) = self.qid;
        let mut out = Vec::with_capacity(abi::STAT);
        out.extend(self.length.to_le_bytes());
        out.extend(self.mtime.to_le_bytes());
        out.extend(self.mode.to_le_bytes());
        out.push(ty);
        out.extend(version.to_le_bytes());
        out.extend(path.to_le_bytes());
        out
    }

    fn read(body: Vec<u8>) -> Result<Stat> {
        let mut at = &*body;
        let stat = Stat {
            length: u64::from_le_bytes(take(&mut at)?),
            mtime: u64::from_le_bytes(take(&mut at)?),
            mode: u32::from_le_bytes(take(&mut at)?),
            qid: (
                u8::from_le_bytes(take(&mut at)?),
                u32::from_le_bytes(take(&mut at)?),
                u64::from_le_bytes(take(&mut at)?),
            ),
        };
        Ok(stat)
    }
}

/// An open file. Closed when it is dropped.
#[derive(Debug)]
pub struct File(u32);

impl File {
    /// Opens a file; [`flags`].
    pub fn open(path: &str, flags: u32) -> Typed<File> {
        Typed::new(Call::new(abi::open(path.as_bytes(), flags)), |b| number(&b).map(File))
    }

    /// Opens a file by a path that begins at this directory.
    pub fn walk(&self, path: &str, flags: u32) -> Typed<File> {
        let call = Call::new(abi::walk(self.0, path.as_bytes(), flags));
        Typed::new(call, |b| number(&b).map(File))
    }

    /// At most `count` bytes from `from` on, none at the end. Of an event file: waits
    /// for a line.
    pub fn read(&self, from: u64, count: u32) -> Call {
        Call::new(abi::read(self.0, place(from), count))
    }

    /// Writes at `from`, and tells how many bytes were taken.
    pub fn write(&self, from: u64, data: &[u8]) -> Typed<u32> {
        Typed::new(Call::new(abi::write(self.0, place(from), data)), |b| number(&b))
    }

    /// What is known of it.
    pub fn stat(&self) -> Typed<Stat> {
        Typed::new(Call::new(abi::stat(self.0)), Stat::read)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // It was open: there is nothing to be told.
        let _ = abi::close(self.0);
    }
}

/// An event file of the atom's own, as `#[atom]` declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events(pub u32);

impl Events {
    /// Adds a line.
    pub fn emit(self, line: impl fmt::Display) -> Result<()> {
        check(abi::emit(self.0, crate::instance::show(line)?.as_bytes())).map(drop)
    }
}

/// The names of a directory's entries, for who lists it: [`Names::push`] takes them from
/// the first on, and leaves out what the reader has already.
#[derive(Debug)]
pub struct Names {
    skip: usize,
    text: String,
}

impl Names {
    pub(crate) fn new(skip: usize) -> Names {
        Names { skip, text: String::new() }
    }

    /// A name. Whether another one is wanted.
    pub fn push(&mut self, name: &str) -> bool {
        match self.skip.checked_sub(1) {
            Some(less) => self.skip = less,
            None => {
                self.text.push_str(name);
                self.text.push('\n');
            }
        }
        self.text.len() < abi::MAX_BODY
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// Places beyond what a signed number holds are behind the end of any file.
fn place(from: u64) -> i64 {
    i64::try_from(from).unwrap_or(i64::MAX)
}

fn take<const N: usize>(at: &mut &[u8]) -> Result<[u8; N]> {
    let (first, rest) = at.split_first_chunk().ok_or(Errno::EPROTO)?;
    *at = rest;
    Ok(*first)
}

fn number(body: &[u8]) -> Result<u32> {
    let mut at = body;
    Ok(u32::from_le_bytes(take(&mut at)?))
}

fn nothing(_: Vec<u8>) -> Result<()> {
    Ok(())
}

fn text(body: Vec<u8>) -> Result<String> {
    String::from_utf8(body).map_err(|_| Error::new(Errno::EPROTO, "this is no UTF-8"))
}
