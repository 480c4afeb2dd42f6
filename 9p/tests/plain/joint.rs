//! What is the joint's own: scripts that are cut off, flushed and held back.

use atoll_9p::client::Broken;
use atoll_9p::mux::{ClientId, Mux, Share};
use proptest::prelude::*;

use super::client::run;
use super::*;

/// A joint, its server, and a tree.
struct Bench<T: Tree> {
    m: Mux,
    p: Peer<T>,
    t: T,
}

impl<T: Tree> Bench<T> {
    fn new(mut t: T, share: Share) -> Bench<T> {
        let mut p = Peer::new(Limits::default());
        let mut m = Mux::new(64 << 10, share);
        run(&mut m, &mut p, &mut t, usize::MAX);
        Bench { m, p, t }
    }

    fn run(&mut self) {
        run(&mut self.m, &mut self.p, &mut self.t, usize::MAX);
    }

    /// Carries one request to the server, and its answers back.
    fn step(&mut self) -> bool {
        let up = self.m.to_server();
        if up.is_empty() {
            return false;
        }
        let one = frames(up).remove(0);
        self.m.sent_to_server(one.len());
        let down = self.p.raw(&mut self.t, &one).concat();
        self.m.from_server(&down).unwrap();
        true
    }

    fn take(&mut self, id: ClientId) -> Vec<Vec<u8>> {
        let out = frames(self.m.to_client(id));
        self.m.sent_to_client(id, self.m.to_client(id).len());
        out
    }

    fn ask(&mut self, id: ClientId, f: &[u8]) -> Vec<Vec<u8>> {
        self.m.from_client(id, f);
        self.run();
        self.take(id)
    }

    fn attached(&mut self) -> ClientId {
        let id = self.m.open();
        let mut f = frame(NOTAG, &Tmsg::Version { msize: 8192, version: "9P2000" });
        f.extend(plain(1, &attach(0)));
        assert_eq!(types(&self.ask(id, &f)), [101, 105]);
        id
    }

    fn assert_empty(&mut self) {
        assert_eq!((self.p.s.fids(), self.p.s.waiting(), self.m.outstanding()), (0, 0, 0));
    }
}

fn plain(tag: u16, m: &Tmsg<'_>) -> Vec<u8> {
    let mut f = Vec::new();
    m.encode_in(Dialect::Plain, tag, &mut f);
    f
}

fn types(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.iter().map(|f| f[4]).collect()
}

fn ram() -> Ram {
    let mut t = Ram::default();
    for path in ["d/f", "d/g", "d/e/h"] {
        t.put(path, b"text").unwrap();
    }
    t
}

/// What was asked before, and a request that takes more than one step. Fid 1 is `d`,
/// fid 2 `d/f`, fid 3 `d`, open.
fn scripts() -> Vec<Vec<u8>> {
    let stat = |stat| plain(5, &Tmsg::Wstat { fid: 2, stat });
    let none = Wstat::default();
    let create = |perm, mode| plain(5, &Tmsg::Create { fid: 1, name: "new", perm, mode });
    vec![
        plain(5, &Tmsg::Attach { fid: 9, afid: NOFID, uname: "u", aname: "d", n_uname: 0 }),
        walk_frame(5, 0, 9, &[b"d", b"e"]),
        walk_frame(5, 0, 9, &[b"d", b"no"]),
        walk_frame(5, 1, 1, &[b"e"]),
        plain(5, &Tmsg::Open { fid: 2, mode: ORCLOSE }),
        plain(5, &Tmsg::Open { fid: 2, mode: OEXEC }),
        plain(5, &Tmsg::Open { fid: 2, mode: OWRITE | OTRUNC }),
        create(0o666, ORDWR),
        create(0o666, ORDWR | ORCLOSE),
        create(DMDIR | 0o777, OREAD),
        plain(5, &Tmsg::Read { fid: 3, offset: 0, count: 8000 }),
        plain(5, &Tmsg::Stat { fid: 2 }),
        stat(none),
        stat(Wstat { name: Some("k"), ..none }),
        stat(Wstat { name: Some("g"), ..none }),
        stat(Wstat { name: Some("k"), length: Some(1), mtime: Some(3), ..none }),
        stat(Wstat { name: Some("k"), length: Some(u64::MAX - 1), ..none }),
        plain(5, &Tmsg::Clunk { fid: 2 }),
        plain(5, &Tmsg::Remove { fid: 2 }),
        plain(5, &Tmsg::Remove { fid: 1 }),
    ]
}

