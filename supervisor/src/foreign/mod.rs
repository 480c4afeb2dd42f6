//! Guests that are none of ours: a Linux kernel, or any program with a PVH entry.
//!
//! Such a guest has no tree, no imports and no checkpoints, and says what it says on its
//! first serial port. It can be launched, logged, stopped as a machine is (its power button),
//! and killed. So that all else is the same as for an image of ours, its kernel, initial
//! file system and command line are put into one file, which has one hash:
//!
//! | bytes | |
//! |---|---|
//! | 8 | `ATOLLFOR` |
//! | 4 | n, little endian |
//! | n | [`About`], as JSON |
//! | | the kernel |
//! | | the initial file system, where there is one |

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use atoll_config::image::MAX_IMAGE;
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::address::is_name;

mod kernel;

pub use kernel::Kind;

/// How such a file begins.
const MAGIC: &[u8; 8] = b"ATOLLFOR";
/// The format of [`About`].
const FORMAT: u32 = 1;
/// The longest [`About`], in bytes.
const MAX_ABOUT: u32 = 16 << 10;
/// The longest command line, in bytes: Linux has room for no more.
const MAX_LINE: usize = 2047;
/// Memory of its machine where nothing else is said, in bytes.
const MEMORY: u64 = 256 << 20;
/// What Linux is told where nothing else is said: to speak where it is heard, and to end when
/// it fails.
const LINUX: &str = "console=ttyS0 panic=-1";

/// What there is to know about a foreign image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// [`FORMAT`].
    pub foreign: u32,
    /// What to call it.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Memory of its machine, in bytes.
    pub memory: u64,
    /// The kernel's command line.
    pub append: String,
    /// Bytes of the kernel.
    pub kernel: u64,
    /// Bytes of the initial file system, 0 where there is none.
    pub initrd: u64,
}

