//! What dom0 asks Xen for itself: `/dev/xen/privcmd`.
//!
//! A domain that was made ahead of need is let run by it: `xl unpause` does nothing else for a
//! PVH domain, and takes longer to start than the guest to boot. And whether a domain runs, has
//! ended or was suspended is asked here, since `xl` has it in a table for people alone.
//!
//! Sources: `xen/privcmd.h` and `xen/privcmd_dev.h` of Linux, `public/domctl.h` of Xen 4.17.

use std::fs::{File, OpenOptions};
use std::io;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::gntdev::{PAGE, named};
use super::ioctl::call;

const DEVICE: &str = "/dev/xen/privcmd";
/// Memory that the kernel leaves where it is while Xen reads it.
const BUFFER: &str = "/dev/xen/hypercall";
const GROUP: u8 = b'P';
const DOMCTL: u64 = 36;
/// `XEN_DOMCTL_unpausedomain`.
const UNPAUSE: u32 = 4;
/// `XEN_DOMCTL_getdomaininfo`.
const INFO: u32 = 5;
/// `XEN_DOMCTL_INTERFACE_VERSION` of 4.17, which is tried first, and those around it: Xen
/// refuses another than its own before it looks at anything else. The two calls have the same
/// numbers in all of them; one has no argument but the domain, and of the other's answer only its
/// begin is read, which is the same, too.
const VERSIONS: [u32; 13] =
    [0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x14, 0x13, 0x12, 0x11, 0x10];
/// Bytes of `struct xen_domctl`: a head of 16, and a union that is filled up to 128.
const BYTES: usize = 16 + 128;
/// Where `struct xen_domctl_getdomaininfo` has the domain's number, and its flags.
const NUMBER: usize = 16;
const FLAGS: usize = 20;
/// `XEN_DOMINF_shutdown`, and where the reason of that is: 8 bits.
const SHUTDOWN: u32 = 1 << 2;
const REASON: u32 = 16;

/// What a domain does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs, or stands still and may go on.
    Alive,
    /// It has shut down, for this reason (`SHUTDOWN_*` of `public/sched.h`), and is still there.
    Shutdown(u8),
    /// There is none.
    Gone,
}

/// Lets a paused domain run.
pub fn unpause(domid: u16) -> io::Result<()> {
    ask(UNPAUSE, domid).map(drop)
}

/// What a domain does.
pub fn life(domid: u16) -> io::Result<Life> {
    match ask(INFO, domid) {
        Ok(said) => Ok(read(&said, domid)),
        // ESRCH: there is none of that number, or of a higher one.
        Err(e) if e.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(Life::Gone),
        Err(e) => Err(e),
    }
}

/// Reads what Xen says of a domain. Where there is none of that number it is of the next one.
fn read(said: &[u8; BYTES], domid: u16) -> Life {
    let word = |at: usize| {
        let bytes = said.get(at..).and_then(|rest| rest.first_chunk());
        bytes.copied().map_or(0, u32::from_ne_bytes)
    };
    let flags = word(FLAGS);
    match word(NUMBER) & 0xffff == u32::from(domid) {
        false => Life::Gone,
        true if flags & SHUTDOWN != 0 => Life::Shutdown((flags >> REASON) as u8),
        true => Life::Alive,
    }
}

/// Has Xen control a domain: what it has answered.
fn ask(what: u32, domid: u16) -> io::Result<[u8; BYTES]> {
    let open = |path| {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        opened.map_err(|e| named(path, &e))
    };
    let (device, buffer) = (open(DEVICE)?, open(BUFFER)?);
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: nothing is at an address that the kernel chooses.
    let at = unsafe { mmap(core::ptr::null_mut(), PAGE, prot, MapFlags::SHARED, &buffer, 0) }?;
    let mut done = Err(io::Error::from(io::ErrorKind::Unsupported));
    for version in VERSIONS {
        done = ask_as(&device, at.cast(), version, what, domid);
        // EACCES: it is another Xen's.
        if !matches!(&done, Err(e) if e.kind() == io::ErrorKind::PermissionDenied) {
            break;
        }
    }
    // SAFETY: it was mapped above, and nothing refers to it any more.
    let _ = unsafe { munmap(at, PAGE) };
    done
}

fn ask_as(
    device: &File,
    at: *mut u8,
    version: u32,
    what: u32,
    domid: u16,
) -> io::Result<[u8; BYTES]> {
    let mut control = [0; BYTES];
    let head = [what, version, u32::from(domid), 0];
    for (to, word) in control.chunks_mut(4).zip(head) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    // SAFETY: the caller has mapped a page there, which is more, and nobody else knows of it.
    unsafe { core::ptr::copy_nonoverlapping(control.as_ptr(), at, BYTES) };
    let mut words = [DOMCTL, at as u64, 0, 0, 0, 0];
    // SAFETY: `struct privcmd_hypercall` is a number and five arguments, which are read; Xen
    // reads and writes no more than the struct at the first, which is mapped.
    unsafe { call(device, GROUP, 0, size_of_val(&words), &mut words) }?;
    // SAFETY: as above; Xen has answered.
    unsafe { core::ptr::copy_nonoverlapping(at, control.as_mut_ptr(), BYTES) };
    Ok(control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xen_says_is_read() {
        let said = |domid: u16, flags: u32| {
            let mut bytes = [0; BYTES];
            bytes[NUMBER..NUMBER + 2].copy_from_slice(&domid.to_ne_bytes());
            bytes[FLAGS..FLAGS + 4].copy_from_slice(&flags.to_ne_bytes());
            bytes
        };
        // A PVH guest (bit 1) that is blocked, paused, or runs.
        for flags in [1 << 1 | 1 << 4, 1 << 1 | 1 << 3, 1 << 1 | 1 << 5] {
            assert_eq!(read(&said(7, flags), 7), Life::Alive);
        }
        for reason in [0, 2, 3, 255] {
            let flags = 1 << 1 | SHUTDOWN | u32::from(reason) << REASON;
            assert_eq!(read(&said(7, flags), 7), Life::Shutdown(reason));
        }
        assert_eq!(read(&said(8, SHUTDOWN), 7), Life::Gone);
    }
}
