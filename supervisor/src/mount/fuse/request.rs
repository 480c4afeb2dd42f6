//! Requests of the kernel.

use super::abi;

/// What every request begins with (`fuse_in_header`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Names the request.
    pub unique: u64,
    /// The file that it is about.
    pub node: u64,
    /// The group of whoever asks.
    pub gid: u32,
}

/// A lock (`fuse_lk_in`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lk {
    /// The open file.
    pub fh: u64,
    /// Who is to hold it, in the kernel's numbering.
    pub owner: u64,
    /// Its first byte.
    pub start: u64,
    /// Its last byte.
    pub end: u64,
    /// `F_RDLCK`, `F_WRLCK` or `F_UNLCK`.
    pub kind: u32,
    /// The process.
    pub pid: u32,
    /// Whether it is one of `flock`.
    pub flock: bool,
}

/// New attributes (`fuse_setattr_in`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are those of the header
pub struct SetAttrIn {
    pub valid: u32,
    pub fh: u64,
    pub size: u64,
    pub atime: (u64, u32),
    pub mtime: (u64, u32),
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// A request. What is not here is answered with ENOSYS, and then not asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are those of the header
pub enum Request<'a> {
    Init {
        major: u32,
        minor: u32,
        max_readahead: u32,
        flags: u64,
    },
    Destroy,
    Lookup {
        name: &'a [u8],
    },
    Forget {
        lookups: u64,
    },
    /// Pairs of a node and a number of lookups.
    BatchForget(Pairs<'a>),
    Getattr {
        fh: Option<u64>,
    },
    Setattr(SetAttrIn),
    Readlink,
    Symlink {
        name: &'a [u8],
        target: &'a [u8],
    },
    Mknod {
        name: &'a [u8],
        mode: u32,
        rdev: u32,
    },
    Mkdir {
        name: &'a [u8],
        mode: u32,
    },
    Unlink {
        name: &'a [u8],
    },
    Rmdir {
        name: &'a [u8],
    },
    Rename {
        name: &'a [u8],
        newdir: u64,
        newname: &'a [u8],
        flags: u32,
    },
    Link {
        from: u64,
        name: &'a [u8],
    },
    Open {
        flags: u32,
    },
    Create {
        name: &'a [u8],
        flags: u32,
        mode: u32,
    },
    Read {
        fh: u64,
        offset: u64,
        size: u32,
    },
    Write {
        fh: u64,
        offset: u64,
        data: &'a [u8],
    },
    Statfs,
    Release {
        fh: u64,
        owner: u64,
        unlock: bool,
    },
    Fsync {
        fh: u64,
    },
    Flush {
        fh: u64,
        owner: u64,
    },
    Getxattr {
        name: &'a [u8],
        size: u32,
    },
    Listxattr {
        size: u32,
    },
    Opendir {
        flags: u32,
    },
    Readdir {
        fh: u64,
        offset: u64,
        size: u32,
        plus: bool,
    },
    Releasedir {
        fh: u64,
    },
    Fsyncdir {
        fh: u64,
    },
    Getlk(Lk),
    Setlk {
        lk: Lk,
        wait: bool,
    },
    Access {
        mask: u32,
    },
    Interrupt {
        unique: u64,
    },
    /// Anything else: its number.
    Other(u32),
}

/// The nodes of a FUSE_BATCH_FORGET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pairs<'a>(&'a [u8]);

impl Pairs<'_> {
    /// A node and how many lookups of it to forget, one after another.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + use<'_> {
        self.0.chunks_exact(16).map(|pair| {
            let mut r = Fields(pair);
            (r.u64().unwrap_or_default(), r.u64().unwrap_or_default())
        })
    }
}

