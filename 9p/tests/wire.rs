//! Messages: round trips, against bytes written by hand, and against any bytes.

mod common;

use atoll_9p::dialect::Dialect;
use atoll_9p::msg::{Rmsg, SetAttr, Stat9, Tmsg, Wstat, encode_walk, entries};
use atoll_9p::types::{Lock, LockKind, LockStatus, OpId, OpenFlags, Qid, Stat, StatFs, Time};
use atoll_9p::wire::{BadFrame, Front, front};
use common::*;
use proptest::prelude::*;

/// Bytes from hexadecimal; blanks are for people.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|d| (d[0] * 16 + d[1]) as u8).collect()
}

#[test]
fn requests_are_the_bytes_of_the_manual() {
    for (tag, m, bytes) in [
        (
            0xffff,
            Tmsg::Version { msize: 8192, version: "9P2000.L" },
            "15000000 64 ffff 00200000 0800 3950323030302e4c",
        ),
        (
            1,
            Tmsg::Attach { fid: 2, afid: u32::MAX, uname: "me", aname: "/x", n_uname: 1000 },
            "1b000000 68 0100 02000000 ffffffff 0200 6d65 0200 2f78 e8030000",
        ),
        (
            1,
            Tmsg::Auth { afid: 2, uname: "a", aname: "", n_uname: u32::MAX },
            "14000000 66 0100 02000000 0100 61 0000 ffffffff",
        ),
        (3, Tmsg::Flush { oldtag: 0x201 }, "09000000 6c 0300 0102"),
        (4, Tmsg::Lopen { fid: 5, flags: OpenFlags(0o1001) }, "0f000000 0c 0400 05000000 01020000"),
        (4, Tmsg::Getattr { fid: 5, mask: 0x7ff }, "13000000 18 0400 05000000 ff07000000000000"),
        (
            4,
            Tmsg::Setattr {
                fid: 5,
                set: SetAttr {
                    valid: 8,
                    mode: 0o644,
                    uid: 1,
                    gid: 2,
                    size: 0x10,
                    atime: Time { sec: 3, nsec: 4 },
                    mtime: Time { sec: 5, nsec: 6 },
                },
            },
            "43000000 1a 0400 05000000 08000000 a4010000 01000000 02000000 1000000000000000
             0300000000000000 0400000000000000 0500000000000000 0600000000000000",
        ),
        (
            4,
            Tmsg::Xattrwalk { fid: 1, newfid: 2, name: "u" },
            "12000000 1e 0400 01000000 02000000 0100 75",
        ),
        (
            4,
            Tmsg::Readdir { fid: 1, offset: 3, count: 4096 },
            "17000000 28 0400 01000000 0300000000000000 00100000",
        ),
        (
            4,
            Tmsg::Read { fid: 1, offset: 1 << 33, count: 4096 },
            "17000000 74 0400 01000000 0000000002000000 00100000",
        ),
        (
            4,
            Tmsg::Write { fid: 1, offset: 3, data: b"hey", op: None },
            "1a000000 76 0400 01000000 0300000000000000 03000000 686579",
        ),
        (4, Tmsg::Fsync { fid: 1 }, "0b000000 32 0400 01000000"),
        (4, Tmsg::Statfs { fid: 1 }, "0b000000 08 0400 01000000"),
        (4, Tmsg::Clunk { fid: 1 }, "0b000000 78 0400 01000000"),
        (4, Tmsg::Remove { fid: 1 }, "0b000000 7a 0400 01000000"),
        (
            4,
            Tmsg::Lcreate { fid: 1, name: "f", flags: OpenFlags(0o101), mode: 0o644, gid: 7 },
            "1a000000 0e 0400 01000000 0100 66 41000000 a4010000 07000000",
        ),
        (
            4,
            Tmsg::Symlink { fid: 1, name: "f", target: "to", gid: 7 },
            "16000000 10 0400 01000000 0100 66 0200 746f 07000000",
        ),
        (
            4,
            Tmsg::Mknod { dfid: 1, name: "f", mode: 0o20600, major: 5, minor: 1, gid: 7 },
            "1e000000 12 0400 01000000 0100 66 80210000 05000000 01000000 07000000",
        ),
        (
            4,
            Tmsg::Rename { fid: 1, dfid: 2, name: "f" },
            "12000000 14 0400 01000000 02000000 0100 66",
        ),
        (4, Tmsg::Readlink { fid: 1 }, "0b000000 16 0400 01000000"),
        (
            4,
            Tmsg::Xattrcreate { fid: 1, name: "u", size: 3, flags: 2 },
            "1a000000 20 0400 01000000 0100 75 0300000000000000 02000000",
        ),
        (
            4,
            Tmsg::Lock {
                fid: 1,
                flags: 1,
                lock: Lock { kind: LockKind::Write, start: 2, length: 3, pid: 4, client: "h" },
            },
            "27000000 34 0400 01000000 01 01000000 0200000000000000 0300000000000000 04000000
             0100 68",
        ),
        (
            4,
            Tmsg::Getlock {
                fid: 1,
                lock: Lock { kind: LockKind::Read, start: 2, length: 0, pid: 4, client: "h" },
            },
            "23000000 36 0400 01000000 00 0200000000000000 0000000000000000 04000000 0100 68",
        ),
        (
            4,
            Tmsg::Link { dfid: 1, fid: 2, name: "f" },
            "12000000 46 0400 01000000 02000000 0100 66",
        ),
        (
            4,
            Tmsg::Mkdir { dfid: 1, name: "f", mode: 0o755, gid: 7 },
            "16000000 48 0400 01000000 0100 66 ed010000 07000000",
        ),
        (
            4,
            Tmsg::Renameat { olddirfid: 1, oldname: "a", newdirfid: 2, newname: "b" },
            "15000000 4a 0400 01000000 0100 61 02000000 0100 62",
        ),
        (
            4,
            Tmsg::Unlinkat { dirfd: 1, name: "a", flags: 0x200 },
            "12000000 4c 0400 01000000 0100 61 00020000",
        ),
    ] {
        assert_eq!(frame(tag, &m), hex(bytes), "{m:?}");
        assert_eq!(Tmsg::decode(&hex(bytes)), Ok(m));
    }
    let mut walk = Vec::new();
    assert_eq!(encode_walk(9, 1, 2, "/ab//./c/", &mut walk), Ok(2));
    assert_eq!(walk, hex("18000000 6e 0900 01000000 02000000 0200 0200 6162 0100 63"));
    let newer = hex("0f000000 32 0400 01000000 01000000");
    assert_eq!(Tmsg::decode(&newer), Ok(Tmsg::Fsync { fid: 1 }));
}

