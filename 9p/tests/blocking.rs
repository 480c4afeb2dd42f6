//! Requests that wait: how they wake, are flushed, and stay bounded.

mod common;

use atoll_9p::fault::Errno;
use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::server::Limits;
use atoll_9p::types::OpenFlags;
use common::*;

fn start() -> (Counting, Peer<Counting>) {
    let mut t = Counting::default();
    let mut p = Peer::attached(&mut t, Limits::default());
    p.open(&mut t, 1, "blk", OpenFlags::RDWR);
    (t, p)
}

#[test]
fn blocked_reads_wake_in_the_order_in_which_they_came() {
    let (mut t, mut p) = start();
    for tag in [5, 3, 9, 4] {
        assert_eq!(p.read(&mut t, tag, 1), None);
    }
    t.ready = 2;
    p.s.wake(4);
    assert!(!p.s.is_ready(), "another node woke");
    p.s.wake(BLK);
    p.s.wake(BLK);
    let tags: Vec<_> = p.late(&mut t).iter().map(|f| tag_of(f)).collect();
    assert_eq!((tags, p.s.waiting()), (vec![5, 3], 2));
    assert!(!p.s.is_ready(), "who still waits is not asked again");
    t.ready = 2;
    p.s.wake(BLK);
    let tags: Vec<_> = p.late(&mut t).iter().map(|f| tag_of(f)).collect();
    assert_eq!((tags, p.s.waiting()), (vec![9, 4], 0));
}

#[test]
fn a_blocked_write_keeps_its_data() {
    let (mut t, mut p) = start();
    let m = Tmsg::Write { fid: 1, offset: 0, data: b"later", op: None };
    assert!(p.raw(&mut t, &frame(3, &m)).is_empty());
    t.ready = 1;
    p.s.wake(BLK);
    let answers = p.late(&mut t);
    assert_eq!(Rmsg::decode(&answers[0]).unwrap(), Rmsg::Write { count: 5 });
    assert_eq!(t.written, b"later");
}

#[test]
fn a_flushed_read_is_never_answered() {
    let (mut t, mut p) = start();
    assert_eq!(p.read(&mut t, 5, 1), None);
    assert_eq!(p.read(&mut t, 6, 1), None);
    p.s.wake(BLK);
    let f = p.raw(&mut t, &frame(7, &Tmsg::Flush { oldtag: 5 }));
    assert_eq!(f.iter().map(|f| (f[4], tag_of(f))).collect::<Vec<_>>(), [(109, 7)]);
    t.ready = 9;
    p.s.wake(BLK);
    let tags: Vec<_> = p.late(&mut t).iter().map(|f| tag_of(f)).collect();
    assert_eq!(tags, [6]);
    assert_eq!(t.ready, 8, "the flushed one was not even tried");
}

#[test]
fn a_flush_is_always_answered() {
    let (mut t, mut p) = start();
    for (tag, oldtag) in [(1, 2), (3, 3), (4, 0xffff), (5, 1)] {
        let f = p.one(&mut t, &frame(tag, &Tmsg::Flush { oldtag }));
        assert_eq!((f[4], tag_of(&f)), (109, tag));
    }
    assert_eq!(p.read(&mut t, 8, 1), None);
    for tag in 100..5000 {
        let f = p.one(&mut t, &frame(tag, &Tmsg::Flush { oldtag: 8 }));
        assert_eq!(f[4], 109);
    }
    assert_eq!(p.s.waiting(), 0);
}

#[test]
fn a_tag_in_use_is_refused_and_its_request_goes_on() {
    let (mut t, mut p) = start();
    assert_eq!(p.read(&mut t, 5, 1), None);
    let f = p.one(&mut t, &frame(5, &Tmsg::Getattr { fid: 1, mask: 0 }));
    assert_eq!(errno(&f), Errno::EINVAL.0);
    t.ready = 1;
    p.s.wake(BLK);
    assert_eq!(tag_of(&p.late(&mut t)[0]), 5);
    assert_eq!(errno(&p.one(&mut t, &frame(5, &Tmsg::Getattr { fid: 1, mask: 0 }))), 0);
}

