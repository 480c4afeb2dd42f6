//! The messages of 9P2000.L.
//!
//! [`Tmsg`] and [`Rmsg`] borrow strings and data from the frame that they were
//! decoded from. Layouts are those of diod's `protocol.md`; a comment gives the
//! fields of each. A message that is not here has a type that [`Tmsg::decode`]
//! reports, and a server answers EOPNOTSUPP.

use alloc::vec::Vec;

use crate::types::{OpenFlags, Qid, Stat, StatFs};
use crate::wire::{BadFrame, HEADER, MAX_WALK, Reader, Writer};

/// Message types. An answer is its request's type and one.
pub mod ty {
    #![allow(missing_docs)]
    pub const RLERROR: u8 = 7;
    pub const TSTATFS: u8 = 8;
    pub const TLOPEN: u8 = 12;
    pub const TGETATTR: u8 = 24;
    pub const TSETATTR: u8 = 26;
    pub const TXATTRWALK: u8 = 30;
    pub const TREADDIR: u8 = 40;
    pub const TFSYNC: u8 = 50;
    pub const TVERSION: u8 = 100;
    pub const TAUTH: u8 = 102;
    pub const TATTACH: u8 = 104;
    pub const TFLUSH: u8 = 108;
    pub const TWALK: u8 = 110;
    pub const TREAD: u8 = 116;
    pub const TWRITE: u8 = 118;
    pub const TCLUNK: u8 = 120;
    pub const TREMOVE: u8 = 122;
}

/// The names of a Twalk, at most [`MAX_WALK`], still in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names<'a> {
    count: u16,
    bytes: &'a [u8],
}

impl<'a> Names<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Names<'a>, BadFrame> {
        let count = r.u16()?;
        if usize::from(count) > MAX_WALK {
            return Err(BadFrame::Names);
        }
        let bytes = r.rest();
        for _ in 0..count {
            r.str()?;
        }
        Ok(Names { count, bytes: bytes.get(..bytes.len() - r.rest().len()).unwrap_or_default() })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count.into()
    }

    /// Whether there is none: the walk copies a fid.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The names, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut r = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| r.str().ok())
    }
}