#[test]
fn requests_of_one_dialect_are_the_bytes_of_the_manual() {
    let keep = "ffff ffffffff ff ffffffff ffffffffffffffff";
    let wstat = format!(
        "3f000000 7e 0400 01000000 3200 3000 {keep} ffffffff ffffffff ffffffff 0500000000000000
         0100 6e 0000 0000 0000"
    );
    for (dialect, m, bytes) in [
        (
            Dialect::Plain,
            Tmsg::Auth { afid: 2, uname: "a", aname: "", n_uname: u32::MAX },
            "10000000 66 0400 02000000 0100 61 0000",
        ),
        (
            Dialect::Plain,
            Tmsg::Attach { fid: 1, afid: 2, uname: "a", aname: "b", n_uname: u32::MAX },
            "15000000 68 0400 01000000 02000000 0100 61 0100 62",
        ),
        (Dialect::Plain, Tmsg::Open { fid: 1, mode: 0x11 }, "0c000000 70 0400 01000000 11"),
        (
            Dialect::Plain,
            Tmsg::Create { fid: 1, name: "d", perm: 0x8000_01ed, mode: 0 },
            "13000000 72 0400 01000000 0100 64 ed010080 00",
        ),
        (Dialect::Plain, Tmsg::Stat { fid: 1 }, "0b000000 7c 0400 01000000"),
        (
            Dialect::Plain,
            Tmsg::Wstat {
                fid: 1,
                stat: Wstat { length: Some(5), name: Some("n"), ..Wstat::default() },
            },
            &wstat,
        ),
        (
            Dialect::Atoll,
            Tmsg::Write {
                fid: 1,
                offset: 3,
                data: b"hey",
                op: Some(OpId { client: 9, seq: 2, again: true }),
            },
            "2b000000 76 0400 01000000 0300000000000000 03000000 686579
             0900000000000000 0200000000000000 01",
        ),
    ] {
        let mut out = Vec::new();
        m.encode_in(dialect, 4, &mut out);
        assert_eq!(out, hex(bytes), "{m:?}");
        assert_eq!(Tmsg::decode_in(dialect, &out), Ok(m));
    }
}

