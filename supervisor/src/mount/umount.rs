//! `atoll umount`: taking a mount away, and saying who keeps it if it cannot be.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::fuse::device;
use super::{Error, table};

/// How long the helper may take to go.
const PATIENCE: Duration = Duration::from_secs(10);
/// Users that are told of by name.
const SHOWN: usize = 5;

/// An absolute path without links. A dead mount's own cannot be looked at, so its
/// directory's is looked at and its name is believed.
pub fn absolute(dir: &Path) -> io::Result<PathBuf> {
    let whole = std::path::absolute(dir)?;
    match (whole.parent(), whole.file_name()) {
        (Some(parent), Some(name)) if !dir.ends_with("..") => Ok(parent.canonicalize()?.join(name)),
        _ => whole.canonicalize(),
    }
}

/// Takes the mount at a place away, and waits for its helper to end.
pub fn umount(dir: &Path, lazy: bool) -> Result<(), Error> {
    let place = absolute(dir).map_err(|why| Error::Mount { dir: dir.to_owned(), why })?;
    // The name may be a link to where it is mounted.
    let place = match table::is_ours(&place) {
        true => place,
        false => place.canonicalize().unwrap_or(place),
    };
    if !table::is_ours(&place) {
        return Err(Error::NotOurs(place));
    }
    let helper = helper(&place);
    match device::detach(&place, lazy) {
        Ok(()) => {}
        Err(e) if Errno::from_io_error(&e) == Some(Errno::BUSY) => {
            let users = users(&place);
            return Err(Error::Busy { dir: place, users });
        }
        Err(why) => return Err(Error::Unmount { dir: place, why }),
    }
    match helper {
        // While somebody has a file open, a lazy unmount's helper goes on.
        Some(helper) if !lazy => helper.wait(),
        _ => Ok(()),
    }
}

/// The process behind a mount.
#[derive(Debug)]
struct Helper(rustix::fd::OwnedFd);

fn helper(dir: &Path) -> Option<Helper> {
    let status = std::fs::read_to_string(dir.join(".atoll/status")).ok()?;
    let pid = status.lines().find_map(|l| l.strip_prefix("helper "))?.parse().ok()?;
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok().map(Helper)
}

impl Helper {
    fn wait(&self) -> Result<(), Error> {
        let limit = Timespec::try_from(PATIENCE).map_err(|_| Error::Helper)?;
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        loop {
            match poll(&mut fds, Some(&limit)) {
                Err(Errno::INTR) => {}
                Ok(n) if n > 0 => return Ok(()),
                _ => return Err(Error::Helper),
            }
        }
    }
}

/// Who uses what is mounted, as far as this process may see: `NAME (PID), ...`.
fn users(dir: &Path) -> String {
    let mut found = Vec::new();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let path = process.path();
        let Some(pid) = path.file_name().and_then(|n| n.to_str()?.parse::<u32>().ok()) else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let how = ["cwd", "root", "exe"].iter().find(|l| points(&path.join(l), dir));
        let fds = || std::fs::read_dir(path.join("fd")).into_iter().flatten().flatten();
        let how = match how {
            Some(&"cwd") => "its working directory",
            Some(_) => "it runs from there",
            None if fds().any(|fd| points(&fd.path(), dir)) => "an open file",
            None => continue,
        };
        let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        found.push(format!("{} (process {pid}: {how})", name.trim()));
    }
    // A mount below it keeps it too.
    let below = table::read().unwrap_or_default();
    let below = below.iter().filter(|m| m.dir != dir && m.dir.starts_with(dir));
    found.extend(below.map(|m| format!("a mount at {}", m.dir.display())));
    let more = found.len().saturating_sub(SHOWN);
    found.truncate(SHOWN);
    match (found.len(), more) {
        (0, _) => "somebody whom you may not see".to_owned(),
        (_, 0) => found.join(", "),
        (_, more) => format!("{}, and {more} more", found.join(", ")),
    }
}

fn points(link: &Path, dir: &Path) -> bool {
    std::fs::read_link(link).is_ok_and(|to| to.starts_with(dir))
}

/// Takes away what a helper left that was killed: for the guard. A mount whose
/// helper is alive stays.
pub fn remove_dead(dir: &Path) {
    if table::is_ours(dir) && std::fs::symlink_metadata(dir).map(|m| m.ino()).is_err() {
        let _ = device::detach(dir, true);
    }
}

/// Whether a mount of ours is there and its server is known to be gone. One that may not
/// be looked at is somebody else's.
pub fn is_dead(dir: &Path) -> bool {
    let gone = |e: io::Error| Errno::from_io_error(&e) == Some(Errno::NOTCONN);
    table::is_ours(dir) && std::fs::symlink_metadata(dir).is_err_and(gone)
}
