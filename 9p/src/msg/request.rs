//! Requests.

use alloc::vec::Vec;

use super::{Names, Wstat, ty};
use crate::dialect::Dialect;
use crate::types::{Lock, LockKind, OpId, OpenFlags, SetAttr, Time};
use crate::wire::{BadFrame, Fields, HEADER, MAX_WALK, NOFID, Writer};

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are those of the protocol
pub enum Tmsg<'a> {
    /// msize\[4\] version\[s\]
    Version { msize: u32, version: &'a str },
    /// afid\[4\] uname\[s\] aname\[s\] n_uname\[4\]; no n_uname in 9P2000
    Auth { afid: u32, uname: &'a str, aname: &'a str, n_uname: u32 },
    /// fid\[4\] afid\[4\] uname\[s\] aname\[s\] n_uname\[4\]; no n_uname in 9P2000
    Attach { fid: u32, afid: u32, uname: &'a str, aname: &'a str, n_uname: u32 },
    /// oldtag\[2\]
    Flush { oldtag: u16 },
    /// fid\[4\] newfid\[4\] nwname\[2\] nwname*(wname\[s\])
    Walk { fid: u32, newfid: u32, names: Names<'a> },
    /// fid\[4\] offset\[8\] count\[4\]
    Read { fid: u32, offset: u64, count: u32 },
    /// fid\[4\] offset\[8\] count\[4\] data\[count\], and in the dialect `9P2000.L.atoll`
    /// perhaps an [`OpId`]
    Write { fid: u32, offset: u64, data: &'a [u8], op: Option<OpId> },
    /// fid\[4\]
    Clunk { fid: u32 },
    /// fid\[4\]
    Remove { fid: u32 },

    /// 9P2000. fid\[4\] mode\[1\], as open(5) has it
    Open { fid: u32, mode: u8 },
    /// 9P2000. fid\[4\] name\[s\] perm\[4\] mode\[1\]
    Create { fid: u32, name: &'a str, perm: u32, mode: u8 },
    /// 9P2000. fid\[4\]
    Stat { fid: u32 },
    /// 9P2000. fid\[4\] stat\[n\]
    Wstat { fid: u32, stat: Wstat<'a> },

    /// fid\[4\]
    Statfs { fid: u32 },
    /// fid\[4\] flags\[4\]
    Lopen { fid: u32, flags: OpenFlags },
    /// fid\[4\] name\[s\] flags\[4\] mode\[4\] gid\[4\]
    Lcreate { fid: u32, name: &'a str, flags: OpenFlags, mode: u32, gid: u32 },
    /// fid\[4\] name\[s\] symtgt\[s\] gid\[4\]
    Symlink { fid: u32, name: &'a str, target: &'a str, gid: u32 },
    /// dfid\[4\] name\[s\] mode\[4\] major\[4\] minor\[4\] gid\[4\]
    Mknod { dfid: u32, name: &'a str, mode: u32, major: u32, minor: u32, gid: u32 },
    /// fid\[4\] dfid\[4\] name\[s\]
    Rename { fid: u32, dfid: u32, name: &'a str },
    /// fid\[4\]
    Readlink { fid: u32 },
    /// fid\[4\] request_mask\[8\]
    Getattr { fid: u32, mask: u64 },
    /// fid\[4\] valid\[4\] mode\[4\] uid\[4\] gid\[4\] size\[8\] and four times \[8\]
    Setattr { fid: u32, set: SetAttr },
    /// fid\[4\] newfid\[4\] name\[s\]
    Xattrwalk { fid: u32, newfid: u32, name: &'a str },
    /// fid\[4\] name\[s\] attr_size\[8\] flags\[4\]
    Xattrcreate { fid: u32, name: &'a str, size: u64, flags: u32 },
    /// fid\[4\] offset\[8\] count\[4\]
    Readdir { fid: u32, offset: u64, count: u32 },
    /// fid\[4\], and datasync\[4\] from newer clients
    Fsync { fid: u32 },
    /// fid\[4\] type\[1\] flags\[4\] start\[8\] length\[8\] proc_id\[4\] client_id\[s\]
    Lock { fid: u32, flags: u32, lock: Lock<'a> },
    /// fid\[4\] type\[1\] start\[8\] length\[8\] proc_id\[4\] client_id\[s\]
    Getlock { fid: u32, lock: Lock<'a> },
    /// dfid\[4\] fid\[4\] name\[s\]
    Link { dfid: u32, fid: u32, name: &'a str },
    /// dfid\[4\] name\[s\] mode\[4\] gid\[4\]
    Mkdir { dfid: u32, name: &'a str, mode: u32, gid: u32 },
    /// olddirfid\[4\] oldname\[s\] newdirfid\[4\] newname\[s\]
    Renameat { olddirfid: u32, oldname: &'a str, newdirfid: u32, newname: &'a str },
    /// dirfd\[4\] name\[s\] flags\[4\]
    Unlinkat { dirfd: u32, name: &'a str, flags: u32 },
}

fn op(r: &mut Fields<'_>) -> OpId {
    let (client, seq, again) = (r.u64(), r.u64(), r.u8());
    if again > 1 {
        r.fail(BadFrame::Value);
    }
    OpId { client, seq, again: again != 0 }
}

fn lock_kind(r: &mut Fields<'_>) -> LockKind {
    LockKind::from_wire(r.u8()).unwrap_or_else(|| {
        r.fail(BadFrame::Value);
        LockKind::Unlock
    })
}

fn lock<'a>(kind: LockKind, r: &mut Fields<'a>) -> Lock<'a> {
    Lock { kind, start: r.u64(), length: r.u64(), pid: r.u32(), client: r.str() }
}

fn put_lock(w: &mut Writer<'_>, lock: &Lock<'_>) {
    w.u64(lock.start);
    w.u64(lock.length);
    w.u32(lock.pid);
    w.str(lock.client);
}

/// A time of Tsetattr: seconds and nanoseconds, eight bytes each.
fn time(r: &mut Fields<'_>) -> Time {
    let (sec, nsec) = (r.u64(), r.u64());
    // Without its bit in the mask a time may be anything.
    Time { sec, nsec: u32::try_from(nsec).unwrap_or(u32::MAX) }
}

impl<'a> Tmsg<'a> {
    /// Decodes a whole frame of 9P2000.L.
    pub fn decode(frame: &'a [u8]) -> Result<Tmsg<'a>, BadFrame> {
        Tmsg::decode_in(Dialect::L, frame)
    }

    /// Decodes a whole frame.
    pub fn decode_in(dialect: Dialect, frame: &'a [u8]) -> Result<Tmsg<'a>, BadFrame> {
        Tmsg::decode_for::<true>(dialect, frame)
    }

    /// The same, for who speaks 9P2000 only if `PLAIN`.
    pub(crate) fn decode_for<const PLAIN: bool>(
        dialect: Dialect,
        frame: &'a [u8],
    ) -> Result<Tmsg<'a>, BadFrame> {
        let (head, body) = frame.split_first_chunk::<HEADER>().ok_or(BadFrame::Length)?;
        let [_, _, _, _, t, _, _] = *head;
        let mut r = Fields::new(body);
        let m = Tmsg::decode_as::<PLAIN>(t, dialect, &mut r);
        r.end()?;
        Ok(m)
    }

    /// Decodes the fields of a type. Not a part of its caller, so that each message is
    /// made where it is wanted and not put together of the parts of all.
    #[inline(never)]
    fn decode_as<const PLAIN: bool>(t: u8, dialect: Dialect, r: &mut Fields<'a>) -> Tmsg<'a> {
        let linux = !PLAIN || dialect.is_linux();
        match t {
            ty::TVERSION => Tmsg::Version { msize: r.u32(), version: r.str() },
            ty::TAUTH => {
                let (afid, uname, aname) = (r.u32(), r.str(), r.str());
                Tmsg::Auth { afid, uname, aname, n_uname: if linux { r.u32() } else { NOFID } }
            }
            ty::TATTACH => {
                let (fid, afid, uname, aname) = (r.u32(), r.u32(), r.str(), r.str());
                let n_uname = if linux { r.u32() } else { NOFID };
                Tmsg::Attach { fid, afid, uname, aname, n_uname }
            }
            ty::TFLUSH => Tmsg::Flush { oldtag: r.u16() },
            ty::TWALK => Tmsg::Walk { fid: r.u32(), newfid: r.u32(), names: Names::decode(r) },
            ty::TREAD => Tmsg::Read { fid: r.u32(), offset: r.u64(), count: r.u32() },
            ty::TWRITE => {
                let (fid, offset, data) = (r.u32(), r.u64(), r.data());
                let named = dialect == Dialect::Atoll && !r.rest().is_empty();
                let op = if named { Some(op(r)) } else { None };
                Tmsg::Write { fid, offset, data, op }
            }
            ty::TCLUNK => Tmsg::Clunk { fid: r.u32() },
            ty::TREMOVE => Tmsg::Remove { fid: r.u32() },
            t if linux => Tmsg::decode_linux(t, r),
            ty::TOPEN => Tmsg::Open { fid: r.u32(), mode: r.u8() },
            ty::TCREATE => {
                Tmsg::Create { fid: r.u32(), name: r.str(), perm: r.u32(), mode: r.u8() }
            }
            ty::TSTAT => Tmsg::Stat { fid: r.u32() },
            ty::TWSTAT => Tmsg::Wstat { fid: r.u32(), stat: Wstat::decode(r) },
            other => Tmsg::unknown(other, r),
        }
    }

    #[cold]
    fn unknown(t: u8, r: &mut Fields<'a>) -> Tmsg<'a> {
        r.fail(BadFrame::Type(t));
        Tmsg::Flush { oldtag: 0 }
    }

    #[inline(never)]
    fn decode_linux(t: u8, r: &mut Fields<'a>) -> Tmsg<'a> {
        match t {
            ty::TSTATFS => Tmsg::Statfs { fid: r.u32() },
            ty::TLOPEN => Tmsg::Lopen { fid: r.u32(), flags: OpenFlags(r.u32()) },
            ty::TLCREATE => Tmsg::Lcreate {
                fid: r.u32(),
                name: r.str(),
                flags: OpenFlags(r.u32()),
                mode: r.u32(),
                gid: r.u32(),
            },
            ty::TSYMLINK => {
                Tmsg::Symlink { fid: r.u32(), name: r.str(), target: r.str(), gid: r.u32() }
            }
            ty::TMKNOD => Tmsg::Mknod {
                dfid: r.u32(),
                name: r.str(),
                mode: r.u32(),
                major: r.u32(),
                minor: r.u32(),
                gid: r.u32(),
            },
            ty::TRENAME => Tmsg::Rename { fid: r.u32(), dfid: r.u32(), name: r.str() },
            ty::TREADLINK => Tmsg::Readlink { fid: r.u32() },
            ty::TGETATTR => Tmsg::Getattr { fid: r.u32(), mask: r.u64() },
            ty::TSETATTR => {
                let fid = r.u32();
                let set = SetAttr {
                    valid: r.u32(),
                    mode: r.u32(),
                    uid: r.u32(),
                    gid: r.u32(),
                    size: r.u64(),
                    atime: time(r),
                    mtime: time(r),
                };
                Tmsg::Setattr { fid, set }
            }
            ty::TXATTRWALK => Tmsg::Xattrwalk { fid: r.u32(), newfid: r.u32(), name: r.str() },
            ty::TXATTRCREATE => {
                Tmsg::Xattrcreate { fid: r.u32(), name: r.str(), size: r.u64(), flags: r.u32() }
            }
            ty::TREADDIR => Tmsg::Readdir { fid: r.u32(), offset: r.u64(), count: r.u32() },
            ty::TFSYNC => {
                let fid = r.u32();
                if !r.rest().is_empty() {
                    r.u32();
                }
                Tmsg::Fsync { fid }
            }
            ty::TLOCK => {
                let (fid, kind, flags) = (r.u32(), lock_kind(r), r.u32());
                Tmsg::Lock { fid, flags, lock: lock(kind, r) }
            }
            ty::TGETLOCK => {
                let (fid, kind) = (r.u32(), lock_kind(r));
                Tmsg::Getlock { fid, lock: lock(kind, r) }
            }
            ty::TLINK => Tmsg::Link { dfid: r.u32(), fid: r.u32(), name: r.str() },
            ty::TMKDIR => Tmsg::Mkdir { dfid: r.u32(), name: r.str(), mode: r.u32(), gid: r.u32() },
            ty::TRENAMEAT => Tmsg::Renameat {
                olddirfid: r.u32(),
                oldname: r.str(),
                newdirfid: r.u32(),
                newname: r.str(),
            },
            ty::TUNLINKAT => Tmsg::Unlinkat { dirfd: r.u32(), name: r.str(), flags: r.u32() },
            other => Tmsg::unknown(other, r),
        }
    }

    /// Its type.
    pub fn ty(&self) -> u8 {
        match self {
            Tmsg::Version { .. } => ty::TVERSION,
            Tmsg::Auth { .. } => ty::TAUTH,
            Tmsg::Attach { .. } => ty::TATTACH,
            Tmsg::Flush { .. } => ty::TFLUSH,
            Tmsg::Walk { .. } => ty::TWALK,
            Tmsg::Read { .. } => ty::TREAD,
            Tmsg::Write { .. } => ty::TWRITE,
            Tmsg::Clunk { .. } => ty::TCLUNK,
            Tmsg::Remove { .. } => ty::TREMOVE,
            Tmsg::Open { .. } => ty::TOPEN,
            Tmsg::Create { .. } => ty::TCREATE,
            Tmsg::Stat { .. } => ty::TSTAT,
            Tmsg::Wstat { .. } => ty::TWSTAT,
            Tmsg::Statfs { .. } => ty::TSTATFS,
            Tmsg::Lopen { .. } => ty::TLOPEN,
            Tmsg::Lcreate { .. } => ty::TLCREATE,
            Tmsg::Symlink { .. } => ty::TSYMLINK,
            Tmsg::Mknod { .. } => ty::TMKNOD,
            Tmsg::Rename { .. } => ty::TRENAME,
            Tmsg::Readlink { .. } => ty::TREADLINK,
            Tmsg::Getattr { .. } => ty::TGETATTR,
            Tmsg::Setattr { .. } => ty::TSETATTR,
            Tmsg::Xattrwalk { .. } => ty::TXATTRWALK,
            Tmsg::Xattrcreate { .. } => ty::TXATTRCREATE,
            Tmsg::Readdir { .. } => ty::TREADDIR,
            Tmsg::Fsync { .. } => ty::TFSYNC,
            Tmsg::Lock { .. } => ty::TLOCK,
            Tmsg::Getlock { .. } => ty::TGETLOCK,
            Tmsg::Link { .. } => ty::TLINK,
            Tmsg::Mkdir { .. } => ty::TMKDIR,
            Tmsg::Renameat { .. } => ty::TRENAMEAT,
            Tmsg::Unlinkat { .. } => ty::TUNLINKAT,
        }
    }

    /// Appends the message as a frame of 9P2000.L, or of 9P2000 if it is of that alone.
    pub fn encode(&self, tag: u16, out: &mut Vec<u8>) {
        self.encode_in(Dialect::L, tag, out);
    }

    /// Appends the message as a frame.
    pub fn encode_in(&self, dialect: Dialect, tag: u16, out: &mut Vec<u8>) {
        let mut w = Writer::new(out, self.ty(), tag);
        match *self {
            Tmsg::Version { msize, version } => {
                w.u32(msize);
                w.str(version);
            }
            Tmsg::Auth { afid, uname, aname, n_uname } => {
                w.u32(afid);
                put_user(&mut w, dialect, uname, aname, n_uname);
            }
            Tmsg::Attach { fid, afid, uname, aname, n_uname } => {
                w.u32(fid);
                w.u32(afid);
                put_user(&mut w, dialect, uname, aname, n_uname);
            }
            Tmsg::Flush { oldtag } => w.u16(oldtag),
            Tmsg::Walk { fid, newfid, names } => {
                w.u32(fid);
                w.u32(newfid);
                w.u16(names.count);
                w.raw(names.bytes);
            }
            Tmsg::Readdir { fid, offset, count } | Tmsg::Read { fid, offset, count } => {
                w.u32(fid);
                w.u64(offset);
                w.u32(count);
            }
            Tmsg::Write { fid, offset, data, op } => {
                w.u32(fid);
                w.u64(offset);
                w.data(data);
                if let Some(op) = op.filter(|_| dialect == Dialect::Atoll) {
                    w.u64(op.client);
                    w.u64(op.seq);
                    w.u8(op.again.into());
                }
            }
            Tmsg::Open { fid, mode } => {
                w.u32(fid);
                w.u8(mode);
            }
            Tmsg::Create { fid, name, perm, mode } => {
                w.u32(fid);
                w.str(name);
                w.u32(perm);
                w.u8(mode);
            }
            Tmsg::Wstat { fid, stat } => {
                w.u32(fid);
                stat.encode(&mut w);
            }
            Tmsg::Fsync { fid }
            | Tmsg::Statfs { fid }
            | Tmsg::Clunk { fid }
            | Tmsg::Stat { fid }
            | Tmsg::Readlink { fid }
            | Tmsg::Remove { fid } => w.u32(fid),
            ref linux => linux.encode_linux(&mut w),
        }
        w.finish();
    }

    fn encode_linux(&self, w: &mut Writer<'_>) {
        match *self {
            Tmsg::Lopen { fid, flags } => {
                w.u32(fid);
                w.u32(flags.0);
            }
            Tmsg::Lcreate { fid, name, flags, mode, gid } => {
                w.u32(fid);
                w.str(name);
                [flags.0, mode, gid].into_iter().for_each(|v| w.u32(v));
            }
            Tmsg::Symlink { fid, name, target, gid } => {
                w.u32(fid);
                w.str(name);
                w.str(target);
                w.u32(gid);
            }
            Tmsg::Mknod { dfid, name, mode, major, minor, gid } => {
                w.u32(dfid);
                w.str(name);
                [mode, major, minor, gid].into_iter().for_each(|v| w.u32(v));
            }
            Tmsg::Rename { fid, dfid, name } => {
                w.u32(fid);
                w.u32(dfid);
                w.str(name);
            }
            Tmsg::Getattr { fid, mask } => {
                w.u32(fid);
                w.u64(mask);
            }
            Tmsg::Setattr { fid, set } => {
                [fid, set.valid, set.mode, set.uid, set.gid].into_iter().for_each(|v| w.u32(v));
                w.u64(set.size);
                for time in [set.atime, set.mtime] {
                    w.u64(time.sec);
                    w.u64(time.nsec.into());
                }
            }
            Tmsg::Xattrwalk { fid, newfid, name } => {
                w.u32(fid);
                w.u32(newfid);
                w.str(name);
            }
            Tmsg::Xattrcreate { fid, name, size, flags } => {
                w.u32(fid);
                w.str(name);
                w.u64(size);
                w.u32(flags);
            }
            Tmsg::Lock { fid, flags, lock } => {
                w.u32(fid);
                w.u8(lock.kind.to_wire());
                w.u32(flags);
                put_lock(w, &lock);
            }
            Tmsg::Getlock { fid, lock } => {
                w.u32(fid);
                w.u8(lock.kind.to_wire());
                put_lock(w, &lock);
            }
            Tmsg::Link { dfid, fid, name } => {
                w.u32(dfid);
                w.u32(fid);
                w.str(name);
            }
            Tmsg::Mkdir { dfid, name, mode, gid } => {
                w.u32(dfid);
                w.str(name);
                w.u32(mode);
                w.u32(gid);
            }
            Tmsg::Renameat { olddirfid, oldname, newdirfid, newname } => {
                w.u32(olddirfid);
                w.str(oldname);
                w.u32(newdirfid);
                w.str(newname);
            }
            Tmsg::Unlinkat { dirfd, name, flags } => {
                w.u32(dirfd);
                w.str(name);
                w.u32(flags);
            }
            // The others are those of `encode_in`.
            _ => {}
        }
    }
}

fn put_user(w: &mut Writer<'_>, dialect: Dialect, uname: &str, aname: &str, n_uname: u32) {
    w.str(uname);
    w.str(aname);
    if dialect.is_linux() {
        w.u32(n_uname);
    }
}

/// Appends a Twalk over a path: names between slashes, empty ones and `.` left
/// out. Says how many names there were; more than [`MAX_WALK`] is an error.
pub fn encode_walk(
    tag: u16,
    fid: u32,
    newfid: u32,
    path: &str,
    out: &mut Vec<u8>,
) -> Result<usize, BadFrame> {
    let names = || path.split('/').filter(|n| !n.is_empty() && *n != ".");
    let count = names().count();
    if count > MAX_WALK {
        return Err(BadFrame::Names);
    }
    let mut w = Writer::new(out, ty::TWALK, tag);
    w.u32(fid);
    w.u32(newfid);
    w.u16(count as u16);
    names().for_each(|n| w.str(n));
    w.finish();
    Ok(count)
}
