//! What a server session does with what real and hostile clients send.

mod common;

use atoll_9p::dialect::Dialect;
use atoll_9p::fault::Errno;
use atoll_9p::msg::{Rmsg, SetAttr, Tmsg, entries};
use atoll_9p::server::Limits;
use atoll_9p::types::{OpenFlags, setattr};
use atoll_9p::wire::{NOFID, NOTAG};
use common::*;

const RD: OpenFlags = OpenFlags::RDONLY;
const RW: OpenFlags = OpenFlags::RDWR;

fn start() -> (Counting, Peer<Counting>) {
    let mut t = Counting::default();
    let p = Peer::attached(&mut t, Limits::default());
    (t, p)
}

fn version(answer: &[u8]) -> (u32, String) {
    match Rmsg::decode(answer).unwrap() {
        Rmsg::Version { msize, version } => (msize, version.into()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tauth_says_that_there_is_nothing_to_authenticate_to() {
    let (mut t, mut p) = start();
    let auth = Tmsg::Auth { afid: 9, uname: "u", aname: "", n_uname: 0 };
    assert_eq!(p.errno(&mut t, &auth), Errno::ENOENT.0);
}

#[test]
fn an_attach_that_claims_authentication_is_refused() {
    let (mut t, mut p) = start();
    let m = Tmsg::Attach { fid: 5, afid: 9, uname: "u", aname: "", n_uname: 0 };
    assert_eq!(p.errno(&mut t, &m), Errno::EBADF.0);
}

#[test]
fn a_version_is_answered_by_its_base() {
    let mut t = Counting::default();
    for (asked, told) in [
        ("9P2000.L", "9P2000.L"),
        ("9P2000.L.x", "9P2000.L"),
        ("9P2000.L.atoll", "9P2000.L.atoll"),
        ("9P2000.L.atoll.2", "9P2000.L"),
        ("9P2000", "9P2000"),
        ("9P2000.u", "9P2000"),
        ("9P2000.x.L", "9P2000"),
        ("9P2000.Linux", "9P2000"),
        ("", "unknown"),
    ] {
        let mut p = Peer::new(Limits::default());
        assert_eq!(version(&p.greet(&mut t, 8192, asked)).1, told, "{asked}");
        assert_eq!(p.s.dialect().is_none(), told == "unknown");
    }
}

#[test]
fn msize_is_clamped_above_and_refused_below() {
    let mut t = Counting::default();
    for (asked, told) in [(512, 512), (8192, 8192), (65_536, 65_536), (u32::MAX, 65_536)] {
        let mut p = Peer::new(Limits::default());
        assert_eq!(version(&p.greet(&mut t, asked, "9P2000.L")).0, told);
    }
    for asked in [0, 1, 11, 64, 511] {
        let mut p: Peer<Counting> = Peer::new(Limits::default());
        assert_eq!(errno(&p.greet(&mut t, asked, "9P2000.L")), Errno::EMSGSIZE.0);
        assert_eq!(p.s.dialect(), None);
        assert_eq!(p.errno(&mut t, &attach(0)), Errno::EPROTO.0);
        assert_eq!(version(&p.greet(&mut t, 512, "9P2000.L")).0, 512);
    }
}

#[test]
fn a_version_in_mid_session_starts_anew() {
    let (mut t, mut p) = start();
    p.open(&mut t, 1, "blk", RD);
    assert_eq!(p.read(&mut t, 7, 1), None);
    assert_eq!((p.s.fids(), p.s.waiting()), (2, 1));
    p.greet(&mut t, 512, "9P2000.L.atoll");
    assert_eq!((p.s.fids(), p.s.waiting(), p.s.dialect()), (0, 0, Some(Dialect::Atoll)));
    t.assert_empty();
    t.ready = 1;
    p.s.wake(BLK);
    assert!(p.late(&mut t).is_empty());
    p.greet(&mut t, 512, "nonsense");
    assert_eq!(p.errno(&mut t, &attach(0)), Errno::EPROTO.0);
}

#[test]
fn frames_behind_a_version_obey_the_size_that_it_agreed_on() {
    let mut t = Counting::default();
    let mut bytes = frame(NOTAG, &Tmsg::Version { msize: 60_000, version: "9P2000.L" });
    bytes.extend(frame(1, &attach(0)));
    let write =
        |tag, n| frame(tag, &Tmsg::Write { fid: 9, offset: 0, data: &vec![0; n], op: None });
    bytes.extend(write(2, 50_000));
    bytes.extend(frame(NOTAG, &Tmsg::Version { msize: 512, version: "9P2000.L" }));
    bytes.extend(write(3, 400));
    bytes.extend(write(4, 600));
    bytes.extend(write(5, 1));
    let mut p = Peer::new(Limits::default());
    let answers: Vec<_> =
        p.raw(&mut t, &bytes).iter().map(|f| (f[4], tag_of(f), f[4] == 7)).collect();
    assert_eq!(
        answers,
        [
            (101, NOTAG, false),
            (105, 1, false),
            (7, 2, true),
            (101, NOTAG, false),
            (7, 3, true),
            (7, 4, true)
        ]
    );
    assert!(p.s.is_dead());
    p.s.close(&mut t);
    t.assert_empty();
}

#[test]
fn nothing_is_served_before_a_version() {
    let mut t = Counting::default();
    let mut p = Peer::new(Limits::default());
    assert_eq!(p.errno(&mut t, &attach(0)), Errno::EPROTO.0);
    assert_eq!(p.errno(&mut t, &Tmsg::Flush { oldtag: 3 }), Errno::EPROTO.0);
    assert_eq!(errno(&p.one(&mut t, &raw(99, 1, &[]))), Errno::EOPNOTSUPP.0);
    assert!(!p.s.is_dead());
}

#[test]
fn dot_dot_at_the_root_stays() {
    let (mut t, mut p) = start();
    assert_eq!(p.walk(&mut t, 0, 1, "../../.."), 0);
    let Rmsg::Getattr { stat } =
        Rmsg::decode(&p.ask(&mut t, &Tmsg::Getattr { fid: 1, mask: 0 })).unwrap()
    else {
        panic!()
    };
    assert_eq!(stat.qid.path, 0);
}

#[test]
fn dot_dot_never_leaves_what_was_attached() {
    let (mut t, mut p) = start();
    let m = Tmsg::Attach { fid: 1, afid: NOFID, uname: "", aname: "d", n_uname: 0 };
    assert_eq!(p.errno(&mut t, &m), 0);
    assert_eq!(p.walk(&mut t, 1, 2, "../file"), 0); // part of the way
    assert_eq!(p.walk(&mut t, 1, 3, "e/../../.."), 0);
    assert_eq!(p.walk(&mut t, 3, 4, ".."), 0);
    assert_eq!(p.walk(&mut t, 4, 4, ".."), 0);
    assert_eq!(p.walk(&mut t, 4, 5, "e"), 0);
    assert_eq!(p.walk(&mut t, 5, 6, "../../file"), 0); // part of the way
    assert_eq!(p.walk(&mut t, 5, 7, "../../../d"), 0);
    for fid in [2, 6, 7] {
        assert_eq!(p.walk(&mut t, fid, 8, ""), Errno::EBADF.0, "{fid} was never made");
    }
    p.s.close(&mut t);
    t.assert_empty();
}

#[test]
fn names_that_are_none_are_refused() {
    let (mut t, mut p) = start();
    for name in [&b""[..], b"a/b", b"/", b"a\0b", &[b'a'; 256], b"\xff"] {
        let answer = p.one(&mut t, &walk_frame(1, 0, 1, &[name]));
        assert!(matches!(errno(&answer), 22 | 36), "{name:?}");
    }
    assert_eq!(p.s.fids(), 1);
    assert_eq!(p.walk(&mut t, 0, 1, "."), 0, "our own client leaves it out");
}

#[test]
fn at_most_sixteen_names_are_walked() {
    let (mut t, mut p) = start();
    assert_eq!(errno(&p.one(&mut t, &walk_frame(1, 0, 1, &[&b".."[..]; 17]))), Errno::EINVAL.0);
    assert_eq!(errno(&p.one(&mut t, &walk_frame(1, 0, 1, &[&b".."[..]; 16]))), 0);
    assert!(!p.s.is_dead());
}

#[test]
fn a_file_must_be_open_before_it_is_read_or_written() {
    let (mut t, mut p) = start();
    assert_eq!(p.walk(&mut t, 0, 1, "file"), 0);
    for m in [
        Tmsg::Read { fid: 1, offset: 0, count: 9 },
        Tmsg::Write { fid: 1, offset: 0, data: b"x", op: None },
        Tmsg::Readdir { fid: 1, offset: 0, count: 99 },
    ] {
        assert_eq!(p.errno(&mut t, &m), Errno::EBADF.0);
    }
    p.open(&mut t, 2, "file", RD);
    assert_eq!(
        p.errno(&mut t, &Tmsg::Write { fid: 2, offset: 0, data: b"x", op: None }),
        Errno::EBADF.0
    );
    assert_eq!(p.errno(&mut t, &Tmsg::Lopen { fid: 2, flags: RD }), Errno::EBADF.0);
    p.open(&mut t, 3, "file", OpenFlags::WRONLY);
    assert_eq!(p.errno(&mut t, &Tmsg::Read { fid: 3, offset: 0, count: 1 }), Errno::EBADF.0);
}

#[test]
fn a_directory_is_not_opened_for_writing() {
    let (mut t, mut p) = start();
    assert_eq!(p.walk(&mut t, 0, 1, "d"), 0);
    for flags in [OpenFlags::WRONLY, RW, OpenFlags(1 | OpenFlags::TRUNC)] {
        assert_eq!(p.errno(&mut t, &Tmsg::Lopen { fid: 1, flags }), Errno::EISDIR.0);
    }
    assert_eq!(p.errno(&mut t, &Tmsg::Lopen { fid: 1, flags: RD }), 0);
}

#[test]
fn fids_in_use_unknown_and_none_are_refused() {
    let (mut t, mut p) = start();
    assert_eq!(p.errno(&mut t, &attach(0)), Errno::EBADF.0);
    assert_eq!(p.errno(&mut t, &attach(NOFID)), Errno::EBADF.0);
    assert_eq!(p.walk(&mut t, 0, NOFID, "d"), Errno::EBADF.0);
    assert_eq!(p.walk(&mut t, 0, 1, "d"), 0);
    assert_eq!(p.walk(&mut t, 0, 1, "d"), Errno::EBADF.0);
    for m in [
        Tmsg::Clunk { fid: 9 },
        Tmsg::Remove { fid: 9 },
        Tmsg::Getattr { fid: 9, mask: 0 },
        Tmsg::Setattr { fid: 9, set: SetAttr::default() },
        Tmsg::Lopen { fid: 9, flags: RD },
        Tmsg::Read { fid: 9, offset: 0, count: 0 },
        Tmsg::Readdir { fid: 9, offset: 0, count: 0 },
        Tmsg::Write { fid: 9, offset: 0, data: b"", op: None },
        Tmsg::Fsync { fid: 9 },
        Tmsg::Statfs { fid: 9 },
        Tmsg::Xattrwalk { fid: 9, newfid: 10, name: "" },
        Tmsg::Walk { fid: 9, newfid: 10, names: no_names() },
    ] {
        assert_eq!(p.errno(&mut t, &m), Errno::EBADF.0, "{m:?}");
    }
    assert_eq!(p.errno(&mut t, &Tmsg::Remove { fid: 1 }), Errno::EPERM.0);
    assert_eq!(p.errno(&mut t, &Tmsg::Clunk { fid: 1 }), Errno::EBADF.0);
    assert_eq!(p.errno(&mut t, &Tmsg::Clunk { fid: 0 }), 0);
    t.assert_empty();
}

#[test]
fn a_walk_part_of_the_way_tells_how_far_and_makes_no_fid() {
    let (mut t, mut p) = start();
    let answer = p.one(&mut t, &walk_frame(1, 0, 1, &[b"d", b"e", b"no", b"more"]));
    match Rmsg::decode(&answer).unwrap() {
        Rmsg::Walk { count: 2, last: Some(q) } => assert_eq!(q.path, 2),
        other => panic!("{other:?}"),
    }
    assert_eq!(p.s.fids(), 1);
    assert_eq!(p.walk(&mut t, 0, 1, "no"), Errno::ENOENT.0);
    assert_eq!(p.walk(&mut t, 0, 1, "bad"), Errno::EIO.0);
    assert_eq!(errno(&p.one(&mut t, &walk_frame(1, 0, 1, &[b"file", b"x"]))), 0);
    assert_eq!(p.walk(&mut t, 0, 1, "file"), 0);
    assert_eq!(p.walk(&mut t, 1, 2, "x"), Errno::ENOTDIR.0);
    p.s.close(&mut t);
    t.assert_empty();
}

#[test]
fn a_walk_onto_its_own_fid_moves_it() {
    let (mut t, mut p) = start();
    assert_eq!(p.walk(&mut t, 0, 0, "d/e"), 0);
    assert_eq!(p.walk(&mut t, 0, 0, "no"), Errno::ENOENT.0);
    assert_eq!(errno(&p.one(&mut t, &walk_frame(1, 0, 0, &[b"f", b"g"]))), 0);
    assert_eq!(p.walk(&mut t, 0, 0, "f"), 0, "it had stayed at e");
    assert_eq!(p.walk(&mut t, 0, 0, ""), 0);
    assert_eq!(t.nodes, [(3, 1)].into());
    assert_eq!(p.errno(&mut t, &Tmsg::Clunk { fid: 0 }), 0);
    t.assert_empty();
}

#[test]
fn an_open_fid_is_copied_but_not_moved() {
    let (mut t, mut p) = start();
    p.open(&mut t, 1, "d", RD);
    assert_eq!(p.walk(&mut t, 1, 1, "e"), Errno::EBUSY.0);
    assert_eq!(p.walk(&mut t, 1, 2, ""), 0);
    assert_eq!(
        p.errno(&mut t, &Tmsg::Readdir { fid: 2, offset: 0, count: 99 }),
        Errno::EBADF.0,
        "the copy is not open"
    );
}

#[test]
fn unknown_types_and_answers_as_requests_are_errors() {
    let (mut t, mut p) = start();
    let known = [
        8, 12, 14, 16, 18, 20, 22, 24, 26, 30, 32, 40, 50, 52, 54, 70, 72, 74, 76, 100, 102, 104,
        108, 110, 116, 118, 120, 122,
    ];
    for ty in (0..=255).filter(|t| !known.contains(t)) {
        let answer = p.one(&mut t, &raw(ty, 3, &[0; 40]));
        assert_eq!((errno(&answer), tag_of(&answer)), (Errno::EOPNOTSUPP.0, 3), "type {ty}");
    }
    for ty in known {
        assert_eq!(errno(&p.one(&mut t, &raw(ty, 3, &[0; 3]))), Errno::EINVAL.0, "type {ty}");
        let long = p.one(&mut t, &raw(ty, 3, &[0; 200]));
        assert_eq!(errno(&long), Errno::EINVAL.0, "type {ty}");
    }
    assert_eq!(p.walk(&mut t, 0, 1, "file"), 0);
}

#[test]
fn impossible_sizes_kill_this_session_and_no_other() {
    let mut t = Counting::default();
    let mut other = Peer::attached(&mut t, Limits::default());
    for size in [0, 1, 2, 3, 4, 5, 6, 8193, 65_537, 1 << 31, u32::MAX] {
        let mut p = Peer::attached(&mut t, Limits::default());
        let mut bytes = size.to_le_bytes().to_vec();
        assert!(p.raw(&mut t, &bytes[..3]).is_empty());
        bytes.extend([120, 9, 0]);
        let answers = p.raw(&mut t, &bytes[3..]);
        assert_eq!(errno(&answers[0]), Errno::EMSGSIZE.0, "{size}");
        assert!(p.s.is_dead() && p.s.spare().is_empty() && !p.s.is_ready());
        assert_eq!(p.s.feed(&frame(1, &attach(4))), 0);
        p.s.close(&mut t);
        assert_eq!(other.walk(&mut t, 0, 0, "d/.."), 0);
    }
    let mut p: Peer<Counting> = Peer::new(Limits::default());
    assert_eq!(p.raw(&mut t, &9000u32.to_le_bytes()).len(), 1, "before a version");
    assert!(p.s.is_dead());
    other.s.close(&mut t);
    t.assert_empty();
}

#[test]
fn a_header_alone_is_a_message() {
    let (mut t, mut p) = start();
    assert_eq!(errno(&p.one(&mut t, &raw(120, 1, &[]))), Errno::EINVAL.0);
    assert!(!p.s.is_dead());
}

#[test]
fn frames_may_come_a_byte_at_a_time() {
    let mut t = Counting::default();
    let mut p = Peer::new(Limits::default());
    let mut bytes = frame(NOTAG, &Tmsg::Version { msize: 8192, version: "9P2000.L" });
    bytes.extend(frame(1, &attach(0)));
    bytes.extend(walk_frame(2, 0, 1, &[b"file"]));
    bytes.extend(frame(3, &Tmsg::Lopen { fid: 1, flags: RW }));
    bytes.extend(frame(4, &Tmsg::Write { fid: 1, offset: 0, data: &[7; 8192 - 23], op: None }));
    bytes.extend(frame(5, &Tmsg::Clunk { fid: 1 }));
    let mut tags = Vec::new();
    for b in &bytes {
        tags.extend(p.raw(&mut t, &[*b]).iter().map(|f| (f[4], tag_of(f))));
    }
    assert_eq!(tags, [(101, NOTAG), (105, 1), (111, 2), (13, 3), (119, 4), (121, 5)]);
    assert_eq!(t.written, [7; 8192 - 23]);
}

#[test]
fn pipelined_frames_cut_anywhere_are_all_answered() {
    let mut bytes = frame(NOTAG, &Tmsg::Version { msize: 600, version: "9P2000.L" });
    bytes.extend(frame(0, &attach(0)));
    for i in 1..40u16 {
        bytes.extend(walk_frame(i, 0, 100 + u32::from(i), &vec![&b".."[..]; usize::from(i % 17)]));
        bytes.extend(frame(100 + i, &Tmsg::Write { fid: 0, offset: 0, data: &[0; 577], op: None }));
    }
    for piece in [1, 3, 5, 7, 11, 64, 511, 512, 513, 599, 600, 601, 1000, 100_000] {
        let mut t = Counting::default();
        let mut p = Peer::new(Limits::default());
        let n: usize = bytes.chunks(piece).map(|c| p.raw(&mut t, c).len()).sum();
        assert_eq!(n, 2 + 39 * 2, "pieces of {piece}");
    }
}

#[test]
fn a_client_that_dies_in_mid_message_leaves_nothing() {
    let (mut t, mut p) = start();
    p.open(&mut t, 1, "file", RW);
    let f = frame(4, &Tmsg::Write { fid: 1, offset: 0, data: b"not all of it", op: None });
    assert!(p.raw(&mut t, &f[..f.len() - 1]).is_empty());
    p.s.close(&mut t);
    t.assert_empty();
    assert!(t.written.is_empty());
    assert!(p.s.is_dead() && p.s.spare().is_empty());
}

#[test]
fn only_the_atoll_dialect_carries_the_text_of_an_error() {
    let mut t = Counting::default();
    for (version, texts) in [("9P2000.L", false), ("9P2000.L.atoll", true)] {
        let mut p = Peer::new(Limits::default());
        p.greet(&mut t, 8192, version);
        let answer = p.ask(&mut t, &Tmsg::Clunk { fid: 5 });
        match Rmsg::decode(&answer).unwrap() {
            Rmsg::Lerror { errno: 9, text } => assert_eq!(text.is_some(), texts),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_not_kept_per_file_is_answered_all_the_same() {
    let (mut t, mut p) = start();
    assert_eq!(p.errno(&mut t, &Tmsg::Fsync { fid: 0 }), 0);
    assert_eq!(errno(&p.one(&mut t, &raw(50, 1, &[0; 8]))), 0, "with datasync");
    assert_eq!(p.errno(&mut t, &Tmsg::Statfs { fid: 0 }), 0);
    let x = Tmsg::Xattrwalk { fid: 0, newfid: 1, name: "user.x" };
    assert_eq!(p.errno(&mut t, &x), Errno::ENODATA.0);
    let times = SetAttr { valid: setattr::TIMES, ..SetAttr::default() };
    assert_eq!(p.errno(&mut t, &Tmsg::Setattr { fid: 0, set: times }), 0);
}

#[test]
fn a_read_gets_what_was_asked_for_and_no_more() {
    let (mut t, mut p) = start();
    p.open(&mut t, 1, "file", RD);
    for (offset, count, want) in [
        (0, u32::MAX, &b"content"[..]),
        (0, 3, b"con"),
        (3, 3, b"ten"),
        (7, 9, b""),
        (u64::MAX, u32::MAX, b""),
        (u64::MAX - 3, 9, b""),
        (0, 0, b""),
    ] {
        assert_eq!(data(&p.ask(&mut t, &Tmsg::Read { fid: 1, offset, count })), want);
    }
}

#[test]
fn a_tree_that_claims_too_much_is_not_believed() {
    let (mut t, mut p) = start();
    p.open(&mut t, 1, "wild", RW);
    let answer = p.ask(&mut t, &Tmsg::Read { fid: 1, offset: 0, count: 100 });
    assert_eq!(data(&answer).len(), 100);
    let answer = p.ask(&mut t, &Tmsg::Write { fid: 1, offset: u64::MAX, data: b"four", op: None });
    assert_eq!(Rmsg::decode(&answer).unwrap(), Rmsg::Write { count: 4 });
}

#[test]
fn a_listing_by_cookies_gives_each_entry_once() {
    for msize in [512, 600, 4096, 65_536] {
        let mut t = Counting { many: 1000, ..Counting::default() };
        let mut p = Peer::new(Limits::default());
        p.greet(&mut t, msize, "9P2000.L");
        p.ask(&mut t, &attach(0));
        p.open(&mut t, 1, "many", RD);
        let (mut offset, mut seen) = (0, Vec::new());
        loop {
            let f = p.ask(&mut t, &Tmsg::Readdir { fid: 1, offset, count: u32::MAX });
            assert!(f.len() <= msize as usize);
            let Ok(Rmsg::Readdir { data }) = Rmsg::decode(&f) else { panic!() };
            let before = seen.len();
            for e in entries(data) {
                seen.push(e.qid.path - 100);
                offset = e.cookie;
            }
            if seen.len() == before {
                assert!(data.is_empty());
                break;
            }
        }
        assert!(seen.iter().copied().eq(0..1000));
        for offset in [1000, 1001, u64::MAX] {
            let f = p.ask(&mut t, &Tmsg::Readdir { fid: 1, offset, count: 500 });
            assert_eq!(Rmsg::decode(&f).unwrap(), Rmsg::Readdir { data: b"" });
        }
    }
}

#[test]
fn a_listing_too_narrow_for_its_next_entry_is_an_error_not_the_end() {
    let mut t = Counting { many: 3, ..Counting::default() };
    let mut p = Peer::attached(&mut t, Limits::default());
    p.open(&mut t, 1, "many", RD);
    for count in [0, 1, 25] {
        let m = Tmsg::Readdir { fid: 1, offset: 0, count };
        assert_eq!(p.errno(&mut t, &m), Errno::EINVAL.0, "{count}");
    }
    assert_eq!(p.errno(&mut t, &Tmsg::Readdir { fid: 1, offset: 0, count: 26 }), 0);
    p.open(&mut t, 2, "file", RD);
    let m = Tmsg::Readdir { fid: 2, offset: 0, count: 99 };
    assert_eq!(p.errno(&mut t, &m), Errno::ENOTDIR.0);
}

#[test]
fn an_attach_that_fails_leaves_nothing() {
    let (mut t, mut p) = start();
    for (aname, e) in [("bad", Errno::EIO), ("nowhere", Errno::ENOENT)] {
        let m = Tmsg::Attach { fid: 4, afid: NOFID, uname: "", aname, n_uname: 0 };
        assert_eq!(p.errno(&mut t, &m), e.0);
    }
    assert_eq!(t.nodes, [(0, 1)].into());
}

/// diod 1.0.24 aborts on one of these.
#[test]
fn an_unknown_type_before_an_attach_ends_nothing() {
    let mut t = Counting::default();
    for version in ["9P2000.L", "9P2000", "9P2000.L.atoll"] {
        let mut p = Peer::new(Limits::default());
        for ty in [0, 6, 7, 99, 105, 107, 128, 255] {
            assert_eq!(p.one(&mut t, &raw(ty, 5, &[1; 9]))[4], 7, "before a version too");
        }
        p.greet(&mut t, 8192, version);
        for ty in [0, 6, 7, 99, 105, 107, 128, 255] {
            let answer = p.one(&mut t, &raw(ty, 5, &[1; 9]));
            let want = if version == "9P2000" { 107 } else { 7 };
            assert_eq!((answer[4], tag_of(&answer)), (want, 5), "{version} type {ty}");
        }
        assert!(!p.s.is_dead());
        let answer = p.one(&mut t, &walk_frame(1, 0, 0, &[]));
        assert!(matches!(answer[4], 7 | 107), "nobody has attached");
        p.s.close(&mut t);
    }
}

#[test]
fn fids_may_have_any_numbers() {
    let pick: [fn(u32) -> u32; 5] =
        [|i| i, |i| NOFID - 1 - i, |i| i << 20, |i| i.wrapping_mul(0x9e37_79b9), |i| i * 70];
    for pick in pick {
        let mut t = Counting::default();
        let limits = Limits { fids: 3000, ..Limits::default() };
        let mut p = Peer::new(limits);
        p.greet(&mut t, 8192, "9P2000.L");
        let root = pick(0);
        assert_eq!(p.errno(&mut t, &attach(root)), 0);
        let held = p.s.held();
        for i in 1..2000 {
            assert_eq!(p.walk(&mut t, root, pick(i), ["d", "file"][i as usize % 2]), 0, "{i}");
        }
        for i in (1..2000).step_by(3) {
            assert_eq!(p.errno(&mut t, &Tmsg::Clunk { fid: pick(i) }), 0);
            assert_eq!(p.errno(&mut t, &Tmsg::Clunk { fid: pick(i) }), Errno::EBADF.0);
        }
        for i in 1..2000 {
            let there = i % 3 != 1;
            let e = p.errno(&mut t, &Tmsg::Getattr { fid: pick(i), mask: 0 });
            assert_eq!(e == 0, there, "{i}");
            if there {
                assert_eq!(p.errno(&mut t, &Tmsg::Clunk { fid: pick(i) }), 0);
            }
        }
        assert_eq!(p.s.fids(), 1);
        assert!(p.s.held() < held + (64 << 10), "the memory of two thousand is given back");
        p.s.close(&mut t);
        t.assert_empty();
    }
}

/// A client that claims a large message and sends a byte of it makes nobody hold it.
#[test]
fn a_size_alone_gets_little_memory() {
    let mut t = Counting::default();
    let mut p = Peer::new(Limits { msize: 16 << 20, ..Limits::default() });
    p.greet(&mut t, 16 << 20, "9P2000.L");
    let mut f = frame(1, &Tmsg::Write { fid: 1, offset: 0, data: &vec![0; 4 << 20], op: None });
    p.s.feed(&f[..100]);
    p.s.spare();
    assert!(p.s.held() <= 70 << 10, "holds {}", p.s.held());
    // What does come is taken.
    f.drain(..100);
    assert_eq!(p.raw(&mut t, &f).len(), 1);
    assert!(p.s.held() <= 16 << 10, "holds {}", p.s.held());
}
