//! From names to files.

use std::path::Path;
use std::sync::Arc;

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::types::{OpenFlags, Qid, mode, qid_type};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, fstat, openat, openat2, readlinkat, statat};
use rustix::io::Errno as Os;
use rustix::path::DecInt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::nodes::{How, Id};
use super::{HostDirs, Mount, Open, ROOT, fault};

/// A descriptor that can do nothing.
const HOLD: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// To look at a name, and not at what a link of that name leads to.
const LOOK: AtFlags = AtFlags::SYMLINK_NOFOLLOW.union(AtFlags::NO_AUTOMOUNT);

/// Raises the limit of this process's descriptors as far as it may, and says what it is.
pub fn raise_descriptor_limit() -> usize {
    let now = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    let limit = getrlimit(Resource::Nofile).current;
    limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX)
}

impl HostDirs {
    /// The file of that name in a directory, or what a link of that name leads to.
    pub(super) fn find_name(&mut self, at: u64, name: &str) -> Result<(u64, Qid), Fault> {
        match (at, name) {
            (ROOT, "..") => return Ok((ROOT, self.root_qid())),
            (ROOT, _) => {
                let export = self.exports.iter().position(|e| e.name == name);
                return self.enter(export.ok_or(Errno::ENOENT)?);
            }
            (_, "..") => return self.parent(at),
            _ => {}
        }
        let name = super::plain(name)?;
        self.hold(at)?;
        let stat = statat(self.held_fd(at)?, name, LOOK).map_err(fault)?;
        if self.mount == Mount::Guest && stat.st_mode & mode::TYPE == mode::SYMLINK {
            let (export, fd) = self.follow(at, name)?;
            return self.node_for(export, fd);
        }
        let (id, kind) = id_kind(&stat);
        let node = self.nodes.name(at, name, id, kind)?;
        Ok((node, self.qid_of(&stat)))
    }

    /// The directory that a folder is.
    pub(super) fn enter(&mut self, export: usize) -> Result<(u64, Qid), Fault> {
        let dir = &self.exports.get(export).ok_or(Errno::ENOENT)?.dir;
        let fd = rustix::io::fcntl_dupfd_cloexec(dir, 0).map_err(fault)?;
        self.node_for(export as u32, fd)
    }

    /// A node for what a descriptor stands for.
    pub(super) fn node_for(&mut self, export: u32, fd: OwnedFd) -> Result<(u64, Qid), Fault> {
        self.nodes.room()?;
        let stat = fstat(&fd).map_err(fault)?;
        let (id, kind) = id_kind(&stat);
        let node = self.nodes.hold(export, id, kind, fd);
        Ok((node, self.qid_of(&stat)))
    }

    /// A file's descriptor, got now if it was only named.
    pub(super) fn fd(&mut self, node: u64) -> Result<Arc<OwnedFd>, Fault> {
        self.hold(node)?;
        self.held_fd(node).cloned()
    }

    /// Holds a file that was only named; what the host said of it then.
    pub(super) fn hold(&mut self, node: u64) -> Result<Option<rustix::fs::Stat>, Fault> {
        let known = self.nodes.get(node)?;
        let How::Named { dir, .. } = known.how else { return Ok(None) };
        let want = (known.id, known.kind);
        if self.nodes.join(node) {
            return Ok(None);
        }
        self.nodes.room()?;
        let at = self.held_fd(dir)?;
        let fd = openat(at, self.nodes.name_of(node), HOLD, Mode::empty()).map_err(gone)?;
        let stat = fstat(&fd).map_err(fault)?;
        if id_kind(&stat) != want {
            return Err(Errno::ESTALE.into());
        }
        self.nodes.now_held(node, Arc::new(fd));
        Ok(Some(stat))
    }

