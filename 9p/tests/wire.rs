//! Messages: round trips, against bytes written by hand, and against any bytes.

mod common;

use atoll_9p::msg::{Rmsg, SetAttr, Tmsg, encode_walk, entries};
use atoll_9p::types::{OpenFlags, Qid, Stat, StatFs, Time};
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
            // An error with its text cut off whole is one without text.
            if !matches!(m, Rmsg::Lerror { text: Some(_), .. } if n == 11) {
                assert!(fewer.is_err(), "{m:?} cut at {n}");
            }
        }
        for more in 1..20 {
            let mut long = bytes.clone();
            long.resize(bytes.len() + more, 1);
            // Eight bytes more are the position behind a sequenced read's data.
            if !matches!(m, Rmsg::Read { .. } if more == 8) {
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
        _ => Tmsg::Remove { fid },
    }
}

fn fields() -> impl Strategy<Value = (Fields, Vec<u8>)> {
    let fields = (
        0..16usize,
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
        let m = request(&f, &walk);
        let bytes = frame(tag, &m);
        prop_assert_eq!(front(&bytes, u32::MAX), Front::Frame(bytes.len()));
        prop_assert_eq!(atoll_9p::msg::tag(&bytes), tag);
        prop_assert_eq!(Tmsg::decode(&bytes), Ok(m));
        for n in 0..bytes.len() {
            prop_assert!(Tmsg::decode(&bytes[..n]).is_err());
        }
        for more in [1, 2, 3, 5, 8] {
            let mut long = bytes.clone();
            long.resize(bytes.len() + more, 0);
            prop_assert_eq!(Tmsg::decode(&long), Err(BadFrame::Length));
        }
        if let Tmsg::Walk { names, .. } = m {
            prop_assert_eq!(names.iter().count(), names.len());
        }
    }

    #[test]
    fn no_bytes_make_decoding_panic(ty in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = raw(ty, 1, &body);
        if let Ok(m) = Tmsg::decode(&bytes) {
            // Whatever is taken means the same when it is sent on.
            let again = frame(1, &m);
            prop_assert_eq!(Tmsg::decode(&again), Ok(m));
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
    fn known_types_with_any_body_do_not_panic(kind in 0..16usize, flip in 7..60usize, to in any::<u8>(), (f, walk) in fields()) {
        let mut bytes = frame(1, &request(&Fields(kind, f.1, f.2, f.3, f.4, f.5), &walk));
        let at = flip % bytes.len();
        bytes[at] = to;
        let _ = Tmsg::decode(&bytes);
        let _ = Rmsg::decode(&bytes);
    }
}
