//! Many clients on one connection are served as if each had its own.

mod common;

use atoll_9p::client::Broken;
use atoll_9p::fault::Errno;
use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::mux::{Mux, Share};
use atoll_9p::server::Limits;
use atoll_9p::types::OpenFlags;
use atoll_9p::wire::{NOFID, NOTAG};
use common::joint::Joint;
use common::*;
use proptest::prelude::*;

fn read(tag: u16, fid: u32, count: u32) -> Vec<u8> {
    frame(tag, &Tmsg::Read { fid, offset: 0, count })
}

#[test]
fn a_client_need_not_wait_for_its_answers() {
    let mut j = Joint::new(8192, Share::default());
    let id = j.m.open();
    let mut f = frame(NOTAG, &Tmsg::Version { msize: 8192, version: "9P2000.L" });
    f.extend(frame(1, &attach(0)));
    f.extend(walk_frame(2, 0, 1, &[b"file"]));
    f.extend(frame(3, &Tmsg::Lopen { fid: 1, flags: OpenFlags::RDONLY }));
    f.extend(read(4, 1, 100));
    f.extend(frame(5, &Tmsg::Clunk { fid: 1 }));
    f.extend(walk_frame(6, 0, 1, &[b"d"]));
    f.extend(walk_frame(7, 1, 1, &[b"no"]));
    f.extend(frame(8, &Tmsg::Getattr { fid: 1, mask: 0 }));
    let types: Vec<_> = j.ask(id, &f).iter().map(|f| f[4]).collect();
    assert_eq!(types, [101, 105, 111, 13, 117, 121, 111, 7, 25]);
    j.m.close(id);
    j.run();
    j.assert_empty();
}

#[test]
fn a_position_in_a_list_of_attributes_ends_nobody() {
    let mut j = Joint::new(8192, Share::default());
    let id = j.greeted(8192, "9P2000.L.atoll");
    j.ask(id, &frame(1, &attach(0)));
    j.ask(id, &frame(1, &Tmsg::Xattrwalk { fid: 0, newfid: 1, name: "" }));
    let read = Tmsg::Read { fid: 1, offset: 1 << 63, count: 9 };
    assert_eq!(errno(&j.ask(id, &frame(1, &read))[0]), Errno::EINVAL.0);
}

#[test]
fn bytes_that_come_before_the_server_has_greeted_are_not_lost() {
    let mut m = Mux::new(8192, Share::default());
    let id = m.open();
    m.from_client(id, &frame(NOTAG, &Tmsg::Version { msize: 512, version: "9P2000.L" }));
    assert!(!m.wants(id) && m.to_client(id).is_empty());
    let f = frame(NOTAG, &Tmsg::Version { msize: 4096, version: "9P2000.L" });
    let mut answer = f.clone();
    answer[4] = 101;
    m.from_server(&answer).unwrap();
    assert_eq!(frames(m.to_client(id)).len(), 1);
}

#[test]
fn a_second_walk_to_a_fid_is_refused_while_the_first_is_underway() {
    let mut j = Joint::new(8192, Share::default());
    let id = j.attached();
    let mut f = walk_frame(1, 0, 5, &[b"d"]);
    f.extend(walk_frame(2, 0, 5, &[b"file"]));
    let mut answers = j.ask(id, &f);
    answers.sort_by_key(|f| tag_of(f));
    assert_eq!((answers[0][4], errno(&answers[1])), (111, Errno::EBADF.0));
    assert_eq!(j.p.s.fids(), 2);
}

#[test]
fn no_answer_is_larger_than_its_client_takes() {
    let mut j = Joint::new(8192, Share::default());
    let id = j.greeted(512, "9P2000.L.atoll");
    j.ask(id, &frame(1, &attach(0)));
    j.open(id, 1, "wild");
    j.open(id, 2, "many");
    assert_eq!(j.ask(id, &read(3, 1, 8000))[0].len(), 512);
    let list = Tmsg::Readdir { fid: 2, offset: 0, count: u32::MAX };
    assert!(j.ask(id, &frame(3, &list))[0].len() <= 512);
    j.ask(id, &walk_frame(3, 0, 3, &[b"file"]));
    let f = j.ask(id, &frame(3, &Tmsg::Lopen { fid: 3, flags: OpenFlags::RDONLY }));
    assert!(matches!(Rmsg::decode(&f[0]), Ok(Rmsg::Lopen { iounit: 488, .. })));
    assert_eq!(errno(&j.ask(id, &raw(118, 1, &[0; 600]))[0]), Errno::EMSGSIZE.0);
    assert!(j.m.is_dead(id) && !j.m.wants(id));
}