#[test]
fn a_remove_ends_the_reads_that_wait_on_its_fid_though_it_fails() {
    let (mut t, mut p) = start();
    assert_eq!(p.read(&mut t, 5, 1), None);
    let answers = p.raw(&mut t, &frame(7, &Tmsg::Remove { fid: 1 }));
    let errors: Vec<_> = answers.iter().map(|f| (tag_of(f), Rmsg::decode(f).unwrap())).collect();
    let error = |tag, e: Errno| match errors.iter().find(|(t, _)| *t == tag) {
        Some((_, Rmsg::Lerror { errno, .. })) => assert_eq!(*errno, e.0),
        other => panic!("{other:?}"),
    };
    error(5, Errno::EBADF);
    error(7, Errno::EPERM);
    assert_eq!(p.s.waiting(), 0);
}

#[test]
fn a_clunk_ends_the_reads_that_wait_on_its_fid() {
    let (mut t, mut p) = start();
    p.open(&mut t, 2, "blk", OpenFlags::RDONLY);
    for (tag, fid) in [(5, 1), (6, 2), (7, 1)] {
        assert_eq!(p.read(&mut t, tag, fid), None);
    }
    p.s.wake(BLK);
    let f = frame(8, &Tmsg::Clunk { fid: 1 });
    // The clunk is here before the woken ones are asked again.
    p.s.feed(&f);
    let answers = p.late(&mut t);
    let got: Vec<_> = answers.iter().map(|f| (f[4], tag_of(f))).collect();
    assert_eq!(got, [(7, 5), (7, 7), (121, 8)]);
    assert_eq!((p.s.waiting(), p.s.fids()), (1, 2));
    t.ready = 1;
    p.s.wake(BLK);
    assert_eq!(tag_of(&p.late(&mut t)[0]), 6);
    p.s.close(&mut t);
    t.assert_empty();
}

#[test]
fn only_so_many_requests_may_wait() {
    let mut t = Counting::default();
    let mut p = Peer::attached(&mut t, Limits { blocked: 3, ..Limits::default() });
    p.open(&mut t, 1, "blk", OpenFlags::RDWR);
    for tag in 10..13 {
        assert_eq!(p.read(&mut t, tag, 1), None);
    }
    let f = p.one(&mut t, &frame(13, &Tmsg::Read { fid: 1, offset: 0, count: 1 }));
    assert_eq!(errno(&f), Errno::ENOBUFS.0);
    assert_eq!(p.errno(&mut t, &Tmsg::Getattr { fid: 1, mask: 0 }), 0);
    assert_eq!(p.one(&mut t, &frame(14, &Tmsg::Flush { oldtag: 11 }))[4], 109);
    assert_eq!(p.read(&mut t, 11, 1), None);
}

#[test]
fn the_data_of_writes_that_wait_is_bounded() {
    let mut t = Counting::default();
    let mut p = Peer::attached(&mut t, Limits { writes: 32 << 10, ..Limits::default() });
    p.open(&mut t, 1, "blk", OpenFlags::RDWR);
    let data = [1; 8000];
    let mut refused = 0;
    for tag in 0..200 {
        let m = Tmsg::Write { fid: 1, offset: 0, data: &data, op: None };
        let answers = p.raw(&mut t, &frame(100 + tag, &m));
        refused += answers.iter().filter(|f| errno(f) == Errno::ENOBUFS.0).count();
    }
    assert_eq!(p.s.waiting(), 4);
    assert_eq!(refused, 200 - p.s.waiting());
    assert_eq!(p.read(&mut t, 5, 1), None, "a read costs nothing");
}

#[test]
fn only_so_many_fids_may_be_used() {
    let mut t = Counting::default();
    let mut p = Peer::attached(&mut t, Limits { fids: 3, ..Limits::default() });
    assert_eq!((p.walk(&mut t, 0, 1, ""), p.walk(&mut t, 0, 2, "")), (0, 0));
    assert_eq!(p.walk(&mut t, 0, 3, "d"), Errno::EMFILE.0);
    assert_eq!(p.errno(&mut t, &attach(4)), Errno::EMFILE.0);
    assert_eq!(p.walk(&mut t, 2, 2, "d"), 0, "a move needs no new one");
    assert_eq!(p.errno(&mut t, &Tmsg::Clunk { fid: 1 }), 0);
    assert_eq!(p.walk(&mut t, 0, 3, "d"), 0);
}

