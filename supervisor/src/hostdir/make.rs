//! New names: files, directories and links.

use atoll_9p::access::NOBODY;
use atoll_9p::fault::{Errno, Fault};
use atoll_9p::tree::{Make, MakeKind};
use atoll_9p::types::{OpenFlags, mode};
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, linkat, mkdirat, mknodat, openat, symlinkat,
};
use rustix::path::DecInt;

use super::resolve::host_flags;
use super::{HostDirs, Open, fault, plain};

const FILE: OFlags = OFlags::CREATE.union(OFlags::EXCL).union(OFlags::NOFOLLOW);

impl HostDirs {
    pub(super) fn make(&mut self, dir: u64, make: &Make<'_>) -> Result<u64, Fault> {
        let at = self.changing(dir)?;
        let name = plain(make.name)?;
        let mode = Mode::from_raw_mode(make.mode & mode::PERM);
        match make.kind {
            MakeKind::File | MakeKind::Special(mode::FILE, ..) => {
                let flags = FILE | OFlags::WRONLY | OFlags::CLOEXEC;
                openat(&at, name, flags, mode).map(drop)
            }
            MakeKind::Dir => mkdirat(&at, name, mode),
            MakeKind::Symlink(to) => symlinkat(to, &at, name),
            MakeKind::Special(kind @ (mode::PIPE | mode::SOCKET), ..) => {
                mknodat(&at, name, FileType::from_raw_mode(kind), mode, 0)
            }
            MakeKind::Special(..) => {
                return Err(Fault::new(Errno::EPERM, "no devices are made here"));
            }
        }
        .map_err(fault)?;
        let node = self.find_name(dir, name)?.0;
        self.give(&at, name, make);
        Ok(node)
    }

    pub(super) fn make_open(
        &mut self,
        dir: u64,
        make: &Make<'_>,
        flags: OpenFlags,
    ) -> Result<(u64, Open), Fault> {
        let (at, export) = (self.changing(dir)?, self.nodes.get(dir)?.export);
        self.nodes.room()?;
        let mode = Mode::from_raw_mode(make.mode & mode::PERM);
        let how = FILE | host_flags(flags) | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = openat(&at, plain(make.name)?, how, mode).map_err(fault)?;
        self.give(&file, "", make);
        let hold = OFlags::PATH | OFlags::CLOEXEC;
        let fd = openat(self.again_dir()?, DecInt::from_fd(&file), hold, Mode::empty());
        let (node, _) = self.node_for(export, fd.map_err(fault)?)?;
        Ok((node, self.opened(node, file, mode::FILE)))
    }

    /// Gives a new file to whom it was made for, where this process may do that: the
    /// peer, as the kernel names it, or whom a peer that is root acts for. What comes over
    /// a port is nobody's and stays this process's.
    fn give(&self, at: &OwnedFd, name: &str, make: &Make<'_>) {
        if self.uid == 0 && !matches!(make.user.uid, 0 | NOBODY) {
            let uid = Uid::from_raw(make.user.uid);
            let gid = (make.gid != NOBODY).then(|| Gid::from_raw(make.gid));
            let how = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
            let _ = chownat(at, name, Some(uid), gid, how);
        }
    }

    pub(super) fn link_to(&mut self, node: u64, dir: u64, name: &str) -> Result<(), Fault> {
        let (from, to) = (self.changing(node)?, self.changing(dir)?);
        let again = self.again_dir()?;
        let how = AtFlags::SYMLINK_FOLLOW;
        linkat(again, DecInt::from_fd(&from), to, plain(name)?, how).map_err(fault)
    }
}
