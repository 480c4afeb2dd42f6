//! Answers to the kernel.

use atoll_9p::types::{Qid, Stat, StatFs, dirent_type};

use super::abi;

/// An answer that is being put together: `fuse_out_header`, then a body.
#[derive(Debug)]
pub struct Reply {
    bytes: Vec<u8>,
}

/// Bytes of `fuse_out_header`.
const HEADER: usize = 16;
/// Bytes of `fuse_entry_out` and of `fuse_dirent` without its name.
const ENTRY: usize = 128;
const DIRENT: usize = 24;

/// The number of a file that people see. 0 means "no file" to C libraries.
pub fn ino(qid: Qid) -> u64 {
    if qid.path == 0 { u64::MAX } else { qid.path }
}

impl Reply {
    /// An answer without a body: done.
    pub fn ok(unique: u64) -> Reply {
        Reply::with(unique, 0, 0)
    }

    /// A refusal, with a positive errno.
    pub fn error(unique: u64, errno: i32) -> Reply {
        // What is out of the kernel's range would make it refuse the answer.
        let errno = if (1..512).contains(&errno) { errno } else { 5 };
        Reply::with(unique, -errno, 0)
    }

    /// An answer whose body is bytes.
    pub fn data(unique: u64, data: &[u8]) -> Reply {
        let mut reply = Reply::with(unique, 0, data.len());
        reply.bytes.extend_from_slice(data);
        reply
    }

    fn with(unique: u64, error: i32, room: usize) -> Reply {
        let mut bytes = Vec::with_capacity(HEADER + room);
        bytes.extend([0; 4]);
        bytes.extend(error.to_ne_bytes());
        bytes.extend(unique.to_ne_bytes());
        Reply { bytes }
    }

    /// Bytes of the body so far.
    pub fn len(&self) -> usize {
        self.bytes.len() - HEADER
    }

    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The answer as it goes to the device.
    pub fn finish(mut self) -> Vec<u8> {
        let len = (self.bytes.len() as u32).to_ne_bytes();
        if let Some(head) = self.bytes.first_chunk_mut() {
            *head = len;
        }
        self.bytes
    }

    fn u16(&mut self, v: u16) {
        self.bytes.extend(v.to_ne_bytes());
    }

    /// Appends a number of four bytes.
    pub fn u32(&mut self, v: u32) {
        self.bytes.extend(v.to_ne_bytes());
    }

    /// Appends a number of eight bytes.
    pub fn u64(&mut self, v: u64) {
        self.bytes.extend(v.to_ne_bytes());
    }

    /// The answer to FUSE_INIT (`fuse_init_out`).
    pub fn init(unique: u64, minor: u32, readahead: u32, flags: u64, max_write: u32) -> Reply {
        let mut r = Reply::with(unique, 0, 64);
        r.u32(abi::MAJOR);
        r.u32(abi::MINOR.min(minor));
        r.u32(readahead);
        r.u32(flags as u32);
        r.u16(64); // max_background: reads ahead; what people wait for has no limit
        r.u16(48);
        r.u32(max_write);
        r.u32(1); // time_gran, in nanoseconds
        r.u16((max_write / 4096).max(1) as u16); // max_pages
        r.u16(0);
        r.u32((flags >> 32) as u32);
        r.bytes.extend([0; 28]);
        r
    }

    /// `fuse_attr`.
    fn attr(&mut self, s: &Stat) {
        self.u64(ino(s.qid));
        for v in [s.size, s.blocks, s.atime.sec, s.mtime.sec, s.ctime.sec] {
            self.u64(v);
        }
        let nlink = u32::try_from(s.nlink).unwrap_or(u32::MAX);
        let rdev = u32::try_from(s.rdev).unwrap_or_default();
        for v in [s.atime.nsec, s.mtime.nsec, s.ctime.nsec, s.mode, nlink, s.uid, s.gid, rdev] {
            self.u32(v);
        }
        self.u32(4096); // blksize
        self.u32(0); // flags
    }

    /// `fuse_attr_out`. It is good for no time: somebody else may change the file.
    pub fn attr_out(unique: u64, s: &Stat) -> Reply {
        let mut r = Reply::with(unique, 0, 104);
        r.u64(0);
        r.u64(0);
        r.attr(s);
        r
    }

