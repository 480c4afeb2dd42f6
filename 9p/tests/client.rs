//! The client and its whole-file operations, against a server and against nonsense.

mod common;

use atoll_9p::client::{Broken, Client, Tag};
use atoll_9p::dialect::Dialect;
use atoll_9p::fault::{Errno, Fault};
use atoll_9p::msg::{Rmsg, Tmsg, ty};
use atoll_9p::ops::{Op, What};
use atoll_9p::server::Limits;
use atoll_9p::types::seq;
use atoll_9p::wire::{BadFrame, NOTAG};
use common::*;
use proptest::prelude::*;

/// A client that has been greeted.
fn greeted(msize: u32) -> Client {
    let mut c = Client::new(msize);
    let mut f = frame(NOTAG, &Tmsg::Version { msize, version: "9P2000.L.atoll" });
    assert_eq!(c.output(), f);
    c.sent(f.len());
    f[4] = 101;
    c.feed(&f);
    assert!(matches!(c.poll(), Ok(Some((Tag(NOTAG), Rmsg::Version { .. })))));
    c
}

#[test]
fn answers_come_in_any_order() {
    let mut c = greeted(8192);
    let tags: Vec<_> = (0..5).map(|fid| c.send(&Tmsg::Clunk { fid })).collect();
    for tag in tags.iter().rev() {
        c.feed(&raw(121, tag.0, &[]));
    }
    for tag in tags.iter().rev() {
        assert_eq!(c.poll(), Ok(Some((*tag, Rmsg::Clunk))));
    }
    assert_eq!(c.poll(), Ok(None));
    assert_eq!(c.outstanding(), 0);
}

#[test]
fn what_was_not_asked_breaks_the_connection_for_ever() {
    for (bytes, why) in [
        (raw(121, 7, &[]), Broken::Unasked),
        (raw(123, 0, &[]), Broken::Unasked),
        (raw(120, 0, &[]), Broken::Unasked),
        (raw(0, 0, &[]), Broken::Unasked),
        (raw(121, 0, &[1]), Broken::Frame(BadFrame::Length)),
        (raw(7, 0, &[1, 2, 3]), Broken::Frame(BadFrame::Length)),
        (6u32.to_le_bytes().to_vec(), Broken::Size(6)),
        (8193u32.to_le_bytes().to_vec(), Broken::Size(8193)),
    ] {
        let mut c = greeted(8192);
        c.send(&Tmsg::Clunk { fid: 1 });
        c.feed(&bytes);
        c.feed(&raw(121, 0, &[]));
        assert_eq!(c.poll(), Err(why), "{bytes:?}");
        assert_eq!(c.poll(), Err(why), "{bytes:?}");
        assert_eq!(c.send(&Tmsg::Clunk { fid: 1 }), Tag(NOTAG));
    }
}

#[test]
fn a_version_that_was_not_offered_is_refused() {
    for (msize, version, dialect) in [
        (512, "9P2000.L", Some(Dialect::L)),
        (8192, "9P2000.L.atoll", Some(Dialect::Atoll)),
        (8193, "9P2000.L", None),
        (511, "9P2000.L", None),
        (8192, "9P2000", None),
        (8192, "unknown", None),
    ] {
        let mut c = Client::new(8192);
        let mut f = frame(NOTAG, &Tmsg::Version { msize, version });
        f[4] = 101;
        c.feed(&f);
        let refused = c.poll() == Err(Broken::Version);
        assert_eq!(refused, dialect.is_none());
        assert!(refused || (c.dialect(), c.msize()) == (dialect, msize));
    }
}