const QID: &str = "80 01000000 0200000000000000";
const DIR: Qid = Qid { ty: 0x80, version: 1, path: 2 };

/// Answers by hand: ours are written by the server, which the session's tests read.
fn answers() -> Vec<(Vec<u8>, Rmsg<'static>)> {
    let stat = Stat {
        qid: DIR,
        mode: 0o040_755,
        uid: 1,
        gid: 2,
        nlink: 3,
        rdev: 0,
        size: 4,
        blocks: 1,
        atime: Time::default(),
        mtime: Time { sec: 0x600, nsec: 7 },
        ctime: Time::from_secs(8),
    };
    let z = "0000000000000000";
    let n = |i: u8| format!("{i:02x}00000000000000");
    let getattr = format!(
        "a0000000 19 0100 ff07000000000000 {QID} ed410000 01000000 02000000 {} {z} {}
         0010000000000000 {} {z}{z} 0006000000000000 {} {}{z} {z}{z} {z} {z}",
        n(3),
        n(4),
        n(1),
        n(7),
        n(8),
    );
    let fs = StatFs {
        ty: 0x0102_1997,
        bsize: 4096,
        blocks: 5,
        bfree: 4,
        bavail: 2,
        files: 3,
        ffree: 6,
        fsid: 7,
        namelen: 255,
    };
    let statfs = format!(
        "43000000 09 0100 97190201 00100000 {} {} {} {} {} {} ff000000",
        n(5),
        n(4),
        n(2),
        n(3),
        n(6),
        n(7)
    );
    vec![
        (hex("0b000000 07 0100 02000000"), Rmsg::Lerror { errno: 2, text: None }),
        (hex("0e000000 07 0100 02000000 0100 78"), Rmsg::Lerror { errno: 2, text: Some("x") }),
        (
            hex("15000000 65 ffff 00200000 0800 3950323030302e4c"),
            Rmsg::Version { msize: 8192, version: "9P2000.L" },
        ),
        (hex(&format!("14000000 69 0100 {QID}")), Rmsg::Attach { qid: DIR }),
        (hex("07000000 6d 0100"), Rmsg::Flush),
        (hex("09000000 6f 0100 0000"), Rmsg::Walk { count: 0, last: None }),
        (
            hex(&format!("23000000 6f 0100 0200 00000000000000000000000000 {QID}")),
            Rmsg::Walk { count: 2, last: Some(DIR) },
        ),
        (hex(&format!("18000000 0d 0100 {QID} 00040000")), Rmsg::Lopen { qid: DIR, iounit: 1024 }),
        (hex(&getattr), Rmsg::Getattr { stat }),
        (hex("07000000 1b 0100"), Rmsg::Setattr),
        (
            hex(&format!("24000000 29 0100 19000000 {QID} 0500000000000000 04 0100 61")),
            Rmsg::Readdir {
                data: &[
                    0x80, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, b'a',
                ],
            },
        ),
        (hex("07000000 33 0100"), Rmsg::Fsync),
        (hex(&statfs), Rmsg::Statfs { fs }),
        (hex("0e000000 75 0100 03000000 686579"), Rmsg::Read { data: b"hey", next: None }),
        (hex("0b000000 77 0100 03000000"), Rmsg::Write { count: 3 }),
        (hex("07000000 79 0100"), Rmsg::Clunk),
        (hex("07000000 7b 0100"), Rmsg::Remove),
        (
            hex("16000000 75 0100 03000000 686579 0800000000000000"),
            Rmsg::Read { data: b"hey", next: Some(8) },
        ),
        (
            hex(&format!("18000000 0f 0100 {QID} 00040000")),
            Rmsg::Lcreate { qid: DIR, iounit: 1024 },
        ),
        (hex(&format!("14000000 11 0100 {QID}")), Rmsg::Symlink { qid: DIR }),
        (hex(&format!("14000000 13 0100 {QID}")), Rmsg::Mknod { qid: DIR }),
        (hex("07000000 15 0100"), Rmsg::Rename),
        (hex("0b000000 17 0100 0200 746f"), Rmsg::Readlink { target: "to" }),
        (hex("0f000000 1f 0100 0300000000000000"), Rmsg::Xattrwalk { size: 3 }),
        (hex("07000000 21 0100"), Rmsg::Xattrcreate),
        (hex("08000000 35 0100 01"), Rmsg::Lock { status: LockStatus::Blocked }),
        (
            hex("1f000000 37 0100 02 0100000000000000 0200000000000000 03000000 0100 68"),
            Rmsg::Getlock {
                lock: Lock { kind: LockKind::Unlock, start: 1, length: 2, pid: 3, client: "h" },
            },
        ),
        (hex("07000000 47 0100"), Rmsg::Link),
        (hex(&format!("14000000 49 0100 {QID}")), Rmsg::Mkdir { qid: DIR }),
        (hex("07000000 4b 0100"), Rmsg::Renameat),
        (hex("07000000 4d 0100"), Rmsg::Unlinkat),
        (hex("0c000000 6b 0100 0300 6e6f21"), Rmsg::Error { text: "no!" }),
        (hex(&format!("14000000 67 0100 {QID}")), Rmsg::Auth { qid: DIR }),
        (hex(&format!("18000000 71 0100 {QID} 00040000")), Rmsg::Open { qid: DIR, iounit: 1024 }),
        (hex(&format!("18000000 73 0100 {QID} 00040000")), Rmsg::Create { qid: DIR, iounit: 1024 }),
        (
            hex(&format!(
                "3e000000 7d 0100 3500 3300 0000 00000000 {QID} ed010080 01000000 02000000 {z}
                 0100 64 0100 75 0100 67 0100 6d"
            )),
            Rmsg::Stat {
                stat: Stat9 {
                    qid: DIR,
                    mode: 0x8000_01ed,
                    atime: 1,
                    mtime: 2,
                    length: 0,
                    name: "d",
                    uid: "u",
                    gid: "g",
                    muid: "m",
                },
            },
        ),
        (hex("07000000 7f 0100"), Rmsg::Wstat),
    ]
}