    /// `fuse_entry_out`: a node that has been looked up. Good for no time either.
    pub fn entry(unique: u64, node: u64, s: &Stat) -> Reply {
        let mut r = Reply::with(unique, 0, ENTRY);
        r.entry_out(node, s);
        r
    }

    fn entry_out(&mut self, node: u64, s: &Stat) {
        self.u64(node);
        for _ in 0..4 {
            self.u64(0); // generation, and how long name and attributes are good for
        }
        self.attr(s);
    }

    /// Appends `fuse_open_out`.
    #[must_use]
    pub fn open(mut self, fh: u64, flags: u32) -> Reply {
        self.u64(fh);
        self.u32(flags);
        self.u32(0);
        self
    }

    /// Appends a `fuse_dirent`, unless it does not fit into `max` bytes of body.
    #[must_use]
    pub fn dirent(&mut self, max: usize, qid: Qid, cookie: u64, name: &str) -> bool {
        if self.len() + padded(DIRENT + name.len()) > max {
            return false;
        }
        self.push_dirent(qid, cookie, name);
        true
    }

    /// Bytes of a `fuse_direntplus`.
    pub fn plus_size(name: &str) -> usize {
        ENTRY + padded(DIRENT + name.len())
    }

    /// Appends a `fuse_direntplus`. Node 0 is one that was not looked up.
    pub fn direntplus(&mut self, node: u64, s: &Stat, cookie: u64, name: &str) {
        self.entry_out(node, s);
        self.push_dirent(s.qid, cookie, name);
    }

    fn push_dirent(&mut self, qid: Qid, cookie: u64, name: &str) {
        self.u64(ino(qid));
        self.u64(cookie);
        self.u32(name.len() as u32);
        self.u32(dirent_type(qid).into());
        self.bytes.extend_from_slice(name.as_bytes());
        let end = HEADER + padded(self.len());
        self.bytes.resize(end, 0);
    }

    /// `fuse_statfs_out`.
    pub fn statfs(unique: u64, fs: &StatFs) -> Reply {
        let mut r = Reply::with(unique, 0, 80);
        for v in [fs.blocks, fs.bfree, fs.bavail, fs.files, fs.ffree] {
            r.u64(v);
        }
        for v in [fs.bsize, fs.namelen, fs.bsize] {
            r.u32(v);
        }
        r.bytes.extend([0; 28]);
        r
    }

    /// An extended attribute's value, or how long it is (`fuse_getxattr_out`).
    pub fn xattr(unique: u64, size: u32, value: &[u8]) -> Reply {
        match size as usize {
            0 => {
                let mut r = Reply::with(unique, 0, 8);
                r.u32(value.len() as u32);
                r.u32(0);
                r
            }
            room if room < value.len() => Reply::error(unique, abi::ERANGE),
            _ => Reply::data(unique, value),
        }
    }
}

fn padded(n: usize) -> usize {
    n.next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_the_sizes_of_the_header() {
        let (stat, qid) = (Stat::default(), Qid::default());
        let len = |r: Reply| r.finish().len();
        assert_eq!(len(Reply::attr_out(1, &stat)), 16 + 16 + 88);
        assert_eq!(len(Reply::entry(1, 2, &stat)), 16 + 40 + 88);
        assert_eq!(len(Reply::entry(1, 2, &stat).open(3, 0)), 16 + 128 + 16);
        assert_eq!(len(Reply::statfs(1, &StatFs::default())), 16 + 80);
        assert_eq!(len(Reply::init(1, 38, 0, 0, 1 << 20)), 16 + 64);
        let mut r = Reply::ok(1);
        assert!(r.dirent(32, qid, 1, "12345678") && !r.dirent(63, qid, 1, "a"));
        assert!(r.dirent(64, qid, 1, "a"));
        let bytes = r.finish();
        assert_eq!(bytes.len(), 16 + 64);
        assert_eq!(bytes[..4], 80u32.to_ne_bytes());
    }

    #[test]
    fn an_errno_that_the_kernel_would_refuse_becomes_eio() {
        for (errno, want) in [(2, -2), (0, -5), (512, -5), (-1, -5)] {
            assert_eq!(Reply::error(1, errno).finish()[4..8], i32::to_ne_bytes(want));
        }
    }
}
