//! Sockets of a guest: the one that everybody knows, and those of its streams.
//!
//! A private folder holds what must not be seen. The public socket is made under a
//! name beside its own and gets that by a link, which fails when it is taken: so
//! two supervisors that start at once cannot both have it, and no socket is ever
//! seen half made.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, chmod};

use crate::guard::Guard;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody serves there.
    #[error("{} is taken: a guest is served there already; stop it, or choose another with --socket", .0.display())]
    Taken(PathBuf),
    /// There is something that is no socket.
    #[error("{} exists and is no socket; choose another with --socket", .0.display())]
    Alien(PathBuf),
    /// A folder belongs to somebody else.
    #[error("{} belongs to somebody else or is open to others; choose a socket with --socket", .0.display())]
    Foreign(PathBuf),
    /// The system said no.
    #[error("cannot serve at {}: {why}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        why: io::Error,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    |why| Error::Io { path, why }
}

/// Makes a folder for this user alone, or checks that it is one.
pub fn own_folder(path: &Path) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(at(path)(e)),
    }
    let meta = std::fs::symlink_metadata(path).map_err(at(path))?;
    let mine = meta.uid() == rustix::process::geteuid().as_raw();
    if !meta.is_dir() || !mine || meta.mode() & 0o022 != 0 {
        return Err(Error::Foreign(path.into()));
    }
    Ok(())
}

/// A folder that goes away with this value.
#[derive(Debug)]
pub struct Private {
    path: PathBuf,
    /// Folders above it that go with the last of their kind, the innermost first.
    above: Vec<PathBuf>,
    /// Its name was given: nothing goes but sockets.
    named: bool,
}

/// The sockets that a named one may have.
const NAMES: [&str; 5] = ["control", "host", "monitor", "own", "shim"];

impl Private {
    /// Makes the folder of this process in the folder of all sockets.
    pub fn new(all: &Path, guard: &mut Guard) -> Result<Private, Error> {
        let path = all.join(format!("run-{}", std::process::id()));
        guard.folder(&path).map_err(at(&path))?;
        Private::make(path, vec![all.into()])
    }

    /// Makes a folder that nobody else may have now, for sockets of known names; those
    /// that are left there of somebody who had it go. The folder above it is one of such
    /// folders, in the one of all sockets.
    pub fn named(path: &Path, guard: &mut Guard) -> Result<Private, Error> {
        let names = NAMES.map(|name| path.join(name));
        guard.names(names.iter().map(PathBuf::as_path)).map_err(at(path))?;
        for folder in path.ancestors().take(3) {
            guard.empty(folder).map_err(at(folder))?;
        }
        remove_sockets(path);
        let above = path.ancestors().skip(1).take(2).map(PathBuf::from).collect();
        let mut private = Private::make(path.into(), above)?;
        private.named = true;
        Ok(private)
    }

    fn make(path: PathBuf, above: Vec<PathBuf>) -> Result<Private, Error> {
        // The last to leave takes those above away, perhaps just now: so try again.
        for _ in 0..8 {
            let made = above.iter().rev().try_for_each(|folder| own_folder(folder));
            match made.and_then(|()| own_folder(&path)) {
                Err(Error::Io { why, .. }) if why.kind() == io::ErrorKind::NotFound => {}
                done => return done.map(|()| Private { path, above, named: false }),
            }
        }
        Err(at(&path)(io::ErrorKind::NotFound.into()))
    }

    /// A listening socket in it.
    pub fn listen(&self, name: &str) -> Result<(PathBuf, UnixListener), Error> {
        let path = self.path.join(name);
        let listener = bind(&path)?;
        Ok((path, listener))
    }
}

/// Removes the sockets of a named folder, and nothing else.
fn remove_sockets(folder: &Path) {
    for path in NAMES.map(|name| folder.join(name)) {
        if std::fs::symlink_metadata(&path).is_ok_and(|m| m.file_type().is_socket()) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes what is left of the sockets of a guest that is gone: those in its folder, and
/// the public one if nobody serves there.
pub fn clear(folder: &Path, public: &Path) {
    let _ = remove_stale(public);
    remove_sockets(folder);
    for folder in folder.ancestors().take(3) {
        let _ = std::fs::remove_dir(folder);
    }
}

/// Listens at `path`, for this user alone, and makes the folder if it is not there.
pub fn listen_in(path: &Path, guard: &mut Guard) -> Result<(Public, UnixListener), Error> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    guard.empty(folder).map_err(at(folder))?;
    // The last to leave takes it away, perhaps just now: so try again.
    for _ in 0..8 {
        if !folder.exists() {
            own_folder(folder)?;
        }
        match Public::listen(path, guard) {
            Err(Error::Io { why, .. }) if why.kind() == io::ErrorKind::NotFound => {}
            done => return done,
        }
    }
    Err(at(path)(io::ErrorKind::NotFound.into()))
}

/// A listening socket for this user alone.
fn bind(path: &Path) -> Result<UnixListener, Error> {
    let listener = UnixListener::bind(path).map_err(at(path))?;
    chmod(path, Mode::RUSR | Mode::WUSR).map_err(|e| at(path)(e.into()))?;
    Ok(listener)
}

impl Drop for Private {
    fn drop(&mut self) {
        if self.named {
            remove_sockets(&self.path);
            let _ = std::fs::remove_dir(&self.path);
        } else {
            let _ = std::fs::remove_dir_all(&self.path);
        }
        for above in &self.above {
            // Fails while another guest is served there, as it should.
            let _ = std::fs::remove_dir(above);
        }
    }
}

/// A listening socket with a public name, which goes away with this value.
#[derive(Debug)]
pub struct Public {
    path: PathBuf,
    ino: u64,
}

impl Public {
    /// Listens at `path`, for this user alone.
    pub fn listen(path: &Path, guard: &mut Guard) -> Result<(Public, UnixListener), Error> {
        // Beside it, for a link cannot lead into another file system.
        let from = path.with_extension(format!("{}.new", std::process::id()));
        guard.name(&from).map_err(at(&from))?;
        let listener = bind(&from).map_err(|e| match e {
            // The name beside it is nobody's but ours.
            Error::Io { why, .. } => at(path)(why),
            e => e,
        })?;
        let linked = Public::link(&from, path, guard);
        let _ = std::fs::remove_file(&from);
        let public = linked?;
        listener.set_nonblocking(true).map_err(at(path))?;
        Ok((public, listener))
    }

    fn link(from: &Path, path: &Path, guard: &mut Guard) -> Result<Public, Error> {
        guard.file(from, path).map_err(at(path))?;
        let ino = std::fs::symlink_metadata(from).map_err(at(from))?.ino();
        let mut tries = 0;
        while let Err(why) = std::fs::hard_link(from, path) {
            tries += 1;
            if why.kind() != io::ErrorKind::AlreadyExists || tries > 8 {
                return Err(at(path)(why));
            }
            remove_stale(path)?;
        }
        Ok(Public { path: path.into(), ino })
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Public {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|m| m.ino() == self.ino) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket that nobody serves any more.
fn remove_stale(path: &Path) -> Result<(), Error> {
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(at(path)(e)),
    };
    if !meta.file_type().is_socket() {
        return Err(Error::Alien(path.into()));
    }
    match UnixStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            match std::fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at(path)(e)),
                _ => Ok(()),
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err(Error::Taken(path.into())),
    }
}