#[test]
fn answers_are_the_bytes_of_the_manual() {
    for (bytes, m) in answers() {
        assert_eq!(bytes.len(), bytes[0].into(), "{m:?}");
        assert_eq!(Rmsg::decode(&bytes), Ok(m));
    }
    let (all, _) = &answers()[10];
    let Ok(Rmsg::Readdir { data }) = Rmsg::decode(all) else { panic!() };
    let e = entries(data).next().unwrap();
    assert_eq!((e.qid, e.cookie, e.ty, e.name), (DIR, 5, 4, "a"));
}

#[test]
fn answers_too_short_or_too_long_are_refused() {
    for (bytes, m) in answers() {
        for n in 0..bytes.len() {
            let fewer = Rmsg::decode(&bytes[..n]);
            // What ends with something that may be left out is whole without it.
            let whole = matches!(m, Rmsg::Lerror { text: Some(_), .. } if n == 11)
                || matches!(m, Rmsg::Read { next: Some(_), .. } if n + 8 == bytes.len());
            if !whole {
                assert!(fewer.is_err(), "{m:?} cut at {n}");
            }
        }
        for more in 1..20 {
            let mut long = bytes.clone();
            long.resize(bytes.len() + more, 1);
            // Eight bytes more are the position behind a sequenced read's data.
            if !matches!(m, Rmsg::Read { next: None, .. } if more == 8) {
                assert!(Rmsg::decode(&long).is_err(), "{m:?} and {more}");
            }
        }
    }
}