fn prepared() -> (Bench<Ram>, ClientId) {
    let mut b = Bench::new(ram(), Share::default());
    let id = b.attached();
    for f in [
        walk_frame(2, 0, 1, &[b"d"]),
        walk_frame(2, 1, 2, &[b"f"]),
        plain(2, &Tmsg::Wstat { fid: 2, stat: Wstat { mode: Some(0o700), ..Wstat::default() } }),
        walk_frame(2, 0, 3, &[b"d"]),
        plain(2, &Tmsg::Open { fid: 3, mode: OREAD }),
    ] {
        assert_ne!(b.ask(id, &f)[0][4], 107);
    }
    (b, id)
}

#[test]
fn a_client_that_goes_in_the_middle_leaves_no_fid_behind() {
    let mut most = 0;
    for (n, f) in scripts().iter().enumerate() {
        for steps in 0.. {
            let (mut b, id) = prepared();
            b.m.from_client(id, f);
            let done = (0..steps).take_while(|_| b.step()).count();
            most = most.max(done);
            if n % 2 == 0 {
                b.m.close(id);
            } else {
                // The same client begins anew.
                let m = Tmsg::Version { msize: 8192, version: "9P2000" };
                b.m.from_client(id, &frame(NOTAG, &m));
            }
            b.run();
            b.assert_empty();
            // Half of a Twstat may be done, but no half file is there.
            let k = b.t.content("d/k").is_ok();
            let removed = [4, 17, 18].contains(&n);
            assert!(removed || b.t.content("d/f").is_ok() != k, "script {n}, step {steps}");
            if n == 8 {
                assert!(b.t.content("d/new").is_err(), "ORCLOSE, step {steps}");
            }
            if done < steps {
                break;
            }
        }
    }
    assert!(most > 8, "{most}");
}

#[test]
fn a_flush_is_answered_after_what_it_flushes() {
    for (n, f) in scripts().iter().enumerate() {
        for steps in 0.. {
            let (mut b, id) = prepared();
            b.m.from_client(id, f);
            let done = (0..steps).take_while(|_| b.step()).count();
            b.m.from_client(id, &frame(6, &Tmsg::Flush { oldtag: 5 }));
            // And one of the same, and one of that.
            b.m.from_client(id, &frame(7, &Tmsg::Flush { oldtag: 5 }));
            b.m.from_client(id, &frame(8, &Tmsg::Flush { oldtag: 7 }));
            b.run();
            let tags: Vec<_> = b.take(id).iter().map(|f| tag_of(f)).collect();
            assert_eq!(tags, [5, 6, 7, 8], "script {n}, step {steps}");
            // What it said is so: the client goes on.
            assert_eq!(types(&b.ask(id, &plain(5, &Tmsg::Clunk { fid: 0 }))), [121]);
            b.m.close(id);
            b.run();
            b.assert_empty();
            if done < steps {
                break;
            }
        }
    }
}

#[test]
fn what_has_not_begun_is_flushed_at_once() {
    let (mut b, id) = prepared();
    b.m.from_client(id, &walk_frame(5, 0, 9, &[b"d", b"e"]));
    b.m.from_client(id, &plain(6, &Tmsg::Clunk { fid: 2 }));
    b.m.from_client(id, &frame(7, &Tmsg::Flush { oldtag: 6 }));
    assert_eq!(b.take(id).iter().map(|f| tag_of(f)).collect::<Vec<_>>(), [7]);
    b.run();
    assert_eq!(types(&b.take(id)), [111]);
    assert_eq!(types(&b.ask(id, &plain(6, &Tmsg::Clunk { fid: 2 }))), [121]);
}

#[test]
fn a_client_need_not_wait_for_its_answers() {
    let mut t = Counting { many: 9, ..Counting::default() };
    let mut f = frame(NOTAG, &Tmsg::Version { msize: 8192, version: "9P2000" });
    f.extend(plain(1, &attach(0)));
    f.extend(walk_frame(2, 0, 1, &[b"file"]));
    f.extend(plain(3, &Tmsg::Open { fid: 1, mode: OREAD }));
    f.extend(plain(4, &Tmsg::Read { fid: 1, offset: 2, count: 100 }));
    f.extend(plain(5, &Tmsg::Stat { fid: 1 }));
    f.extend(plain(6, &Tmsg::Clunk { fid: 1 }));
    f.extend(walk_frame(7, 0, 1, &[b"many"]));
    f.extend(plain(8, &Tmsg::Open { fid: 1, mode: OREAD }));
    f.extend(plain(9, &Tmsg::Read { fid: 1, offset: 0, count: 1000 }));
    f.extend(plain(10, &Tmsg::Read { fid: 1, offset: 0, count: 100 }));
    f.extend(plain(11, &Tmsg::Remove { fid: 1 }));
    f.extend(plain(12, &Tmsg::Stat { fid: 1 }));
    let want = Line::new(&mut t, Way::Session).raw(&mut t, &f);
    assert_eq!(types(&want), [101, 105, 111, 113, 117, 125, 121, 111, 113, 117, 117, 107, 107]);
    for piece in [1, 10, usize::MAX] {
        let mut t = Counting { many: 9, ..Counting::default() };
        assert_eq!(Line::new(&mut t, Way::Joint(piece)).raw(&mut t, &f), want, "{piece}");
    }
}

