//! Answers, as a client sees them.

use super::{Stat9, qid, ty};
use crate::types::{Lock, LockKind, LockStatus, Qid, Stat, StatFs, Time};
use crate::wire::{BadFrame, Fields, HEADER, MAX_WALK};

/// An answer, as a client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are those of the protocol
pub enum Rmsg<'a> {
    /// ecode\[4\], and text\[s\] in the dialect `9P2000.L.atoll`
    Lerror {
        errno: u32,
        text: Option<&'a str>,
    },
    /// 9P2000. ename\[s\]
    Error {
        text: &'a str,
    },
    /// msize\[4\] version\[s\]
    Version {
        msize: u32,
        version: &'a str,
    },
    /// aqid\[13\]
    Auth {
        qid: Qid,
    },
    /// qid\[13\]
    Attach {
        qid: Qid,
    },
    Flush,
    /// nwqid\[2\] nwqid*(qid\[13\]): how many, and the last
    Walk {
        count: u16,
        last: Option<Qid>,
    },
    /// count\[4\] data\[count\], and next\[8\] if the read was a sequenced one
    /// ([`crate::types::seq`])
    Read {
        data: &'a [u8],
        next: Option<u64>,
    },
    /// count\[4\]
    Write {
        count: u32,
    },
    Clunk,
    Remove,
    /// 9P2000. qid\[13\] iounit\[4\]
    Open {
        qid: Qid,
        iounit: u32,
    },
    /// 9P2000. qid\[13\] iounit\[4\]
    Create {
        qid: Qid,
        iounit: u32,
    },
    /// 9P2000. stat\[n\]
    Stat {
        stat: Stat9<'a>,
    },
    /// 9P2000.
    Wstat,
    /// qid\[13\] iounit\[4\]
    Lopen {
        qid: Qid,
        iounit: u32,
    },
    /// qid\[13\] iounit\[4\]
    Lcreate {
        qid: Qid,
        iounit: u32,
    },
    /// qid\[13\]
    Symlink {
        qid: Qid,
    },
    /// qid\[13\]
    Mknod {
        qid: Qid,
    },
    Rename,
    /// target\[s\]
    Readlink {
        target: &'a str,
    },
    /// valid\[8\] qid\[13\] mode\[4\] uid\[4\] gid\[4\] nlink\[8\] rdev\[8\] size\[8\] ...
    Getattr {
        stat: Stat,
    },
    Setattr,
    /// size\[8\]
    Xattrwalk {
        size: u64,
    },
    Xattrcreate,
    /// count\[4\] and entries, for [`super::entries`]
    Readdir {
        data: &'a [u8],
    },
    Fsync,
    /// status\[1\]
    Lock {
        status: LockStatus,
    },
    /// type\[1\] start\[8\] length\[8\] proc_id\[4\] client_id\[s\]
    Getlock {
        lock: Lock<'a>,
    },
    Link,
    /// qid\[13\]
    Mkdir {
        qid: Qid,
    },
    Renameat,
    Unlinkat,
    /// type\[4\] bsize\[4\] blocks\[8\] bfree\[8\] bavail\[8\] files\[8\] ffree\[8\] fsid\[8\]
    /// namelen\[4\]
    Statfs {
        fs: StatFs,
    },
}

