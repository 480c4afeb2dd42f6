//! From names to files.

use std::path::Path;

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::types::{OpenFlags, Qid, mode, qid_type};
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, readlinkat};
use rustix::io::Errno as Os;
use rustix::path::DecInt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{HostDirs, Mount, Open, ROOT, fault};

/// A descriptor that can do nothing.
const HOLD: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Raises the limit of this process's descriptors as far as it may, and says what it is.
pub fn raise_descriptor_limit() -> usize {
    let now = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    let limit = getrlimit(Resource::Nofile).current;
    limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX)
}

impl HostDirs {
    /// The directory that a folder is.
    pub(super) fn enter(&mut self, export: usize) -> Result<u64, Fault> {
        self.nodes.room()?;
        let dir = &self.exports.get(export).ok_or(Errno::ENOENT)?.dir;
        let fd = rustix::io::fcntl_dupfd_cloexec(dir, 0).map_err(fault)?;
        Ok(self.nodes.insert(export as u32, fd))
    }

    /// The file of that name in a directory, or what a link of that name leads to.
    pub(super) fn find_name(&mut self, at: u64, name: &str) -> Result<(u64, Qid), Fault> {
        if at == ROOT {
            return self.find_export(name);
        }
        if name == ".." {
            return self.parent(at);
        }
        self.nodes.room()?;
        let known = self.nodes.get(at)?;
        let export = known.export;
        let mut fd = openat(&known.fd, super::plain(name)?, HOLD, Mode::empty()).map_err(fault)?;
        let mut stat = fstat(&fd).map_err(fault)?;
        if self.mount == Mount::Guest && stat.st_mode & mode::TYPE == mode::SYMLINK {
            fd = self.follow(at, name)?;
            stat = fstat(&fd).map_err(fault)?;
        }
        let qid = self.qid_of(&stat);
        Ok((self.nodes.insert(export, fd), qid))
    }

    fn find_export(&mut self, name: &str) -> Result<(u64, Qid), Fault> {
        if name == ".." {
            return Ok((ROOT, Qid { ty: qid_type::DIR, version: 0, path: u64::MAX }));
        }
        let export = self.exports.iter().position(|e| e.name == name).ok_or(Errno::ENOENT)?;
        let node = self.enter(export)?;
        let stat = fstat(&self.nodes.get(node)?.fd).map_err(fault);
        match stat {
            Ok(stat) => Ok((node, self.qid_of(&stat))),
            Err(e) => {
                self.nodes.forget(node);
                Err(e)
            }
        }
    }

    /// The path of a held file below its folder, as the host has it now; empty for
    /// the folder itself.
    fn path_below(&self, node: u64) -> Result<(u32, String), Fault> {
        let known = self.nodes.get(node)?;
        let dir = &self.exports.get(known.export as usize).ok_or(Errno::ESTALE)?.dir;
        let (outer, inner) = (self.path_of(dir)?, self.path_of(&known.fd)?);
        // What was moved out of the folder has no place in it any more.
        let below = Path::new(&inner).strip_prefix(&outer).map_err(|_| Errno::ESTALE)?;
        Ok((known.export, below.to_str().ok_or(Errno::ESTALE)?.to_owned()))
    }

    fn path_of(&self, fd: &OwnedFd) -> Result<String, Fault> {
        let path = readlinkat(self.again_dir()?, DecInt::from_fd(fd), Vec::new()).map_err(fault)?;
        path.into_string().map_err(|_| Errno::ESTALE.into())
    }

    pub(super) fn again_dir(&self) -> Result<&OwnedFd, Fault> {
        self.again.as_ref().ok_or_else(|| Errno::ESTALE.into())
    }

    fn parent(&mut self, at: u64) -> Result<(u64, Qid), Fault> {
        let (export, path) = self.path_below(at)?;
        let dir = match path.rsplit_once('/') {
            _ if path.is_empty() && self.single => ".",
            _ if path.is_empty() => return self.find_export(".."),
            Some((parent, _)) => parent,
            None => ".",
        };
        self.nodes.room()?;
        let fd = self.beneath(export, dir, ResolveFlags::NO_SYMLINKS).map_err(fault)?;
        let stat = fstat(&fd).map_err(fault)?;
        let qid = self.qid_of(&stat);
        Ok((self.nodes.insert(export, fd), qid))
    }

    /// What the link of that name in a directory leads to, if that is in the folder.
    pub(super) fn follow(&self, at: u64, name: &str) -> Result<OwnedFd, Fault> {
        let (export, mut path) = self.path_below(at)?;
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(name);
        self.beneath(export, &path, ResolveFlags::empty()).map_err(|e| match e {
            // The way leads out, or nowhere: to a guest there is nothing.
            Os::XDEV | Os::LOOP => Errno::ENOENT.into(),
            e => fault(e),
        })
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
        self.nodes.room()?;
        let fd = &self.nodes.get(node)?.fd;
        let kind = FileType::from_raw_mode(fstat(fd).map_err(fault)?.st_mode);
        let fd = self.reopen(fd, kind, flags)?;
        self.nodes.opened();
        Ok(match kind {
            FileType::Directory => Open::Dir(fd, 0),
            _ => Open::File(fd),
        })
    }

    pub(super) fn reopen(
        &self,
        fd: &OwnedFd,
        kind: FileType,
        flags: OpenFlags,
    ) -> Result<OwnedFd, Fault> {
        let more = match kind {
            FileType::RegularFile => host_flags(flags),
            FileType::Directory => OFlags::DIRECTORY,
            FileType::Symlink => return Err(Errno::ELOOP.into()),
            _ => return Err(Fault::new(Errno::EACCES, "neither a plain file nor a directory")),
        };
        let flags = more | OFlags::CLOEXEC | OFlags::NOCTTY;
        openat(self.again_dir()?, DecInt::from_fd(fd), flags, Mode::empty()).map_err(fault)
    }
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
