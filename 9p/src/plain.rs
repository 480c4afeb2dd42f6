//! Where 9P2000 says otherwise than 9P2000.L what both mean: how a file is opened and
//! made, what there is to know about it and what is to be changed, and errors in words.
//!
//! A session speaks both, and the joint says in the one what it was asked in the
//! other: that both mean the same is decided here.

use alloc::string::String;

use crate::access::{NOBODY, Want};
use crate::fault::{Errno, Fault};
use crate::msg::{SetAttr, Stat9, Wstat};
use crate::types::{OpenFlags, Qid, Stat, Time, mode, qid_type, setattr};
use crate::wire::{MAX_NAME, Writer};

/// Empty the file first.
const OTRUNC: u8 = 0x10;
/// Close it when another program is begun, which is for the client.
const OCEXEC: u8 = 0x20;
/// Remove the file when the fid is clunked.
pub(crate) const ORCLOSE: u8 = 0x40;
/// A directory, in the permissions of a Tcreate.
const DMDIR: u32 = (qid_type::DIR as u32) << 24;

/// Bytes of the longest entry of a list.
const LONGEST: usize = Qid::SIZE + 8 + 1 + 2 + MAX_NAME;

/// What a mode of 9P2000 asks for.
pub(crate) fn flags_of(mode: u8) -> Result<(OpenFlags, Want), Fault> {
    if mode & !(3 | OTRUNC | OCEXEC | ORCLOSE) != 0 {
        return Err(Fault::new(Errno::EINVAL, "unknown bits in the mode to open with"));
    }
    let (access, want) = match mode & 3 {
        0 => (OpenFlags::RDONLY, Want::READ),
        1 => (OpenFlags::WRONLY, Want::WRITE),
        2 => (OpenFlags::RDWR, Want::READ.and(Want::WRITE)),
        _ => (OpenFlags::RDONLY, Want::SEARCH), // OEXEC
    };
    match mode & OTRUNC {
        0 => Ok((access, want)),
        _ => Ok((OpenFlags(access.0 | OpenFlags::TRUNC), want.and(Want::WRITE))),
    }
}

/// What a Tcreate makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) dir: bool,
    /// Its permissions: those that were asked for and that its directory leaves.
    pub(crate) mode: u32,
}

impl Made {
    /// In a directory with permissions `above`, by a Tcreate with this mode and
    /// with what [`flags_of`] makes of it.
    pub(crate) fn of(perm: u32, mode: u8, want: Want, above: u32) -> Result<Made, Fault> {
        if perm & DMDIR != 0 {
            if want != Want::READ || mode & ORCLOSE != 0 {
                return Err(Errno::EISDIR.into());
            }
            return Ok(Made { dir: true, mode: perm & 0o777 & (!0o777 | above) });
        }
        if perm & !0o777 != 0 {
            return Err(Fault::new(Errno::EPERM, "only plain files and directories are made"));
        }
        Ok(Made { dir: false, mode: perm & (!0o666 | above) })
    }
}

/// Bytes of a list that are looked through for a read of so many bytes of a directory:
/// an entry is longer there than in the list that it comes from.
pub(crate) fn piece(count: u32) -> usize {
    (count as usize / 2).max(LONGEST)
}

/// What is shown of an entry that nobody may look at, or that has just gone. To leave
/// out all of a piece of a list would be to say that there is no more.
pub(crate) fn unseen(qid: Qid) -> Stat {
    Stat { qid, uid: NOBODY, gid: NOBODY, ..Stat::default() }
}

/// What a Twstat wants changed beside the name, as Tsetattr would.
pub(crate) fn changes(wstat: &Wstat<'_>, stat: &Stat) -> Result<SetAttr, Fault> {
    let refuse = |text| Err(Fault::new(Errno::EPERM, text));
    let mut set = SetAttr::default();
    let now = Stat9::of(stat, "", "", "");
    if let Some(mode) = wstat.mode.filter(|&m| m != now.mode) {
        if (mode ^ now.mode) & !0o777 != 0 {
            return refuse("what kind of file it is cannot be changed");
        }
        set.valid |= setattr::MODE;
        // Bits that 9P2000 does not know stay.
        set.mode = stat.mode & mode::PERM & !0o777 | mode & 0o777;
    }
    if let Some(length) = wstat.length.filter(|&l| l != now.length) {
        set.valid |= setattr::SIZE;
        set.size = length;
    }
    if let Some(mtime) = wstat.mtime {
        set.valid |= setattr::MTIME | setattr::MTIME_SET;
        set.mtime = Time::from_secs(mtime.into());
    }
    // Plan 9 lets no client set it, but Linux's does when it touches a file.
    if let Some(atime) = wstat.atime {
        set.valid |= setattr::ATIME | setattr::ATIME_SET;
        set.atime = Time::from_secs(atime.into());
    }
    if wstat.uid.is_some_and(|uid| uid != user_name(stat.uid)) {
        return refuse("a file's owner cannot be changed");
    }
    if let Some(gid) = wstat.gid.filter(|&gid| gid != user_name(stat.gid)) {
        set.valid |= setattr::GID;
        set.gid = gid.parse().map_err(|_| Fault::new(Errno::EINVAL, "no such group"))?;
    }
    Ok(set)
}

/// Users and groups have numbers here, and 9P2000 wants names.
fn user_name(id: u32) -> String {
    if id == NOBODY { String::from("none") } else { alloc::format!("{id}") }
}

/// Writes what is known of a file.
pub(crate) fn put_stat9(w: &mut Writer<'_>, stat: &Stat, name: &str) {
    Stat9::of(stat, name, &user_name(stat.uid), &user_name(stat.gid)).encode(w);
}

/// An error in words. Where a fault has none of its own, and always for a client that
/// [has numbers](crate::dialect::Dialect::has_numbers), they are those by which Linux's
/// client finds the number again (`net/9p/error.c`).
pub(crate) fn ename(fault: &Fault, numbers: bool) -> &str {
    if !numbers && fault.text() != fault.errno.text() {
        return fault.text();
    }
    match fault.errno {
        Errno::EPERM => "Operation not permitted",
        Errno::ENOENT => "No such file or directory",
        Errno::EIO => "Input/output error",
        Errno::EBADF => "Bad file descriptor",
        Errno::EAGAIN => "Resource temporarily unavailable",
        Errno::ENOMEM => "Cannot allocate memory",
        Errno::EACCES => "Permission denied",
        Errno::EFAULT => "Bad address",
        Errno::EBUSY => "Device or resource busy",
        Errno::EEXIST => "File exists",
        Errno::ENOTDIR => "Not a directory",
        Errno::EISDIR => "Is a directory",
        Errno::EINVAL => "Invalid argument",
        Errno::EMFILE => "Too many open files",
        Errno::EFBIG => "File too large",
        Errno::ENOSPC => "No space left on device",
        Errno::EROFS => "Read-only file system",
        Errno::EPIPE => "Broken pipe",
        Errno::ENAMETOOLONG => "File name too long",
        Errno::ENOTEMPTY => "Directory not empty",
        Errno::ELOOP => "Too many levels of symbolic links",
        Errno::ENODATA => "No data available",
        Errno::EPROTO => "Protocol error",
        Errno::EMSGSIZE => "Message too long",
        Errno::EOPNOTSUPP => "Operation not supported",
        Errno::ENOBUFS => "No buffer space available",
        Errno::ETIMEDOUT => "Connection timed out",
        Errno::EDQUOT => "Disk quota exceeded",
        // Of these it has no word, or not in every version.
        _ if numbers => "Input/output error",
        _ => fault.text(),
    }
}
