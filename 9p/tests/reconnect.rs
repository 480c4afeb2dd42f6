//! What a keeper promises holds wherever its connection breaks.

mod common;
mod world;

use std::collections::BTreeMap;

use atoll_9p::client::Tag;
use atoll_9p::client::keeper::{Keeper, Settings, State};
use atoll_9p::dialect::Dialect;
use atoll_9p::fault::Errno;
use atoll_9p::msg::Tmsg;
use atoll_9p::types::{Lock, LockKind, OpenFlags};
use atoll_9p::wire::NOTAG;
use common::{attach, walk_frame};
use proptest::prelude::*;
use world::*;

/// A request. A number is never used again, as a tag is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id(u64);

/// A keeper, the server that lives on, and a transport that breaks when told to.
struct Sim {
    k: Keeper,
    w: World,
    c: Option<Conn>,
    now: u64,
    /// Bytes that pass, in both directions together, before each break.
    cuts: Vec<usize>,
    passed: usize,
    /// Bytes that pass at one time.
    piece: usize,
    breaks: u32,
    /// The requests by their tags, and the answers by the requests.
    tags: BTreeMap<Tag, Id>,
    got: BTreeMap<Id, Got>,
    next: u64,
}

impl Sim {
    fn new(dialect: Dialect, cuts: &[usize], piece: usize) -> Sim {
        Sim {
            k: Keeper::new(Settings { msize: 8192, ..Settings::new(7) }),
            w: World::new(dialect),
            c: None,
            now: 0,
            cuts: cuts.iter().rev().copied().collect(),
            passed: 0,
            piece,
            breaks: 0,
            tags: BTreeMap::new(),
            got: BTreeMap::new(),
            next: 0,
        }
    }

    /// How many bytes may pass now, up to `n`; 0 when the connection breaks.
    fn pass(&mut self, n: usize) -> usize {
        let n = n.min(self.piece);
        let Some(left) = self.cuts.last_mut() else {
            self.passed += n;
            return n;
        };
        let n = n.min(*left);
        *left -= n;
        self.passed += n;
        n
    }

    fn cut(&mut self) {
        if self.cuts.last() == Some(&0) {
            self.cuts.pop();
        }
        // The system may have taken more than ever arrived.
        if self.breaks.is_multiple_of(2) {
            self.k.sent(self.k.output().len());
        }
        self.breaks += 1;
        self.c = None;
        self.k.broken(self.now);
        assert!(self.k.output().is_empty() && self.k.state() == State::Down);
    }

    /// Carries bytes until nothing moves any more.
    fn run(&mut self) {
        for _ in 0..1_000_000 {
            while let Some((tag, answer)) = self.k.poll().unwrap() {
                let id = self.tags.remove(&tag).expect("an answer to nothing");
                self.got.insert(id, Got::of(&answer));
            }
            if self.c.is_none() {
                if self.k.outstanding() == 0 {
                    return;
                }
                self.now = self.now.max(self.k.retry_at().unwrap());
                self.k.connected();
                self.c = Some(Conn::new());
            }
            let up = self.k.output().to_vec();
            if !up.is_empty() {
                let n = self.pass(up.len());
                if n == 0 {
                    self.cut();
                    continue;
                }
                self.k.sent(n);
                self.c.as_mut().unwrap().feed(&mut self.w, &up[..n]);
                continue;
            }
            let down = self.c.as_ref().unwrap().tx.len();
            if down == 0 {
                return;
            }
            let n = self.pass(down);
            if n == 0 {
                self.cut();
                continue;
            }
            let bytes: Vec<u8> = self.c.as_mut().unwrap().tx.drain(..n).collect();
            self.k.feed(&bytes);
        }
        panic!("it never ends");
    }

    fn push(&mut self) {
        self.w.push();
        if let Some(c) = &mut self.c {
            c.wake(&mut self.w);
        }
    }

    fn send(&mut self, m: &Tmsg<'_>) -> Id {
        let tag = self.k.send(m);
        assert_ne!(tag.0, NOTAG);
        self.next += 1;
        self.tags.insert(tag, Id(self.next));
        Id(self.next)
    }

    fn tag(&self, id: Id) -> u16 {
        self.tags.iter().find(|t| *t.1 == id).expect("outstanding").0.0
    }

