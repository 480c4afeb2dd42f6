//! The kernel's own 9P client, where there is one (`Documentation/filesystems/9p.rst`).
//!
//! It is connected to the helper by a socket pair (`trans=fd`), and the helper's
//! [`super::proxy`] to the server: so such a mount outlives its server too.

use std::ffi::CString;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fd::AsRawFd;
use rustix::mount::{MountFlags, mount};

use super::proxy::MSIZE;

/// The type of such a mount.
pub const FSTYPE: &str = "9p";

/// Whether this kernel has it, or can load it.
pub fn is_there() -> bool {
    let known = || {
        let all = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        all.lines().any(|l| l.split_whitespace().last() == Some(FSTYPE))
    };
    if known() {
        return true;
    }
    let quiet = Stdio::null;
    let mut load = Command::new("modprobe");
    load.args(["-q", "-a", "9p", "9pnet_fd"]).stdin(quiet()).stdout(quiet()).stderr(quiet());
    load.status().is_ok_and(|s| s.success()) && known()
}

/// The kernel's options for a mount over a connection that is this descriptor.
fn options(fd: i32, others: bool, uid: u32) -> String {
    let access = if others { "any".to_owned() } else { uid.to_string() };
    format!(
        "trans=fd,rfdno={fd},wfdno={fd},version=9p2000.L,cache=none,msize={MSIZE},\
         access={access},uname=atoll"
    )
}

/// Mounts over a directory what the other end of a socket serves, and does so while
/// this waits: so that is another thread. `source` is what `df` shows as the device.
pub fn attach(
    end: &UnixStream,
    source: &str,
    dir: &Path,
    others: bool,
    read_only: bool,
) -> io::Result<()> {
    let uid = rustix::process::geteuid().as_raw();
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
    flags.set(MountFlags::RDONLY, read_only);
    let data = CString::new(options(end.as_raw_fd(), others, uid))?;
    Ok(mount(source, dir, FSTYPE, flags, data.as_c_str())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_told_where_and_how() {
        let common = "trans=fd,rfdno=7,wfdno=7,version=9p2000.L,cache=none,msize=1048576";
        assert_eq!(options(7, false, 9), format!("{common},access=9,uname=atoll"));
        assert_eq!(options(7, true, 9), format!("{common},access=any,uname=atoll"));
    }
}
