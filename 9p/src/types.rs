//! The values that messages are made of.

/// What kind of file a [`Qid`] names: the high byte of a mode of 9P2000.
pub mod qid_type {
    /// A directory.
    pub const DIR: u8 = 0x80;
    /// Writes go to the end, whatever their offset.
    pub const APPEND: u8 = 0x40;
    /// One client at a time has it open.
    pub const EXCLUSIVE: u8 = 0x20;
    /// A directory in whose place another server's tree is shown (Plan 9's `QTMOUNT`): what
    /// [`crate::tree::Tree::walk`] says to a [`crate::switch::Switch`], never on a wire.
    pub const MOUNT: u8 = 0x10;
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

    /// Whether it names a symbolic link.
    pub fn is_symlink(self) -> bool {
        self.ty & qid_type::SYMLINK != 0
    }
}

/// File types in the upper bits of a mode (`sys/stat.h`).
pub mod mode {
    /// The bits that hold the type.
    pub const TYPE: u32 = 0o170_000;
    /// A socket.
    pub const SOCKET: u32 = 0o140_000;
    /// A symbolic link.
    pub const SYMLINK: u32 = 0o120_000;
    /// A plain file.
    pub const FILE: u32 = 0o100_000;
    /// A block device.
    pub const BLOCK: u32 = 0o060_000;
    /// A directory.
    pub const DIR: u32 = 0o040_000;
    /// A character device.
    pub const CHAR: u32 = 0o020_000;
    /// A named pipe.
    pub const PIPE: u32 = 0o010_000;
    /// The permissions, with set-user-id, set-group-id and sticky.
    pub const PERM: u32 = 0o7777;
}

/// A moment: seconds and nanoseconds since 1970 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds.
    pub sec: u64,
    /// Nanoseconds, less than 1,000,000,000.
    pub nsec: u32,
}

impl Time {
    /// A moment on the second.
    pub fn from_secs(sec: u64) -> Time {
        Time { sec, nsec: 0 }
    }
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
    /// Which device it stands for, if it does: Linux's `makedev`.
    pub rdev: u64,
    /// Length in bytes; 0 for a file that is computed when it is read.
    pub size: u64,
    /// Blocks of 512 bytes that it takes.
    pub blocks: u64,
    /// When it was last read.
    pub atime: Time,
    /// When its content last changed.
    pub mtime: Time,
    /// When its content or attributes last changed.
    pub ctime: Time,
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
    /// Change the owner.
    pub const UID: u32 = 0x2;
    /// Change the group.
    pub const GID: u32 = 0x4;
    /// Change the length.
    pub const SIZE: u32 = 0x8;
    /// Change the time of the last read.
    pub const ATIME: u32 = 0x10;
    /// Change the time of the last change of content.
    pub const MTIME: u32 = 0x20;
    /// Change the time of the last change of anything: always to now.
    pub const CTIME: u32 = 0x40;
    /// Change the time of the last read to the one given, not to now.
    pub const ATIME_SET: u32 = 0x80;
    /// Change the time of the last change of content to the one given, not to now.
    pub const MTIME_SET: u32 = 0x100;
    /// All that is about times.
    pub const TIMES: u32 = ATIME | MTIME | CTIME | ATIME_SET | MTIME_SET;
}

/// Which attributes to change, and to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Bits of [`setattr`].
    pub valid: u32,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Time of the last read.
    pub atime: Time,
    /// Time of the last change of content.
    pub mtime: Time,
}

/// Flags of Tlopen and Tlcreate, with the values of Linux on x86
/// (`asm-generic/fcntl.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFlags(pub u32);

