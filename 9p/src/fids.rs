//! Which fids a request is about, and what it does to them: what everybody has to
//! know who stands between a client and a server.

use crate::msg::Tmsg;

/// A fid, and where in its frame it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) fid: u32,
    pub(crate) at: usize,
}

/// What a request does to the fid that it is about, when it succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// Makes it an open file, or another file.
    Turn,
    /// Ends it, and does so when it fails too.
    End,
}

/// The fids of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fids {
    /// What it is about. None for Tversion, Tauth, Tattach and Tflush.
    pub(crate) on: Option<At>,
    /// Another that it needs.
    pub(crate) also: Option<At>,
    /// One that it makes.
    pub(crate) new: Option<At>,
    pub(crate) change: Change,
}

/// The fids of a request of 9P2000.L or 9P2000.
pub(crate) fn of(m: &Tmsg<'_>) -> Fids {
    let none = Fids { on: None, also: None, new: None, change: Change::None };
    let first = |fid: u32| Some(At { fid, at: 7 });
    let second = |fid: u32| Some(At { fid, at: 11 });
    let on = |fid: u32| Fids { on: first(fid), ..none };
    match *m {
        Tmsg::Version { .. } | Tmsg::Flush { .. } => none,
        Tmsg::Auth { afid, .. } => Fids { new: first(afid), ..none },
        Tmsg::Attach { fid, .. } => Fids { new: first(fid), ..none },
        Tmsg::Walk { fid, newfid, .. } if newfid == fid => {
            Fids { also: second(newfid), change: Change::Turn, ..on(fid) }
        }
        Tmsg::Walk { fid, newfid, .. } | Tmsg::Xattrwalk { fid, newfid, .. } => {
            Fids { new: second(newfid), ..on(fid) }
        }
        Tmsg::Open { fid, .. }
        | Tmsg::Create { fid, .. }
        | Tmsg::Lopen { fid, .. }
        | Tmsg::Lcreate { fid, .. }
        | Tmsg::Xattrcreate { fid, .. } => Fids { change: Change::Turn, ..on(fid) },
        Tmsg::Clunk { fid } | Tmsg::Remove { fid } => Fids { change: Change::End, ..on(fid) },
        Tmsg::Rename { fid, dfid, .. } => Fids { also: second(dfid), ..on(fid) },
        Tmsg::Link { dfid, fid, .. } => Fids { also: second(fid), ..on(dfid) },
        Tmsg::Renameat { olddirfid, oldname, newdirfid, .. } => {
            let at = 11 + 2 + oldname.len();
            Fids { also: Some(At { fid: newdirfid, at }), ..on(olddirfid) }
        }
        Tmsg::Read { fid, .. }
        | Tmsg::Write { fid, .. }
        | Tmsg::Stat { fid }
        | Tmsg::Wstat { fid, .. }
        | Tmsg::Statfs { fid }
        | Tmsg::Symlink { fid, .. }
        | Tmsg::Readlink { fid }
        | Tmsg::Getattr { fid, .. }
        | Tmsg::Setattr { fid, .. }
        | Tmsg::Readdir { fid, .. }
        | Tmsg::Fsync { fid }
        | Tmsg::Lock { fid, .. }
        | Tmsg::Getlock { fid, .. } => on(fid),
        Tmsg::Mknod { dfid, .. } | Tmsg::Mkdir { dfid, .. } => on(dfid),
        Tmsg::Unlinkat { dirfd, .. } => on(dirfd),
    }
}

impl Fids {
    /// The fid that is another after the answer, or is made or ended by it: what else
    /// is about it means something only then.
    pub(crate) fn changed(&self) -> Option<u32> {
        match self.change {
            Change::None => self.new.map(|n| n.fid),
            Change::Turn | Change::End => self.on.map(|o| o.fid),
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = At> + use<> {
        [self.on, self.also, self.new].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_fid_stands_where_it_is_said_to() {
        let (a, b) = (0x0a0b_0c0d, 0x1a1b_1c1d);
        for (m, fids) in [
            (Tmsg::Rename { fid: a, dfid: b, name: "n" }, 2),
            (Tmsg::Link { dfid: a, fid: b, name: "n" }, 2),
            (Tmsg::Xattrwalk { fid: a, newfid: b, name: "n" }, 2),
            (Tmsg::Attach { fid: a, afid: b, uname: "u", aname: "", n_uname: 0 }, 1),
            (Tmsg::Renameat { olddirfid: a, oldname: "old", newdirfid: b, newname: "n" }, 2),
            (Tmsg::Renameat { olddirfid: a, oldname: "", newdirfid: b, newname: "n" }, 2),
            (Tmsg::Unlinkat { dirfd: a, name: "n", flags: 0 }, 1),
            (Tmsg::Mkdir { dfid: a, name: "n", mode: 0, gid: 0 }, 1),
        ] {
            let mut frame = Vec::new();
            m.encode(1, &mut frame);
            let all: Vec<_> = of(&m).all().collect();
            assert_eq!(all.len(), fids, "{m:?}");
            for At { fid, at } in all {
                assert_eq!(frame[at..at + 4], fid.to_le_bytes(), "{m:?}");
            }
        }
    }
}