#[test]
fn a_flushed_request_may_be_answered_or_not() {
    for answered in [false, true] {
        let mut c = greeted(8192);
        let read = c.send(&Tmsg::Read { fid: 1, offset: 0, count: 9 });
        let flush = c.send(&Tmsg::Flush { oldtag: read.0 });
        if answered {
            c.feed(&raw(117, read.0, &[0; 4]));
            assert_eq!(c.poll(), Ok(Some((read, Rmsg::Read { data: b"", next: None }))));
        }
        // Its tag is not used again before the flush is answered.
        for fid in 0..70_000 {
            let tag = c.send(&Tmsg::Clunk { fid });
            assert!(tag != read && tag != flush);
            c.sent(c.output().len());
            c.feed(&raw(121, tag.0, &[]));
            assert_eq!(c.poll(), Ok(Some((tag, Rmsg::Clunk))));
        }
        c.feed(&raw(109, flush.0, &[]));
        assert_eq!(c.poll(), Ok(Some((flush, Rmsg::Flush))));
        assert_eq!(c.outstanding(), 0);
        c.feed(&raw(117, read.0, &[0; 4]));
        assert_eq!(c.poll(), Err(Broken::Unasked), "after its flush it has no answer");
    }
}

#[test]
fn a_path_that_no_server_would_take_is_not_sent() {
    let mut c = greeted(512);
    let before = c.output().len();
    let long = "n".repeat(256);
    let wide = ["n".repeat(200), "m".repeat(200), "o".repeat(200)].join("/");
    for path in [&long, &wide, &"a/".repeat(17)] {
        assert_eq!(c.walk(0, 1, path).unwrap_err().errno, Errno::ENAMETOOLONG);
    }
    assert_eq!((c.output().len(), c.outstanding()), (before, 0));
    assert_eq!(c.walk(0, 1, &"a/".repeat(16)).unwrap().1, 16);
}

#[test]
fn an_answer_with_more_than_was_asked_for_breaks_the_connection() {
    let read = Tmsg::Read { fid: 1, offset: 0, count: 3 };
    let seq = Tmsg::Read { fid: 1, offset: seq::READ | seq::HERE, count: 3 };
    let list = Tmsg::Readdir { fid: 1, offset: 0, count: 3 };
    let write = Tmsg::Write { fid: 1, offset: 0, data: b"abc", op: None };
    let data = |n: u32| [&n.to_le_bytes()[..], &vec![b'x'; n as usize]].concat();
    let next = |n: u32| [data(n), vec![9; 8]].concat();
    let walk = Tmsg::Walk { fid: 1, newfid: 2, names: no_names() };
    for (m, body, right) in [
        (&read, data(3), Ok(())),
        (&read, data(4), Err(Broken::TooMuch)),
        (&read, next(3), Err(Broken::Unasked)),
        (&seq, next(3), Ok(())),
        (&seq, data(3), Err(Broken::Unasked)),
        (&list, data(4), Err(Broken::TooMuch)),
        (&write, 3u32.to_le_bytes().to_vec(), Ok(())),
        (&write, 4u32.to_le_bytes().to_vec(), Err(Broken::TooMuch)),
        (&walk, vec![0, 0], Ok(())),
        (&walk, [vec![1, 0], vec![0; 13]].concat(), Err(Broken::TooMuch)),
    ] {
        let mut c = greeted(8192);
        let tag = c.send(m);
        c.feed(&raw(m.ty() + 1, tag.0, &body));
        assert_eq!(c.poll().map(|a| assert!(a.is_some())), right, "{m:?}");
    }
}

#[test]
fn every_tag_is_used_once_at_a_time_and_a_full_table_says_so() {
    let mut c = greeted(8192);
    let mut tags: Vec<_> = (0..65_535).map(|fid| c.send(&Tmsg::Clunk { fid })).collect();
    assert!(c.is_full() && c.send(&Tmsg::Clunk { fid: 9 }) == Tag(NOTAG));
    assert_eq!(c.walk(0, 1, "a").unwrap_err().errno, Errno::ENOBUFS);
    tags.sort_unstable();
    tags.dedup();
    assert_eq!((tags.len(), tags.contains(&Tag(NOTAG))), (65_535, false));
    c.sent(c.output().len());
    for tag in &tags {
        c.feed(&raw(121, tag.0, &[]));
        assert_eq!(c.poll(), Ok(Some((*tag, Rmsg::Clunk))));
    }
    assert_eq!(c.outstanding(), 0);
    c.send(&Tmsg::Clunk { fid: 1 });
    assert_eq!(c.output().len(), 11);
}

