//! A guest's folder: its files, written whole or not at all, and read as claims; and the
//! lock that says whether a shim has it.
//!
//! The lock is that of an open file (flock(2)), which a process has for as long as it
//! lives and passes on to those that it starts with it. The daemon takes it, and gives it
//! to the shim, which gives it to its guard and the machine: so there is no instant in
//! which a guest runs and the lock is free, and when it is free nothing of the run is left.
//! No number of a process is ever believed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::{Bad, End, Error, Spec};
use crate::socket::own_folder;

/// What the shim is to start.
const SPEC: &str = "spec.json";
/// How the last run ended.
const END: &str = "end.json";
/// What the shim has locked.
const LOCK: &str = "lock";
/// What a shim said that could say it nowhere else.
const SAID: &str = "shim.log";
/// What is kept of runs.
const HISTORY: &str = "history";
/// The longest of these files.
const MAX_FILE: u64 = 256 << 10;

/// A guest's folder.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes one, or takes one that is this user's alone.
    pub(super) fn make(path: &Path) -> Result<Folder, Error> {
        own_folder(path).map_err(|e| Error::Folder(path.into(), e.to_string()))?;
        Ok(Folder { path: path.into() })
    }

    /// Takes one that is there.
    pub(super) fn at(path: &Path) -> Result<Folder, Error> {
        let meta = std::fs::symlink_metadata(path).map_err(io_at(path))?;
        let mine = meta.uid() == rustix::process::geteuid().as_raw();
        if !meta.is_dir() || !mine || meta.mode() & 0o022 != 0 {
            let why = "it belongs to somebody else or is open to others";
            return Err(Error::Folder(path.into(), why.into()));
        }
        Ok(Folder { path: path.into() })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where its log is.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join(crate::guestlog::FOLDER)
    }

    /// Where something is kept of a run.
    pub(super) fn history(&self, run: u64) -> PathBuf {
        self.path.join(HISTORY).join(run.to_string())
    }

    /// Where something is kept of all runs.
    pub(super) fn histories(&self) -> PathBuf {
        self.path.join(HISTORY)
    }

    /// What is to be started; nothing where nothing ever was.
    pub(super) fn spec(&self) -> Result<Option<Spec>, Error> {
        let path = self.path.join(SPEC);
        read(&path)?.map(|text| Spec::from_json(&text)).transpose().map_err(bad(&path))
    }

    /// Says what is to be started.
    pub(super) fn set_spec(&self, spec: &Spec) -> Result<(), Error> {
        let path = self.path.join(SPEC);
        write(&path, spec.to_json().map_err(bad(&path))?.as_bytes())
    }

    /// How the last run ended that ended in order.
    pub(super) fn end(&self) -> Result<Option<End>, Error> {
        let path = self.path.join(END);
        read(&path)?.map(|text| End::from_json(&text)).transpose().map_err(bad(&path))
    }

    /// Whether somebody has removed it.
    pub(super) fn is_gone(&self) -> bool {
        self.path.try_exists().is_ok_and(|there| !there)
    }

    /// Says how it ended.
    pub(super) fn set_end(&self, end: &End) -> Result<(), Error> {
        let path = self.path.join(END);
        write(&path, end.to_json().map_err(bad(&path))?.as_bytes())
    }

    /// The file that is locked.
    fn lock_file(&self) -> Result<File, Error> {
        let path = self.path.join(LOCK);
        let made = options().write(true).create(true).truncate(false).open(&path);
        made.map_err(io_at(&path))?;
        // Who is given it is to hold it, and no more.
        options().read(true).open(&path).map_err(io_at(&path))
    }

    /// Takes the lock; nothing if somebody has it.
    pub(super) fn lock(&self) -> Result<Option<File>, Error> {
        self.try_lock(FlockOperation::NonBlockingLockExclusive)
    }

    /// Whether nobody has the lock.
    pub(super) fn is_free(&self) -> Result<bool, Error> {
        Ok(self.try_lock(FlockOperation::NonBlockingLockShared)?.is_some())
    }

    fn try_lock(&self, how: FlockOperation) -> Result<Option<File>, Error> {
        let file = self.lock_file()?;
        match flock(&file, how) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(io_at(&self.path.join(LOCK))(e.into())),
        }
    }

    /// Whether an open file is the one that is locked, and it is locked through it.
    pub(super) fn is_locked_by(&self, file: &File) -> bool {
        let at = std::fs::symlink_metadata(self.path.join(LOCK));
        let same =
            |a: &std::fs::Metadata, b: std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        file.metadata().is_ok_and(|meta| at.is_ok_and(|at| same(&meta, at)))
            && flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    /// Where a shim complains, from its start on.
    pub(super) fn said(&self) -> Result<File, Error> {
        let path = self.path.join(SAID);
        options().write(true).create(true).truncate(true).open(&path).map_err(io_at(&path))
    }

    /// What the last shim complained of, as a line.
    pub(super) fn complaint(&self) -> Option<String> {
        let text = read(&self.path.join(SAID)).ok()??;
        let text = crate::record::printable(&text).replace('\u{fffd}', " ");
        Some(text.trim().to_owned()).filter(|t| !t.is_empty())
    }
}

