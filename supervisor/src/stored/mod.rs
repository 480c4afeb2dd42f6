//! What a guest has stored, in a file: `store` in the folder of its state.
//!
//! The file is a log of changes (`atoll_config::kept`), to which the guest writes through
//! `.store` on its `host` stream. A frame is there as a whole or not at all; that what was
//! written lasts is said after the disk has said so. An end that is not whole, as a machine leaves
//! it that loses its power, is cut off at the next start; a file that has lost more than that
//! is refused. A log that is mostly about what is not there any more is packed (`pack.rs`).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_config::kept::{HEADER, Scan, is_damage, ops, seal};

mod index;
mod pack;

use index::Index;

/// The file's name.
pub const NAME: &str = "store";
/// What it had before its guest went back to a checkpoint.
pub const BEFORE: &str = "store.before";
/// Bytes that are read at one time.
const PIECE: usize = 256 << 10;
/// A file is packed when it has this many times what is in it, and so much more.
const FACTOR: u64 = 4;
const SLACK: u64 = 8 << 20;

/// Why a store cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system said no.
    #[error("cannot keep what is stored in {}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        #[source]
        why: io::Error,
    },
    /// It was sure, and is not there any more.
    #[error(
        "{} is damaged at byte {at}: what was stored there was known to last. Move it away to \
         begin with nothing, or bring back a copy", path.display()
    )]
    Damaged {
        /// Where.
        path: PathBuf,
        /// From which byte on.
        at: u64,
    },
}

/// A store that is open.
#[derive(Debug)]
pub struct Stored {
    path: PathBuf,
    file: File,
    /// How many bytes there are, all of them whole frames.
    len: u64,
    /// The number of the last frame, and of the last that is known to last.
    number: u64,
    synced: u64,
    /// The last frame is not the last of its group.
    inside: bool,
    /// With how many bytes it is looked at again whether packing is of use.
    full: u64,
    /// The most bytes that there may be.
    most: u64,
    /// The disk has lost something: nothing can be known to last any more.
    broken: Option<String>,
    /// Bytes of an end that was not whole.
    torn: u64,
}

impl Stored {
    /// Opens the store in a folder, and makes it if it is not there. It may have `most` bytes.
    pub fn open(folder: &Path, most: u64) -> Result<Stored, Error> {
        let path = folder.join(NAME);
        let cannot = |why| Error::Io { path: path.clone(), why };
        let new = pack::beside(&path);
        match std::fs::remove_file(&new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(cannot(e)),
            _ => {}
        }
        let mut how = OpenOptions::new();
        how.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = how.open(&path).map_err(cannot)?;
        let (scan, index) = scan(&file).map_err(cannot)?;
        let (good, len) = (scan.good(), file.metadata().map_err(cannot)?.len());
        if good < len {
            let mut behind = vec![0; usize::try_from(len - good).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut behind, good).map_err(cannot)?;
            if is_damage(&behind, scan.number()) {
                return Err(Error::Damaged { path, at: good });
            }
            file.set_len(good).map_err(cannot)?;
        }
        file.sync_all().and_then(|()| sync_folder(folder)).map_err(cannot)?;
        let number = scan.number();
        let mut stored = Stored {
            path: path.clone(),
            file,
            len: good,
            number,
            synced: number,
            inside: false,
            full: 0,
            most,
            broken: None,
            torn: len - good,
        };
        stored.measure(index.live());
        if good > stored.full.saturating_sub(SLACK) + SLACK / 8 {
            stored.pack(&index).map_err(cannot)?;
        }
        Ok(stored)
    }

    /// Bytes of an end that was not whole, and is gone.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was ever stored.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps what there is now in a file beside it.
    pub fn keep_before(&self) -> Result<(), Error> {
        let path = self.path.with_file_name(BEFORE);
        let copied = std::fs::copy(&self.path, &path);
        copied.map(drop).map_err(|why| Error::Io { path, why })
    }

    fn measure(&mut self, live: u64) {
        self.full = live.saturating_mul(FACTOR).saturating_add(SLACK);
    }

    /// Reads from a place on: whole frames, one behind the other.
    pub fn read(&self, at: u64, buf: &mut [u8]) -> Result<usize, Fault> {
        let rest = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let n = rest.min(buf.len());
        let Some(buf) = buf.get_mut(..n) else { return Ok(0) };
        self.file.read_exact_at(buf, at).map_err(|e| fault(&e))?;
        Ok(n)
    }

    /// Adds a whole frame, or nothing.
    pub fn append(&mut self, mut frame: Vec<u8>, more: bool) -> Result<(), Fault> {
        if ops(frame.get(HEADER..).unwrap_or_default()).any(|op| op.is_err()) {
            let text = "what the guest wants to be kept is no change of a store";
            return Err(Fault::new(Errno::EINVAL, text).blame(Blame::Guest));
        }
        let size = frame.len() as u64;
        if !self.inside && self.len + size > self.full.min(self.most) {
            self.pack_now();
        }
        if self.len + size > self.most {
            let text = format!("no guest of this size stores more than {} bytes", self.most);
            return Err(Fault::new(Errno::ENOSPC, text).blame(Blame::Guest));
        }
        seal(&mut frame, self.number + 1, self.synced);
        if let Err(e) = self.file.write_all_at(&frame, self.len) {
            // What of it is there is no frame, and the next one takes its place.
            let _ = self.file.set_len(self.len);
            return Err(fault(&e));
        }
        self.len += size;
        self.number += 1;
        self.inside = more;
        Ok(())
    }

    /// Makes sure that what was added lasts.
    pub fn sync(&mut self) -> Result<(), Fault> {
        if self.broken.is_none()
            && let Err(e) = self.file.sync_data()
        {
            // What it has lost is not tried again (fsync(2), ERRORS).
            self.broken = Some(format!("the disk has lost what was written to it: {e}"));
        }
        match &self.broken {
            Some(why) => Err(Fault::new(Errno::EIO, why.clone()).blame(Blame::Host)),
            None => {
                self.synced = self.number;
                Ok(())
            }
        }
    }

    /// Packs it, if that is of use. Where it cannot be done, it goes on as it is.
    fn pack_now(&mut self) {
        let packed = scan(&self.file).and_then(|(_, index)| {
            self.measure(index.live());
            if self.len > index.live().saturating_mul(2) { self.pack(&index) } else { Ok(()) }
        });
        if packed.is_err() {
            self.full = self.full.max(self.len.saturating_mul(2));
        }
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        let _ = self.file.sync_data();
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn fault(e: &io::Error) -> Fault {
    let errno = e.raw_os_error().map_or(Errno::EIO, |n| Errno(n.unsigned_abs()));
    let text = format!("the host cannot keep what is stored: {e}");
    Fault::new(errno, text).blame(Blame::Host)
}

/// Reads all of a file: how far it is good, and what is in it.
fn scan(file: &File) -> io::Result<(Scan, Index)> {
    let (mut scan, mut index) = (Scan::default(), Index::default());
    let (mut buf, mut at) = (vec![0; PIECE], 0);
    loop {
        let n = match file.read_at(&mut buf, at) {
            Ok(0) => return Ok((scan, index)),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let bytes = buf.get(..n).unwrap_or_default();
        scan.feed(bytes, &mut |at, head, body| index.frame(at + HEADER as u64, head.more, body));
        at += n as u64;
    }
}

#[cfg(test)]
mod tests;
