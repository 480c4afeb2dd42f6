//! The values that messages are made of.

/// What kind of file a [`Qid`] names: the high byte of a mode.
pub mod qid_type {
    /// A directory.
    pub const DIR: u8 = 0x80;
    /// Writes go to the end, whatever their offset.
    pub const APPEND: u8 = 0x40;
    /// A symbolic link.
    pub const SYMLINK: u8 = 0x02;
    /// A plain file.
    pub const FILE: u8 = 0x00;
}

/// A server's name for a file: two files are the same exactly when their qids'
/// paths are. See intro(5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Qid {
    /// One of [`qid_type`].
    pub ty: u8,
    /// Changes when the content does.
    pub version: u32,
    /// Unique in the server, for ever.
    pub path: u64,
}

impl Qid {
    /// Bytes of a qid in a message.
    pub const SIZE: usize = 13;

    /// Whether it names a directory.
    pub fn is_dir(self) -> bool {
        self.ty & qid_type::DIR != 0
    }
}

/// File types in the upper bits of a mode (`sys/stat.h`).
pub mod mode {
    /// The bits that hold the type.
    pub const TYPE: u32 = 0o170_000;
    /// A directory.
    pub const DIR: u32 = 0o040_000;
    /// A plain file.
    pub const FILE: u32 = 0o100_000;
    /// A symbolic link.
    pub const SYMLINK: u32 = 0o120_000;
}

/// What Rgetattr tells of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Its name in the server.
    pub qid: Qid,
    /// Type and permissions, as in `sys/stat.h`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of names.
    pub nlink: u64,
    /// Length in bytes; 0 for a file that is computed when it is read.
    pub size: u64,
    /// When its content last changed: seconds since 1970 UTC.
    pub mtime: u64,
}

/// Bits of the mask of Tgetattr and Rgetattr.
pub mod getattr {
    /// Everything that `stat` shows: mode, nlink, uid, gid, rdev, times, ino, size, blocks.
    pub const BASIC: u64 = 0x7ff;
}

/// Bits of the mask of Tsetattr.
pub mod setattr {
    /// Change the permissions.
    pub const MODE: u32 = 0x1;
    /// Change the length.
    pub const SIZE: u32 = 0x8;
    /// Change one of the times: atime, mtime, ctime, and whether to given values.
    pub const TIMES: u32 = 0x10 | 0x20 | 0x40 | 0x80 | 0x100;
}

/// Flags of Tlopen, with the values of Linux on x86 (`asm-generic/fcntl.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFlags(pub u32);

impl OpenFlags {
    /// For reading.
    pub const RDONLY: OpenFlags = OpenFlags(0);
    /// For writing.
    pub const WRONLY: OpenFlags = OpenFlags(1);
    /// For both.
    pub const RDWR: OpenFlags = OpenFlags(2);
    /// Empty the file first.
    pub const TRUNC: u32 = 0o1000;

    /// Whether reads are asked for.
    pub fn reads(self) -> bool {
        self.0 & 3 != 1
    }

    /// Whether writes are asked for.
    pub fn writes(self) -> bool {
        matches!(self.0 & 3, 1 | 2)
    }
}

/// File types in a directory entry (`dirent.h`, `DT_*`).
pub fn dirent_type(qid: Qid) -> u8 {
    match qid.ty {
        t if t & qid_type::DIR != 0 => 4,
        t if t & qid_type::SYMLINK != 0 => 10,
        _ => 8,
    }
}

/// What Rstatfs tells of a file system (`statfs(2)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatFs {
    /// Block size in bytes.
    pub bsize: u32,
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks free.
    pub bfree: u64,
    /// Files in all.
    pub files: u64,
}
