//! A log without what is not stored any more, in the place of the one that had it.
//!
//! It is written beside the other and takes its name when it lasts, so there is one of both at
//! every instant.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use atoll_config::kept::{BODY, frame, seal};

use super::index::Index;
use super::{Stored, sync_folder};

/// The name that it has until then.
pub(super) fn beside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

impl Stored {
    /// Packs what an index of this log says that there is.
    pub(super) fn pack(&mut self, index: &Index) -> io::Result<()> {
        let new = beside(&self.path);
        let done = self.pack_into(&new, index);
        if done.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        done
    }

    fn pack_into(&mut self, new: &Path, index: &Index) -> io::Result<()> {
        let mut how = OpenOptions::new();
        how.read(true).write(true).create(true).truncate(true).mode(0o600);
        let to = how.open(new)?;
        let (mut len, mut number) = (0, 0);
        let mut put = |body: &[u8], more: bool| -> io::Result<()> {
            let mut frame = frame(body, more);
            number += 1;
            seal(&mut frame, number, 0);
            to.write_all_at(&frame, len)?;
            len += frame.len() as u64;
            Ok(())
        };
        let mut body = Vec::new();
        for (at, size) in index.places() {
            if body.len() + size > BODY {
                put(&body, true)?;
                body.clear();
            }
            let from = body.len();
            body.resize(from + size, 0);
            self.file.read_exact_at(body.get_mut(from..).unwrap_or_default(), at)?;
        }
        if !body.is_empty() {
            put(&body, false)?;
        }
        to.sync_all()?;
        std::fs::rename(new, &self.path)?;
        // From here on it is the other one, whatever is said of the folder.
        self.file = to;
        (self.len, self.number, self.synced) = (len, number, number);
        self.measure(index.live());
        sync_folder(self.path.parent().unwrap_or(Path::new("/")))
    }
}
