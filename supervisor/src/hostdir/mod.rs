//! Host folders as a tree.
//!
//! A client names files; this decides what a name can reach. A directory is held by a
//! descriptor that can do nothing (`O_PATH`), and a name is looked up in it alone,
//! without following anything, so no symbolic link and no rename in the middle leads
//! elsewhere; where a path has to be resolved (`..`, links for guests) that is one
//! `openat2` with `RESOLVE_BENEATH` from the folder's own descriptor. What is found is
//! opened for reading or writing only if it is a plain file or a directory, and by
//! way of such a descriptor: no device or pipe is ever opened.
//!
//! A file that is only looked at costs no descriptor, and one that is used for more or
//! open costs one: [`HostDirs::limit`] bounds them. Names that are
//! not UTF-8, which 9P cannot say, are not shown.

use std::path::Path;
use std::sync::Arc;

use atoll_9p::access::{User, Want, allowed, owns};
use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_9p::locks::Locks;
use atoll_9p::once::Once;
use atoll_9p::tree::{Entries, Make, Remove, Reply, Tree, Who};
use atoll_9p::types::{Lock, LockStatus, OpenFlags, Qid, SetAttr, Stat, StatFs, mode, qid_type};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, fstat, open, renameat, unlinkat};
use rustix::io::{Errno as Os, pread, pwrite};

mod attr;
mod list;
mod make;
mod nodes;
mod resolve;

use nodes::{Id, Nodes};
pub use resolve::raise_descriptor_limit;

/// The root above several folders, which has no folder of its own.
const ROOT: u64 = 0;

/// Ranges of files that may be locked at one time. Only clients of this tree see
/// each other's locks; the host's own programs do not.
const LOCKS: usize = 1 << 16;

/// What clients may do, and what they see of symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mount {
    /// Reading only. Links that stay in their folder are followed here, and no
    /// other file but plain ones and directories can be told from nothing: for
    /// guests, who have no notion of links and owners.
    Guest,
    /// Reading only; links are shown as such.
    ReadOnly,
    /// Everything that the host lets this process do; links are shown as such.
    ReadWrite,
}

#[derive(Debug)]
struct Export {
    name: String,
    dir: OwnedFd,
}

/// Host folders, as a tree.
#[derive(Debug)]
pub struct HostDirs {
    mount: Mount,
    /// The root of the tree is the one folder, and not a directory of folders.
    single: bool,
    exports: Vec<Export>,
    nodes: Nodes,
    /// `/proc/self/fd`: opens again what a descriptor stands for.
    again: Option<OwnedFd>,
    /// The file system whose files' numbers are shown as they are.
    device: u64,
    /// Whom the host takes this process for.
    uid: u32,
    locks: Locks<Id>,
    once: Once,
    /// The number of the last file that was opened, which locks are kept under.
    opened: u64,
}

/// An open file or directory of the host.
#[derive(Debug)]
pub enum Open {
    /// The root above several folders.
    Root,
    /// A file, and its number among those that were opened.
    File(Arc<OwnedFd>, u64),
    /// A directory, and the cookie that its descriptor stands at.
    Dir(Arc<OwnedFd>, u64),
}

/// What the host's answer is to the client.
fn fault(e: Os) -> Fault {
    Fault::from(Errno(e.raw_os_error().unsigned_abs())).blame(Blame::Host)
}

/// A name that stands for nothing but itself.
fn plain(name: &str) -> Result<&str, Fault> {
    match name {
        "" | "." | ".." => Err(Errno::EINVAL.into()),
        _ if name.contains('/') => Err(Errno::EINVAL.into()),
        _ => Ok(name),
    }
}

impl Default for HostDirs {
    fn default() -> HostDirs {
        HostDirs::new(Mount::Guest)
    }
}

impl HostDirs {
    /// A tree without folders.
    pub fn new(mount: Mount) -> HostDirs {
        HostDirs {
            mount,
            single: false,
            exports: Vec::new(),
            nodes: Nodes::default(),
            again: None,
            device: 0,
            uid: rustix::process::geteuid().as_raw(),
            locks: Locks::new(LOCKS),
            once: Once::default(),
            opened: 0,
        }
    }

