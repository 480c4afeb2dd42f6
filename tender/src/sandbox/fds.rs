//! Descriptors that were inherited by accident are closed.

use std::io;
use std::os::fd::RawFd;

/// Closes every descriptor but standard error and these.
pub fn close_others(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|&fd| u32::try_from(fd).ok()).collect();
    keep.push(libc::STDERR_FILENO as u32);
    keep.sort_unstable();
    keep.dedup();
    let mut from = 0;
    for fd in keep {
        if fd > from {
            close_range(from, fd - 1)?;
        }
        from = fd + 1;
    }
    close_range(from, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: whoever owns a descriptor that is needed has named it to be kept;
    // of the others no owner is left that would use it.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
