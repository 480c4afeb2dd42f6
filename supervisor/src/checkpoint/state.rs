//! A folder in which a guest's checkpoints are kept: `N.checkpoint`, where N is the
//! number that the guest gave.
//!
//! One run at a time has a folder, or two would write each other's numbers.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

use super::Error;

/// A folder of checkpoints, held by this run.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    /// Open for as long as the folder is held.
    _held: File,
}

impl State {
    /// Takes a folder, and makes it if it is not there.
    pub fn open(path: &Path) -> Result<State, Error> {
        let cannot =
            |why| Error::Io { what: format!("cannot keep state in {}", path.display()), why };
        match DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            done => done.map_err(cannot)?,
        }
        if !path.is_dir() {
            return Err(cannot(io::ErrorKind::NotADirectory.into()));
        }
        let held = File::open(path).map_err(cannot)?;
        match flock(&held, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(cannot(io::Error::other("another run keeps its state there")));
            }
            Err(e) => return Err(cannot(e.into())),
        }
        Ok(State { path: std::path::absolute(path).map_err(cannot)?, _held: held })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.path
    }

    /// The file of a number.
    pub fn file(&self, n: u64) -> PathBuf {
        file(&self.path, n)
    }

    /// The checkpoint that was written last; of several of one moment, the one with the
    /// greatest number.
    pub fn latest(&self) -> Result<Option<PathBuf>, Error> {
        let cannot = |why| Error::Io { what: format!("cannot list {}", self.path.display()), why };
        let mut last: Option<(SystemTime, u64)> = None;
        for entry in std::fs::read_dir(&self.path).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let Some(n) = number(&entry.file_name().to_string_lossy()) else { continue };
            let time = entry.metadata().and_then(|m| m.modified()).map_err(cannot)?;
            last = last.max(Some((time, n)));
        }
        Ok(last.map(|(_, n)| self.file(n)))
    }
}

/// The file of a number in a folder of checkpoints.
pub fn file(folder: &Path, n: u64) -> PathBuf {
    folder.join(format!("{n}.checkpoint"))
}

/// The number in a file's name.
pub fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".checkpoint")?;
    let n: u64 = digits.parse().ok()?;
    (n.to_string() == digits).then_some(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_latest_is_the_one_that_was_written_last() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("kept")).unwrap();
        assert_eq!(state.latest().unwrap(), None);
        let start = SystemTime::UNIX_EPOCH;
        for (name, second) in [
            ("3.checkpoint", 5),
            ("10.checkpoint", 5),
            ("7.checkpoint", 4),
            ("011.checkpoint", 9),
            ("x.checkpoint", 9),
            ("12", 9),
        ] {
            let file = File::create(state.path.join(name)).unwrap();
            file.set_modified(start + Duration::from_secs(second)).unwrap();
        }
        assert_eq!(state.latest().unwrap(), Some(state.file(10)));
    }

    #[test]
    fn one_run_has_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let first = State::open(dir.path()).unwrap();
        let why =
            std::error::Error::source(&State::open(dir.path()).unwrap_err()).unwrap().to_string();
        assert_eq!(why, "another run keeps its state there");
        drop(first);
        State::open(dir.path()).unwrap();
        assert!(State::open(&dir.path().join("a/b")).is_err());
    }
}
