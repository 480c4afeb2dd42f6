//! The two ends of a checkpoint in the file system.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use atoll_config::checkpoint::{Header, Reader, Sink};
use atoll_config::payload::Hash;

use super::{Error, pieces};
use crate::guard::Guard;

/// A file that is to become a checkpoint. Until then it has another name, and goes away
/// with this value; the guard takes it away behind a process that was killed.
#[derive(Debug)]
pub struct Target {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    done: bool,
}

impl Target {
    /// Makes it, beside where it will be: so what cannot be written is known before
    /// anybody is asked for a checkpoint.
    pub fn new(path: &Path, guard: &mut Guard) -> Result<Target, Error> {
        let cannot = |why| Error::Io { what: format!("cannot write {}", path.display()), why };
        let Some(name) = path.file_name() else {
            return Err(cannot(io::ErrorKind::IsADirectory.into()));
        };
        if path.is_dir() {
            return Err(cannot(io::ErrorKind::IsADirectory.into()));
        }
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.new", std::process::id()));
        let path = std::path::absolute(path).map_err(cannot)?;
        let temporary = path.with_file_name(hidden);
        guard.name(&temporary).map_err(cannot)?;
        let file = File::create_new(&temporary).map_err(cannot)?;
        Ok(Target { file, temporary, path, done: false })
    }

    /// Writes more of it.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|why| self.cannot(why))
    }

    /// All is there: it gets its name, in the place of what had it.
    pub fn finish(mut self) -> Result<(), Error> {
        self.file.sync_all().map_err(|why| self.cannot(why))?;
        std::fs::rename(&self.temporary, &self.path).map_err(|why| self.cannot(why))?;
        self.done = true;
        // Where a folder cannot be synchronised, the name is there all the same.
        if let Some(folder) = self.path.parent().and_then(|f| File::open(f).ok()) {
            let _ = folder.sync_all();
        }
        Ok(())
    }

    fn cannot(&self, why: io::Error) -> Error {
        Error::Io { what: format!("cannot write {}", self.path.display()), why }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.done {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// A file that is a whole checkpoint.
#[derive(Debug)]
pub struct Source {
    pub(super) file: File,
    path: PathBuf,
    /// Its header.
    pub header: Header,
    /// Its hash.
    pub hash: Hash,
    /// Its length in bytes.
    pub len: u64,
}

impl Source {
    /// Opens a file and checks all of it, telling `sink` what is in it.
    pub fn open(path: &Path, sink: &mut dyn Sink) -> Result<Source, Error> {
        let cannot = |why| Error::Io { what: format!("cannot read {}", path.display()), why };
        let file = File::open(path).map_err(cannot)?;
        let (mut reader, mut len) = (Reader::new(), 0);
        let read = pieces(&file, |bytes| {
            len += bytes.len() as u64;
            Ok(reader.feed(bytes, sink)?)
        });
        match read {
            Err(Error::Io { why, .. }) => Err(cannot(why)),
            done => done,
        }?;
        let (header, hash) = reader.finish()?;
        Ok(Source { file, path: path.into(), header, hash, len })
    }

    /// Whether a guest of this payload can go on from it.
    pub fn fits(&self, payload: Hash) -> Result<(), Error> {
        if self.header.payload != payload {
            return Err(Error::Payload(self.header.payload, payload));
        }
        self.whole()
    }

    /// Whether a guest can go on from it alone.
    pub fn whole(&self) -> Result<(), Error> {
        self.header.base.map_or(Ok(()), |_| Err(Error::Increment))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn cannot(&self, what: &str, why: io::Error) -> Error {
        Error::Io { what: format!("cannot {what} {}", self.path.display()), why }
    }
}
