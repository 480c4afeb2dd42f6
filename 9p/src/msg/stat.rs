//! What 9P2000 tells of a file, and how it asks for a change: stat(5).

use super::{put_qid, qid};
use crate::types::{Qid, Stat};
use crate::wire::{BadFrame, Fields, Writer};

/// "Do not touch", for a field of 4 bytes in a Twstat.
const KEEP32: u32 = u32::MAX;
/// The same for one of 8 bytes.
const KEEP64: u64 = u64::MAX;

/// What Rstat tells of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat9<'a> {
    /// The server's name for it.
    pub qid: Qid,
    /// Permissions in the lower nine bits, [`crate::types::qid_type`] in the upper eight.
    pub mode: u32,
    /// When it was last read: seconds since 1970 UTC, until 2106.
    pub atime: u32,
    /// When it last changed.
    pub mtime: u32,
    /// Bytes; 0 for a directory.
    pub length: u64,
    /// Its last name; `/` for the root.
    pub name: &'a str,
    /// Owner.
    pub uid: &'a str,
    /// Group.
    pub gid: &'a str,
    /// Who changed it last.
    pub muid: &'a str,
}

impl<'a> Stat9<'a> {
    /// What there is to know about a file, as 9P2000 says it.
    pub fn of(stat: &Stat, name: &'a str, uid: &'a str, gid: &'a str) -> Stat9<'a> {
        let length = if stat.qid.is_dir() { 0 } else { stat.size };
        let secs = |s: u64| u32::try_from(s).unwrap_or(u32::MAX);
        Stat9 {
            qid: stat.qid,
            mode: stat.mode & 0o777 | u32::from(stat.qid.ty) << 24,
            atime: secs(stat.atime.sec),
            mtime: secs(stat.mtime.sec),
            length,
            name,
            uid,
            gid,
            muid: uid,
        }
    }

    /// Bytes of it, with the two that say how many follow.
    pub fn size(&self) -> usize {
        49 + self.name.len() + self.uid.len() + self.gid.len() + self.muid.len()
    }

    /// Writes size\[2\] type\[2\] dev\[4\] qid\[13\] mode\[4\] atime\[4\] mtime\[4\]
    /// length\[8\] name\[s\] uid\[s\] gid\[s\] muid\[s\]. Type and dev, which are
    /// for the kernel of a client, are 0.
    pub fn encode(&self, w: &mut Writer<'_>) {
        self.put(w, 0);
    }

    fn put(&self, w: &mut Writer<'_>, kernel: u32) {
        w.u16((self.size() - 2) as u16);
        w.u16(kernel as u16);
        w.u32(kernel);
        put_qid(w, self.qid);
        w.u32(self.mode);
        w.u32(self.atime);
        w.u32(self.mtime);
        w.u64(self.length);
        for s in [self.name, self.uid, self.gid, self.muid] {
            w.str(s);
        }
    }

    /// Reads it, from its own size on.
    pub(super) fn decode(r: &mut Fields<'a>) -> Result<Stat9<'a>, BadFrame> {
        let size = r.u16();
        let mut r = Fields::new(r.take(size.into()));
        r.take(6); // type, dev
        let stat = Stat9 {
            qid: qid(&mut r),
            mode: r.u32(),
            atime: r.u32(),
            mtime: r.u32(),
            length: r.u64(),
            name: r.str(),
            uid: r.str(),
            gid: r.str(),
            muid: r.str(),
        };
        r.end()?;
        Ok(stat)
    }
}

/// What a Twstat asks to be changed; nothing where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wstat<'a> {
    /// Permissions and [`crate::types::qid_type`], as in [`Stat9::mode`].
    pub mode: Option<u32>,
    /// Time of the last read, which wstat(5) lets no client change.
    pub atime: Option<u32>,
    /// Time of the last change.
    pub mtime: Option<u32>,
    /// Length in bytes.
    pub length: Option<u64>,
    /// Name, in the same directory.
    pub name: Option<&'a str>,
    /// Owner, which wstat(5) lets no client change.
    pub uid: Option<&'a str>,
    /// Group.
    pub gid: Option<&'a str>,
}

impl<'a> Wstat<'a> {
    /// Whether nothing is to be changed: the file is to be made sure of (wstat(5)).
    pub fn is_sync(&self) -> bool {
        *self == Wstat::default()
    }

    pub(super) fn decode(r: &mut Fields<'a>) -> Wstat<'a> {
        let size = r.u16();
        let mut outer = Fields::new(r.take(size.into()));
        let stat = match Stat9::decode(&mut outer).and_then(|s| outer.end().map(|()| s)) {
            Ok(stat) => stat,
            Err(why) => {
                r.fail(why);
                return Wstat::default();
            }
        };
        let text = |s: &'a str| (!s.is_empty()).then_some(s);
        let word = |v: u32| (v != KEEP32).then_some(v);
        Wstat {
            mode: word(stat.mode),
            atime: word(stat.atime),
            mtime: word(stat.mtime),
            length: (stat.length != KEEP64).then_some(stat.length),
            name: text(stat.name),
            uid: text(stat.uid),
            gid: text(stat.gid),
        }
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        let stat = Stat9 {
            qid: Qid { ty: u8::MAX, version: KEEP32, path: KEEP64 },
            mode: self.mode.unwrap_or(KEEP32),
            atime: self.atime.unwrap_or(KEEP32),
            mtime: self.mtime.unwrap_or(KEEP32),
            length: self.length.unwrap_or(KEEP64),
            name: self.name.unwrap_or_default(),
            uid: self.uid.unwrap_or_default(),
            gid: self.gid.unwrap_or_default(),
            muid: "",
        };
        w.u16(stat.size() as u16);
        stat.put(w, KEEP32);
    }
}

/// The entries in the data of an Rread of a directory, as 9P2000 has it. Ends early at
/// a malformed one.
pub fn stats(data: &[u8]) -> impl Iterator<Item = Stat9<'_>> {
    let mut r = Fields::new(data);
    core::iter::from_fn(move || match r.rest() {
        [] => None,
        _ => Stat9::decode(&mut r).ok(),
    })
}