/// The fields of a request, read one after another.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_ne_bytes)
    }

    /// A text that ends with a zero.
    fn name(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|&b| b == 0)?;
        let name = self.0.get(..end)?;
        self.0 = self.0.get(end + 1..)?;
        Some(name)
    }

    fn lk(&mut self) -> Option<Lk> {
        let (fh, owner, start, end) = (self.u64()?, self.u64()?, self.u64()?, self.u64()?);
        let (kind, pid, flags) = (self.u32()?, self.u32()?, self.u32()?);
        Some(Lk { fh, owner, start, end, kind, pid, flock: flags & abi::LK_FLOCK != 0 })
    }

    fn setattr(&mut self) -> Option<SetAttrIn> {
        let (valid, _) = (self.u32()?, self.u32()?);
        let (fh, size, _owner) = (self.u64()?, self.u64()?, self.u64()?);
        let (atime, mtime, _ctime) = (self.u64()?, self.u64()?, self.u64()?);
        let (ansec, mnsec, _cnsec) = (self.u32()?, self.u32()?, self.u32()?);
        let (mode, _) = (self.u32()?, self.u32()?);
        let (uid, gid) = (self.u32()?, self.u32()?);
        Some(SetAttrIn {
            valid,
            fh,
            size,
            atime: (atime, ansec),
            mtime: (mtime, mnsec),
            mode,
            uid,
            gid,
        })
    }
}

