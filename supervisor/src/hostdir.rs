//! Host folders as a tree for a guest: one directory a folder, read-only.
//!
//! The guest names files; this decides what a name can reach. Every walk is one
//! `openat2` from the folder's own descriptor with `RESOLVE_BENEATH`, so neither
//! `..` nor a symbolic link nor a rename in the middle of it leads outside. What
//! is found is held by a descriptor that can do nothing (`O_PATH`), looked at,
//! and opened for reading only if it is a plain file or a directory: no device
//! or pipe is ever opened.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::path::Path;

use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_9p::tree::{Entries, Reply, Tree, Who};
use atoll_9p::types::{OpenFlags, Qid, Stat, Time, mode, qid_type};
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, SeekFrom, fstat, open, openat2,
    seek, statat,
};
use rustix::io::{Errno as Os, pread};

/// The root, which has no folder of its own.
const ROOT: u64 = 0;

#[derive(Debug)]
struct Export {
    name: String,
    dir: OwnedFd,
}

/// A file that the guest knows.
#[derive(Debug)]
struct Known {
    export: usize,
    /// Below the export: names between slashes, empty for the export itself.
    path: String,
    fd: OwnedFd,
    refs: u32,
}

/// Host folders, as a tree.
#[derive(Debug, Default)]
pub struct HostDirs {
    exports: Vec<Export>,
    known: BTreeMap<u64, Known>,
    next: u64,
    /// File systems seen, so that a qid tells files of different ones apart.
    devices: Vec<u64>,
}

/// An open file or directory of the host.
#[derive(Debug)]
pub enum Open {
    /// The root.
    Root,
    /// A file.
    File(OwnedFd),
    /// A directory.
    Dir(OwnedFd),
}

/// What the host's answer is to the guest.
fn fault(e: Os) -> Fault {
    let errno = match e {
        // The way leads out: to the guest there is nothing.
        Os::XDEV | Os::LOOP => Errno::ENOENT,
        e => Errno(e.raw_os_error().unsigned_abs()),
    };
    Fault::from(errno).blame(Blame::Host)
}

impl HostDirs {
    /// A tree without folders.
    pub fn new() -> HostDirs {
        HostDirs { next: ROOT + 1, ..HostDirs::default() }
    }

    /// Adds a folder under a name.
    pub fn add(&mut self, name: &str, dir: &Path) -> std::io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = open(dir, flags, Mode::empty())?;
        self.exports.push(Export { name: name.into(), dir });
        Ok(())
    }

    /// Files that the guest holds.
    pub fn held(&self) -> usize {
        self.known.len()
    }

    fn find(&self, node: u64) -> Result<&Known, Fault> {
        self.known.get(&node).ok_or_else(|| Errno::ESTALE.into())
    }

    fn lookup(&mut self, export: usize, path: String) -> Result<u64, Fault> {
        let dir = &self.exports.get(export).ok_or(Errno::ENOENT)?.dir;
        let fd = beneath(dir, &path)?;
        let node = self.next;
        self.next += 1;
        self.known.insert(node, Known { export, path, fd, refs: 1 });
        Ok(node)
    }

    /// The file of that name in a directory.
    fn find_name(&mut self, at: u64, name: &str) -> Result<u64, Fault> {
        if at == ROOT {
            if name == ".." {
                return Ok(ROOT);
            }
            let export = self.exports.iter().position(|e| e.name == name);
            return self.lookup(export.ok_or(Errno::ENOENT)?, String::new());
        }
        let known = self.find(at)?;
        let (export, path) = (known.export, &known.path);
        let path = match (name, path.rsplit_once('/')) {
            ("..", _) if path.is_empty() => return Ok(ROOT),
            ("..", Some((parent, _))) => parent.to_owned(),
            ("..", None) => String::new(),
            _ if path.is_empty() => name.to_owned(),
            _ => format!("{path}/{name}"),
        };
        self.lookup(export, path)
    }

    fn qid_of(&mut self, stat: &rustix::fs::Stat) -> Qid {
        let dev = stat.st_dev;
        let at = self.devices.iter().position(|&d| d == dev).unwrap_or_else(|| {
            self.devices.push(dev);
            self.devices.len() - 1
        });
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        Qid {
            ty: if is_dir { qid_type::DIR } else { qid_type::FILE },
            version: (stat.st_mtime as u32) ^ (stat.st_mtime_nsec as u32) ^ (stat.st_size as u32),
            path: (at as u64 + 1) << 48 ^ stat.st_ino,
        }
    }

    fn list_root(&mut self, cookie: u64, sink: &mut Entries<'_>) -> Result<(), Fault> {
        for i in (cookie as usize)..self.exports.len() {
            let stat = fstat(&self.exports[i].dir).map_err(fault)?;
            let qid = self.qid_of(&stat);
            if !sink.push(qid, i as u64 + 1, &self.exports[i].name) {
                break;
            }
        }
        Ok(())
    }
}

/// What a path below a folder leads to, links followed as long as they stay in it.
fn beneath(dir: &OwnedFd, path: &str) -> Result<OwnedFd, Fault> {
    let path = if path.is_empty() { "." } else { path };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..8 {
        match openat2(dir, path, flags, Mode::empty(), resolve) {
            // A rename got in the way of a check.
            Err(Os::AGAIN | Os::INTR) => {}
            done => return done.map_err(fault),
        }
    }
    Err(Errno::EAGAIN.into())
}

