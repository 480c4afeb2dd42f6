//! `/dev/fuse`: mounting, and the descriptor that requests come from.
//!
//! Whoever may mount (root, in its user namespace) does so by itself; others go
//! through `fusermount3`, which is set-user-id and hands the descriptor back over a
//! socket (the protocol of libfuse's `mount_util.c`).

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// The type of such a mount, as `/proc/self/mountinfo` shows it.
pub const FSTYPE: &str = "fuse.atoll";
const FUSERMOUNT: &str = "fusermount3";

/// How to mount.
#[derive(Debug)]
pub struct Options<'a> {
    /// What `df` shows as the device.
    pub source: &'a str,
    /// Whether other users may use it; their rights are then the files' modes.
    pub others: bool,
    /// Whether nothing can be changed through it.
    pub read_only: bool,
}

/// Mounts over a directory, and gives the descriptor, which does not block.
pub fn attach(dir: &Path, options: &Options<'_>) -> io::Result<OwnedFd> {
    let fd = match directly(dir, options) {
        Err(Errno::PERM | Errno::ACCESS) => by_fusermount(dir, options)?,
        done => done?,
    };
    fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
    Ok(fd)
}

fn directly(dir: &Path, options: &Options<'_>) -> Result<OwnedFd, Errno> {
    let fd = open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let fd_number = fd.as_raw_fd();
    let mut data = format!("fd={fd_number},rootmode=40000,user_id={uid},group_id={gid}");
    if options.others {
        data += ",allow_other,default_permissions";
    }
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
    flags.set(MountFlags::RDONLY, options.read_only);
    let data = std::ffi::CString::new(data).map_err(|_| Errno::INVAL)?;
    mount(options.source, dir, FSTYPE, flags, data.as_c_str())?;
    Ok(fd)
}

fn by_fusermount(dir: &Path, options: &Options<'_>) -> io::Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair()?;
    // A comma ends an option, and a backslash keeps it from doing so.
    let source = options.source.replace('\\', "\\\\").replace(',', "\\,");
    let mut text = format!("fsname={source},subtype=atoll,nosuid,nodev");
    if options.others {
        text += ",allow_other,default_permissions";
    }
    if options.read_only {
        text += ",ro";
    }
    let mut command = Command::new(FUSERMOUNT);
    command.args(["-o", &text, "--"]).arg(dir).env("_FUSE_COMMFD", "3");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mapping = FdMapping { parent_fd: theirs.into(), child_fd: 3 };
    command.fd_mappings(vec![mapping]).map_err(io::Error::other)?;
    let child = command.spawn().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => io::Error::new(
            io::ErrorKind::PermissionDenied,
            "only root may mount, and fusermount3 is not installed (Debian's package fuse3)",
        ),
        _ => e,
    })?;
    // Holds our copy of the other end, which would keep the socket open.
    drop(command);
    let fd = received(&ours);
    let out = child.wait_with_output()?;
    match fd {
        Ok(Some(fd)) if out.status.success() => Ok(fd),
        Err(e) if out.status.success() => Err(e),
        _ => {
            let said = String::from_utf8_lossy(&out.stderr);
            Err(io::Error::new(io::ErrorKind::PermissionDenied, said.trim().to_owned()))
        }
    }
}

/// The descriptor that comes over a socket; nothing when that ends without one.
fn received(from: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut data = [IoSliceMut::new(&mut byte)];
    recvmsg(from, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let fds = control.drain().find_map(|m| match m {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok(fds)
}

/// Takes a mount away. `lazy`: at once, however it is used.
pub fn detach(dir: &Path, lazy: bool) -> io::Result<()> {
    let mut flags = UnmountFlags::NOFOLLOW;
    flags.set(UnmountFlags::DETACH, lazy);
    match unmount(dir, flags) {
        Err(Errno::PERM) => {}
        done => return Ok(done?),
    }
    let mut command = Command::new(FUSERMOUNT);
    command.arg("-u").args(lazy.then_some("-z")).arg("--").arg(dir).stdin(Stdio::null());
    let out = match command.output() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(Errno::PERM.into()),
        out => out?,
    };
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    if said.contains("busy") {
        return Err(Errno::BUSY.into());
    }
    Err(io::Error::other(said.trim().to_owned()))
}
