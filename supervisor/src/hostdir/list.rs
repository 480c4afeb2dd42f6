//! What is in a directory.
//!
//! An entry's qid is made of what the directory itself says of it, its number and
//! type; no file is looked at, so its version is 0, which a walk to it is not.

use std::mem::MaybeUninit;

use atoll_9p::fault::Fault;
use atoll_9p::tree::Entries;
use atoll_9p::types::{Qid, qid_type};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, RawDir, SeekFrom, fstat, seek, statat};

use super::{HostDirs, Mount, fault};

/// Bytes of the host's entries that are taken at once.
const AT_ONCE: usize = 32 << 10;

impl HostDirs {
    pub(super) fn list_root(&self, cookie: u64, sink: &mut Entries<'_>) -> Result<(), Fault> {
        let from = usize::try_from(cookie).unwrap_or(usize::MAX);
        for (i, export) in self.exports.iter().enumerate().skip(from) {
            let stat = fstat(&export.dir).map_err(fault)?;
            if !sink.push(self.qid_of(&stat), i as u64 + 1, &export.name) {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn list_dir(
        &mut self,
        node: u64,
        fd: &OwnedFd,
        at: &mut u64,
        cookie: u64,
        sink: &mut Entries<'_>,
    ) -> Result<(), Fault> {
        if cookie != *at || cookie == 0 {
            seek(fd, SeekFrom::Start(cookie)).map_err(fault)?;
        }
        *at = cookie;
        let device = fstat(fd).map_err(fault)?.st_dev;
        let mut space = [MaybeUninit::uninit(); AT_ONCE];
        let mut dir = RawDir::new(fd, &mut space);
        while let Some(entry) = dir.next() {
            let entry = entry.map_err(fault)?;
            let next = entry.next_entry_cookie();
            let name = entry.file_name().to_str().unwrap_or(".");
            let qid = match entry.file_type() {
                _ if name == "." || name == ".." => continue,
                // Shown as what a walk would find, if it would find something.
                FileType::Symlink if self.mount == Mount::Guest => {
                    let found =
                        self.follow(node, name).and_then(|(_, fd)| fstat(&fd).map_err(fault));
                    match found {
                        Ok(stat) => self.qid_of(&stat),
                        Err(_) => continue,
                    }
                }
                FileType::Unknown => match statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => self.qid_of(&stat),
                    // What has gone meanwhile is not there.
                    Err(_) => continue,
                },
                kind => Qid {
                    ty: match kind {
                        FileType::Directory => qid_type::DIR,
                        FileType::Symlink => qid_type::SYMLINK,
                        _ => qid_type::FILE,
                    },
                    version: 0,
                    path: self.number(device, entry.ino()),
                },
            };
            if !sink.push(qid, next, name) {
                // The descriptor stands behind what was taken, not what was sent.
                *at = u64::MAX;
                return Ok(());
            }
            *at = next;
        }
        Ok(())
    }
}