#[test]
fn a_client_that_never_reads_is_not_served_further() {
    let mut t = Counting::default();
    for blocked in [false, true] {
        let mut p = Peer::attached(&mut t, Limits::default());
        p.open(&mut t, 1, if blocked { "blk" } else { "wild" }, OpenFlags::RDONLY);
        let (mut fed, mut tag) = (0, 0u16);
        loop {
            tag += 1;
            let mut m = frame(tag, &Tmsg::Read { fid: 1, offset: 0, count: 8000 });
            m.extend(frame(tag, &Tmsg::Flush { oldtag: 0 }));
            let n = p.s.feed(&m);
            fed += n;
            while p.s.step(&mut t) {}
            t.ready = 1000;
            p.s.wake(BLK);
            assert!(p.s.output().len() < 2 * 8192, "{}", p.s.output().len());
            if n < m.len() {
                break;
            }
        }
        assert!(fed < 40_000, "took {fed} bytes");
        assert!(p.s.spare().is_empty() && !p.s.is_ready());
        p.s.close(&mut t);
    }
    t.assert_empty();
}

/// A transport that never catches up, but never stops either, must not make the
/// session hold all that it ever sent.
#[test]
fn output_that_is_never_quite_sent_does_not_pile_up() {
    let mut t = Counting::default();
    let mut p = Peer::attached(&mut t, Limits::default());
    for i in 0..50_000u32 {
        let f = frame(1, &Tmsg::Getattr { fid: 0, mask: 0 });
        assert_eq!(p.s.feed(&f), f.len());
        while p.s.step(&mut t) {}
        let n = p.s.output().len();
        p.s.sent(n - 1);
        assert_eq!(p.s.output().len(), 1);
        assert!(p.s.held() < 20_000, "holds {} after {i}", p.s.held());
    }
}

#[test]
fn an_idle_session_gives_its_buffers_back() {
    let mut t = Counting::default();
    let mut p = Peer::new(Limits::default());
    assert_eq!(p.s.held(), 0);
    p.greet(&mut t, 65_536, "9P2000.L");
    p.ask(&mut t, &attach(0));
    p.open(&mut t, 1, "blk", OpenFlags::RDWR);
    let m = Tmsg::Read { fid: 1, offset: 0, count: 65_000 };
    assert!(p.raw(&mut t, &frame(2, &m)).is_empty());
    let m = Tmsg::Write { fid: 0, offset: 0, data: &[0; 60_000], op: None };
    p.ask(&mut t, &m);
    assert!(p.s.held() <= 8192 + 4096, "holds {}", p.s.held());
}

/// Linux's `p9_client_read` asks for the rest of a buffer until nothing comes.
#[test]
fn a_reader_that_fills_a_buffer_gets_what_there_is() {
    let read = |t: &mut Counting, p: &mut Peer<Counting>, offset, count| {
        let m = Tmsg::Read { fid: 1, offset, count };
        p.raw(t, &frame(3, &m)).first().map(|f| data(f).len())
    };
    let (mut t, mut p) = start();
    t.ready = 1;
    assert_eq!(read(&mut t, &mut p, 0, 4096), Some(7));
    assert_eq!(read(&mut t, &mut p, 7, 4089), Some(0), "the rest of that buffer");
    assert_eq!(read(&mut t, &mut p, 7, 4096), None, "a new buffer waits");
    t.ready = 1;
    p.s.wake(BLK);
    assert_eq!(p.late(&mut t).len(), 1);
    assert_eq!(read(&mut t, &mut p, 14, 4089), None, "nothing was read up to there");

    // To who asks for as much as before, nothing would be the end of the file.
    let (mut t, mut p) = start();
    t.ready = 1;
    assert_eq!(read(&mut t, &mut p, 0, 4096), Some(7));
    assert_eq!(read(&mut t, &mut p, 7, 4096), None);
}