    fn walk(&mut self, fid: u32, newfid: u32, path: &str) -> Id {
        let names: Vec<&[u8]> =
            path.split('/').filter(|n| !n.is_empty()).map(str::as_bytes).collect();
        let f = walk_frame(1, fid, newfid, &names);
        self.send(&Tmsg::decode(&f).unwrap())
    }

    fn take(&mut self, id: Id) -> Option<Got> {
        self.got.remove(&id)
    }

    /// Sends, runs and gives the answer, which must come without anything else.
    fn ask(&mut self, m: &Tmsg<'_>) -> Got {
        let tag = self.send(m);
        self.run();
        self.take(tag).expect("an answer")
    }

    /// Walks from fid 0, and opens.
    fn open(&mut self, fid: u32, path: &str, flags: OpenFlags) -> Got {
        let walk = self.walk(0, fid, path);
        let open = self.send(&Tmsg::Lopen { fid, flags });
        self.run();
        assert!(matches!(self.take(walk), Some(Got::Walked(_))));
        self.take(open).expect("an answer")
    }

    fn read(&mut self, fid: u32, offset: u64, count: u32) -> Got {
        self.ask(&Tmsg::Read { fid, offset, count })
    }

    /// Breaks the connection now.
    fn snap(&mut self) {
        if self.c.is_some() {
            self.cut();
        }
    }
}

fn attached(dialect: Dialect, cuts: &[usize], piece: usize) -> Sim {
    let mut s = Sim::new(dialect, cuts, piece);
    assert_eq!(s.ask(&attach(0)), Got::Done);
    s
}

const RW: OpenFlags = OpenFlags::RDWR;
const RD: OpenFlags = OpenFlags::RDONLY;

/// A reader of the stream: always one read is underway.
#[derive(Default)]
struct Tail {
    read: Option<Id>,
    text: String,
}

impl Tail {
    fn go(&mut self, s: &mut Sim) {
        loop {
            let tag = *self
                .read
                .get_or_insert_with(|| s.send(&Tmsg::Read { fid: 3, offset: 0, count: 30 }));
            s.run();
            match s.take(tag) {
                Some(Got::Data(data)) => self.text += &String::from_utf8(data).unwrap(),
                Some(other) => panic!("{other:?}"),
                None => return,
            }
            self.read = None;
        }
    }

    /// Each line once and in order, or a gap that says how many are missing.
    fn check(&self, lines: usize) {
        let mut next = 0;
        for line in self.text.lines() {
            match line.strip_prefix("gap ") {
                Some(n) => next += n.parse::<usize>().unwrap(),
                None => {
                    assert_eq!(line, format!("line {next}"), "{}", self.text);
                    next += 1;
                }
            }
        }
        assert_eq!(next, lines, "{}", self.text);
    }
}

