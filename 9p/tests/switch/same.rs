//! A client of a switch sees what a client of one tree sees that has everything in it: both
//! are asked the same, and their answers are compared.

use std::collections::BTreeMap;

use atoll_9p::msg::{Rmsg, Tmsg, entries, ty};
use atoll_9p::ram::Ram;
use atoll_9p::types::{LockKind, OpId, SetAttr, qid_type, setattr, unlink};
use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
struct Op {
    kind: u8,
    fid: u32,
    newfid: u32,
    pick: u8,
    more: u8,
}

fn op(kinds: std::ops::Range<u8>) -> impl Strategy<Value = Op> {
    (kinds, 0..6u32, 0..6u32, any::<u8>(), any::<u8>())
        .prop_map(|(kind, fid, newfid, pick, more)| Op { kind, fid, newfid, pick, more })
}

const PATHS: [&str; 32] = [
    "",
    "g/a/fs",
    "g/b/fs",
    "g/a/fs/x",
    "g/b/fs/x/y",
    "g/b/fs/f",
    "g/a",
    "g",
    "fs",
    "a/fs/x",
    "..",
    "../..",
    "../f",
    "../fs/x",
    "../../b/fs/f",
    "x/../..",
    "x/../../f",
    "x/y/../../../fs/x/y/z",
    "g/a/fs/../f",
    "g/a/fs/x/../../../b/fs/x",
    "g/a/fs/../../b/fs",
    "g/a/fs/no",
    "g/a/fs/no/..",
    "no",
    "x",
    "x/y",
    "f",
    "y/z",
    "g/a/fs/x/../no",
    "g/a/fs/x/../../no",
    "x/y/../..",
    "../../../../../../g/b/fs/x",
];
const NAMES: [&str; 10] = ["x", "y", "f", "g", "a", "fs", "n", "m", "..", ""];
const COUNTS: [u32; 6] = [0, 30, 100, 1000, 8000, u32::MAX];

/// A request made of small numbers.
fn request(tag: u16, op: Op, atoll: bool) -> Vec<u8> {
    let Op { fid, newfid, pick, more, .. } = op;
    let (name, other) = (NAMES[usize::from(pick) % 10], NAMES[usize::from(more) % 10]);
    let path = PATHS[usize::from(pick) % PATHS.len()];
    let names: Vec<&[u8]> = path.split('/').filter(|n| !n.is_empty()).map(str::as_bytes).collect();
    let lock = atoll_9p::types::Lock {
        kind: [LockKind::Read, LockKind::Write, LockKind::Unlock][usize::from(pick) % 3],
        start: u64::from(more % 4),
        length: 2,
        pid: fid,
        client: "c",
    };
    let named = (atoll && more > 200).then_some(OpId {
        client: 7,
        seq: 1 + u64::from(pick),
        again: more % 2 == 0,
    });
    let data = &[b'w'; 300][..usize::from(pick)];
    let m = match op.kind {
        0..=7 => return walk_frame(tag, fid, newfid, &names),
        8..=9 => Tmsg::Clunk { fid },
        10..=11 => Tmsg::Getattr { fid, mask: 0 },
        12..=13 => Tmsg::Lopen { fid, flags: OpenFlags(u32::from(pick) % 4) },
        14..=15 => Tmsg::Read {
            fid,
            offset: [0, 3, 500, 1 << 63 | 5][usize::from(more) % 4],
            count: COUNTS[usize::from(pick) % 6],
        },
        16 => {
            Tmsg::Readdir { fid, offset: u64::from(more % 4), count: COUNTS[usize::from(pick) % 6] }
        }
        17 => Tmsg::Xattrwalk { fid, newfid, name: if pick % 2 == 0 { "" } else { "x" } },
        18 => Tmsg::Readlink { fid },
        19 => Tmsg::Flush { oldtag: u16::from(pick) % 12 },
        // What follows changes something.
        20..=21 => Tmsg::Write { fid, offset: u64::from(more), data, op: named },
        22 => Tmsg::Lcreate { fid, name, flags: OpenFlags(2), mode: 0o644, gid: 0 },
        23 => Tmsg::Mkdir { dfid: fid, name, mode: 0o755, gid: 0 },
        24 => Tmsg::Symlink { fid, name, target: other, gid: 0 },
        25 => Tmsg::Rename { fid, dfid: newfid, name },
        26..=27 => {
            Tmsg::Renameat { olddirfid: fid, oldname: name, newdirfid: newfid, newname: other }
        }
        28 => Tmsg::Link { dfid: fid, fid: newfid, name },
        29 => {
            let flags = if more % 2 == 0 { unlink::DIR } else { 0 };
            Tmsg::Unlinkat { dirfd: fid, name, flags }
        }
        30 => Tmsg::Remove { fid },
        31 => {
            let set = SetAttr { valid: setattr::SIZE, size: u64::from(more), ..SetAttr::default() };
            Tmsg::Setattr { fid, set }
        }
        32 => Tmsg::Lock { fid, flags: 0, lock },
        33 => Tmsg::Getlock { fid, lock },
        34 => Tmsg::Fsync { fid },
        _ => Tmsg::Mknod { dfid: fid, name, mode: 0o010_644, major: 0, minor: 0, gid: 0 },
    };
    let dialect =
        if atoll { atoll_9p::dialect::Dialect::Atoll } else { atoll_9p::dialect::Dialect::L };
    let mut out = Vec::new();
    m.encode_in(dialect, tag, &mut out);
    out
}