    /// A tree that is one folder.
    pub fn of(dir: &Path, mount: Mount) -> std::io::Result<HostDirs> {
        let mut tree = HostDirs::new(mount);
        tree.add("", dir)?;
        tree.single = true;
        Ok(tree)
    }

    /// Adds a folder under a name.
    pub fn add(&mut self, name: &str, dir: &Path) -> std::io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = open(dir, flags, Mode::empty())?;
        if self.again.is_none() {
            self.again = Some(open("/proc/self/fd", flags, Mode::empty())?);
            self.device = fstat(&dir)?.st_dev;
        }
        self.exports.push(Export { name: name.into(), dir });
        Ok(())
    }

    /// The most descriptors that files may take: who wants more is told EMFILE.
    pub fn limit(&mut self, descriptors: usize) {
        self.nodes.limit = descriptors;
    }

    /// Files that clients hold.
    pub fn held(&self) -> usize {
        self.nodes.held()
    }

    fn writable(&self) -> Result<(), Fault> {
        if self.mount == Mount::ReadWrite { Ok(()) } else { Err(Errno::EROFS.into()) }
    }

    /// The descriptor of a directory in which something is to be changed.
    fn changing(&mut self, dir: u64) -> Result<Arc<OwnedFd>, Fault> {
        self.writable()?;
        if dir == ROOT {
            return Err(Fault::new(Errno::EPERM, "the exported folders are what they are"));
        }
        self.fd(dir)
    }

    /// Whether the host itself decides what a user may do, for it takes this process
    /// for that user.
    fn host_decides(&self, user: User) -> bool {
        user.owner || user.uid == self.uid
    }

    fn qid_of(&self, stat: &rustix::fs::Stat) -> Qid {
        Qid {
            ty: match stat.st_mode & mode::TYPE {
                mode::DIR => qid_type::DIR,
                mode::SYMLINK => qid_type::SYMLINK,
                _ => qid_type::FILE,
            },
            version: attr::version(stat),
            path: self.number(stat.st_dev, stat.st_ino),
        }
    }

    /// A number for a file, the same in every process on this host: its own, mixed
    /// with that of its file system where this is not the one of the first folder.
    fn number(&self, device: u64, ino: u64) -> u64 {
        if device == self.device { ino } else { ino ^ mix(device) }
    }
}

/// Spreads a number over all 64 bits (the finalizer of SplitMix64).
fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

impl Tree for HostDirs {
    type Node = u64;
    type Open = Open;

    fn attach(&mut self, who: &Who<'_>) -> Result<u64, Fault> {
        let mut node = if self.single { self.enter(0)?.0 } else { ROOT };
        for name in who.aname.split('/').filter(|n| !n.is_empty()) {
            let next = self.walk(node, name);
            self.forget(node);
            node = next?.0;
        }
        Ok(node)
    }

    fn walk(&mut self, at: u64, name: &str) -> Result<(u64, Qid), Fault> {
        self.find_name(at, name)
    }

    fn again(&mut self, node: u64) -> u64 {
        self.nodes.again(node);
        node
    }

    fn forget(&mut self, node: u64) {
        self.nodes.forget(node);
    }

    fn qid(&mut self, node: u64) -> Result<Qid, Fault> {
        if node == ROOT {
            return Ok(self.root_qid());
        }
        // Who asks for this alone is about to do something with the file.
        let stat = match self.hold(node)? {
            Some(stat) => stat,
            None => fstat(self.held_fd(node)?).map_err(fault)?,
        };
        Ok(self.qid_of(&stat))
    }

    fn stat(&mut self, node: u64) -> Result<Stat, Fault> {
        if node == ROOT {
            let qid = self.root_qid();
            return Ok(Stat { qid, mode: mode::DIR | 0o555, nlink: 2, ..Stat::default() });
        }
        let stat = self.look(node)?;
        Ok(attr::shown(&stat, self.qid_of(&stat), self.mount))
    }

    fn may(&mut self, node: u64, user: User, want: Want) -> Result<(), Fault> {
        if self.host_decides(user) { Ok(()) } else { allowed(&self.stat(node)?, user, want) }
    }

