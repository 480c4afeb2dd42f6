//! The store of a state folder: one file, `store.redb`, for one supervisor at a time.
//!
//! A save is one transaction of redb's, on the disk before it is acknowledged. After a save
//! that failed the file is opened anew, for redb refuses to go on after an error of the
//! disk. A file that is damaged is left as it is: it may be all that is left of somebody's
//! guests. It is checked as a whole when it is opened, which is milliseconds for thousands
//! of guests.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, Durability, StorageBackend, WriteTransaction};
use rustix::fs::{FlockOperation, flock};

use super::rows::{self, Bad};
use super::{Error, Loaded, Owner, Ownership, Store};
use crate::core::{Change, Name};

/// The file in a state folder.
pub const FILE: &str = "store.redb";
/// What the tables mean.
const FORMAT: u64 = 1;
/// Memory for pages of the file, in bytes.
const CACHE: usize = 1 << 20;

/// Opens what the file lies on: the file itself, or what a test puts in its place.
type Opener = Box<dyn Fn() -> Result<Database, DatabaseError>>;

/// The store of a state folder.
pub struct Disk {
    path: PathBuf,
    /// None after a failure, until it is tried again.
    db: Option<Database>,
    open: Opener,
    /// Held for as long as this value lives.
    _lock: Option<File>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Disk {
    /// Opens the store of a state folder, which is made for this user alone if it is not
    /// there.
    pub fn open(folder: &Path) -> Result<Disk, Error> {
        let path = folder.join(FILE);
        let cannot = |e: io::Error| system(&path, &e);
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(cannot)?;
        // Of its own, so that it is held while the other file is opened anew.
        let lock = options().open(folder.join("store.lock")).map_err(cannot)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Taken(folder.into())),
            Err(e) => return Err(cannot(e.into())),
        }
        let file = path.clone();
        let open = move || {
            let file = options().open(&file)?;
            build(FileBackend::new(file)?)
        };
        let disk = Disk::with(path, Box::new(open), Some(lock))?;
        // The names are on the disk too.
        File::open(folder).and_then(|f| f.sync_all()).map_err(|e| system(&disk.path, &e))?;
        Ok(disk)
    }

    fn with(path: PathBuf, open: Opener, lock: Option<File>) -> Result<Disk, Error> {
        let mut disk = Disk { path, db: None, open, _lock: lock };
        disk.db()?;
        disk.prepare()?;
        Ok(disk)
    }

    fn db(&mut self) -> Result<&Database, Error> {
        if self.db.is_none() {
            let db = (self.open)().map_err(|e| self.explain(e.into()))?;
            self.db = Some(db);
        }
        self.db.as_ref().ok_or_else(|| system(&self.path, &io::ErrorKind::NotFound.into()))
    }

    /// Makes the tables, or checks that they are ours.
    fn prepare(&mut self) -> Result<(), Error> {
        let found = self.write(|txn, _| rows::prepare(txn, FORMAT))?;
        if found != FORMAT {
            let path = self.path.clone();
            return Err(Error::Format { path, found, wanted: FORMAT });
        }
        Ok(())
    }

    /// One transaction, durable when this returns; nothing of it when it fails.
    fn write<T>(
        &mut self,
        f: impl FnOnce(&WriteTransaction, &Path) -> Result<T, Bad>,
    ) -> Result<T, Error> {
        let path = self.path.clone();
        let db = self.db()?;
        let done = (|| {
            let mut txn = db.begin_write()?;
            txn.set_durability(Durability::Immediate)?;
            let value = f(&txn, &path)?;
            txn.commit()?;
            Ok(value)
        })();
        done.map_err(|bad| self.judge(bad))
    }

    fn judge(&mut self, bad: Bad) -> Error {
        match bad {
            Bad::Store(error) => error,
            Bad::Redb(error) => {
                // What it holds now is not to be trusted; what is on the disk is.
                self.db = None;
                self.explain(error)
            }
        }
    }

    /// What an error of redb's means for whoever runs the supervisor.
    fn explain(&self, error: redb::Error) -> Error {
        let damaged = |why: String| Error::Damaged { path: self.path.clone(), why };
        match error {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
                Error::Taken(self.path.parent().unwrap_or(&self.path).into())
            }
            redb::Error::Io(e) if e.kind() == io::ErrorKind::InvalidData => {
                damaged("it is no store".into())
            }
            redb::Error::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                damaged("it is cut off".into())
            }
            redb::Error::Io(e) => system(&self.path, &e),
            redb::Error::Corrupted(why) => damaged(why),
            redb::Error::UpgradeRequired(n) => {
                damaged(format!("its file format is redb's {n}, an older one"))
            }
            e @ (redb::Error::TableTypeMismatch { .. } | redb::Error::RepairAborted) => {
                damaged(e.to_string())
            }
            e => Error::Io { path: self.path.clone(), why: e.to_string() },
        }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

fn build(backend: impl StorageBackend) -> Result<Database, DatabaseError> {
    Database::builder()
        .set_cache_size(CACHE)
        .set_check_integrity_on_open(true)
        .create_with_backend(backend)
}

/// An error of the system's, about the file.
fn system(path: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::Full(path.parent().unwrap_or(path).into())
        }
        _ => Error::Io { path: path.into(), why: error.to_string() },
    }
}

impl Store for Disk {
    fn load(&mut self) -> Result<Loaded, Error> {
        let path = self.path.clone();
        let read = rows::read(self.db()?, &path);
        read.map_err(|bad| self.judge(bad))
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
        self.write(|txn, path| rows::write(txn, path, changes))
    }
}

impl Ownership for Disk {
    fn owner(&self, guest: &Name) -> Result<Option<Owner>, Error> {
        match &self.db {
            Some(db) => rows::owner(db, guest).map_err(|e| self.explain(e)),
            None => Err(system(&self.path, &io::ErrorKind::NotConnected.into())),
        }
    }

    fn claim(&mut self, guest: &Name, held: u64, next: u64) -> Result<(), Error> {
        self.apply(&[Change::Claim { guest: guest.clone(), held, next }])
    }

    fn release(&mut self, guest: &Name, held: u64) -> Result<(), Error> {
        self.write(|txn, _| rows::release(txn, guest, held))
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
