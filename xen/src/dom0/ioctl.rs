//! One call of a Xen device: a number, a struct, and an answer that may be a number.

use core::ffi::c_void;
use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, opcode};

struct Call<'a, T: ?Sized> {
    opcode: Opcode,
    arg: &'a mut T,
}

// SAFETY: the opcode is one of a device that reads and writes no more than the struct that
// the argument points to, which `call`'s caller promises; nothing else is derived from it.
unsafe impl<T: ?Sized> Ioctl for Call<'_, T> {
    type Output = u32;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        core::ptr::from_mut(self.arg).cast()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<u32> {
        // An error is negative and was told already.
        u32::try_from(out).map_err(|_| rustix::io::Errno::RANGE)
    }
}

/// Calls `_IOC(_IOC_NONE, group, number, size)`, as all of Xen's are made, with `arg`, which
/// may be longer than `size`: some structs end with a table.
///
/// # Safety
/// The device reads and writes only what `arg` holds.
pub(super) unsafe fn call<T: ?Sized>(
    fd: impl AsFd,
    group: u8,
    number: u8,
    size: usize,
    arg: &mut T,
) -> io::Result<u32> {
    let opcode = opcode::from_components(rustix::ioctl::Direction::None, group, number, size);
    // SAFETY: the caller promises it.
    Ok(unsafe { rustix::ioctl::ioctl(fd, Call { opcode, arg }) }?)
}
