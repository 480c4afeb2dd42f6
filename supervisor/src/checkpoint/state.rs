//! A folder in which a guest's checkpoints are kept: `N.checkpoint`, where N is the
//! number that the guest gave.
//!
//! One run at a time has a folder, or two would write each other's numbers. It holds the newest
//! few: with each that is written, those that are too many go, the oldest first.

use std::fs::{DirBuilder, File};
use std::io;
use std::num::NonZeroU32;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

use super::Error;

/// So many checkpoints of a guest are kept if nobody says.
pub const KEEP: NonZeroU32 = NonZeroU32::new(8).unwrap();

/// A folder of checkpoints, held by this run.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    keep: usize,
    /// Open for as long as the folder is held.
    _held: File,
}

impl State {
    /// Takes a folder, in which so many are kept, and makes it if it is not there.
    pub fn open(path: &Path, keep: NonZeroU32) -> Result<State, Error> {
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
        let path = std::path::absolute(path).map_err(cannot)?;
        Ok(State { path, keep: keep.get() as usize, _held: held })
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
        Ok(self.all()?.into_iter().max().map(|(_, n)| self.file(n)))
    }

    /// Removes those that are too many, after number `new` was written.
    pub fn drop_old(&self, new: u64) -> Result<(), Error> {
        let mut all = self.all()?;
        // Whatever the clock says, that is the newest.
        all.sort_unstable_by_key(|(time, n)| (*n == new, *time, *n));
        for (_, n) in all.iter().rev().skip(self.keep) {
            let file = self.file(*n);
            match std::fs::remove_file(&file) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::Io {
                        what: format!("cannot remove {}", file.display()),
                        why,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// When each was written, and its number.
    fn all(&self) -> Result<Vec<(SystemTime, u64)>, Error> {
        let cannot = |why| Error::Io { what: format!("cannot list {}", self.path.display()), why };
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let Some(n) = number(&entry.file_name().to_string_lossy()) else { continue };
            all.push((entry.metadata().and_then(|m| m.modified()).map_err(cannot)?, n));
        }
        Ok(all)
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
        let state = State::open(&dir.path().join("kept"), KEEP).unwrap();
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
    fn the_newest_are_kept_and_all_else_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path(), NonZeroU32::new(3).unwrap()).unwrap();
        let names = || {
            let entries = std::fs::read_dir(dir.path()).unwrap().flatten();
            let mut names: Vec<_> = entries.map(|e| e.file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        let write = |name: &str, second| {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(second)).unwrap();
        };
        for (name, second) in [("store", 1), ("01.checkpoint", 1), (".2.checkpoint.7.new", 1)] {
            write(name, second);
        }
        let others = names();
        for (n, second) in [(1, 5), (2, 4), (3, 6)] {
            write(&format!("{n}.checkpoint"), second);
            state.drop_old(n).unwrap();
        }
        assert_eq!(names().len(), others.len() + 3);
        // The clock was put back: the new one is none of the old.
        write("4.checkpoint", 1);
        state.drop_old(4).unwrap();
        let kept = ["1.checkpoint", "3.checkpoint", "4.checkpoint"].map(String::from);
        let all = || names().into_iter().filter(|n| !others.contains(n)).collect::<Vec<_>>();
        assert_eq!(all(), kept);
        assert!(others.iter().all(|n| names().contains(n)));
        // A guest that is to keep fewer does so with its next.
        drop(state);
        let state = State::open(dir.path(), NonZeroU32::MIN).unwrap();
        assert_eq!(all(), kept);
        write("5.checkpoint", 9);
        state.drop_old(5).unwrap();
        assert_eq!(all(), ["5.checkpoint"]);
    }

    #[test]
    fn one_run_has_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let first = State::open(dir.path(), KEEP).unwrap();
        let why = std::error::Error::source(&State::open(dir.path(), KEEP).unwrap_err())
            .unwrap()
            .to_string();
        assert_eq!(why, "another run keeps its state there");
        drop(first);
        State::open(dir.path(), KEEP).unwrap();
        assert!(State::open(&dir.path().join("a/b"), KEEP).is_err());
    }
}