impl OpenFlags {
    /// For reading.
    pub const RDONLY: OpenFlags = OpenFlags(0);
    /// For writing.
    pub const WRONLY: OpenFlags = OpenFlags(1);
    /// For both.
    pub const RDWR: OpenFlags = OpenFlags(2);
    /// Make the file if there is none.
    pub const CREATE: u32 = 0o100;
    /// With [`OpenFlags::CREATE`]: fail if there is one.
    pub const EXCL: u32 = 0o200;
    /// Empty the file first.
    pub const TRUNC: u32 = 0o1000;
    /// Writes go to the end.
    pub const APPEND: u32 = 0o2000;
    /// Fail instead of waiting.
    pub const NONBLOCK: u32 = 0o4000;
    /// Fail if it is no directory.
    pub const DIRECTORY: u32 = 0o200_000;

    /// Whether reads are asked for.
    pub fn reads(self) -> bool {
        self.0 & 3 != 1
    }

    /// Whether writes are asked for.
    pub fn writes(self) -> bool {
        matches!(self.0 & 3, 1 | 2)
    }

    /// Whether all of these bits are set.
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }

    /// The same without these bits.
    #[must_use]
    pub fn without(self, bits: u32) -> OpenFlags {
        OpenFlags(self.0 & !bits)
    }
}

/// What makes a write one that is done at most once (dialect `9P2000.L.atoll`): a
/// name that its client gives it, and gives again with it on another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId {
    /// Drawn at random by the client when it starts, never 0.
    pub client: u64,
    /// 1 for the client's first write, and one more for each that follows.
    pub seq: u64,
    /// Whether it may have been sent before.
    pub again: bool,
}

impl OpId {
    /// Bytes of it in a message: client\[8\] seq\[8\] again\[1\].
    pub const SIZE: usize = 17;
}

/// Sequenced reads of a stream (dialect `9P2000.L.atoll`): with [`seq::READ`] in the
/// offset of a Tread, its other bits are a position, and the Rread tells behind its
/// data the position of what comes next.
pub mod seq {
    /// The bit. No file has an offset as large, so no other client asks for it.
    pub const READ: u64 = 1 << 63;
    /// The position that stands for wherever the fid is.
    pub const HERE: u64 = READ - 1;
}

/// Flags of Tunlinkat.
pub mod unlink {
    /// Remove a directory (`AT_REMOVEDIR` of `fcntl.h`).
    pub const DIR: u32 = 0x200;
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
    /// Which kind of file system it is: a magic number of `linux/magic.h`.
    pub ty: u32,
    /// Block size in bytes.
    pub bsize: u32,
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks free.
    pub bfree: u64,
    /// Blocks free for users.
    pub bavail: u64,
    /// Files in all.
    pub files: u64,
    /// Files free.
    pub ffree: u64,
    /// Number of the file system.
    pub fsid: u64,
    /// The most bytes in a name.
    pub namelen: u32,
}

/// What kind of lock is asked for or held (`Tlock`, `Tgetlock`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Shared.
    Read,
    /// Exclusive.
    Write,
    /// None: release.
    Unlock,
}

impl LockKind {
    /// From its number in a message.
    pub fn from_wire(v: u8) -> Option<LockKind> {
        Some(match v {
            0 => LockKind::Read,
            1 => LockKind::Write,
            2 => LockKind::Unlock,
            _ => return None,
        })
    }

    /// Its number in a message.
    pub fn to_wire(self) -> u8 {
        match self {
            LockKind::Read => 0,
            LockKind::Write => 1,
            LockKind::Unlock => 2,
        }
    }
}

/// A lock on a range of a file, as Tlock asks for it. Locks bind only those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock<'a> {
    /// Which kind.
    pub kind: LockKind,
    /// Its first byte.
    pub start: u64,
    /// Bytes; 0 is up to the end, however far that moves.
    pub length: u64,
    /// The process that asks, in its client's numbering.
    pub pid: u32,
    /// The client's name.
    pub client: &'a str,
}

/// What became of a Tlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockStatus {
    /// It is held.
    Success,
    /// Somebody else holds what is in its way.
    Blocked,
    /// It is refused.
    Error,
    /// The server has just started, and waits for old locks to be claimed again.
    Grace,
}
