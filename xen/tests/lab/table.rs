//! A domain's grant table, in the hands of dom0: whatever a domain could write into it that lies
//! about what it lends is written here, and Xen judges it as if the domain had.
//!
//! Sources: `xen/privcmd.h` of Linux, `public/grant_table.h` and `public/memory.h` of Xen.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::fs::{File, OpenOptions};
use std::io;

use rustix::ioctl::{Direction, Ioctl, IoctlOutput, Opcode, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

const PAGE: usize = 4096;
/// `GTF_permit_access`: the entry lends a page.
pub(super) const PERMIT: u16 = 1;
/// `GTF_readonly`.
pub(super) const READ_ONLY: u16 = 4;
/// `GTF_reading` and `GTF_writing`: Xen sets them while somebody has it mapped.
const MAPPED: u16 = 8 | 16;

/// `struct grant_entry_v1`.
#[repr(C)]
struct Raw {
    flags: AtomicU16,
    domid: AtomicU16,
    frame: AtomicU32,
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) flags: u16,
    pub(super) domid: u16,
    pub(super) frame: u32,
}

/// The first page of a domain's table.
pub(super) struct Table {
    at: *mut c_void,
}

struct Call<'a, T>(Opcode, &'a mut T);

// SAFETY: the opcodes below are those of structs of `T`'s size, which the device reads and
// writes alone.
unsafe impl<T> Ioctl for Call<'_, T> {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.0
    }

    fn as_ptr(&mut self) -> *mut c_void {
        core::ptr::from_mut(self.1).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// # Safety
/// The device reads and writes no more than the words, and what they point to.
unsafe fn privcmd<const N: usize>(device: &File, number: u8, words: &mut [u64; N]) {
    let opcode = opcode::from_components(Direction::None, b'P', number, size_of_val(words));
    // SAFETY: the caller's promise.
    unsafe { rustix::ioctl::ioctl(device, Call(opcode, words)) }.unwrap();
}

fn open(name: &str) -> File {
    OpenOptions::new().read(true).write(true).open(name).unwrap()
}

fn map(device: &File) -> io::Result<*mut c_void> {
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: nothing is at an address that the kernel chooses.
    Ok(unsafe { mmap(core::ptr::null_mut(), PAGE, prot, MapFlags::SHARED, device, 0) }?)
}

impl Table {
    pub(super) fn of(domid: u16) -> Table {
        let device = open("/dev/xen/privcmd");
        let at = map(&device).unwrap();
        // struct privcmd_mmap_resource: domain and type, id and index, number, address.
        let grant_table = 1_u64 << 32;
        let mut words = [grant_table | u64::from(domid), 0, 1, at as u64];
        // SAFETY: it puts the page there, where this has just mapped room for it.
        unsafe { privcmd(&device, 7, &mut words) };
        Table { at }
    }

    fn entries(&self) -> &[Raw; PAGE / size_of::<Raw>()] {
        // SAFETY: the page is mapped as long as this lives; Xen's accesses are atomic, and so
        // are the domain's.
        unsafe { &*self.at.cast() }
    }

    pub(super) fn get(&self, at: u32) -> Entry {
        let raw = &self.entries()[at as usize];
        Entry {
            flags: raw.flags.load(Ordering::SeqCst),
            domid: raw.domid.load(Ordering::SeqCst),
            frame: raw.frame.load(Ordering::SeqCst),
        }
    }

    pub(super) fn set(&self, at: u32, entry: Entry) {
        let raw = &self.entries()[at as usize];
        raw.flags.store(0, Ordering::SeqCst);
        raw.domid.store(entry.domid, Ordering::SeqCst);
        raw.frame.store(entry.frame, Ordering::SeqCst);
        raw.flags.store(entry.flags, Ordering::SeqCst);
    }

    /// The references that somebody has mapped now, of those that are not Xen's tools'.
    pub(super) fn mapped(&self) -> Vec<usize> {
        let flags = self.entries().iter().map(|raw| raw.flags.load(Ordering::SeqCst));
        flags.enumerate().skip(8).filter(|(_, f)| f & MAPPED != 0).map(|(at, _)| at).collect()
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: it was mapped by `of`, and no reference into it is left.
        unsafe { munmap(self.at, PAGE) }.unwrap();
    }
}

/// Takes a frame from a domain, as when the domain itself gives it back to Xen.
pub(super) fn balloon(domid: u16, frame: u32) {
    let (device, buffer) = (open("/dev/xen/privcmd"), open("/dev/xen/hypercall"));
    let at = map(&buffer).unwrap();
    // struct xen_memory_reservation: where the frames are, how many, their order, whose; then
    // the frame.
    let list = at as u64 + 32;
    let reservation = [list, 1, 0, u64::from(domid), u64::from(frame)];
    // SAFETY: a page is mapped there, which is more.
    unsafe { at.cast::<[u64; 5]>().write(reservation) };
    // memory_op, XENMEM_decrease_reservation.
    let mut words = [12, 1, at as u64, 0, 0, 0];
    // SAFETY: Xen reads the struct and the list behind it.
    unsafe { privcmd(&device, 0, &mut words) };
    // SAFETY: it was mapped above, and nobody has a reference into it.
    unsafe { munmap(at, PAGE) }.unwrap();
}