/// Both, and which path of the one is which of the other.
struct Both {
    net: Net<World, Ram>,
    one: Peer<World>,
    world: World,
    paths: BTreeMap<u64, u64>,
    back: BTreeMap<u64, u64>,
    atoll: bool,
}

impl Both {
    fn new(version: &str, limits: Limits) -> Both {
        let mut b = Both {
            net: Net::of_world(limits).attached(version),
            one: Peer::new(Limits { msize: 8192, ..Limits::default() }),
            world: World::joined(),
            paths: BTreeMap::new(),
            back: BTreeMap::new(),
            atoll: version.ends_with("atoll"),
        };
        b.one.greet(&mut b.world, 8192, version);
        assert_eq!(b.one.errno(&mut b.world, &attach(0)), 0);
        b
    }

    /// That a path of the switch's is one of the tree's, always the same.
    fn same_path(&mut self, ours: &[u8], theirs: &[u8]) {
        let path = |b: &[u8]| u64::from_le_bytes(b[5..13].try_into().unwrap());
        let (ours_path, theirs_path) = (path(ours), path(theirs));
        assert_eq!(ours[0] & qid_type::MOUNT, 0);
        assert_eq!(*self.paths.entry(ours_path).or_insert(theirs_path), theirs_path);
        assert_eq!(*self.back.entry(theirs_path).or_insert(ours_path), ours_path);
        assert_eq!(ours[0], theirs[0]);
        // A mount point that is only passed by has the version of what lies there locally.
        if !self.net.mounts.contains(&theirs_path) {
            assert_eq!(ours[..5], theirs[..5]);
        }
    }