/// Uses every kind of file, with several requests underway, and checks each promise.
fn everything(rounds: u64, cuts: &[usize], piece: usize) -> Sim {
    let mut s = attached(Dialect::Atoll, cuts, piece);
    for (fid, path, flags) in [(1, "plain", RD), (2, "ctl", RW), (3, "log", RD), (4, "slots", RW)] {
        assert!(s.open(fid, path, flags).errno().is_none(), "{path}");
    }
    assert!(s.open(5, "c/clone", RW).errno().is_none());
    assert!(s.open(6, "many", RD).errno().is_none());
    let walk = s.walk(0, 7, "made");
    let clone = s.ask(&Tmsg::Getattr { fid: 5, mask: 0 });
    assert_eq!(s.take(walk), Some(Got::Walked(1)));

    let (mut tail, mut cookie, mut names) = (Tail::default(), 0, Vec::new());
    let (mut commands, mut said, mut made) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let offset = round * 61;
        let plain = s.send(&Tmsg::Read { fid: 1, offset, count: 100 });
        let texts = [0, 1, 2].map(|i| format!("do {round} {i}"));
        let writes = [2, 2, 5].map(|fid| (fid, if fid == 5 { 2 } else { 0 }));
        let writes: Vec<_> = texts
            .iter()
            .zip(writes)
            .enumerate()
            .map(|(i, (text, (fid, _)))| {
                let data = text.as_bytes();
                (i, s.send(&Tmsg::Write { fid, offset: 0, data, op: None }))
            })
            .collect();
        let at = round % 10 * 8;
        let slot = s.send(&Tmsg::Write { fid: 4, offset: at, data: &[round as u8; 8], op: None });
        let list = s.send(&Tmsg::Readdir { fid: 6, offset: cookie, count: 150 });
        let name = format!("n{round}");
        let mkdir = s.send(&Tmsg::Mkdir { dfid: 7, name: &name, mode: 0o755, gid: 0 });
        for _ in 0..round % 4 {
            s.push();
        }
        tail.go(&mut s);

        let want = content().into_iter().skip(offset as usize).take(100).collect();
        assert_eq!(s.take(plain), Some(Got::Data(want)));
        for (i, tag) in writes {
            let acked = match s.take(tag).unwrap() {
                Got::Count(n) => n as usize == texts[i].len(),
                other => panic!("{other:?}"),
            };
            if i < 2 { &mut commands } else { &mut said }.push((texts[i].clone(), acked));
        }
        assert_eq!(s.take(slot), Some(Got::Count(8)));
        assert_eq!(s.w.slots[at as usize..][..8], [round as u8; 8]);
        let Some(Got::Names(some)) = s.take(list) else { panic!() };
        cookie = some.last().map_or(cookie, |n| n.0);
        names.extend(some.into_iter().map(|n| n.1));
        match s.take(mkdir).unwrap() {
            Got::Qid(_) => made.push(name),
            // Never EEXIST: that would be its own.
            Got::Error(Errno::EIO, text) => assert!(text.contains("nobody knows"), "{text}"),
            other => panic!("{other:?}"),
        }
    }
    tail.go(&mut s);
    tail.check(s.w.lines.len());
    once(&commands, &s.w.done);
    let Got::Qid(ctl) = clone else { panic!("{clone:?}") };
    once(&said, s.w.said.get(&ctl).map_or(&[], |v| v));
    assert_eq!(s.w.said.len(), 1, "commands reached another clone");
    assert!(made.iter().all(|n| s.w.made.contains_key(n)));
    assert!(names.iter().enumerate().all(|(i, n)| *n == format!("e{i:02}")), "{names:?}");
    assert_eq!(s.ask(&Tmsg::Getattr { fid: 5, mask: 0 }), clone);
    // What the keeper holds at the server is what it was asked for.
    let flush = s.send(&Tmsg::Flush { oldtag: s.tag(tail.read.unwrap()) });
    for fid in 1..=7 {
        assert_eq!(s.ask(&Tmsg::Clunk { fid }), Got::Done);
    }
    assert_eq!(s.take(flush), Some(Got::Done));
    assert_eq!((s.k.fids(), s.k.outstanding()), (1, 0));
    assert!(s.c.as_ref().is_none_or(|c| c.fids() <= 1));
    s
}

/// Commands that were acknowledged were done once and in order, the others at most once.
fn once(commands: &[(String, bool)], done: &[String]) {
    let mut rest = done.iter();
    for (text, acked) in commands {
        let n = done.iter().filter(|d| *d == text).count();
        assert!(n == 1 || (n == 0 && !acked), "{text}: {n} times, acknowledged: {acked}");
        assert!(!acked || rest.any(|d| d == text), "{text} is out of order in {done:?}");
    }
}

#[test]
fn every_promise_holds_wherever_the_connection_breaks() {
    let whole = everything(3, &[], usize::MAX);
    assert_eq!(whole.breaks, 0);
    for at in 0..whole.passed {
        let s = everything(3, &[at], usize::MAX);
        assert_eq!(s.breaks, 1, "{at}");
    }
}

proptest! {
    #[test]
    fn every_promise_holds_however_often_it_breaks(
        cuts in prop::collection::vec(0..900usize, 0..12), piece in 1..200usize,
    ) {
        everything(10, &cuts, piece);
    }
}

fn text(got: &Got) -> &str {
    match got {
        Got::Error(_, text) => text,
        other => panic!("no error: {other:?}"),
    }
}

