//! The one who writes.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{KEPT, SEGMENT, options, segment, segments};

/// Writes a guest's log. There is one at a time: who has the guest's lock.
#[derive(Debug)]
pub struct Writer {
    folder: PathBuf,
    /// Where the next byte goes.
    at: u64,
    /// The newest segment, and how much is in it. None until there is something for it.
    file: Option<(File, u64)>,
}

impl Writer {
    /// Takes up a log where it ends, and makes its folder if there is none.
    pub fn open(folder: &Path) -> io::Result<Writer> {
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            done => done?,
        }
        let last = segments(folder)?.pop();
        let at = last.map_or(0, |(at, len)| at.saturating_add(len));
        let file = match last {
            Some((from, len)) if len < SEGMENT => {
                let file = options().append(true).open(segment(folder, from))?;
                Some((file, len))
            }
            _ => None,
        };
        Ok(Writer { folder: folder.into(), at, file })
    }

    /// Where the next byte goes: bytes since ever.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Appends whole lines. What could not be written is not there, as far as that can
    /// be; the next call tries again.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.as_ref().is_none_or(|(_, len)| *len >= SEGMENT) {
            self.begin()?;
        }
        let Some((file, len)) = &mut self.file else { return Ok(()) };
        if let Err(e) = file.write_all(bytes) {
            // Part of it may be there: where it ends is looked up again.
            let now = file.metadata().map_or(*len, |m| m.len());
            self.at += now.saturating_sub(*len);
            *len = now;
            return Err(e);
        }
        *len += bytes.len() as u64;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Begins a segment, and takes away those that are too old.
    fn begin(&mut self) -> io::Result<()> {
        let file = options().append(true).create_new(true).open(segment(&self.folder, self.at))?;
        self.file = Some((file, 0));
        let all = segments(&self.folder)?;
        for (at, _) in all.iter().take(all.len().saturating_sub(KEPT)) {
            std::fs::remove_file(segment(&self.folder, *at))?;
        }
        Ok(())
    }
}