    pub(super) fn held_fd(&self, node: u64) -> Result<&Arc<OwnedFd>, Fault> {
        match &self.nodes.get(node)?.how {
            How::Held(fd) | How::Open(fd) => Ok(fd),
            How::Named { .. } => Err(Errno::ESTALE.into()),
        }
    }

    /// What the host says of a file. Whoever asks twice will ask more often.
    pub(super) fn look(&mut self, node: u64) -> Result<rustix::fs::Stat, Fault> {
        let known = self.nodes.get(node)?;
        let dir = match &known.how {
            How::Held(fd) | How::Open(fd) => return fstat(fd).map_err(fault),
            How::Named { dir, .. } => *dir,
        };
        let want = (known.id, known.kind);
        if self.nodes.look(node) && self.nodes.room().is_ok() {
            if let Some(stat) = self.hold(node)? {
                return Ok(stat);
            }
            return fstat(self.held_fd(node)?).map_err(fault);
        }
        let stat = statat(self.held_fd(dir)?, self.nodes.name_of(node), LOOK).map_err(gone)?;
        if id_kind(&stat) == want { Ok(stat) } else { Err(Errno::ESTALE.into()) }
    }

    /// Makes those who know a file by its name in a directory keep the file, whatever
    /// becomes of the name.
    pub(super) fn keep(&mut self, dir: u64, name: &str) -> Result<(), Fault> {
        for node in self.nodes.named(self.nodes.get(dir)?.id, name) {
            // For whom it is not there any more, it is gone already.
            let _ = self.hold(node);
        }
        Ok(())
    }

    /// The path of a file below its folder, as the host has it now; empty for the
    /// folder itself.
    fn path_below(&mut self, node: u64) -> Result<(u32, String), Fault> {
        let fd = self.fd(node)?;
        let export = self.nodes.get(node)?.export;
        let dir = &self.exports.get(export as usize).ok_or(Errno::ESTALE)?.dir;
        let (outer, inner) = (self.path_of(dir)?, self.path_of(&fd)?);
        // What was moved out of the folder has no place in it any more.
        let below = Path::new(&inner).strip_prefix(&outer).map_err(|_| Errno::ESTALE)?;
        Ok((export, below.to_str().ok_or(Errno::ESTALE)?.to_owned()))
    }

    fn path_of(&self, fd: &OwnedFd) -> Result<String, Fault> {
        let path = readlinkat(self.again_dir()?, DecInt::from_fd(fd), Vec::new()).map_err(fault)?;
        path.into_string().map_err(|_| Errno::ESTALE.into())
    }

    pub(super) fn again_dir(&self) -> Result<&OwnedFd, Fault> {
        self.again.as_ref().ok_or_else(|| Errno::ESTALE.into())
    }

    fn parent(&mut self, at: u64) -> Result<(u64, Qid), Fault> {
        if let How::Named { dir, .. } = self.nodes.get(at)?.how {
            let qid = self.qid_of(&fstat(self.held_fd(dir)?).map_err(fault)?);
            self.nodes.again(dir);
            return Ok((dir, qid));
        }
        let (export, path) = self.path_below(at)?;
        let dir = match path.rsplit_once('/') {
            _ if path.is_empty() && self.single => ".",
            _ if path.is_empty() => return Ok((ROOT, self.root_qid())),
            Some((parent, _)) => parent,
            None => ".",
        };
        let fd = self.beneath(export, dir, ResolveFlags::NO_SYMLINKS).map_err(fault)?;
        self.node_for(export, fd)
    }

    /// What the link of that name in a directory leads to, if that is in the folder.
    pub(super) fn follow(&mut self, at: u64, name: &str) -> Result<(u32, OwnedFd), Fault> {
        let (export, mut path) = self.path_below(at)?;
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(name);
        match self.beneath(export, &path, ResolveFlags::empty()) {
            Ok(fd) => Ok((export, fd)),
            // The way leads out, or nowhere: to a guest there is nothing.
            Err(Os::XDEV | Os::LOOP) => Err(Errno::ENOENT.into()),
            Err(e) => Err(fault(e)),
        }
    }