#[test]
fn one_place_at_the_server_is_enough_for_any_script() {
    let share = Share { requests: 1, waiting: 1, ..Share::default() };
    let mut b = Bench::new(Counting { many: 30, ..Counting::default() }, share);
    let id = b.attached();
    for f in [
        walk_frame(2, 0, 1, &[b"blk"]),
        plain(2, &Tmsg::Open { fid: 1, mode: OREAD }),
        walk_frame(2, 0, 2, &[b"many"]),
        plain(2, &Tmsg::Open { fid: 2, mode: OREAD }),
    ] {
        assert_ne!(b.ask(id, &f)[0][4], 107);
    }
    let list = plain(3, &Tmsg::Read { fid: 2, offset: 0, count: 8000 });
    assert_eq!(stats(&data(&b.ask(id, &list)[0])).count(), 30);
    // A read that waits has the place until it is flushed.
    assert!(b.ask(id, &plain(4, &Tmsg::Read { fid: 1, offset: 0, count: 9 })).is_empty());
    assert!(b.ask(id, &list).is_empty());
    let tags = |f: Vec<Vec<u8>>| f.iter().map(|f| tag_of(f)).collect::<Vec<_>>();
    assert_eq!(tags(b.ask(id, &frame(9, &Tmsg::Flush { oldtag: 4 }))), [9, 3]);
    b.m.close(id);
    b.run();
    b.assert_empty();
    b.t.assert_empty();
}

#[test]
fn nobody_waits_for_another_s_script() {
    let (mut b, slow) = prepared();
    let quick = b.attached();
    b.m.from_client(slow, &plain(5, &Tmsg::Read { fid: 3, offset: 0, count: 8000 }));
    b.step();
    b.m.from_client(quick, &plain(5, &Tmsg::Stat { fid: 0 }));
    // Behind what the script has asked for already, and before what it asks next.
    b.step();
    b.step();
    assert_eq!((types(&b.take(quick)), b.take(slow).len()), (vec![125], 0));
    b.run();
    assert_eq!(types(&b.take(slow)), [117]);
}

#[test]
fn a_client_that_floods_stops_itself() {
    let (mut b, id) = prepared();
    let other = b.attached();
    let requests = Share::default().requests;
    // The server is silent.
    b.m.from_client(id, &plain(5, &Tmsg::Stat { fid: 0 }));
    let mut sent = 0;
    while b.m.wants(id) && sent < 10_000 {
        b.m.from_client(id, &frame(100 + sent, &Tmsg::Flush { oldtag: 5 }));
        sent += 1;
    }
    assert!(usize::from(sent) <= 2 * requests, "{sent}");
    assert!(b.m.wants(other));
    b.run();
    assert_eq!(b.take(id).len(), usize::from(sent) + 1);
    // Of requests there is as much as a message holds.
    let m = Tmsg::Write { fid: 2, offset: 0, data: &[0; 1000], op: None };
    let mut sent = 0;
    b.m.from_client(id, &plain(5, &Tmsg::Stat { fid: 0 }));
    while b.m.wants(id) && sent < 10_000 {
        b.m.from_client(id, &plain(100 + sent, &m));
        sent += 1;
    }
    assert!(sent <= 9 && b.m.held(id) < 3 * 8192, "{sent} {}", b.m.held(id));
    b.run();
    b.take(id);
    assert_eq!(b.m.held(id), 0);
}

