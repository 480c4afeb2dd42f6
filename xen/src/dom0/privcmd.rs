//! The one hypercall that dom0 makes itself: `/dev/xen/privcmd`.
//!
//! A domain that was made ahead of need is let run by it: `xl unpause` does nothing else for a
//! PVH domain, and takes longer to start than the guest to boot.
//!
//! Sources: `xen/privcmd.h` and `xen/privcmd_dev.h` of Linux, `public/domctl.h` of Xen 4.17.

use std::fs::{File, OpenOptions};
use std::io;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::gntdev::{PAGE, named};
use super::ioctl::call;

const DEVICE: &str = "/dev/xen/privcmd";
/// Memory that the kernel leaves where it is while Xen reads it.
const BUFFER: &str = "/dev/xen/hypercall";
const GROUP: u8 = b'P';
const DOMCTL: u64 = 36;
const UNPAUSE: u32 = 4;
/// `XEN_DOMCTL_INTERFACE_VERSION` of 4.17, which is tried first, and those around it: Xen
/// refuses another than its own before it looks at anything else, and this call, which has no
/// argument but the domain, has the same number in all of them.
const VERSIONS: [u32; 9] = [0x15, 0x16, 0x17, 0x18, 0x14, 0x13, 0x12, 0x11, 0x10];
/// Bytes of `struct xen_domctl`: a head of 16, and a union that is filled up to 128.
const BYTES: usize = 16 + 128;

/// Lets a paused domain run.
pub fn unpause(domid: u16) -> io::Result<()> {
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
        done = ask(&device, at.cast(), version, domid);
        // EACCES: it is another Xen's.
        if !matches!(&done, Err(e) if e.kind() == io::ErrorKind::PermissionDenied) {
            break;
        }
    }
    // SAFETY: it was mapped above, and nothing refers to it any more.
    let _ = unsafe { munmap(at, PAGE) };
    done
}

fn ask(device: &File, at: *mut u8, version: u32, domid: u16) -> io::Result<()> {
    let mut control = [0; BYTES];
    let head = [UNPAUSE, version, u32::from(domid), 0];
    for (to, word) in control.chunks_mut(4).zip(head) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    // SAFETY: the caller has mapped a page there, which is more, and nobody else knows of it.
    unsafe { core::ptr::copy_nonoverlapping(control.as_ptr(), at, BYTES) };
    let mut words = [DOMCTL, at as u64, 0, 0, 0, 0];
    // SAFETY: `struct privcmd_hypercall` is a number and five arguments, which are read; Xen
    // reads and writes no more than the struct at the first, which is mapped.
    unsafe { call(device, GROUP, 0, size_of_val(&words), &mut words) }.map(drop)
}