    /// What a path below a folder leads to, and never what is outside.
    fn beneath(&self, export: u32, path: &str, more: ResolveFlags) -> Result<OwnedFd, Os> {
        let dir = &self.exports.get(export as usize).ok_or(Os::STALE)?.dir;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | more;
        for _ in 0..8 {
            match openat2(dir, path, flags, Mode::empty(), resolve) {
                // A rename got in the way of a check.
                Err(Os::AGAIN | Os::INTR) => {}
                done => return done,
            }
        }
        Err(Os::AGAIN)
    }

    /// Opens what a node stands for, whatever has happened to its name by now.
    pub(super) fn open_again(&mut self, node: u64, flags: OpenFlags) -> Result<Open, Fault> {
        let fd = self.fd(node)?;
        self.nodes.room()?;
        let kind = self.nodes.get(node)?.kind;
        let fd = self.reopen(&fd, kind, flags)?;
        Ok(self.opened(node, fd, kind))
    }

    /// What an open file is, from now on.
    pub(super) fn opened(&mut self, node: u64, fd: OwnedFd, kind: u32) -> Open {
        let fd = Arc::new(fd);
        self.nodes.opened(node, &fd);
        if kind == mode::DIR {
            return Open::Dir(fd, 0);
        }
        self.opened += 1;
        Open::File(fd, self.opened)
    }

    /// Ends the use of an open file.
    pub(super) fn closed(&mut self, node: u64, fd: Arc<OwnedFd>) {
        if self.nodes.closed(node, &fd) {
            // Whoever goes on with it does without the right to read or write.
            let at = self.again_dir().and_then(|dir| {
                let hold = OFlags::PATH | OFlags::CLOEXEC;
                openat(dir, DecInt::from_fd(&*fd), hold, Mode::empty()).map_err(fault)
            });
            self.nodes.now_held(node, at.map_or(fd, Arc::new));
        }
    }

    pub(super) fn reopen(
        &self,
        fd: &OwnedFd,
        kind: u32,
        flags: OpenFlags,
    ) -> Result<OwnedFd, Fault> {
        let more = match kind {
            mode::FILE => host_flags(flags),
            mode::DIR => OFlags::DIRECTORY,
            mode::SYMLINK => return Err(Errno::ELOOP.into()),
            _ => return Err(Fault::new(Errno::EACCES, "neither a plain file nor a directory")),
        };
        let flags = more | OFlags::CLOEXEC | OFlags::NOCTTY;
        openat(self.again_dir()?, DecInt::from_fd(fd), flags, Mode::empty()).map_err(fault)
    }

    pub(super) fn root_qid(&self) -> Qid {
        Qid { ty: qid_type::DIR, version: 0, path: u64::MAX }
    }
}

/// Which file that is, and of which type.
fn id_kind(stat: &rustix::fs::Stat) -> (Id, u32) {
    ((stat.st_dev, stat.st_ino), stat.st_mode & mode::TYPE)
}

/// A file that was there under its name is not any more.
fn gone(e: Os) -> Fault {
    if e == Os::NOENT { Errno::ESTALE.into() } else { fault(e) }
}

/// The flags of an open that mean something for a plain file, as the host has them.
pub(super) fn host_flags(flags: OpenFlags) -> OFlags {
    let mut host = match (flags.reads(), flags.writes()) {
        (true, true) => OFlags::RDWR,
        (false, _) => OFlags::WRONLY,
        (true, false) => OFlags::RDONLY,
    };
    host.set(OFlags::TRUNC, flags.has(OpenFlags::TRUNC) && flags.writes());
    host.set(OFlags::APPEND, flags.has(OpenFlags::APPEND) && flags.writes());
    // Never wait, for whoever holds a lease on it say.
    host | OFlags::NONBLOCK
}
