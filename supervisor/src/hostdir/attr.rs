//! What the host tells of a file, and what of it can be changed.

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::types::{OpenFlags, Qid, SetAttr, Stat, StatFs, Time, mode, setattr};
use rustix::fs::{
    AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid, chmodat, chownat,
    fstatfs, fstatvfs, fsync, ftruncate, readlinkat, utimensat,
};
use rustix::io::Errno as Os;
use rustix::path::DecInt;

use super::{HostDirs, Mount, ROOT, fault};

/// Changes whenever the content does, as far as the host's clock tells.
pub(super) fn version(s: &rustix::fs::Stat) -> u32 {
    (s.st_mtime as u32).rotate_left(12) ^ (s.st_mtime_nsec as u32) ^ (s.st_size as u32)
}

fn time(sec: i64, nsec: u64) -> Time {
    Time { sec: u64::try_from(sec).unwrap_or(0), nsec: u32::try_from(nsec).unwrap_or(0) }
}

/// What a client is shown of a file.
pub(super) fn shown(s: &rustix::fs::Stat, qid: Qid, mount: Mount) -> Stat {
    let stat = Stat {
        qid,
        mode: s.st_mode,
        uid: s.st_uid,
        gid: s.st_gid,
        nlink: s.st_nlink,
        rdev: s.st_rdev,
        size: u64::try_from(s.st_size).unwrap_or(0),
        blocks: u64::try_from(s.st_blocks).unwrap_or(0),
        atime: time(s.st_atime, s.st_atime_nsec),
        mtime: time(s.st_mtime, s.st_mtime_nsec),
        ctime: time(s.st_ctime, s.st_ctime_nsec),
    };
    match mount {
        Mount::ReadWrite => stat,
        Mount::ReadOnly => Stat { mode: s.st_mode & !0o222, ..stat },
        Mount::Guest => Stat {
            mode: if qid.is_dir() { mode::DIR } else { mode::FILE } | s.st_mode & 0o555,
            nlink: stat.nlink,
            size: stat.size,
            blocks: stat.blocks,
            mtime: stat.mtime,
            qid,
            ..Stat::default()
        },
    }
}

impl HostDirs {
    pub(super) fn change(&mut self, node: u64, set: &SetAttr) -> Result<(), Fault> {
        self.writable()?;
        if node == ROOT {
            return Err(Errno::EPERM.into());
        }
        let fd = self.fd(node)?;
        let again = self.again_dir()?;
        let this = DecInt::from_fd(&fd);
        let has = |bit| set.valid & bit != 0;
        if has(setattr::SIZE) {
            match self.nodes.get(node)?.kind {
                mode::DIR => return Err(Errno::EISDIR.into()),
                mode::FILE => {}
                _ => return Err(Errno::EINVAL.into()),
            }
            let file = self.reopen(&fd, mode::FILE, OpenFlags::WRONLY)?;
            ftruncate(&file, set.size).map_err(fault)?;
        }
        // Before the mode: a new owner takes the set-user-id bit away.
        let uid = has(setattr::UID).then(|| Uid::from_raw(set.uid));
        let gid = has(setattr::GID).then(|| Gid::from_raw(set.gid));
        if uid.is_some() || gid.is_some() {
            chownat(&fd, "", uid, gid, AtFlags::EMPTY_PATH).map_err(fault)?;
        }
        if has(setattr::MODE) {
            let mode = Mode::from_raw_mode(set.mode & mode::PERM);
            chmodat(again, this, mode, AtFlags::empty()).map_err(fault)?;
        }
        if has(setattr::ATIME | setattr::MTIME) {
            let times = Timestamps {
                last_access: stamp(set.valid, setattr::ATIME, setattr::ATIME_SET, set.atime),
                last_modification: stamp(set.valid, setattr::MTIME, setattr::MTIME_SET, set.mtime),
            };
            utimensat(again, DecInt::from_fd(&fd), &times, AtFlags::empty()).map_err(fault)?;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self, node: u64) -> Result<(), Fault> {
        if node == ROOT {
            return Ok(());
        }
        let fd = self.fd(node)?;
        let kind = self.nodes.get(node)?.kind;
        let file = match self.reopen(&fd, kind, OpenFlags::RDONLY) {
            // Who may write it need not be one who may read it.
            Err(f) if f.errno == Errno::EACCES => self.reopen(&fd, kind, OpenFlags::WRONLY)?,
            done => done?,
        };
        fsync(&file).map_err(fault)
    }

    pub(super) fn read_link(&mut self, node: u64, out: &mut String) -> Result<(), Fault> {
        let text = readlinkat(&*self.fd(node)?, "", Vec::new()).map_err(fault)?;
        out.push_str(text.to_str().map_err(|_| {
            Fault::new(fault(Os::ILSEQ).errno, "the link's text is not UTF-8, which 9P's is")
        })?);
        Ok(())
    }

    pub(super) fn file_system(&mut self, node: u64) -> Result<StatFs, Fault> {
        let held;
        let fd = match node {
            ROOT => &self.exports.first().ok_or(Errno::ENOENT)?.dir,
            _ => {
                held = self.fd(node)?;
                &*held
            }
        };
        let kind = fstatfs(fd).map_err(fault)?.f_type;
        let fs = fstatvfs(fd).map_err(fault)?;
        Ok(StatFs {
            ty: kind as u32,
            bsize: u32::try_from(fs.f_bsize).unwrap_or(4096),
            // In blocks of `bsize` bytes, where the host counts fragments.
            blocks: scaled(fs.f_blocks, &fs),
            bfree: scaled(fs.f_bfree, &fs),
            bavail: scaled(fs.f_bavail, &fs),
            files: fs.f_files,
            ffree: fs.f_ffree,
            fsid: fs.f_fsid,
            namelen: u32::try_from(fs.f_namemax).unwrap_or(255),
        })
    }
}

fn scaled(n: u64, fs: &rustix::fs::StatVfs) -> u64 {
    match (fs.f_frsize, fs.f_bsize) {
        (a, b) if a == b || b == 0 => n,
        (a, b) => (u128::from(n) * u128::from(a) / u128::from(b)) as u64,
    }
}

fn stamp(valid: u32, change: u32, given: u32, time: Time) -> Timespec {
    let nsec = match valid {
        v if v & change == 0 => UTIME_OMIT,
        v if v & given == 0 => UTIME_NOW,
        _ => i64::from(time.nsec),
    };
    Timespec { tv_sec: i64::try_from(time.sec).unwrap_or(i64::MAX), tv_nsec: nsec }
}