#[test]
fn a_directory_is_read_in_bounded_memory() {
    let mut t = Ram::default();
    for i in 0..2000 {
        t.put(&format!("d/{i}"), b"").unwrap();
    }
    let mut b = Bench::new(t, Share::default());
    let id = b.attached();
    b.ask(id, &walk_frame(2, 0, 1, &[b"d"]));
    b.ask(id, &plain(2, &Tmsg::Open { fid: 1, mode: OREAD }));
    b.m.from_client(id, &plain(3, &Tmsg::Read { fid: 1, offset: 0, count: u32::MAX }));
    let mut most = 0;
    while b.step() {
        most = most.max(b.m.held(id));
        assert!(b.p.s.fids() <= 1 + 2 + 2, "{}", b.p.s.fids());
    }
    assert!((4096..3 * 8192).contains(&most), "{most}");
    assert!(b.take(id)[0].len() > 8000);
    assert_eq!((b.m.held(id), b.p.s.fids()), (0, 3));
}

#[test]
fn a_path_is_kept_while_what_lies_above_it_is_renamed() {
    let (mut b, id) = prepared();
    let rename = |fid, name| {
        plain(5, &Tmsg::Wstat { fid, stat: Wstat { name: Some(name), ..Wstat::default() } })
    };
    b.ask(id, &walk_frame(2, 0, 4, &[b"d", b"e", b"h"]));
    b.ask(id, &walk_frame(2, 0, 5, &[b"d", b"e"]));
    // By the client itself, in whatever order.
    for (fid, name) in [(1, "dd"), (5, "ee"), (4, "hh"), (2, "ff"), (5, "e")] {
        assert_eq!(types(&b.ask(id, &rename(fid, name))), [127], "{name}");
    }
    assert!(b.t.content("dd/e/hh").is_ok() && b.t.content("dd/ff").is_ok());
    // By another, of whom it does not hear: refused, and nothing else is renamed.
    let other = b.attached();
    b.ask(other, &walk_frame(2, 0, 1, &[b"dd"]));
    assert_eq!(types(&b.ask(other, &rename(1, "x"))), [127]);
    let refused = b.ask(id, &rename(2, "y"));
    assert_eq!(refused[0][4], 107);
    b.t.put("dd/ff", b"another").unwrap();
    assert_eq!(b.ask(id, &rename(2, "y")), refused);
    assert!(b.t.content("x/ff").is_ok() && b.t.content("dd/ff").is_ok());
    // The server needs no path to remove it.
    let f = b.ask(id, &plain(5, &Tmsg::Remove { fid: 2 }));
    assert_eq!(types(&f), [123], "{}", String::from_utf8_lossy(&f[0]));
    assert!(b.t.content("x/ff").is_err());
    for client in [id, other] {
        b.m.close(client);
    }
    b.run();
    b.assert_empty();
}

#[test]
fn where_a_client_attached_is_let_go_with_its_last_fid() {
    let (mut b, id) = prepared();
    let before = b.p.s.fids();
    for _ in 0..5 {
        b.ask(id, &plain(5, &attach(8)));
        b.ask(id, &walk_frame(5, 8, 9, &[b"d", b"f"]));
        b.ask(id, &plain(5, &Tmsg::Clunk { fid: 8 }));
        assert_eq!(b.p.s.fids(), before + 2);
        // It is found from there, although the client has no fid of it.
        let stat = Wstat { name: Some("k"), ..Wstat::default() };
        assert_eq!(types(&b.ask(id, &plain(5, &Tmsg::Wstat { fid: 9, stat }))), [127]);
        let stat = Wstat { name: Some("f"), ..Wstat::default() };
        assert_eq!(types(&b.ask(id, &plain(5, &Tmsg::Wstat { fid: 9, stat }))), [127]);
        b.ask(id, &plain(5, &Tmsg::Clunk { fid: 9 }));
        assert_eq!(b.p.s.fids(), before);
    }
}

/// A directory of more names than one walk takes is found again.
#[test]
fn deep_directories_are_found_again() {
    let path: Vec<_> = (0..50).map(|i| format!("level-{i}")).collect();
    let mut t = Ram::default();
    t.put(&(path.join("/") + "/f"), b"").unwrap();
    let mut b = Bench::new(t, Share::default());
    let id = b.attached();
    b.ask(id, &walk_frame(2, 0, 1, &[]));
    for name in &path {
        assert_eq!(types(&b.ask(id, &walk_frame(2, 1, 1, &[name.as_bytes()]))), [111]);
    }
    b.ask(id, &walk_frame(2, 1, 1, &[b"f"]));
    let stat = Wstat { name: Some("g"), ..Wstat::default() };
    assert_eq!(types(&b.ask(id, &plain(5, &Tmsg::Wstat { fid: 1, stat }))), [127]);
    assert!(b.t.content(&(path.join("/") + "/g")).is_ok());
}

