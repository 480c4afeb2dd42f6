//! Files of the namespace that are read and written in parts, or stay open.
//!
//! Nothing here is carried out yet: all of it is refused with EOPNOTSUPP.

use alloc::string::String;

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::types::OpenFlags;

use crate::component::{CallId, Fd};
use crate::effects::Cx;

fn absent<T>(_: impl Into<String>) -> Result<T, Fault> {
    Err(Errno::EOPNOTSUPP.into())
}

impl Cx<'_> {
    /// Reads at most `count` bytes of a file, from byte `from` on; fewer only at its end.
    pub fn file_read(&mut self, path: &str, from: u64, count: u32) -> Result<CallId, Fault> {
        let _ = (from, count);
        absent(path)
    }

    /// Writes all of `data` to a file, from byte `from` on; nowhere: in the place of what
    /// is in it.
    pub fn file_write(
        &mut self,
        path: &str,
        from: Option<u64>,
        data: &[u8],
    ) -> Result<CallId, Fault> {
        let _ = (from, data);
        absent(path)
    }

    /// What attributes a file of the namespace has. The result is a stat of 40 bytes,
    /// numbers little endian: qid path (8), qid version (4), mode (4), length (8), time of
    /// last change in seconds since 1970 (8), and nanoseconds of it (8).
    pub fn file_stat(&mut self, path: &str) -> Result<CallId, Fault> {
        absent(path)
    }

    /// Opens a file of the namespace. The result is its [`Fd`]: four bytes, little endian.
    pub fn open(&mut self, path: &str, flags: OpenFlags) -> Result<CallId, Fault> {
        let _ = flags;
        absent(path)
    }

    /// The same for a path that begins at an open directory.
    pub fn walk(&mut self, fd: Fd, path: &str, flags: OpenFlags) -> Result<CallId, Fault> {
        let _ = (fd, flags);
        absent(path)
    }

    /// Reads from an open file: at most `count` bytes from `from` on, none at its end.
    pub fn read(&mut self, fd: Fd, from: u64, count: u32) -> Result<CallId, Fault> {
        let _ = (fd, from, count);
        absent("")
    }

    /// Writes to an open file. The result is how many bytes were taken: four bytes,
    /// little endian.
    pub fn write(&mut self, fd: Fd, from: u64, data: &[u8]) -> Result<CallId, Fault> {
        let _ = (fd, from, data);
        absent("")
    }

    /// What attributes an open file has, as [`Cx::file_stat`] says.
    pub fn stat(&mut self, fd: Fd) -> Result<CallId, Fault> {
        let _ = fd;
        absent("")
    }

    /// Closes a file. What is under way with it fails with EBADF.
    pub fn close(&mut self, fd: Fd) -> Result<(), Fault> {
        let _ = fd;
        absent("")
    }

    /// A call that returns when what was stored before, this dispatch included, lasts on
    /// the host. EOPNOTSUPP where the host keeps nothing.
    pub fn sync(&mut self) -> Result<CallId, Fault> {
        absent("")
    }
}