/// Why there is no foreign image.
#[derive(Debug, thiserror::Error)]
pub enum Bad {
    /// It begins with something else.
    #[error("it is no foreign image")]
    Magic,
    /// What it says of itself is not what it should be.
    #[error("what it says of itself: {0}")]
    About(String),
    /// The parts are not as long as it says.
    #[error("it has {0} bytes, and should have {1}")]
    Len(u64, u64),
    /// Nothing that a machine can start.
    #[error("{0}")]
    Kernel(&'static str),
    /// The command line is not one.
    #[error("a command line is one line of at most {MAX_LINE} bytes")]
    Line,
    /// It could not be read.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Puts a file together. Without a command line, Linux is told what makes it heard.
pub fn pack(
    name: &str,
    kernel: &[u8],
    initrd: &[u8],
    append: Option<&str>,
) -> Result<Vec<u8>, Bad> {
    let kind = kernel::kind(kernel).map_err(Bad::Kernel)?;
    let usual = if kind == Kind::Linux { LINUX } else { "" };
    let about = About {
        foreign: FORMAT,
        name: name.into(),
        kind,
        memory: MEMORY,
        append: append.unwrap_or(usual).into(),
        kernel: kernel.len() as u64,
        initrd: initrd.len() as u64,
    };
    about.check()?;
    let json = about.to_json();
    let mut out = Vec::with_capacity(MAGIC.len() + 4 + json.len() + kernel.len() + initrd.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&(json.len() as u32).to_le_bytes());
    for part in [&json, kernel, initrd] {
        out.extend_from_slice(part);
    }
    if out.len() as u64 > MAX_IMAGE {
        return Err(Bad::Len(out.len() as u64, MAX_IMAGE));
    }
    Ok(out)
}

impl About {
    fn check(&self) -> Result<(), Bad> {
        let bad = |why: String| Err(Bad::About(why));
        if self.foreign != FORMAT {
            return bad(format!("format {}, and only {FORMAT} is read", self.foreign));
        }
        if !is_name(&self.name) {
            return bad(format!("{:?} is no guest's name", self.name));
        }
        if self.append.len() > MAX_LINE || self.append.chars().any(char::is_control) {
            return Err(Bad::Line);
        }
        let (least, most) = (atoll_config::rules::MIN_MEMORY, atoll_config::rules::MAX_MEMORY);
        if !(least..=most).contains(&self.memory) {
            return bad("its memory is from 2 MiB to 3 GiB".into());
        }
        Ok(())
    }

    /// As it stands in the file.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// A foreign image's file.
#[derive(Debug)]
pub struct Foreign {
    file: File,
    /// What it says of itself.
    pub about: About,
    /// Where its kernel begins.
    at: u64,
}

impl Foreign {
    /// Opens a file, and checks what can be checked without reading all of it.
    pub fn open(path: &Path) -> Result<Foreign, Bad> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut head = [0; 12];
        let whole = file.read_exact(&mut head).is_ok();
        let [magic @ .., a, b, c, d] = head;
        if !whole || &magic != MAGIC {
            return Err(Bad::Magic);
        }
        let n = u32::from_le_bytes([a, b, c, d]);
        if n > MAX_ABOUT {
            return Err(Bad::About(format!("{n} bytes are too many")));
        }
        let mut json = vec![0; n as usize];
        file.read_exact(&mut json)?;
        #[derive(Deserialize)]
        struct Version {
            foreign: u32,
        }
        let bad = |e: serde_json::Error| Bad::About(e.to_string());
        // Another format may have other keys.
        let Version { foreign } = serde_json::from_slice(&json).map_err(bad)?;
        if foreign != FORMAT {
            return Err(Bad::About(format!("format {foreign}, and only {FORMAT} is read")));
        }
        let about: About = serde_json::from_slice(&json).map_err(bad)?;
        about.check()?;
        let at = 12 + u64::from(n);
        let should = at.saturating_add(about.kernel).saturating_add(about.initrd);
        if len != should || len > MAX_IMAGE {
            return Err(Bad::Len(len, should.min(MAX_IMAGE)));
        }
        let mut foreign = Foreign { file, about, at };
        // The headers that tell are at the kernel's beginning, or the program's own.
        let mut kernel = vec![0; foreign.about.kernel as usize];
        foreign.file.read_exact(&mut kernel)?;
        let kind = kernel::kind(&kernel).map_err(Bad::Kernel)?;
        if kind != foreign.about.kind {
            return Err(Bad::About("the kernel is of another kind".into()));
        }
        Ok(foreign)
    }

    /// The kernel and the initial file system as files without names, in a folder that has
    /// room for them; they go with whoever has them open.
    pub fn unpack(mut self, folder: &Path) -> io::Result<(OwnedFd, Option<OwnedFd>)> {
        self.file.seek(SeekFrom::Start(self.at))?;
        let kernel = part(&self.file, self.about.kernel, folder)?;
        let initrd = match self.about.initrd {
            0 => None,
            n => Some(part(&self.file, n, folder)?),
        };
        Ok((kernel, initrd))
    }
}

fn part(from: &File, len: u64, folder: &Path) -> io::Result<OwnedFd> {
    let mode = Mode::RUSR | Mode::WUSR;
    let made = rustix::fs::open(folder, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode);
    // Not every file system has files without names; memory always has.
    let made = made.or_else(|_| rustix::fs::memfd_create("atoll", MemfdFlags::CLOEXEC))?;
    let mut file = File::from(made);
    let copied = io::copy(&mut from.take(len), &mut file)?;
    if copied != len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn linux() -> Vec<u8> {
        let mut kernel = vec![0; 4096];
        kernel[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        kernel
    }

    fn opened(bytes: &[u8]) -> Result<Foreign, Bad> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        Foreign::open(file.path())
    }

    #[test]
    fn what_was_put_together_comes_apart_again() {
        let dir = tempfile::tempdir().unwrap();
        for initrd in [&b""[..], b"files"] {
            let bytes = pack("alien", &linux(), initrd, None).unwrap();
            let foreign = opened(&bytes).unwrap();
            assert_eq!((foreign.about.kind, &*foreign.about.append), (Kind::Linux, LINUX));
            let (kernel, files) = foreign.unpack(dir.path()).unwrap();
            let read = |fd: OwnedFd| {
                let mut file = File::from(fd);
                file.rewind().unwrap();
                let mut all = Vec::new();
                file.read_to_end(&mut all).unwrap();
                all
            };
            assert_eq!(read(kernel), linux());
            assert_eq!(files.map(read).unwrap_or_default(), initrd);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        // Another line is another image.
        let of = |line| pack("alien", &linux(), b"", line).unwrap();
        assert_ne!(of(Some("a")), of(Some("b")));
    }

    #[test]
    fn what_is_none_is_refused() {
        let good = pack("alien", &linux(), b"files", Some("quiet")).unwrap();
        for cut in [0, 7, 11, 12, 40, good.len() - 1] {
            assert!(opened(&good[..cut]).is_err(), "{cut}");
        }
        assert!(matches!(opened(&[&good[..], b"x"].concat()), Err(Bad::Len(..))));
        assert!(matches!(opened(b"\x7fELF and more of it"), Err(Bad::Magic)));
        let mut long = good.clone();
        long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(opened(&long), Err(Bad::About(_))));
        let replaced = |from: &str, to: &str| {
            assert_eq!(from.len(), to.len());
            let at = good.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
            let mut bytes = good.clone();
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            opened(&bytes)
        };
        for (from, to) in [
            ("\"foreign\":1", "\"foreign\":2"),
            ("\"alien\"", "\"../al\""),
            ("\"linux\"", "\"pvh\"  "),
            ("\"quiet\"", "\"qui\\n\""),
            ("\"initrd\"", "\"colour\""),
            ("HdrS", "none"),
        ] {
            assert!(replaced(from, to).is_err(), "{from} {to}");
        }
        assert!(pack("alien", b"#!/bin/sh", b"", None).is_err());
        assert!(matches!(pack("alien", &linux(), b"", Some("a\nb")), Err(Bad::Line)));
        assert!(pack("Al ien", &linux(), b"", None).is_err());
    }
}