    fn compare(&mut self, ours: &[u8], theirs: &[u8], op: Op) {
        let about = format!("{op:?}");
        let (Ok(a), Ok(b)) = (Rmsg::decode(ours), Rmsg::decode(theirs)) else {
            panic!("{about}: {ours:?} {theirs:?}");
        };
        if let (Rmsg::Lerror { errno: a, text }, Rmsg::Lerror { errno: b, .. }) = (a, b) {
            // Which of two reasons there is to say no, the one tree may say otherwise.
            let apart = |e| e == Errno::EXDEV.0;
            let bad = matches!(op.kind, 17 | 25..=28) && a == Errno::EBADF.0;
            assert!(a == b || apart(a) || apart(b) || bad, "{about}: {a} {b}");
            assert_eq!(text.is_some(), self.atoll);
            return;
        }
        assert_eq!(ours.len(), theirs.len(), "{about}: {a:?} {b:?}");
        assert_eq!(ours[..7], theirs[..7], "{about}: {a:?} {b:?}");
        let places: Vec<usize> = match ours[4] - 1 {
            ty::TLOPEN | ty::TLCREATE | ty::TSYMLINK | ty::TMKNOD | ty::TMKDIR | ty::TATTACH => {
                vec![7]
            }
            ty::TGETATTR => vec![15],
            ty::TWALK => (9..ours.len()).step_by(13).collect(),
            ty::TREADDIR => {
                let mut at = 11;
                let mut places = vec![];
                for entry in entries(&ours[11..]) {
                    places.push(at);
                    at += 13 + 8 + 1 + 2 + entry.name.len();
                }
                places
            }
            _ => vec![],
        };
        let (mut ours, mut theirs) = (ours.to_vec(), theirs.to_vec());
        for at in places {
            self.same_path(&ours[at..at + 13], &theirs[at..at + 13]);
            ours[at..at + 13].fill(0);
            theirs[at..at + 13].fill(0);
        }
        assert_eq!(ours, theirs, "{about}: {a:?} {b:?}");
    }

    /// Asks both for all of it at once.
    fn ask(&mut self, ops: &[Op]) {
        let all: Vec<u8> =
            (2..).zip(ops).flat_map(|(tag, op)| request(tag, *op, self.atoll)).collect();
        let mut ours = self.net.raw(&all);
        let mut theirs = self.one.raw(&mut self.world, &all);
        assert_eq!(ours.len(), theirs.len(), "{ops:?}: {ours:?}");
        ours.sort_by_key(|f| tag_of(f));
        theirs.sort_by_key(|f| tag_of(f));
        for ((a, b), op) in ours.iter().zip(&theirs).zip(ops) {
            self.compare(a, b, *op);
        }
    }

    fn end(mut self) {
        self.net.close();
        self.one.s.close(&mut self.world);
        let guests: usize = self.net.guests.iter().map(references).sum();
        assert_eq!(self.net.here.references() + guests, self.world.references());
    }
}

fn sizes() -> impl Strategy<Value = Limits> {
    prop_oneof![Just(8192u32), Just(8192), Just(1 << 16)]
        .prop_map(|msize| Limits { msize, ..Limits::default() })
}

proptest! {
    #[test]
    fn one_request_after_the_other(
        ops in prop::collection::vec(op(0..36), 1..80),
        atoll in any::<bool>(),
        limits in sizes(),
        chunk in prop_oneof![Just(usize::MAX), 1..40usize],
    ) {
        let mut b = Both::new(if atoll { "9P2000.L.atoll" } else { "9P2000.L" }, limits);
        b.net.chunk = chunk;
        for op in ops {
            b.ask(&[op]);
        }
        b.end();
    }

    /// Nobody waits for an answer before the next request, as long as none of them
    /// changes what another finds.
    #[test]
    fn many_requests_at_once(
        ops in prop::collection::vec(prop::collection::vec(op(0..19), 1..8), 1..30),
        chunk in prop_oneof![Just(usize::MAX), 1..40usize],
    ) {
        let mut b = Both::new("9P2000.L.atoll", Limits::default());
        b.net.chunk = chunk;
        for ops in ops {
            // A number is given again only when the answer is there.
            let makes = |op: &Op| matches!(op.kind, 0..=7 | 17).then_some(op.newfid);
            let twice = |i: usize| ops[..i].iter().any(|o| makes(o) == makes(&ops[i]));
            let once = |i: &usize| makes(&ops[*i]).is_none() || !twice(*i);
            b.ask(&(0..ops.len()).filter(once).map(|i| ops[i]).collect::<Vec<_>>());
        }
        b.end();
    }
}