/// What is asked on one fid is answered in order; others do not wait for it.
#[test]
fn a_read_does_not_overtake_an_older_one_on_its_fid() {
    let (mut t, mut p) = start();
    p.open(&mut t, 2, "blk", OpenFlags::RDWR);
    assert_eq!(p.read(&mut t, 5, 1), None);
    t.ready = 1;
    assert_eq!(p.read(&mut t, 6, 1), None, "the older one has not been asked again");
    assert_eq!(p.read(&mut t, 7, 2).as_deref(), Some(&b"content"[..]), "another fid");
    let w = Tmsg::Write { fid: 1, offset: 0, data: b"w", op: None };
    t.ready = 1;
    assert_eq!(p.raw(&mut t, &frame(8, &w)).len(), 1, "a write is no read");
    assert_eq!(p.raw(&mut t, &frame(9, &w)).len(), 0);
    t.ready = 1;
    assert_eq!(p.raw(&mut t, &frame(10, &w)).len(), 0, "writes keep their order too");
    // Whoever is flushed makes room for who comes next, which is asked at once.
    let f = p.raw(&mut t, &frame(11, &Tmsg::Flush { oldtag: 5 }));
    assert_eq!(f.iter().map(|f| tag_of(f)).collect::<Vec<_>>(), [11, 6]);
    t.ready = 2;
    p.s.wake(BLK);
    let tags: Vec<_> = p.late(&mut t).iter().map(|f| tag_of(f)).collect();
    assert_eq!((tags, p.s.waiting()), (vec![9, 10], 0));
}

#[test]
fn a_thousand_waiting_reads_are_flushed_woken_and_clunked() {
    for one_fid in [true, false] {
        let mut t = Counting::default();
        let limits = Limits { blocked: 1000, ..Limits::default() };
        let mut p = Peer::attached(&mut t, limits);
        let fid = |tag: u16| if one_fid { 1 } else { 1 + u32::from(tag) };
        for tag in 0..1000 {
            if tag == 0 || !one_fid {
                p.open(&mut t, fid(tag), "blk", OpenFlags::RDONLY);
            }
            assert_eq!(p.read(&mut t, 1000 + tag, fid(tag)), None);
        }
        let f = p.one(&mut t, &frame(5, &Tmsg::Read { fid: 1, offset: 0, count: 1 }));
        assert_eq!(errno(&f), Errno::ENOBUFS.0);
        // Every other is flushed, some of them twice.
        for tag in (0..1000).step_by(2).chain((0..1000).step_by(4)) {
            let f = p.one(&mut t, &frame(9, &Tmsg::Flush { oldtag: 1000 + tag }));
            assert_eq!(f[4], 109);
        }
        assert_eq!(p.s.waiting(), 500);
        t.ready = 200;
        p.s.wake(BLK);
        let tags: Vec<_> = p.late(&mut t).iter().map(|f| tag_of(f)).collect();
        assert!(tags.iter().copied().eq((0..200).map(|i| 1001 + 2 * i)), "{tags:?}");
        assert_eq!(p.s.waiting(), 300);
        assert!(!p.s.is_ready());
        for tag in 400..1000 {
            if tag == 400 || !one_fid {
                p.raw(&mut t, &frame(9, &Tmsg::Clunk { fid: fid(tag) }));
            }
        }
        assert_eq!(p.s.waiting(), 0);
        for tag in 0..400 {
            p.raw(&mut t, &frame(9, &Tmsg::Clunk { fid: fid(tag) }));
        }
        assert!(p.s.held() < 8192, "holds {}", p.s.held());
        p.s.close(&mut t);
        t.assert_empty();
    }
}

/// A flood of flushes for a tag that comes and goes, with hardly anything read.
#[test]
fn a_flood_of_flushes_holds_nothing() {
    let (mut t, mut p) = start();
    let mut flood = Vec::new();
    for i in 0..10_000u16 {
        flood.extend(frame(1 + i % 3, &Tmsg::Flush { oldtag: i }));
        if i % 7 == 0 {
            flood.extend(frame(10 + i % 5, &Tmsg::Read { fid: 1, offset: 0, count: 9 }));
            flood.extend(frame(1, &Tmsg::Flush { oldtag: 10 + i % 5 }));
        }
    }
    let (mut at, mut answers) = (0, Vec::new());
    while at < flood.len() || !p.s.output().is_empty() || p.s.is_ready() {
        at += p.s.feed(&flood[at..]);
        p.s.step(&mut t);
        assert!(p.s.held() < 64 << 10, "holds {}", p.s.held());
        // The client takes a little now and then.
        if at == flood.len() || p.s.output().len() > 4000 {
            let n = p.s.output().len().min(1 + at % 50);
            answers.extend_from_slice(&p.s.output()[..n]);
            p.s.sent(n);
        }
    }
    let flushes = frames(&answers).iter().filter(|f| f[4] == 109).count();
    assert_eq!((flushes, p.s.waiting()), (10_000 + 10_000usize.div_ceil(7), 0));
}