/// The fields of any request, strings and all.
#[derive(Debug, Clone)]
struct Fields(usize, [u32; 3], u64, String, String, Vec<u8>);

fn request<'a>(f: &'a Fields, walk: &'a [u8]) -> Tmsg<'a> {
    let Fields(kind, [a, b, c], long, s, t, data) = f;
    let (fid, b, c, offset) = (*a, *b, *c, *long);
    match kind {
        0 => Tmsg::Version { msize: b, version: s },
        1 => Tmsg::Auth { afid: fid, uname: s, aname: t, n_uname: b },
        2 => Tmsg::Attach { fid, afid: b, uname: s, aname: t, n_uname: c },
        3 => Tmsg::Flush { oldtag: b as u16 },
        4 => match Tmsg::decode(walk) {
            Ok(Tmsg::Walk { names, .. }) => Tmsg::Walk { fid, newfid: b, names },
            other => panic!("{other:?}"),
        },
        5 => Tmsg::Lopen { fid, flags: OpenFlags(b) },
        6 => Tmsg::Getattr { fid, mask: offset },
        7 => Tmsg::Setattr {
            fid,
            set: SetAttr { valid: b, mode: c, size: offset, ..SetAttr::default() },
        },
        8 => Tmsg::Xattrwalk { fid, newfid: b, name: s },
        9 => Tmsg::Readdir { fid, offset, count: b },
        10 => Tmsg::Fsync { fid },
        11 => Tmsg::Statfs { fid },
        12 => Tmsg::Read { fid, offset, count: b },
        13 => Tmsg::Write { fid, offset, data, op: None },
        14 => Tmsg::Clunk { fid },
        15 => Tmsg::Remove { fid },
        16 => Tmsg::Lcreate { fid, name: s, flags: OpenFlags(b), mode: c, gid: b ^ c },
        17 => Tmsg::Symlink { fid, name: s, target: t, gid: b },
        18 => Tmsg::Mknod { dfid: fid, name: s, mode: b, major: c, minor: b ^ c, gid: 9 },
        19 => Tmsg::Rename { fid, dfid: b, name: s },
        20 => Tmsg::Readlink { fid },
        21 => Tmsg::Xattrcreate { fid, name: s, size: offset, flags: b },
        22 => Tmsg::Lock { fid, flags: b, lock: lock(c, offset, t) },
        23 => Tmsg::Getlock { fid, lock: lock(c, offset, t) },
        24 => Tmsg::Link { dfid: fid, fid: b, name: s },
        25 => Tmsg::Mkdir { dfid: fid, name: s, mode: b, gid: c },
        26 => Tmsg::Renameat { olddirfid: fid, oldname: s, newdirfid: b, newname: t },
        27 => Tmsg::Unlinkat { dirfd: fid, name: s, flags: b },
        28 => {
            let op = Some(OpId { client: offset, seq: u64::from(c), again: b & 1 == 1 });
            Tmsg::Write { fid, offset, data, op }
        }
        29 => Tmsg::Open { fid, mode: b as u8 },
        30 => Tmsg::Create { fid, name: s, perm: b, mode: c as u8 },
        31 => Tmsg::Stat { fid },
        _ => {
            let some = |bit: u32, v: u32| (b & bit != 0).then_some(v & !1);
            let text = |s: &'a str| (!s.is_empty()).then_some(s);
            let stat = Wstat {
                mode: some(1, c),
                atime: some(2, c),
                mtime: some(4, c),
                length: (b & 8 != 0).then_some(offset & !1),
                name: text(s),
                uid: text(t),
                gid: text(s),
            };
            Tmsg::Wstat { fid, stat }
        }
    }
}

/// How many requests the above makes, and which of them are of one dialect alone.
const KINDS: usize = 33;

fn dialect(kind: usize) -> Dialect {
    match kind {
        28 => Dialect::Atoll,
        29.. => Dialect::Plain,
        _ => Dialect::L,
    }
}