impl Tree for HostDirs {
    type Node = u64;
    type Open = Open;

    fn attach(&mut self, who: &Who<'_>) -> Result<u64, Fault> {
        let mut node = ROOT;
        for name in who.aname.split('/').filter(|n| !n.is_empty()) {
            let next = self.walk(node, name);
            self.forget(node);
            node = next?.0;
        }
        Ok(node)
    }

    fn walk(&mut self, at: u64, name: &str) -> Result<(u64, Qid), Fault> {
        let node = self.find_name(at, name)?;
        match self.stat(node) {
            Ok(stat) => Ok((node, stat.qid)),
            Err(fault) => {
                self.forget(node);
                Err(fault)
            }
        }
    }

    fn again(&mut self, node: u64) -> u64 {
        if let Some(known) = self.known.get_mut(&node) {
            known.refs += 1;
        }
        node
    }

    fn forget(&mut self, node: u64) {
        if let Some(known) = self.known.get_mut(&node) {
            known.refs -= 1;
            if known.refs == 0 {
                self.known.remove(&node);
            }
        }
    }

    fn stat(&mut self, node: u64) -> Result<Stat, Fault> {
        if node == ROOT {
            let qid = Qid { ty: qid_type::DIR, version: 0, path: 0 };
            return Ok(Stat { qid, mode: mode::DIR | 0o555, nlink: 2, ..Stat::default() });
        }
        let s = fstat(&self.find(node)?.fd).map_err(fault)?;
        let qid = self.qid_of(&s);
        let kind = if qid.is_dir() { mode::DIR } else { mode::FILE };
        Ok(Stat {
            qid,
            mode: kind | s.st_mode & 0o555,
            nlink: s.st_nlink,
            size: u64::try_from(s.st_size).unwrap_or(0),
            blocks: u64::try_from(s.st_blocks).unwrap_or(0),
            mtime: Time {
                sec: u64::try_from(s.st_mtime).unwrap_or(0),
                nsec: s.st_mtime_nsec as u32,
            },
            ..Stat::default()
        })
    }

    fn open(&mut self, node: &mut u64, flags: OpenFlags) -> Result<Open, Fault> {
        let node = *node;
        if flags.writes() || flags.0 & OpenFlags::TRUNC != 0 {
            return Err(Errno::EROFS.into());
        }
        if node == ROOT {
            return Ok(Open::Root);
        }
        let known = self.find(node)?;
        let stat = fstat(&known.fd).map_err(fault)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let more = match kind {
            FileType::RegularFile => OFlags::NONBLOCK,
            FileType::Directory => OFlags::DIRECTORY,
            _ => return Err(Fault::new(Errno::EACCES, "neither a plain file nor a directory")),
        };
        // The same file again, whatever has happened to its name by now.
        use rustix::fd::AsRawFd;
        let path = format!("/proc/self/fd/{}", known.fd.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | more;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(fault)?;
        Ok(match kind {
            FileType::Directory => Open::Dir(fd),
            _ => Open::File(fd),
        })
    }

    fn read(&mut self, _: u64, o: &mut Open, at: u64, buf: &mut [u8]) -> Result<Reply, Fault> {
        let Open::File(fd) = o else { return Err(Errno::EISDIR.into()) };
        if i64::try_from(at).is_err() {
            return Ok(Reply::Done(0));
        }
        loop {
            return match pread(&*fd, &mut *buf, at) {
                Err(Os::INTR) => continue,
                done => done.map(Reply::Done).map_err(fault),
            };
        }
    }

    fn list(
        &mut self,
        node: u64,
        open: &mut Open,
        cookie: u64,
        sink: &mut Entries<'_>,
    ) -> Result<(), Fault> {
        let fd = match open {
            Open::Root => return self.list_root(cookie, sink),
            Open::File(_) => return Err(Errno::ENOTDIR.into()),
            Open::Dir(fd) => &*fd,
        };
        seek(fd, SeekFrom::Start(cookie)).map_err(fault)?;
        let known = self.find(node)?;
        let (export, path) = (known.export, known.path.clone());
        let mut space = [MaybeUninit::uninit(); 8192];
        let mut dir = RawDir::new(fd, &mut space);
        while let Some(entry) = dir.next() {
            let entry = entry.map_err(fault)?;
            let next = entry.next_entry_cookie();
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name == "." || name == ".." {
                continue;
            }
            let found = match entry.file_type() {
                // Shown as what a walk would find, if it would find something.
                FileType::Symlink => {
                    let path = if path.is_empty() { name.into() } else { format!("{path}/{name}") };
                    beneath(&self.exports[export].dir, &path)
                        .and_then(|fd| fstat(&fd).map_err(fault))
                }
                _ => statat(fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(fault),
            };
            // What has gone meanwhile is not there.
            let Ok(stat) = found else { continue };
            let qid = self.qid_of(&stat);
            if !sink.push(qid, next, name) {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "hostdir_tests.rs"]
mod tests;
