//! The kernel's own 9P client, where there is one (`Documentation/filesystems/9p.rst`).
//!
//! Such a mount has no helper: the kernel holds the connection itself, and when the
//! server goes, every operation fails from then on, as for any client that is not
//! ours. Who wants a mount that outlives its server asks for `--via fuse`.

use std::ffi::CString;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, mount};

use crate::address::Address;

/// The type of such a mount.
pub const FSTYPE: &str = "9p";
/// The largest message that the kernel's transports over sockets carry.
const MSIZE: u32 = 1 << 20;

/// Whether this kernel has it, or can load it.
pub fn is_there() -> bool {
    let known = || {
        let all = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        all.lines().any(|l| l.split_whitespace().last() == Some(FSTYPE))
    };
    if known() {
        return true;
    }
    let quiet = || Stdio::null();
    let mut load = Command::new("modprobe");
    load.args(["-q", "-a", "9p", "9pnet_fd"]).stdin(quiet()).stdout(quiet()).stderr(quiet());
    load.status().is_ok_and(|s| s.success()) && known()
}

/// The kernel's options for a mount, and what it is to connect to.
pub fn options(address: &Address, others: bool, uid: u32) -> io::Result<(String, String)> {
    let access = if others { "any".to_owned() } else { uid.to_string() };
    let common = format!("version=9p2000.L,cache=none,msize={MSIZE},access={access},uname=atoll");
    let source = match address {
        Address::Unix(path) => {
            let path = path.to_str().filter(|p| p.len() < 108 && !p.contains(','));
            let path = path.ok_or_else(|| {
                io::Error::other("the kernel takes no such path of a socket; use --via fuse")
            })?;
            return Ok((path.to_owned(), format!("trans=unix,{common}")));
        }
        Address::Tcp(host) => host,
    };
    // The kernel wants a number.
    let found = std::net::ToSocketAddrs::to_socket_addrs(source.as_str())?.find(|a| a.is_ipv4());
    let addr = found.ok_or_else(|| {
        io::Error::other("the kernel connects to IPv4 addresses only; use --via fuse")
    })?;
    Ok((addr.ip().to_string(), format!("trans=tcp,port={},{common}", addr.port())))
}

/// Mounts over a directory.
pub fn attach(address: &Address, dir: &Path, others: bool, read_only: bool) -> io::Result<()> {
    let uid = rustix::process::geteuid().as_raw();
    let (source, data) = options(address, others, uid)?;
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
    flags.set(MountFlags::RDONLY, read_only);
    let data = CString::new(data)?;
    Ok(mount(source.as_str(), dir, FSTYPE, flags, data.as_c_str())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_told_where_and_how() {
        let unix = options(&Address::Unix("/run/a.sock".into()), false, 7).unwrap();
        assert_eq!(unix.0, "/run/a.sock");
        assert_eq!(
            unix.1,
            "trans=unix,version=9p2000.L,cache=none,msize=1048576,access=7,uname=atoll"
        );
        let tcp = options(&Address::Tcp("127.0.0.1:564".into()), true, 7).unwrap();
        assert_eq!(tcp.0, "127.0.0.1");
        assert!(tcp.1.starts_with("trans=tcp,port=564,") && tcp.1.contains("access=any"));
        for bad in ["/run/a,b.sock", &"/x".repeat(60)] {
            assert!(options(&Address::Unix(bad.into()), false, 0).is_err());
        }
    }
}