impl<'a> Request<'a> {
    /// Decodes what one read of the device gave. Nothing for what is no request:
    /// a kernel never sends such.
    pub fn decode(bytes: &'a [u8]) -> Option<(Head, Request<'a>)> {
        let mut r = Fields(bytes);
        let (len, opcode) = (r.u32()?, r.u32()?);
        if len as usize != bytes.len() {
            return None;
        }
        let (unique, node) = (r.u64()?, r.u64()?);
        let (_uid, gid, _pid, _ext) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?);
        Some((Head { unique, node, gid }, Request::body(opcode, &mut r)?))
    }

    fn body(opcode: u32, r: &mut Fields<'a>) -> Option<Request<'a>> {
        Some(match opcode {
            abi::INIT => {
                let (major, minor, max_readahead) = (r.u32()?, r.u32()?, r.u32()?);
                let low = u64::from(r.u32()?);
                let high = if low & abi::init::INIT_EXT != 0 { r.u32()? } else { 0 };
                Request::Init { major, minor, max_readahead, flags: low | u64::from(high) << 32 }
            }
            abi::DESTROY => Request::Destroy,
            abi::LOOKUP => Request::Lookup { name: r.name()? },
            abi::FORGET => Request::Forget { lookups: r.u64()? },
            abi::BATCH_FORGET => {
                r.u64()?; // how many: as many as there are
                Request::BatchForget(Pairs(r.0))
            }
            abi::GETATTR => {
                let (flags, _) = (r.u32()?, r.u32()?);
                let fh = r.u64()?;
                Request::Getattr { fh: (flags & abi::GETATTR_FH != 0).then_some(fh) }
            }
            abi::SETATTR => Request::Setattr(r.setattr()?),
            abi::READLINK => Request::Readlink,
            abi::SYMLINK => Request::Symlink { name: r.name()?, target: r.name()? },
            abi::MKNOD => {
                let (mode, rdev, _umask, _) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?);
                Request::Mknod { name: r.name()?, mode, rdev }
            }
            abi::MKDIR => {
                let (mode, _umask) = (r.u32()?, r.u32()?);
                Request::Mkdir { name: r.name()?, mode }
            }
            abi::UNLINK => Request::Unlink { name: r.name()? },
            abi::RMDIR => Request::Rmdir { name: r.name()? },
            abi::RENAME => {
                let newdir = r.u64()?;
                Request::Rename { name: r.name()?, newdir, newname: r.name()?, flags: 0 }
            }
            abi::RENAME2 => {
                let (newdir, flags, _) = (r.u64()?, r.u32()?, r.u32()?);
                Request::Rename { name: r.name()?, newdir, newname: r.name()?, flags }
            }
            abi::LINK => Request::Link { from: r.u64()?, name: r.name()? },
            abi::OPEN => Request::Open { flags: r.u32()? },
            abi::CREATE => {
                let (flags, mode, _umask, _) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?);
                Request::Create { name: r.name()?, flags, mode }
            }
            abi::READ => Request::Read { fh: r.u64()?, offset: r.u64()?, size: r.u32()? },
            abi::WRITE => {
                let (fh, offset, size, _flags) = (r.u64()?, r.u64()?, r.u32()?, r.u32()?);
                let (_owner, _flags) = (r.u64()?, r.u64()?);
                Request::Write { fh, offset, data: r.0.get(..size as usize)? }
            }
            abi::STATFS => Request::Statfs,
            abi::RELEASE | abi::RELEASEDIR => {
                let (fh, _flags, flags) = (r.u64()?, r.u32()?, r.u32()?);
                let (owner, unlock) = (r.u64()?, flags & abi::RELEASE_FLOCK_UNLOCK != 0);
                match opcode {
                    abi::RELEASE => Request::Release { fh, owner, unlock },
                    _ => Request::Releasedir { fh },
                }
            }
            abi::FSYNC => Request::Fsync { fh: r.u64()? },
            abi::FSYNCDIR => Request::Fsyncdir { fh: r.u64()? },
            abi::FLUSH => {
                let (fh, _) = (r.u64()?, r.u64()?);
                Request::Flush { fh, owner: r.u64()? }
            }
            abi::GETXATTR => {
                let (size, _) = (r.u32()?, r.u32()?);
                Request::Getxattr { name: r.name()?, size }
            }
            abi::LISTXATTR => Request::Listxattr { size: r.u32()? },
            abi::OPENDIR => Request::Opendir { flags: r.u32()? },
            abi::READDIR | abi::READDIRPLUS => {
                let (fh, offset, size) = (r.u64()?, r.u64()?, r.u32()?);
                Request::Readdir { fh, offset, size, plus: opcode == abi::READDIRPLUS }
            }
            abi::GETLK => Request::Getlk(r.lk()?),
            abi::SETLK => Request::Setlk { lk: r.lk()?, wait: false },
            abi::SETLKW => Request::Setlk { lk: r.lk()?, wait: true },
            abi::ACCESS => Request::Access { mask: r.u32()? },
            abi::INTERRUPT => Request::Interrupt { unique: r.u64()? },
            other => Request::Other(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u32, node: u64, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend((40 + body.len() as u32).to_ne_bytes());
        out.extend(opcode.to_ne_bytes());
        out.extend(7u64.to_ne_bytes());
        out.extend(node.to_ne_bytes());
        out.extend([0, 100, 1, 0].map(u32::to_ne_bytes).concat());
        out.extend(body);
        out
    }

    #[test]
    fn requests_are_read_as_the_header_lays_them_out() {
        let head = Head { unique: 7, node: 5, gid: 100 };
        let bytes = frame(abi::LOOKUP, 5, b"name\0");
        assert_eq!(Request::decode(&bytes), Some((head, Request::Lookup { name: b"name" })));
        let mut body = [9u64, 4096].map(u64::to_ne_bytes).concat();
        body.extend([3u32, 0].map(u32::to_ne_bytes).concat());
        body.extend([0; 16]);
        body.extend(b"abc");
        let bytes = frame(abi::WRITE, 5, &body);
        let write = Request::Write { fh: 9, offset: 4096, data: b"abc" };
        assert_eq!(Request::decode(&bytes), Some((head, write)));
        let mut body = [8u64, 0].map(u64::to_ne_bytes).concat();
        body.splice(8.., [1u32, 0].map(u32::to_ne_bytes).concat());
        body.extend(b"a\0b\0");
        let bytes = frame(abi::RENAME2, 5, &body);
        let rename = Request::Rename { name: b"a", newdir: 8, newname: b"b", flags: 1 };
        assert_eq!(Request::decode(&bytes), Some((head, rename)));
        assert_eq!(Request::decode(&frame(4096, 5, b"")), Some((head, Request::Other(4096))));
    }

    #[test]
    fn what_is_cut_off_is_no_request() {
        let whole = frame(abi::SYMLINK, 5, b"name\0target\0");
        for n in 0..whole.len() {
            let mut cut = whole[..n].to_vec();
            assert_eq!(Request::decode(&cut), None);
            if n >= 4 {
                cut[..4].copy_from_slice(&(n as u32).to_ne_bytes());
                assert_eq!(Request::decode(&cut), None, "{n}");
            }
        }
    }
}