    fn set(&mut self, node: u64, set: &SetAttr) -> Result<(), Fault> {
        self.change(node, set)
    }

    fn may_set(&mut self, node: u64, user: User) -> Result<(), Fault> {
        if self.host_decides(user) { Ok(()) } else { owns(&self.stat(node)?, user) }
    }

    fn open(&mut self, node: &mut u64, flags: OpenFlags) -> Result<Open, Fault> {
        if flags.writes() || flags.has(OpenFlags::TRUNC) {
            self.writable()?;
        }
        if *node == ROOT {
            return Ok(Open::Root);
        }
        self.open_again(*node, flags)
    }

    fn read(&mut self, _: u64, o: &mut Open, at: u64, buf: &mut [u8]) -> Result<Reply, Fault> {
        let Open::File(fd, _) = o else { return Err(Errno::EISDIR.into()) };
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

    fn write(&mut self, _: u64, o: &mut Open, at: u64, data: &[u8]) -> Result<Reply, Fault> {
        let Open::File(fd, _) = o else { return Err(Errno::EISDIR.into()) };
        if i64::try_from(at).is_err() {
            return Err(Errno::EINVAL.into());
        }
        loop {
            return match pwrite(&*fd, data, at) {
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
        match open {
            Open::Root => self.list_root(cookie, sink),
            Open::File(..) => Err(Errno::ENOTDIR.into()),
            Open::Dir(fd, at) => self.list_dir(node, fd, at, cookie, sink),
        }
    }

    fn close(&mut self, node: u64, open: Open) {
        let fd = match open {
            Open::Root => return,
            Open::File(fd, number) => {
                if let Ok(known) = self.nodes.get(node) {
                    self.locks.close(known.id, number);
                }
                fd
            }
            Open::Dir(fd, _) => fd,
        };
        self.closed(node, fd);
    }

    fn once(&mut self) -> Option<&mut Once> {
        Some(&mut self.once)
    }

    fn lock(&mut self, node: u64, open: &mut Open, lock: &Lock<'_>) -> Result<LockStatus, Fault> {
        let Open::File(_, number) = open else { return Err(Errno::EISDIR.into()) };
        self.locks.lock(self.nodes.get(node)?.id, *number, lock)
    }

    fn test_lock(
        &mut self,
        node: u64,
        _: &mut Open,
        lock: &Lock<'_>,
    ) -> Result<Option<Lock<'static>>, Fault> {
        self.locks.test(self.nodes.get(node)?.id, lock)
    }

    fn sync(&mut self, node: u64) -> Result<(), Fault> {
        self.flush(node)
    }

    fn create(&mut self, dir: u64, make: &Make<'_>) -> Result<u64, Fault> {
        self.make(dir, make)
    }

    fn create_open(
        &mut self,
        dir: u64,
        make: &Make<'_>,
        flags: OpenFlags,
    ) -> Result<(u64, Open), Fault> {
        self.make_open(dir, make, flags)
    }

    fn link(&mut self, node: u64, dir: u64, name: &str) -> Result<(), Fault> {
        self.link_to(node, dir, name)
    }

    fn readlink(&mut self, node: u64, out: &mut String) -> Result<(), Fault> {
        self.read_link(node, out)
    }

    fn rename(&mut self, from: u64, name: &str, to: u64, newname: &str) -> Result<(), Fault> {
        let (name, newname) = (plain(name)?, plain(newname)?);
        let (from_fd, to_fd) = (self.changing(from)?, self.changing(to)?);
        self.keep(from, name)?;
        self.keep(to, newname)?;
        renameat(from_fd, name, to_fd, newname).map_err(fault)
    }

    fn remove(&mut self, dir: u64, name: &str, what: Remove) -> Result<(), Fault> {
        let flags = match what {
            Remove::File => AtFlags::empty(),
            Remove::Dir => AtFlags::REMOVEDIR,
        };
        let (name, fd) = (plain(name)?, self.changing(dir)?);
        self.keep(dir, name)?;
        unlinkat(fd, name, flags).map_err(fault)
    }

    fn statfs(&mut self, node: u64) -> Result<StatFs, Fault> {
        self.file_system(node)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod write_tests;