#[test]
fn a_request_that_is_flushed_twice_ends_with_the_first_answer() {
    let mut c = greeted(8192);
    let read = c.send(&Tmsg::Read { fid: 1, offset: 0, count: 9 });
    let flushes = [(); 2].map(|()| c.send(&Tmsg::Flush { oldtag: read.0 }));
    c.feed(&raw(109, flushes[0].0, &[]));
    assert_eq!(c.poll(), Ok(Some((flushes[0], Rmsg::Flush))));
    assert_eq!(c.outstanding(), 1);
    assert_ne!(c.send(&Tmsg::Clunk { fid: 1 }), read, "a Tflush still names it");
    c.feed(&raw(109, flushes[1].0, &[]));
    assert_eq!(c.poll(), Ok(Some((flushes[1], Rmsg::Flush))));
    assert_eq!(c.outstanding(), 1);
    let again: Vec<_> = (0..2).map(|_| c.send(&Tmsg::Clunk { fid: 1 })).collect();
    assert!(again.contains(&read), "now it is free");
}

#[test]
fn a_flush_of_a_tag_that_is_free_ends_nothing() {
    let mut c = greeted(8192);
    let first = [(); 2].map(|()| c.send(&Tmsg::Clunk { fid: 1 }));
    for tag in first {
        c.feed(&raw(121, tag.0, &[]));
        assert_eq!(c.poll(), Ok(Some((tag, Rmsg::Clunk))));
    }
    let flush = c.send(&Tmsg::Flush { oldtag: first[0].0 });
    let next = c.send(&Tmsg::Clunk { fid: 2 });
    c.feed(&raw(109, flush.0, &[]));
    assert_eq!(c.poll(), Ok(Some((flush, Rmsg::Flush))));
    assert_eq!(c.outstanding(), 1, "the request behind it is underway still");
    let mut tags = vec![next, c.send(&Tmsg::Clunk { fid: 3 }), c.send(&Tmsg::Clunk { fid: 4 })];
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), 3, "a tag is used once at a time");
}

type Outcome = Result<Vec<u8>, Fault>;

/// Runs one operation against a session, and counts the fids that are left.
fn run(path: &str, what: What, many: u64) -> (Outcome, Counting) {
    let mut t = Counting { many, ..Counting::default() };
    let mut p = Peer::new(Limits { msize: 512, ..Limits::default() });
    let mut c = Client::new(8192);
    c.send(&attach(0));
    let mut op = Op::start(&mut c, 0, 1, path, what).unwrap();
    for _ in 0..10_000 {
        let out = c.output().to_vec();
        c.sent(out.len());
        c.feed(&p.raw(&mut t, &out).concat());
        while let Some((tag, answer)) = c.poll().unwrap() {
            if tag == op.tag() {
                op.answer(&answer);
                if let Some(done) = op.next(&mut c) {
                    assert_eq!((p.s.fids(), c.outstanding()), (1, 0));
                    return (done, t);
                }
            }
        }
    }
    panic!("{path} never ended");
}

#[test]
fn files_are_read_written_and_listed_whole() {
    assert_eq!(run("file", What::Read { max: 7 }, 0).0.unwrap(), b"content");
    let list = run("many", What::List { max: 1 << 20 }, 300).0.unwrap();
    assert_eq!(String::from_utf8(list).unwrap().lines().count(), 300);
    let data: Vec<u8> = (0..5000u32).map(|i| i as u8).collect();
    let (done, t) = run("file", What::Write(data.clone()), 0);
    assert_eq!((done.unwrap(), t.written), (vec![], data));
    assert!(run("file", What::Write(vec![]), 0).0.is_ok());
}

#[test]
fn every_step_may_fail_and_leaves_no_fid() {
    for (path, what, e) in [
        ("no", What::Read { max: 9 }, Errno::ENOENT),
        ("d/no", What::Read { max: 9 }, Errno::ENOENT),
        ("d/e/f", What::Read { max: 9 }, Errno::EACCES),
        ("file", What::List { max: 9 }, Errno::ENOTDIR),
        ("file", What::Read { max: 6 }, Errno::EFBIG),
        ("d", What::Write(vec![1]), Errno::EISDIR),
        ("many", What::List { max: 20 }, Errno::EFBIG),
    ] {
        let (done, _) = run(path, what, 40);
        assert_eq!(done.unwrap_err().errno, e, "{path}");
    }
}