impl<'a> Rmsg<'a> {
    /// Decodes a whole frame.
    pub fn decode(frame: &'a [u8]) -> Result<Rmsg<'a>, BadFrame> {
        let (head, body) = frame.split_first_chunk::<HEADER>().ok_or(BadFrame::Length)?;
        let [_, _, _, _, t, _, _] = *head;
        let mut r = Fields::new(body);
        let r = &mut r;
        let m = match t {
            ty::RLERROR => {
                let errno = r.u32();
                let text = if r.rest().is_empty() { None } else { Some(r.str()) };
                Rmsg::Lerror { errno, text }
            }
            ty::RERROR => Rmsg::Error { text: r.str() },
            // An answer's type is its request's and one; 0 is nobody's.
            t => Rmsg::decode_to(t.wrapping_sub(1), r)?,
        };
        r.end()?;
        Ok(m)
    }

    fn decode_to(asked: u8, r: &mut Fields<'a>) -> Result<Rmsg<'a>, BadFrame> {
        Ok(match asked {
            ty::TVERSION => Rmsg::Version { msize: r.u32(), version: r.str() },
            ty::TAUTH => Rmsg::Auth { qid: qid(r) },
            ty::TATTACH => Rmsg::Attach { qid: qid(r) },
            ty::TFLUSH => Rmsg::Flush,
            ty::TWALK => {
                let count = r.u16();
                if usize::from(count) > MAX_WALK {
                    return Err(BadFrame::Names);
                }
                let mut last = None;
                for _ in 0..count {
                    last = Some(qid(r));
                }
                Rmsg::Walk { count, last }
            }
            ty::TREAD => {
                let data = r.data();
                let next = if r.rest().is_empty() { None } else { Some(r.u64()) };
                Rmsg::Read { data, next }
            }
            ty::TWRITE => Rmsg::Write { count: r.u32() },
            ty::TCLUNK => Rmsg::Clunk,
            ty::TREMOVE => Rmsg::Remove,
            ty::TOPEN => Rmsg::Open { qid: qid(r), iounit: r.u32() },
            ty::TCREATE => Rmsg::Create { qid: qid(r), iounit: r.u32() },
            ty::TSTAT => {
                let size = r.u16();
                let mut stat = Fields::new(r.take(size.into()));
                let m = Rmsg::Stat { stat: Stat9::decode(&mut stat)? };
                stat.end()?;
                m
            }
            ty::TWSTAT => Rmsg::Wstat,
            ty::TLOPEN => Rmsg::Lopen { qid: qid(r), iounit: r.u32() },
            ty::TLCREATE => Rmsg::Lcreate { qid: qid(r), iounit: r.u32() },
            ty::TSYMLINK => Rmsg::Symlink { qid: qid(r) },
            ty::TMKNOD => Rmsg::Mknod { qid: qid(r) },
            ty::TRENAME => Rmsg::Rename,
            ty::TREADLINK => Rmsg::Readlink { target: r.str() },
            ty::TGETATTR => Rmsg::Getattr { stat: stat(r) },
            ty::TSETATTR => Rmsg::Setattr,
            ty::TXATTRWALK => Rmsg::Xattrwalk { size: r.u64() },
            ty::TXATTRCREATE => Rmsg::Xattrcreate,
            ty::TREADDIR => Rmsg::Readdir { data: r.data() },
            ty::TFSYNC => Rmsg::Fsync,
            ty::TLOCK => Rmsg::Lock {
                status: match r.u8() {
                    0 => LockStatus::Success,
                    1 => LockStatus::Blocked,
                    2 => LockStatus::Error,
                    3 => LockStatus::Grace,
                    _ => return Err(BadFrame::Value),
                },
            },
            ty::TGETLOCK => Rmsg::Getlock {
                lock: Lock {
                    kind: LockKind::from_wire(r.u8()).ok_or(BadFrame::Value)?,
                    start: r.u64(),
                    length: r.u64(),
                    pid: r.u32(),
                    client: r.str(),
                },
            },
            ty::TLINK => Rmsg::Link,
            ty::TMKDIR => Rmsg::Mkdir { qid: qid(r) },
            ty::TRENAMEAT => Rmsg::Renameat,
            ty::TUNLINKAT => Rmsg::Unlinkat,
            ty::TSTATFS => Rmsg::Statfs {
                fs: StatFs {
                    ty: r.u32(),
                    bsize: r.u32(),
                    blocks: r.u64(),
                    bfree: r.u64(),
                    bavail: r.u64(),
                    files: r.u64(),
                    ffree: r.u64(),
                    fsid: r.u64(),
                    namelen: r.u32(),
                },
            },
            _ => return Err(BadFrame::Type(asked.wrapping_add(1))),
        })
    }
}

fn stat(r: &mut Fields<'_>) -> Stat {
    r.u64(); // valid
    let (qid, mode, uid, gid) = (qid(r), r.u32(), r.u32(), r.u32());
    let (nlink, rdev, size) = (r.u64(), r.u64(), r.u64());
    r.u64(); // blksize
    let blocks = r.u64();
    let (atime, mtime, ctime) = (time(r), time(r), time(r));
    r.take(8 * 4); // btime, gen, data_version
    Stat { qid, mode, uid, gid, nlink, rdev, size, blocks, atime, mtime, ctime }
}

fn time(r: &mut Fields<'_>) -> Time {
    let (sec, nsec) = (r.u64(), r.u64());
    if nsec > u32::MAX.into() {
        r.fail(BadFrame::Value);
    }
    Time { sec, nsec: nsec as u32 }
}
