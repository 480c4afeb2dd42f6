//! Bytes of a mapping: what both halves use outside of tests.

use core::arch::asm;
use core::ptr::NonNull;

use super::Bytes;

/// Bytes that another domain may change at any time.
///
/// They are copied by an instruction that the compiler does not look into. So whatever
/// the other side does meanwhile, the copy has some bytes in it, and nothing is read
/// twice.
#[derive(Debug)]
pub struct Raw {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it is an address; whoever made it promised that it may be used as long as
// this lives, which holds for any thread.
unsafe impl Send for Raw {}

impl Raw {
    /// # Safety
    /// The bytes are mapped, readable and writable as long as this lives, and no
    /// reference to any of them is made meanwhile.
    pub unsafe fn new(start: NonNull<u8>, len: usize) -> Raw {
        Raw { start, len }
    }

    /// Where the bytes from `at` begin, and how many of `len` there are.
    fn part(&self, at: usize, len: usize) -> (*mut u8, usize) {
        let at = at.min(self.len);
        (self.start.as_ptr().wrapping_add(at), len.min(self.len - at))
    }
}

impl Bytes for Raw {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, at: usize, out: &mut [u8]) {
        let (from, len) = self.part(at, out.len());
        // SAFETY: `part` lies in the mapping, and `out` has room for it.
        unsafe { copy(from, out.as_mut_ptr(), len) };
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        let (to, len) = self.part(at, bytes.len());
        // SAFETY: `part` lies in the mapping, and no longer than `bytes`.
        unsafe { copy(bytes.as_ptr(), to, len) };
    }
}

/// # Safety
/// There are that many bytes at both places, and they do not overlap.
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: as above; the direction flag is clear, as it always is in Rust.
    unsafe {
        asm!(
            "rep movsq",
            "mov rcx, {rest}",
            "rep movsb",
            rest = in(reg) len % 8,
            inout("rcx") len / 8 => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}