#[test]
fn a_server_s_nonsense_is_an_error_and_no_more() {
    for (n, f) in scripts().iter().enumerate() {
        // Ryes to each kind of step, with a body that may be too short, too long, or lie.
        for body in [&[][..], &[0; 2], &[0; 4], &[0; 13], &[0; 17], &[0; 153], &[9; 60]] {
            for steps in 0..4 {
                let (mut b, id) = prepared();
                b.m.from_client(id, f);
                for _ in 0..steps {
                    b.step();
                }
                let Some(up) = frames(b.m.to_server()).first().cloned() else { continue };
                let answer = raw(up[4] + 1, tag_of(&up), body);
                match b.m.from_server(&answer) {
                    Ok(()) | Err(Broken::Frame(_) | Broken::TooMuch | Broken::Unasked) => {}
                    Err(other) => panic!("script {n}: {other:?}"),
                }
                b.m.close(id);
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Event {
    Request(usize, Vec<u8>),
    Ready(u32),
    Steps(usize),
    Take(usize),
    Close(usize),
}

/// A request of 9P2000, or one of the other dialect.
fn any_plain(kind: u8, tag: u16, fid: u32, newfid: u32, pick: u8) -> Vec<u8> {
    let mode = [0, 0, 1, 2, 3, 0x10, 0x40, 0x41][usize::from(pick) % 8];
    let name = ["new", "file", "..", "d"][usize::from(pick) % 4];
    let stat = Wstat {
        name: (pick & 1 != 0).then_some(name),
        length: (pick & 2 != 0).then_some(1),
        mtime: (pick & 4 != 0).then_some(1),
        ..Wstat::default()
    };
    match kind % 30 {
        18..21 => plain(tag, &Tmsg::Open { fid, mode }),
        21..23 => {
            let perm = if pick & 8 != 0 { DMDIR | 0o777 } else { 0o666 };
            plain(tag, &Tmsg::Create { fid, name, perm, mode })
        }
        23..25 => plain(tag, &Tmsg::Stat { fid }),
        25..27 => plain(tag, &Tmsg::Wstat { fid, stat }),
        27..30 => plain(tag, &Tmsg::Read { fid, offset: 0, count: 500 }),
        13 => plain(tag, &Tmsg::Attach { fid, afid: NOFID, uname: "u", aname: "d", n_uname: 0 }),
        kind => any_request(kind, tag, fid, newfid, pick),
    }
}

fn event() -> impl Strategy<Value = Event> {
    let request = (0..3usize, any::<u8>(), 0..12u16, 0..6u32, 0..6u32, any::<u8>())
        .prop_map(|(c, k, t, f, n, p)| Event::Request(c, any_plain(k, t, f, n, p)));
    prop_oneof![
        40 => request,
        3 => (0..4u32).prop_map(Event::Ready),
        1 => (0..3usize).prop_map(Event::Close),
        9 => (0..20usize).prop_map(Event::Steps),
        9 => (0..3usize).prop_map(Event::Take),
    ]
}

proptest! {
    #[test]
    fn nothing_is_left_when_clients_close_at_any_time(
        events in prop::collection::vec(event(), 1..200),
    ) {
        let share = Share { fids: 5, requests: 4, unread: 5000, waiting: 9 };
        let mut b = Bench::new(Counting { many: 20, ..Counting::default() }, share);
        let mut ids: Vec<_> = (0..3).map(|_| b.attached()).collect();
        for e in events {
            match e {
                Event::Request(i, f) => b.m.from_client(ids[i], &f),
                Event::Ready(n) => {
                    b.t.ready = n;
                    b.p.s.wake(BLK);
                    b.step();
                    b.t.ready = 0;
                }
                Event::Steps(n) => {
 for _ in 0..n {
 b.step();
 }
 }
                Event::Take(i) => drop(b.take(ids[i])),
                Event::Close(i) => {
                    b.m.close(ids[i]);
                    ids[i] = b.m.open();
                    let version = ["9P2000", "9P2000.L"][i % 2];
                    let m = Tmsg::Version { msize: 700, version };
                    b.m.from_client(ids[i], &frame(NOTAG, &m));
                    let at = if i % 2 == 0 { plain(1, &attach(0)) } else { frame(1, &attach(0)) };
                    b.m.from_client(ids[i], &at);
                }
            }
            // Each has its fids, a root for each of them, and those of a script; and some
            // are on their way out.
            prop_assert!(b.p.s.fids() <= 3 * (5 + 5 + 3) + 20, "{}", b.p.s.fids());
        }
        ids.into_iter().for_each(|id| b.m.close(id));
        b.run();
        b.assert_empty();
        b.t.assert_empty();
    }
}