#[test]
fn the_text_of_an_error_reaches_whoever_asked_for_it() {
    let mut j = Joint::new(8192, Share::default());
    for (version, texts) in [("9P2000.L", false), ("9P2000.L.atoll", true)] {
        let id = j.greeted(8192, version);
        j.ask(id, &frame(1, &attach(0)));
        // From the server, and from the joint.
        for f in [walk_frame(1, 0, 1, &[b"a/b"]), frame(1, &Tmsg::Clunk { fid: 9 })] {
            match Rmsg::decode(&j.ask(id, &f)[0]).unwrap() {
                Rmsg::Lerror { text, .. } => assert_eq!(text.is_some(), texts),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_flush_through_the_joint_ends_the_read() {
    let mut j = Joint::new(8192, Share::default());
    let (a, b) = (j.attached(), j.attached());
    for id in [a, b] {
        j.open(id, 1, "blk");
        assert!(j.ask(id, &read(7, 1, 9)).is_empty());
    }
    let f = j.ask(a, &frame(8, &Tmsg::Flush { oldtag: 7 }));
    assert_eq!(f.iter().map(|f| (f[4], tag_of(f))).collect::<Vec<_>>(), [(109, 8)]);
    assert_eq!(j.p.s.waiting(), 1);
    j.ready(9);
    assert!(j.take(a).is_empty());
    assert_eq!(tag_of(&j.take(b)[0]), 7);
    for (tag, oldtag) in [(1, 2), (3, 3), (4, NOTAG)] {
        assert_eq!(j.ask(a, &frame(tag, &Tmsg::Flush { oldtag }))[0][4], 109);
    }
    assert!(j.ask(a, &read(7, 1, 9)).is_empty(), "the tag is free again");
}

/// Linux's client asks for the rest of its buffer before it shows what there is.
#[test]
fn the_rest_of_a_buffer_is_not_waited_for() {
    for version in ["9P2000.L", "9P2000.L.atoll", "9P2000"] {
        let mut j = Joint::new(8192, Share::default());
        let id = j.greeted(8192, version);
        let mut at = frame(1, &attach(0));
        let mut open = frame(2, &Tmsg::Lopen { fid: 1, flags: OpenFlags::RDONLY });
        if version == "9P2000" {
            (at, open) = (raw(104, 1, &at[7..at.len() - 4]), raw(112, 2, &[1, 0, 0, 0, 0]));
            at[0] = at.len() as u8;
        }
        j.ask(id, &at);
        j.ask(id, &walk_frame(2, 0, 1, &[b"blk"]));
        assert_ne!(j.ask(id, &open)[0][4], 7);
        let read = |j: &mut Joint, offset: u64, count, ready| {
            j.t.ready = ready;
            let got = j.ask(id, &frame(3, &Tmsg::Read { fid: 1, offset, count }));
            j.t.ready = 0;
            got.first().map(|f| data(f))
        };
        assert_eq!(read(&mut j, 0, 100, 1).unwrap(), b"content");
        // What there is, is told.
        assert_eq!(read(&mut j, 7, 93, 1).unwrap(), b"");
        assert_eq!(read(&mut j, 0, 100, 1).unwrap(), b"content");
        if version == "9P2000.L.atoll" {
            assert_eq!(read(&mut j, 7, 93, 0), None);
            j.m.close(id);
            j.run();
            j.assert_empty();
            continue;
        }
        assert_eq!(read(&mut j, 7, 93, 0).unwrap(), b"");
        // Elsewhere, or as much as before, is another read, and so is the next.
        for (offset, count) in [(6, 93), (7, 100), (7, 93)] {
            assert_eq!(read(&mut j, offset, count, 0), None);
            assert_eq!(j.ask(id, &frame(4, &Tmsg::Flush { oldtag: 3 }))[0][4], 109);
        }
        // The file of another fid begins anew.
        assert_eq!(read(&mut j, 0, 100, 1).unwrap(), b"content");
        j.ask(id, &frame(5, &Tmsg::Clunk { fid: 1 }));
        j.ask(id, &walk_frame(2, 0, 1, &[b"blk"]));
        j.ask(id, &open);
        assert_eq!(read(&mut j, 7, 93, 0), None);
        j.m.close(id);
        j.run();
        j.assert_empty();
    }
}

#[test]
fn a_flood_of_flushes_stops_its_client_alone() {
    let share = Share { requests: 8, ..Share::default() };
    let mut j = Joint::new(8192, share);
    let (a, b) = (j.attached(), j.attached());
    j.open(a, 1, "blk");
    j.ask(a, &read(7, 1, 9));
    // The server does not answer for a while.
    for tag in 100..60_000 {
        j.m.from_client(a, &frame(tag, &Tmsg::Flush { oldtag: 7 }));
        if !j.m.wants(a) {
            break;
        }
    }
    assert!(j.m.outstanding() <= 2 * 8, "{}", j.m.outstanding());
    assert!(!j.m.wants(a) && j.m.wants(b));
    j.run();
    assert!(j.m.wants(a));
    assert_eq!(j.take(a).len(), 15);
    assert_eq!(j.ask(b, &frame(1, &Tmsg::Clunk { fid: 0 }))[0][4], 121);
}

#[test]
fn a_client_that_never_reads_stops_only_itself() {
    let share = Share { unread: 4096, ..Share::default() };
    let mut j = Joint::new(8192, share);
    let (a, b) = (j.attached(), j.attached());
    j.open(a, 1, "wild");
    let mut fed = 0;
    while j.m.wants(a) {
        j.m.from_client(a, &read(1, 1, 1000));
        j.run();
        fed += 1;
    }
    assert!(fed <= 5 && j.m.to_client(a).len() <= 4096 + 1100);
    assert_eq!(j.ask(b, &frame(1, &Tmsg::Getattr { fid: 0, mask: 0 }))[0][4], 25);
    // What it had sent meanwhile is handled once it reads.
    j.m.from_client(a, &read(2, 1, 10));
    assert_eq!(j.take(a).len(), fed);
    j.run();
    assert_eq!(tag_of(&j.take(a)[0]), 2);
}

#[test]
fn one_client_has_its_share_and_no_more() {
    let mut j = Joint::new(8192, Share { fids: 3, requests: 2, ..Share::default() });
    let (a, b) = (j.attached(), j.attached());
    j.open(a, 1, "blk");
    assert_eq!(j.ask(a, &walk_frame(1, 0, 2, &[]))[0][4], 111);
    assert_eq!(errno(&j.ask(a, &walk_frame(1, 0, 3, &[]))[0]), Errno::EMFILE.0);
    j.ask(a, &read(10, 1, 1));
    j.ask(a, &read(11, 1, 1));
    // One more is held back, and goes on when there is room.
    assert!(j.ask(a, &read(12, 1, 1)).is_empty());
    assert_eq!(j.p.s.waiting(), 2);
    assert_eq!(j.ask(a, &frame(13, &Tmsg::Flush { oldtag: 10 }))[0][4], 109);
    assert_eq!(j.p.s.waiting(), 2);
    // What is held back can be flushed too.
    assert!(j.ask(a, &read(14, 1, 1)).is_empty());
    assert_eq!(j.ask(a, &frame(15, &Tmsg::Flush { oldtag: 14 }))[0][4], 109);
    j.ready(9);
    assert_eq!(j.take(a).iter().map(|f| tag_of(f)).collect::<Vec<_>>(), [11, 12]);
    assert_eq!(j.ask(b, &walk_frame(1, 0, 2, &[]))[0][4], 111);
}

#[test]
fn nobody_takes_all_the_places_to_wait() {
    let mut j = Joint::new(8192, Share { waiting: 30, ..Share::default() });
    let greedy: Vec<_> = (0..4).map(|_| j.attached()).collect();
    for id in &greedy {
        j.open(*id, 1, "blk");
        for tag in 10..70 {
            assert!(j.ask(*id, &read(tag, 1, 1)).is_empty());
        }
    }
    assert!(j.p.s.waiting() < 30, "{}", j.p.s.waiting());
    // There is a place for whoever comes late, and for requests that do not wait.
    let late = j.attached();
    j.open(late, 1, "blk");
    let before = j.p.s.waiting();
    assert!(j.ask(late, &read(9, 1, 1)).is_empty());
    assert_eq!(j.p.s.waiting(), before + 1);
    // All are served in the end.
    for _ in 0..100 {
        j.ready(1000);
    }
    for id in greedy {
        assert_eq!(j.take(id).len(), 60);
        j.m.close(id);
    }
    assert_eq!(j.take(late).len(), 1);
    j.m.close(late);
    j.run();
    j.assert_empty();
}

#[test]
fn a_client_that_does_nothing_holds_no_memory() {
    let mut j = Joint::new(8192, Share::default());
    let id = j.attached();
    j.open(id, 1, "many");
    let list = Tmsg::Readdir { fid: 1, offset: 0, count: u32::MAX };
    assert!(j.ask(id, &frame(3, &list))[0].len() > 2000);
    assert_eq!(j.m.held(id), 0);
    // But for what it has begun to say.
    j.m.from_client(id, &raw(118, 1, &[0; 600])[..500]);
    assert!((500..=1000).contains(&j.m.held(id)), "{}", j.m.held(id));
}

#[test]
fn a_client_that_is_gone_leaves_nothing_at_the_server() {
    let mut j = Joint::new(8192, Share::default());
    let keep = j.attached();
    for _ in 0..200 {
        let id = j.attached();
        j.open(id, 1, "blk");
        j.m.from_client(id, &read(5, 1, 9));
        j.m.from_client(id, &walk_frame(6, 0, 2, &[b"d"]));
        j.m.from_client(id, &walk_frame(7, 0, 3, &[b"no"]));
        j.m.from_client(id, &frame(8, &Tmsg::Clunk { fid: 2 }));
        j.m.close(id);
        j.run();
        assert_eq!((j.p.s.fids(), j.p.s.waiting(), j.m.outstanding()), (1, 0, 0));
    }
    j.m.close(keep);
    j.run();
    j.assert_empty();
}

#[test]
fn so_many_clients_may_come_and_go_while_the_server_is_silent() {
    let mut j = Joint::new(8192, Share::default());
    let first = j.attached();
    let mut ids = Vec::new();
    for _ in 0..40_000 {
        let id = j.m.open();
        j.m.from_client(id, &frame(NOTAG, &Tmsg::Version { msize: 512, version: "9P2000.L" }));
        j.m.from_client(id, &frame(1, &attach(0)));
        ids.push(id);
        if ids.len() == 20 {
            ids.drain(..).for_each(|id| j.m.close(id));
        }
    }
    assert!(j.m.outstanding() <= 65_535);
    assert!(j.m.to_server().len() < 4 << 20);
    j.run();
    assert_eq!((j.p.s.fids(), j.m.outstanding()), (1, 0));
    j.m.close(first);
    j.run();
    j.assert_empty();
}

#[test]
fn a_server_that_talks_nonsense_is_broken() {
    let greet = |m: &mut Mux| {
        let mut f = frame(NOTAG, &Tmsg::Version { msize: 8192, version: "9P2000.L" });
        f[4] = 101;
        m.from_server(&f).unwrap();
        let id = m.open();
        m.from_client(id, &frame(NOTAG, &Tmsg::Version { msize: 8192, version: "9P2000.L" }));
        m.from_client(id, &frame(1, &attach(0)));
        m.from_client(id, &read(2, 0, 8));
        id
    };
    for (bytes, why) in [
        (raw(121, 0, &[]), Broken::Unasked),
        (raw(121, 99, &[]), Broken::Unasked),
        (raw(105, 0, &[]), Broken::Frame(atoll_9p::wire::BadFrame::Length)),
        (raw(117, 1, &[9, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), Broken::TooMuch),
        (u32::MAX.to_le_bytes().to_vec(), Broken::Size(u32::MAX)),
        (vec![0; 4], Broken::Size(0)),
    ] {
        let mut m = Mux::new(8192, Share::default());
        let id = greet(&mut m);
        assert_eq!(m.from_server(&bytes), Err(why), "{bytes:?}");
        m.close(id);
    }
    let version = |msize: u32, v: &str| {
        let mut f = frame(NOTAG, &Tmsg::Version { msize, version: v });
        f[4] = 101;
        f
    };
    for f in [
        version(100, "9P2000.L"),
        version(8193, "9P2000.L"),
        version(8192, "unknown"),
        raw(7, NOTAG, &[1, 0, 0, 0]),
    ] {
        assert_eq!(Mux::new(8192, Share::default()).from_server(&f), Err(Broken::Version));
    }
}

#[derive(Debug, Clone)]
enum Event {
    Request(usize, Vec<u8>),
    Ready(u32),
    Close(usize),
    Version(usize),
    Run,
}

fn event() -> impl Strategy<Value = Event> {
    let request = (0..3usize, any::<u8>(), 0..12u16, 0..6u32, 0..6u32, any::<u8>())
        .prop_map(|(s, k, t, f, n, p)| Event::Request(s, any_request(k, t, f, n, p)));
    prop_oneof![
        40 => request,
        3 => (0..4u32).prop_map(Event::Ready),
        1 => (0..3usize).prop_map(Event::Close),
        1 => (0..3usize).prop_map(Event::Version),
        9 => Just(Event::Run),
    ]
}

proptest! {
    /// One at a time, each client gets what it would get from a server of its own.
    #[test]
    fn answers_are_those_of_a_session_of_ones_own(
        requests in prop::collection::vec((0..3usize, any::<u8>(), 0..12u16, 0..6u32, 0..6u32, any::<u8>()), 1..150),
    ) {
        let mut j = Joint::new(8192, Share { fids: 4, requests: 3, ..Share::default() });
        let mut t = Counting { many: 50, ..Counting::default() };
        let limits = Limits { msize: 8192, fids: 4, blocked: 3, ..Limits::default() };
        let mut direct: Vec<_> = (0..3).map(|_| Peer::attached(&mut t, limits)).collect();
        let ids: Vec<_> = (0..3).map(|_| j.attached()).collect();
        for (i, k, tag, f, n, pick) in requests {
            // A flood beyond the share is refused earlier by the joint.
            if direct[i].s.waiting() >= 2 {
                t.ready = 9;
                direct[i].s.wake(BLK);
                let late = direct[i].late(&mut t);
                t.ready = 0;
                j.ready(9);
                prop_assert_eq!(late, j.take(ids[i]));
                for (d, id) in direct.iter_mut().zip(&ids) {
                    t.ready = 9;
                    d.s.wake(BLK);
                    let late = d.late(&mut t);
                    t.ready = 0;
                    prop_assert!(*id == ids[i] || late == j.take(*id));
                }
            }
            let f = any_request(k, tag, f, n, pick);
            let (want, got) = (direct[i].raw(&mut t, &f), j.ask(ids[i], &f));
            // That the new fid cannot be had the joint finds before the server finds that
            // there are no attributes.
            let xattr = f[4] == 30 && errno(&want[0]) != 0 && errno(&got[0]) != 0;
            prop_assert!(xattr || want == got, "{:?}: {:?} {:?}", f, want, got);
            prop_assert_eq!(j.p.s.fids(), direct.iter().map(|d| d.s.fids()).sum::<usize>());
        }
    }

    #[test]
    fn nothing_is_left_when_clients_close_at_any_time(
        events in prop::collection::vec(event(), 1..200),
    ) {
        let mut j = Joint::new(4096, Share { fids: 5, requests: 4, unread: 5000, waiting: 9 });
        let mut ids: Vec<_> = (0..3).map(|_| j.attached()).collect();
        for e in events {
            match e {
                Event::Request(i, f) => j.m.from_client(ids[i], &f),
                Event::Ready(n) => j.ready(n),
                Event::Run => {
                    j.run();
                    for id in &ids {
                        j.take(*id);
                    }
                }
                Event::Version(i) => j.m.from_client(ids[i], &frame(NOTAG, &Tmsg::Version { msize: 600, version: "9P2000.L" })),
                Event::Close(i) => {
                    j.m.close(ids[i]);
                    ids[i] = j.m.open();
                    let mut f = frame(NOTAG, &Tmsg::Version { msize: 700, version: "9P2000.L.x" });
                    f.extend(frame(1, &Tmsg::Attach { fid: 0, afid: NOFID, uname: "", aname: "", n_uname: 0 }));
                    j.m.from_client(ids[i], &f);
                }
            }
            prop_assert!(j.p.s.fids() <= 3 * 5 + 15);
        }
        ids.into_iter().for_each(|id| j.m.close(id));
        j.run();
        j.assert_empty();
    }

    #[test]
    fn no_bytes_of_a_server_make_it_panic(
        ty in any::<u8>(), tag in 0..4u16, body in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut j = Joint::new(8192, Share::default());
        let id = j.attached();
        for f in [walk_frame(1, 0, 1, &[b"d"]), read(2, 0, 9), frame(3, &Tmsg::Clunk { fid: 0 })] {
            j.m.from_client(id, &f);
        }
        let _ = j.m.from_server(&raw(ty, tag, &body));
        let _ = j.m.from_server(&body);
        j.m.close(id);
        let _ = j.m.from_server(&raw(ty, tag + 1, &body));
    }
}