/// Answers an operation's requests with what a function of their type says, and
/// says how it ended and after how many.
fn nonsense(what: What, answer: impl Fn(u8, u32) -> Vec<u8>) -> (Outcome, u32) {
    let mut c = greeted(512);
    c.sent(c.output().len());
    let mut op = Op::start(&mut c, 0, 1, "a", what).unwrap();
    for n in 0..100_000 {
        let asked = frames(c.output()).remove(0);
        c.sent(asked.len());
        let body = match asked[4] {
            ty::TWALK => [&[1, 0][..], &[0; 13]].concat(),
            ty::TLOPEN => vec![0; 17],
            ty::TCLUNK => vec![],
            t => answer(t, n),
        };
        c.feed(&raw(asked[4] + 1, tag_of(&asked), &body));
        let Ok(Some((_, answer))) = c.poll() else { panic!() };
        op.answer(&answer);
        if let Some(done) = op.next(&mut c) {
            return (done, n);
        }
    }
    panic!("it goes on for ever");
}

fn entry(cookie: u64, name: &str) -> Vec<u8> {
    let mut e = vec![0; 13];
    e.extend(cookie.to_le_bytes());
    e.push(8);
    e.extend((name.len() as u16).to_le_bytes());
    e.extend(name.as_bytes());
    [&(e.len() as u32).to_le_bytes()[..], &e].concat()
}

#[test]
fn a_server_that_brings_nothing_new_is_not_asked_for_ever() {
    let list = || What::List { max: 1 << 16 };
    for name in [".", "..", ""] {
        let (done, n) = nonsense(list(), |_, n| entry(u64::from(n), name));
        assert!(done.is_err() && n < 70_000, "{name:?}");
    }
    let (done, n) = nonsense(list(), |_, _| entry(5, "same"));
    assert!(done.is_err() && n < 9);
    let (done, _) = nonsense(list(), |_, n| entry(n.into(), "other"));
    assert_eq!(done.unwrap_err().errno, Errno::EFBIG);
    let (done, _) = nonsense(list(), |_, _| vec![3, 0, 0, 0, 1, 2, 3]);
    assert_eq!(done.unwrap_err().errno, Errno::EPROTO);
    let (done, _) = nonsense(What::Read { max: 1000 }, |_, _| vec![1, 0, 0, 0, b'x']);
    assert_eq!(done.unwrap_err().errno, Errno::EFBIG);
}

#[test]
fn a_name_in_a_listing_stays_on_its_line() {
    let (done, _) = nonsense(What::List { max: 99 }, |_, n| match n {
        2 => entry(1, "a\nb\u{1b}[2J"),
        _ => vec![0; 4],
    });
    assert_eq!(done.unwrap(), b"a?b?[2J\n");
}

#[test]
fn a_write_that_was_not_taken_whole_is_an_error() {
    let (done, _) = nonsense(What::Write(vec![1; 100]), |_, n| match n {
        2 => vec![60, 0, 0, 0],
        _ => vec![0; 4],
    });
    assert_eq!(done.unwrap_err().errno, Errno::ENOSPC);
}

proptest! {
    #[test]
    fn no_bytes_of_a_server_make_a_client_panic(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..9),
        ty in any::<u8>(), tag in 0..4u16,
    ) {
        let mut c = greeted(8192);
        let mut op = Op::start(&mut c, 0, 1, "a", What::List { max: 99 }).unwrap();
        c.send(&Tmsg::Clunk { fid: 2 });
        for body in pieces {
            c.feed(&raw(ty, tag, &body));
            c.feed(&body);
            while let Ok(Some((_, answer))) = c.poll() {
                op.answer(&answer);
                if op.next(&mut c).is_some() {
                    return Ok(());
                }
            }
        }
    }
}