/// Options to open a file of the folder, which is no link to something else.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(OFlags::NOFOLLOW.bits() as i32);
    options
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    |why| Error::Io(path, why)
}

fn bad(path: &Path) -> impl FnOnce(Bad) -> Error {
    let path = path.to_owned();
    |why| Error::Bad(path, why)
}

/// Reads a small file; nothing if there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    // Not to wait for whoever would write to a pipe of that name.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_at(path)(e)),
    };
    let meta = file.metadata().map_err(io_at(path))?;
    if !meta.is_file() || meta.len() > MAX_FILE {
        return Err(Error::Folder(path.into(), "it is no small file".into()));
    }
    // With room for one byte more, to meet the end in the first read.
    let mut text = Vec::with_capacity(meta.len() as usize + 1);
    file.take(MAX_FILE).read_to_end(&mut text).map_err(io_at(path))?;
    Ok(Some(text))
}

/// Writes a file so that it is there whole, or as it was before, whatever happens.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let new = path.with_extension("new");
    let written = (|| {
        let mut options = options();
        let mut file = options.write(true).create(true).truncate(true).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    })();
    if let Err(why) = written {
        let _ = std::fs::remove_file(&new);
        return Err(Error::Io(path.into(), why));
    }
    // Where a folder cannot be synchronised, the name is there all the same.
    if let Some(folder) = path.parent().and_then(|f| File::open(f).ok()) {
        let _ = folder.sync_all();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_read_as_claims() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let folder = Folder::make(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert!(folder.spec().unwrap().is_none() && folder.end().unwrap().is_none());
        let spec = Spec::new("a", Path::new("/a.img"));
        folder.set_spec(&spec).unwrap();
        assert_eq!(folder.spec().unwrap(), Some(spec));
        let at = path.join(SPEC);
        for text in ["", "{}", "x"] {
            std::fs::write(&at, text).unwrap();
            assert!(matches!(folder.spec(), Err(Error::Bad(..))), "{text}");
        }
        File::create(&at).unwrap().set_len(MAX_FILE + 1).unwrap();
        assert!(matches!(folder.spec(), Err(Error::Folder(..))));
        std::fs::remove_file(&at).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &at).unwrap();
        assert!(matches!(folder.spec(), Err(Error::Io(..))));
        std::fs::remove_file(&at).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &at, fifo, 0o600.into(), 0).unwrap();
        assert!(matches!(folder.spec(), Err(Error::Folder(..))));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(Folder::at(&path).is_err() && Folder::make(&path).is_err());
        assert!(Folder::at(&dir.path().join("none")).is_err());
    }

    #[test]
    fn a_lock_lives_as_long_as_anybody_who_was_given_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::make(&dir.path().join("a")).unwrap();
        assert!(folder.is_free().unwrap());
        let first = folder.lock().unwrap().unwrap();
        assert!(folder.lock().unwrap().is_none() && !folder.is_free().unwrap());
        let second = first.try_clone().unwrap();
        drop(first);
        assert!(!folder.is_free().unwrap());
        assert!(folder.is_locked_by(&second));
        let other = folder.lock_file().unwrap();
        assert!(!folder.is_locked_by(&other));
        drop(second);
        assert!(folder.is_free().unwrap());
        assert!(!folder.is_locked_by(&File::open("/dev/null").unwrap()));
    }
}