#[test]
fn a_file_that_is_another_is_stale_for_ever_and_the_others_go_on() {
    let mut s = attached(Dialect::Atoll, &[], usize::MAX);
    s.open(1, "plain", RD);
    s.open(2, "slots", RW);
    s.w.replaced = 500;
    s.snap();
    for _ in 0..2 {
        let got = s.read(1, 0, 10);
        assert_eq!(got.errno(), Some(Errno::ESTALE));
        assert!(text(&got).contains("another file"), "{got:?}");
        assert_eq!(s.ask(&Tmsg::Getattr { fid: 1, mask: 0 }).errno(), Some(Errno::ESTALE));
        assert_eq!(s.read(2, 0, 3), Got::Data(vec![0; 3]));
        s.w.replaced = 0;
        s.snap();
    }
    assert_eq!(s.ask(&Tmsg::Clunk { fid: 1 }), Got::Done);
    assert_eq!(s.open(1, "plain", RD), Got::Qid(PLAIN));
    assert_eq!(s.c.as_ref().unwrap().fids(), 3);
}

#[test]
fn a_file_is_found_under_the_name_that_it_was_given() {
    let mut s = attached(Dialect::Atoll, &[], usize::MAX);
    let walk = s.walk(0, 1, "made");
    s.walk(0, 2, "made");
    s.run();
    s.got.clear();
    let create = Tmsg::Lcreate { fid: 1, name: "a", flags: RW, mode: 0o644, gid: 0 };
    let Got::Qid(path) = s.ask(&create) else { panic!() };
    let rename = Tmsg::Renameat { olddirfid: 2, oldname: "a", newdirfid: 2, newname: "b" };
    assert_eq!(s.ask(&rename), Got::Done);
    s.snap();
    assert_eq!(s.ask(&Tmsg::Getattr { fid: 1, mask: 0 }), Got::Qid(path));
    assert_eq!(s.ask(&Tmsg::Unlinkat { dirfd: 2, name: "b", flags: 0 }), Got::Done);
    s.snap();
    assert_eq!(s.ask(&Tmsg::Getattr { fid: 1, mask: 0 }).errno(), Some(Errno::ESTALE));
    let _ = walk;
}

#[test]
fn requests_that_wait_for_a_connection_can_be_flushed_and_expire() {
    let mut s = Sim::new(Dialect::Atoll, &[], usize::MAX);
    s.k = Keeper::new(Settings { patience: Some(1000), ..Settings::new(7) });
    assert_eq!(s.ask(&attach(0)), Got::Done);
    s.open(3, "log", RD);
    s.open(1, "plain", RD);
    let blocked = s.send(&Tmsg::Read { fid: 3, offset: 0, count: 30 });
    s.run();
    s.now = 5000;
    s.snap();
    let waits = s.k.send(&Tmsg::Read { fid: 1, offset: 0, count: 30 });
    let flush = s.k.send(&Tmsg::Flush { oldtag: s.tag(blocked) });
    let clunk = s.k.send(&Tmsg::Clunk { fid: 3 });
    let poll = |s: &mut Sim| s.k.poll().unwrap().map(|(tag, m)| (tag, Got::of(&m)));
    assert_eq!(poll(&mut s), Some((flush, Got::Done)));
    assert_eq!(poll(&mut s), Some((clunk, Got::Done)));
    assert_eq!((poll(&mut s), s.k.expires_at()), (None, Some(6000)));
    s.k.expire(5999);
    assert_eq!(poll(&mut s), None);
    s.k.expire(6000);
    let (tag, got) = poll(&mut s).unwrap();
    assert_eq!((tag, got.errno()), (waits, Some(Errno::EIO)));
    assert_eq!((s.k.outstanding(), s.k.expires_at()), (0, None));
    assert_eq!(s.read(1, 0, 2), Got::Data(content()[..2].to_vec()));
}