fn lock(kind: u32, start: u64, client: &str) -> Lock<'_> {
    let kind = LockKind::from_wire((kind % 3) as u8).unwrap();
    Lock { kind, start, length: start ^ 5, pid: 77, client }
}

fn fields() -> impl Strategy<Value = (Fields, Vec<u8>)> {
    let fields = (
        0..KINDS,
        any::<[u32; 3]>(),
        any::<u64>(),
        ".{0,20}",
        ".{0,20}",
        prop::collection::vec(any::<u8>(), 0..40),
    )
        .prop_map(|(k, n, l, s, t, d)| Fields(k, n, l, s, t, d));
    let names = prop::collection::vec(".{0,9}", 0..=16).prop_map(|names| {
        let names: Vec<_> = names.iter().map(|n| n.as_bytes()).collect();
        walk_frame(0, 0, 0, &names)
    });
    (fields, names)
}

proptest! {
    #[test]
    fn every_request_survives_the_trip((f, walk) in fields(), tag in any::<u16>()) {
        let (m, dialect) = (request(&f, &walk), dialect(f.0));
        let mut bytes = Vec::new();
        m.encode_in(dialect, tag, &mut bytes);
        prop_assert_eq!(front(&bytes, u32::MAX), Front::Frame(bytes.len()));
        prop_assert_eq!(atoll_9p::msg::tag(&bytes), tag);
        prop_assert_eq!(Tmsg::decode_in(dialect, &bytes), Ok(m));
        for n in 0..bytes.len() {
            let unnamed = matches!(m, Tmsg::Write { op: Some(_), .. }) && n + OpId::SIZE == bytes.len();
            prop_assert!(unnamed || Tmsg::decode_in(dialect, &bytes[..n]).is_err());
        }
        for more in [1, 2, 3, 5, 8] {
            let mut long = bytes.clone();
            long.resize(bytes.len() + more, 0);
            prop_assert_eq!(Tmsg::decode_in(dialect, &long), Err(BadFrame::Length));
        }
        // What is of one dialect alone is nothing in the others.
        match dialect {
            Dialect::Plain => prop_assert_eq!(Tmsg::decode(&bytes), Err(BadFrame::Type(m.ty()))),
            Dialect::Atoll => prop_assert_eq!(Tmsg::decode(&bytes), Err(BadFrame::Length)),
            Dialect::L => {}
        }
        if m.ty() < 100 {
            prop_assert_eq!(Tmsg::decode_in(Dialect::Plain, &bytes), Err(BadFrame::Type(m.ty())));
        }
        if let Tmsg::Walk { names, .. } = m {
            prop_assert_eq!(names.iter().count(), names.len());
        }
    }

    #[test]
    fn no_bytes_make_decoding_panic(ty in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = raw(ty, 1, &body);
        for dialect in [Dialect::Plain, Dialect::L, Dialect::Atoll] {
            if let Ok(m) = Tmsg::decode_in(dialect, &bytes) {
                // Whatever is taken means the same when it is sent on.
                let mut again = Vec::new();
                m.encode_in(dialect, 1, &mut again);
                prop_assert_eq!(Tmsg::decode_in(dialect, &again), Ok(m));
            }
        }
        let _ = Tmsg::decode(&body);
        let _ = Rmsg::decode(&body);
        if let Ok(Rmsg::Readdir { data }) = Rmsg::decode(&bytes) {
            entries(data).count();
        }
        let n = entries(&body).count();
        prop_assert!(n <= body.len() / 24);
    }

    #[test]
    fn known_types_with_any_body_do_not_panic(kind in 0..KINDS, flip in 7..60usize, to in any::<u8>(), (f, walk) in fields()) {
        let mut bytes = Vec::new();
        let m = Fields(kind, f.1, f.2, f.3, f.4, f.5);
        request(&m, &walk).encode_in(dialect(kind), 1, &mut bytes);
        let at = flip % bytes.len();
        bytes[at] = to;
        let _ = Tmsg::decode_in(dialect(kind), &bytes);
        let _ = Rmsg::decode(&bytes);
    }
}