/// Which attributes to change, and to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Bits of [`crate::types::setattr`].
    pub valid: u32,
    /// Permissions.
    pub mode: u32,
    /// Length in bytes.
    pub size: u64,
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are those of the protocol
pub enum Tmsg<'a> {
    /// msize\[4\] version\[s\]
    Version { msize: u32, version: &'a str },
    /// afid\[4\] uname\[s\] aname\[s\] n_uname\[4\]
    Auth { afid: u32, uname: &'a str, aname: &'a str, n_uname: u32 },
    /// fid\[4\] afid\[4\] uname\[s\] aname\[s\] n_uname\[4\]
    Attach { fid: u32, afid: u32, uname: &'a str, aname: &'a str, n_uname: u32 },
    /// oldtag\[2\]
    Flush { oldtag: u16 },
    /// fid\[4\] newfid\[4\] nwname\[2\] nwname*(wname\[s\])
    Walk { fid: u32, newfid: u32, names: Names<'a> },
    /// fid\[4\] flags\[4\]
    Lopen { fid: u32, flags: OpenFlags },
    /// fid\[4\] request_mask\[8\]
    Getattr { fid: u32, mask: u64 },
    /// fid\[4\] valid\[4\] mode\[4\] uid\[4\] gid\[4\] size\[8\] and four times \[8\]
    Setattr { fid: u32, set: SetAttr },
    /// fid\[4\] newfid\[4\] name\[s\]
    Xattrwalk { fid: u32, newfid: u32, name: &'a str },
    /// fid\[4\] offset\[8\] count\[4\]
    Readdir { fid: u32, offset: u64, count: u32 },
    /// fid\[4\], and datasync\[4\] from newer clients
    Fsync { fid: u32 },
    /// fid\[4\]
    Statfs { fid: u32 },
    /// fid\[4\] offset\[8\] count\[4\]
    Read { fid: u32, offset: u64, count: u32 },
    /// fid\[4\] offset\[8\] count\[4\] data\[count\]
    Write { fid: u32, offset: u64, data: &'a [u8] },
    /// fid\[4\]
    Clunk { fid: u32 },
    /// fid\[4\]
    Remove { fid: u32 },
}

/// The tag of a frame. 0 for a frame without one, which no [`crate::wire::front`] lets through.
pub fn tag(frame: &[u8]) -> u16 {
    match frame {
        [_, _, _, _, _, a, b, ..] => u16::from_le_bytes([*a, *b]),
        _ => 0,
    }
}

impl<'a> Tmsg<'a> {
    /// Decodes a whole frame.
    pub fn decode(frame: &'a [u8]) -> Result<Tmsg<'a>, BadFrame> {
        let mut r = Reader::new(frame);
        let head = Reader::new(r.take(HEADER)?).take(5)?;
        let r = &mut r;
        let m = match head.last().copied().unwrap_or_default() {
            ty::TVERSION => Tmsg::Version { msize: r.u32()?, version: r.str()? },
            ty::TAUTH => {
                Tmsg::Auth { afid: r.u32()?, uname: r.str()?, aname: r.str()?, n_uname: r.u32()? }
            }
            ty::TATTACH => Tmsg::Attach {
                fid: r.u32()?,
                afid: r.u32()?,
                uname: r.str()?,
                aname: r.str()?,
                n_uname: r.u32()?,
            },
            ty::TFLUSH => Tmsg::Flush { oldtag: r.u16()? },
            ty::TWALK => Tmsg::Walk { fid: r.u32()?, newfid: r.u32()?, names: Names::decode(r)? },
            ty::TLOPEN => Tmsg::Lopen { fid: r.u32()?, flags: OpenFlags(r.u32()?) },
            ty::TGETATTR => Tmsg::Getattr { fid: r.u32()?, mask: r.u64()? },
            ty::TSETATTR => {
                let (fid, valid, mode) = (r.u32()?, r.u32()?, r.u32()?);
                r.take(8)?; // uid, gid
                let size = r.u64()?;
                r.take(32)?; // atime and mtime, seconds and nanoseconds
                Tmsg::Setattr { fid, set: SetAttr { valid, mode, size } }
            }
            ty::TXATTRWALK => Tmsg::Xattrwalk { fid: r.u32()?, newfid: r.u32()?, name: r.str()? },
            ty::TREADDIR => Tmsg::Readdir { fid: r.u32()?, offset: r.u64()?, count: r.u32()? },
            ty::TFSYNC => {
                let fid = r.u32()?;
                if !r.rest().is_empty() {
                    r.u32()?;
                }
                Tmsg::Fsync { fid }
            }
            ty::TSTATFS => Tmsg::Statfs { fid: r.u32()? },
            ty::TREAD => Tmsg::Read { fid: r.u32()?, offset: r.u64()?, count: r.u32()? },
            ty::TWRITE => Tmsg::Write { fid: r.u32()?, offset: r.u64()?, data: r.data()? },
            ty::TCLUNK => Tmsg::Clunk { fid: r.u32()? },
            ty::TREMOVE => Tmsg::Remove { fid: r.u32()? },
            other => return Err(BadFrame::Type(other)),
        };
        r.end()?;
        Ok(m)
    }

    /// Its type.
    pub fn ty(&self) -> u8 {
        match self {
            Tmsg::Version { .. } => ty::TVERSION,
            Tmsg::Auth { .. } => ty::TAUTH,
            Tmsg::Attach { .. } => ty::TATTACH,
            Tmsg::Flush { .. } => ty::TFLUSH,
            Tmsg::Walk { .. } => ty::TWALK,
            Tmsg::Lopen { .. } => ty::TLOPEN,
            Tmsg::Getattr { .. } => ty::TGETATTR,
            Tmsg::Setattr { .. } => ty::TSETATTR,
            Tmsg::Xattrwalk { .. } => ty::TXATTRWALK,
            Tmsg::Readdir { .. } => ty::TREADDIR,
            Tmsg::Fsync { .. } => ty::TFSYNC,
            Tmsg::Statfs { .. } => ty::TSTATFS,
            Tmsg::Read { .. } => ty::TREAD,
            Tmsg::Write { .. } => ty::TWRITE,
            Tmsg::Clunk { .. } => ty::TCLUNK,
            Tmsg::Remove { .. } => ty::TREMOVE,
        }
    }

    /// Appends the message as a frame.
    pub fn encode(&self, tag: u16, out: &mut Vec<u8>) {
        let mut w = Writer::new(out, self.ty(), tag);
        match *self {
            Tmsg::Version { msize, version } => {
                w.u32(msize);
                w.str(version);
            }
            Tmsg::Auth { afid, uname, aname, n_uname } => {
                w.u32(afid);
                w.str(uname);
                w.str(aname);
                w.u32(n_uname);
            }
            Tmsg::Attach { fid, afid, uname, aname, n_uname } => {
                w.u32(fid);
                w.u32(afid);
                w.str(uname);
                w.str(aname);
                w.u32(n_uname);
            }
            Tmsg::Flush { oldtag } => w.u16(oldtag),
            Tmsg::Walk { fid, newfid, names } => {
                w.u32(fid);
                w.u32(newfid);
                w.u16(names.count);
                w.raw(names.bytes);
            }
            Tmsg::Lopen { fid, flags } => {
                w.u32(fid);
                w.u32(flags.0);
            }
            Tmsg::Getattr { fid, mask } => {
                w.u32(fid);
                w.u64(mask);
            }
            Tmsg::Setattr { fid, set } => {
                w.u32(fid);
                w.u32(set.valid);
                w.u32(set.mode);
                w.u64(0); // uid, gid
                w.u64(set.size);
                w.raw(&[0; 32]); // times
            }
            Tmsg::Xattrwalk { fid, newfid, name } => {
                w.u32(fid);
                w.u32(newfid);
                w.str(name);
            }
            Tmsg::Readdir { fid, offset, count } | Tmsg::Read { fid, offset, count } => {
                w.u32(fid);
                w.u64(offset);
                w.u32(count);
            }
            Tmsg::Write { fid, offset, data } => {
                w.u32(fid);
                w.u64(offset);
                w.data(data);
            }
            Tmsg::Fsync { fid }
            | Tmsg::Statfs { fid }
            | Tmsg::Clunk { fid }
            | Tmsg::Remove { fid } => w.u32(fid),
        }
        w.finish();
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

/// An answer, as a client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are those of the protocol
pub enum Rmsg<'a> {
    /// ecode\[4\], and text\[s\] in the dialect `9P2000.L.atoll`
    Lerror {
        errno: u32,
        text: Option<&'a str>,
    },
    /// msize\[4\] version\[s\]
    Version {
        msize: u32,
        version: &'a str,
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
    /// qid\[13\] iounit\[4\]
    Lopen {
        qid: Qid,
        iounit: u32,
    },
    /// valid\[8\] qid\[13\] mode\[4\] uid\[4\] gid\[4\] nlink\[8\] rdev\[8\] size\[8\] ...
    Getattr {
        stat: Stat,
    },
    Setattr,
    /// count\[4\] and entries, for [`entries`]
    Readdir {
        data: &'a [u8],
    },
    Fsync,
    Statfs {
        fs: StatFs,
    },
    /// count\[4\] data\[count\]
    Read {
        data: &'a [u8],
    },
    /// count\[4\]
    Write {
        count: u32,
    },
    Clunk,
    Remove,
}

fn qid(r: &mut Reader<'_>) -> Result<Qid, BadFrame> {
    Ok(Qid { ty: r.u8()?, version: r.u32()?, path: r.u64()? })
}

/// Writes a qid.
pub(crate) fn put_qid(w: &mut Writer<'_>, q: Qid) {
    w.u8(q.ty);
    w.u32(q.version);
    w.u64(q.path);
}

impl<'a> Rmsg<'a> {
    /// Decodes a whole frame.
    pub fn decode(frame: &'a [u8]) -> Result<Rmsg<'a>, BadFrame> {
        let mut r = Reader::new(frame);
        let head = Reader::new(r.take(HEADER)?).take(5)?;
        let r = &mut r;
        let m = match head.last().copied().unwrap_or_default() {
            ty::RLERROR => {
                let errno = r.u32()?;
                let text = if r.rest().is_empty() { None } else { Some(r.str()?) };
                Rmsg::Lerror { errno, text }
            }
            t if t == ty::TVERSION + 1 => Rmsg::Version { msize: r.u32()?, version: r.str()? },
            t if t == ty::TATTACH + 1 => Rmsg::Attach { qid: qid(r)? },
            t if t == ty::TFLUSH + 1 => Rmsg::Flush,
            t if t == ty::TWALK + 1 => {
                let count = r.u16()?;
                if usize::from(count) > MAX_WALK {
                    return Err(BadFrame::Names);
                }
                let mut last = None;
                for _ in 0..count {
                    last = Some(qid(r)?);
                }
                Rmsg::Walk { count, last }
            }
            t if t == ty::TLOPEN + 1 => Rmsg::Lopen { qid: qid(r)?, iounit: r.u32()? },
            t if t == ty::TGETATTR + 1 => {
                r.u64()?; // valid
                let (qid, mode, uid, gid) = (qid(r)?, r.u32()?, r.u32()?, r.u32()?);
                let nlink = r.u64()?;
                r.u64()?; // rdev
                let size = r.u64()?;
                r.take(8 * 4)?; // blksize, blocks, atime
                let mtime = r.u64()?;
                r.take(8 * 7)?; // mtime_nsec, ctime, btime, gen, data_version
                Rmsg::Getattr { stat: Stat { qid, mode, uid, gid, nlink, size, mtime } }
            }
            t if t == ty::TSETATTR + 1 => Rmsg::Setattr,
            t if t == ty::TREADDIR + 1 => Rmsg::Readdir { data: r.data()? },
            t if t == ty::TFSYNC + 1 => Rmsg::Fsync,
            t if t == ty::TSTATFS + 1 => {
                r.u32()?; // type
                let (bsize, blocks, bfree) = (r.u32()?, r.u64()?, r.u64()?);
                r.u64()?; // bavail
                let files = r.u64()?;
                r.take(8 + 8 + 4)?; // ffree, fsid, namelen
                Rmsg::Statfs { fs: StatFs { bsize, blocks, bfree, files } }
            }
            t if t == ty::TREAD + 1 => Rmsg::Read { data: r.data()? },
            t if t == ty::TWRITE + 1 => Rmsg::Write { count: r.u32()? },
            t if t == ty::TCLUNK + 1 => Rmsg::Clunk,
            t if t == ty::TREMOVE + 1 => Rmsg::Remove,
            other => return Err(BadFrame::Type(other)),
        };
        r.end()?;
        Ok(m)
    }
}

/// Writes the body of an Rgetattr.
pub(crate) fn put_stat(w: &mut Writer<'_>, s: &Stat) {
    w.u64(crate::types::getattr::BASIC);
    put_qid(w, s.qid);
    w.u32(s.mode);
    w.u32(s.uid);
    w.u32(s.gid);
    w.u64(s.nlink);
    w.u64(0); // rdev
    w.u64(s.size);
    w.u64(4096); // blksize
    w.u64(s.size.div_ceil(512));
    for time in [s.mtime, s.mtime, s.mtime, 0] {
        w.u64(time); // atime, mtime, ctime, btime: seconds, nanoseconds
        w.u64(0);
    }
    w.u64(0); // gen
    w.u64(0); // data_version
}

/// One entry of an Rreaddir: qid\[13\] offset\[8\] type\[1\] name\[s\].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The file.
    pub qid: Qid,
    /// Where the listing goes on after this entry.
    pub cookie: u64,
    /// `DT_*` of `dirent.h`.
    pub ty: u8,
    /// Its name.
    pub name: &'a str,
}

/// The entries in the data of an Rreaddir. Ends early at a malformed one.
pub fn entries(data: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let mut r = Reader::new(data);
    core::iter::from_fn(move || {
        if r.rest().is_empty() {
            return None;
        }
        let mut entry = || {
            Ok::<_, BadFrame>(Entry {
                qid: qid(&mut r)?,
                cookie: r.u64()?,
                ty: r.u8()?,
                name: r.str()?,
            })
        };
        entry().ok()
    })
}