#[test]
fn a_server_that_is_away_is_tried_less_and_less_often() {
    let settings = Settings { first_wait: 10, longest_wait: 50, ..Settings::new(1) };
    let mut k = Keeper::new(settings);
    let mut now = 0;
    for wait in [10, 20, 40, 50, 50] {
        assert!(k.retry_at().unwrap() <= now);
        k.broken(now);
        assert_eq!(k.retry_at(), Some(now + wait));
        now += wait;
    }
    k.connected();
    assert_eq!(k.retry_at(), None);
    k.broken(now);
    assert_eq!(k.retry_at(), Some(now + 50), "a connection that was of no use");
    // One that was is made again at once, and then the waiting begins anew.
    let mut s = attached(Dialect::Atoll, &[], usize::MAX);
    s.now = 77;
    s.snap();
    assert_eq!(s.k.retry_at(), Some(77));
    s.k.broken(77);
    assert_eq!(s.k.retry_at(), Some(77 + 50));
}

#[test]
fn a_server_of_linux_is_asked_nothing_twice_that_changes_something() {
    let mut s = attached(Dialect::L, &[], usize::MAX);
    s.open(4, "slots", RW);
    s.open(1, "plain", RD);
    let write = s.send(&Tmsg::Write { fid: 4, offset: 0, data: b"abc", op: None });
    let read = s.send(&Tmsg::Read { fid: 1, offset: 5, count: 3 });
    s.k.sent(s.k.output().len());
    s.snap();
    s.run();
    let got = s.take(write).unwrap();
    assert!(got.errno() == Some(Errno::EIO) && text(&got).contains("nobody knows"), "{got:?}");
    assert_eq!(s.take(read), Some(Got::Data(content()[5..8].to_vec())));
    // What had not been sent is.
    let write = s.send(&Tmsg::Write { fid: 4, offset: 0, data: b"abc", op: None });
    s.breaks = 1;
    s.snap();
    s.run();
    assert_eq!(s.take(write), Some(Got::Count(3)));
}

#[test]
fn a_stream_that_began_anew_says_that_nobody_knows_what_was_missed() {
    let mut s = attached(Dialect::Atoll, &[], usize::MAX);
    s.open(3, "log", RD);
    s.push();
    assert_eq!(s.read(3, 0, 100), Got::Data(b"line 0\n".to_vec()));
    s.snap();
    (s.w.base, s.w.lines) = (1000, vec!["new\n".into()]);
    assert_eq!(s.read(3, 0, 4), Got::Data(b"gap ".to_vec()));
    assert_eq!(s.read(3, 0, 100), Got::Data(b"?\n".to_vec()));
    assert_eq!(s.read(3, 0, 100), Got::Data(b"new\n".to_vec()));
    // One that knows no positions any more is another server.
    s.w.dialect = Dialect::L;
    s.snap();
    let got = s.read(3, 0, 100);
    assert!(got.errno() == Some(Errno::ESTALE) && text(&got).contains("stream"), "{got:?}");
}

#[test]
fn a_file_that_held_a_lock_is_stale() {
    let mut s = attached(Dialect::Atoll, &[], usize::MAX);
    s.open(1, "plain", RD);
    s.open(4, "slots", RW);
    let lock = |kind| Lock { kind, start: 0, length: 0, pid: 1, client: "me" };
    for (fid, kind) in [(1, LockKind::Write), (4, LockKind::Write), (4, LockKind::Unlock)] {
        assert_eq!(s.ask(&Tmsg::Lock { fid, flags: 0, lock: lock(kind) }), Got::Done);
    }
    s.snap();
    let got = s.read(1, 0, 5);
    assert!(got.errno() == Some(Errno::ESTALE) && text(&got).contains("locks"), "{got:?}");
    assert_eq!(s.read(4, 0, 1), Got::Data(vec![0]));
}

#[test]
fn a_name_beyond_one_walk_is_found_again() {
    let mut s = attached(Dialect::Atoll, &[], usize::MAX);
    s.walk(0, 1, &format!("deep{}", "/x".repeat(15)));
    s.walk(1, 1, &"x/".repeat(16));
    s.walk(1, 2, "x");
    s.run();
    assert_eq!(s.ask(&Tmsg::Getattr { fid: 2, mask: 0 }), Got::Qid(DEEP + 32));
    s.snap();
    for fid in [1, 2] {
        let want = Got::Qid(DEEP + 30 + u64::from(fid));
        assert_eq!(s.ask(&Tmsg::Getattr { fid, mask: 0 }), want);
    }
    assert_eq!(s.c.as_ref().unwrap().fids(), 3);
}
