//! In a steady state no request allocates, at the server, on its way and at the client;
//! and an idle session holds next to nothing.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use atoll_9p::client::Client;
use atoll_9p::client::keeper::{Keeper, Settings, State};
use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::mux::{Mux, Share};
use atoll_9p::ram::{Budget, Ram};
use atoll_9p::server::{Limits, Pool, Session};
use atoll_9p::tree::Tree;
use atoll_9p::types::OpenFlags;
use common::*;

struct Counted;

thread_local! {
    /// Of this thread alone: whoever runs the tests allocates on others.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends may allocate when its counter is gone.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTED: Counted = Counted;

/// A session that is served as a loop with a pool serves one.
struct Served<T: Tree> {
    s: Session<T>,
    pool: Pool,
}

impl<T: Tree> Served<T> {
    /// Feeds bytes, takes the answers, and says how many bytes they were.
    fn exchange(&mut self, tree: &mut T, bytes: &[u8]) -> usize {
        self.s.lend(&mut self.pool);
        assert_eq!(self.s.feed(bytes), bytes.len());
        while self.s.step(tree) {}
        let n = self.s.output().len();
        self.s.sent(n);
        self.s.give_back(&mut self.pool);
        n
    }

    /// How often a thousand rounds allocate, after a few to warm up.
    fn allocations(&mut self, tree: &mut T, mut round: impl FnMut(&mut Self, &mut T)) -> u64 {
        (0..9).for_each(|_| round(self, tree));
        let before = ALLOCATIONS.get();
        (0..1000).for_each(|_| round(self, tree));
        ALLOCATIONS.get() - before
    }
}

fn served<T: Tree>(tree: &mut T, limits: Limits) -> Served<T> {
    let mut p = Served { s: Session::new(limits), pool: Pool::new(128 << 10, 1 << 20) };
    p.exchange(tree, &frame(0xffff, &Tmsg::Version { msize: 64 << 10, version: "9P2000.L" }));
    p.exchange(tree, &frame(1, &attach(0)));
    p
}

#[test]
fn nothing_is_allocated_in_a_steady_state() {
    let mut ram = Ram::new(Budget::default());
    ram.put("dir/file", &[7; 100_000]).unwrap();
    for i in 0..50 {
        ram.put(&format!("dir/entry-{i}"), b"").unwrap();
    }
    let mut p = served(&mut ram, Limits::default());
    for (fid, names, flags) in
        [(1, &[&b"dir"[..], b"file"][..], OpenFlags::RDWR), (2, &[b"dir"], OpenFlags::RDONLY)]
    {
        p.exchange(&mut ram, &walk_frame(1, 0, fid, names));
        p.exchange(&mut ram, &frame(1, &Tmsg::Lopen { fid, flags }));
    }

    // One at a time, each with the answer's size.
    let count = 60_000;
    let data = vec![1; 60_000];
    let whole = Tmsg::Readdir { fid: 2, offset: 0, count };
    for (what, request, answer) in [
        ("getattr", frame(1, &Tmsg::Getattr { fid: 1, mask: 0x7ff }), 160),
        ("read", frame(1, &Tmsg::Read { fid: 1, offset: 5, count }), 11 + 60_000),
        ("write", frame(1, &Tmsg::Write { fid: 1, offset: 5, data: &data, op: None }), 11),
        ("readdir", frame(1, &whole), 11 + 24 * 51 + 4 + 10 * 7 + 40 * 8),
        ("flush", frame(1, &Tmsg::Flush { oldtag: 7 }), 7),
    ] {
        let n = p.allocations(&mut ram, |p, t| assert_eq!(p.exchange(t, &request), answer));
        assert_eq!(n, 0, "{what}");
    }

    // Walk and clunk, one by one and many in one piece; long names too.
    let mut burst = Vec::new();
    for fid in 10..30 {
        burst.extend(walk_frame(1, 0, fid, &[b"dir", b"..", b"dir", b"entry-44"]));
    }
    for fid in 10..30 {
        burst.extend(frame(1, &Tmsg::Clunk { fid }));
    }
    let n = p.allocations(&mut ram, |p, t| {
        assert_eq!(p.exchange(t, &burst), 20 * (9 + 4 * 13) + 20 * 7);
    });
    assert_eq!(n, 0, "walk and clunk");

    // Reads that wait and are woken: of one fid, of several, flushed, and clunked.
    let mut t = Counting::default();
    let mut p = served(&mut t, Limits::default());
    for fid in 1..4 {
        p.exchange(&mut t, &walk_frame(1, 0, fid, &[b"blk"]));
        p.exchange(&mut t, &frame(1, &Tmsg::Lopen { fid, flags: OpenFlags::RDWR }));
    }
    let reads: Vec<_> = (10..40u16)
        .map(|tag| frame(tag, &Tmsg::Read { fid: 1 + u32::from(tag % 3), offset: 0, count: 4000 }))
        .collect();
    let flush = frame(99, &Tmsg::Flush { oldtag: 12 });
    let n = p.allocations(&mut t, |p, t| {
        for f in &reads {
            assert_eq!(p.exchange(t, f), 0);
        }
        assert_eq!((p.exchange(t, &flush), p.s.waiting()), (7, 29));
        t.ready = 29;
        p.s.wake(BLK);
        assert_eq!((p.exchange(t, &[]), p.s.waiting()), (29 * (11 + 7), 0));
    });
    assert_eq!(n, 0, "reads that wait");
    p.s.close(&mut t);
    t.assert_empty();

    // An idle session holds its fids and little else.
    let mut p = served(&mut ram, Limits::default());
    p.exchange(&mut ram, &walk_frame(1, 0, 1, &[b"dir", b"file"]));
    p.exchange(&mut ram, &frame(1, &Tmsg::Getattr { fid: 1, mask: 0 }));
    let held = size_of::<Session<Ram>>() + p.s.held();
    assert!(held <= 2048, "an idle session holds {held} bytes");
    for fid in 2..1002 {
        p.exchange(&mut ram, &walk_frame(1, 0, fid, &[b"dir", b"file"]));
    }
    let each = (size_of::<Session<Ram>>() + p.s.held() - held) / 1000;
    assert!(each <= 320, "a fid holds {each} bytes");
    // What was used for many is given back.
    for fid in 2..1002 {
        p.exchange(&mut ram, &frame(1, &Tmsg::Clunk { fid }));
    }
    let left = size_of::<Session<Ram>>() + p.s.held();
    assert!(left <= 8192, "after a thousand fids it holds {left} bytes");
    println!("an idle session holds {held} bytes, a fid {each}");
    p.s.close(&mut ram);
}

/// What a client's side costs: a thousand rounds of requests, after a few to warm up.
fn counted(mut round: impl FnMut()) -> u64 {
    (0..9).for_each(|_| round());
    let before = ALLOCATIONS.get();
    (0..1000).for_each(|_| round());
    ALLOCATIONS.get() - before
}

/// A file of a tree in memory, open under fid 1, and its session.
fn opened() -> (Ram, Served<Ram>) {
    let mut ram = Ram::new(Budget::default());
    ram.put("dir/file", &[7; 100_000]).unwrap();
    let s = Session::new(Limits::default());
    // Large enough for all that is asked at once, and never taken back.
    (ram, Served { s, pool: Pool::new(512 << 10, 4 << 20) })
}

const PATH: &str = "dir/file";
const OPEN: Tmsg<'_> = Tmsg::Lopen { fid: 1, flags: OpenFlags::RDWR };

/// The requests of a round, by name.
fn rounds(data: &[u8]) -> [(&'static str, [Tmsg<'_>; 4]); 3] {
    let small = data.get(..100).unwrap();
    let write = |data| Tmsg::Write { fid: 1, offset: 5, data, op: None };
    let read = |count| Tmsg::Read { fid: 1, offset: 5, count };
    let look = Tmsg::Getattr { fid: 1, mask: 0x7ff };
    [
        ("small", [look, write(small), read(100), look]),
        ("reads", [read(60_000), look, read(60_000), look]),
        ("writes", [write(data), look, write(data), look]),
    ]
}

#[test]
fn a_client_allocates_nothing_in_a_steady_state() {
    let (mut ram, mut p) = opened();
    let mut c = Client::new(64 << 10);
    let mut carry = |c: &mut Client, want: usize| {
        let mut n = 0;
        while n < want {
            p.s.lend(&mut p.pool);
            let taken = p.s.feed(c.output());
            c.sent(taken);
            while p.s.step(&mut ram) {}
            c.feed(p.s.output());
            p.s.sent(p.s.output().len());
            while let Some((_, answer)) = c.poll().unwrap() {
                assert!(!matches!(answer, Rmsg::Lerror { .. }), "{answer:?}");
                n += 1;
            }
        }
        assert_eq!(n, want);
    };
    c.send(&attach(0));
    c.walk(0, 1, PATH).unwrap();
    c.send(&OPEN);
    carry(&mut c, 4);
    let data = vec![1; 60_000];
    for (what, all) in rounds(&data) {
        let n = counted(|| {
            all.iter().for_each(|m| {
                c.send(m);
            });
            carry(&mut c, all.len());
        });
        assert_eq!(n, 0, "{what}");
    }
    let n = counted(|| {
        c.walk(0, 2, PATH).unwrap();
        c.send(&Tmsg::Clunk { fid: 2 });
        carry(&mut c, 2);
    });
    assert_eq!(n, 0, "walk and clunk");
}

/// A keeper has a copy of each request that is not answered, to send it again: it uses
/// the memory of small ones again, and gives that of large ones back.
#[test]
fn a_keeper_allocates_for_what_it_may_have_to_send_again() {
    let (mut ram, mut p) = opened();
    let mut k = Keeper::new(Settings { msize: 64 << 10, ..Settings::new(1) });
    k.connected();
    let mut carry = |k: &mut Keeper, want: usize| {
        let mut n = 0;
        loop {
            while let Some((_, answer)) = k.poll().unwrap() {
                assert!(!matches!(answer, Rmsg::Lerror { .. }), "{answer:?}");
                n += 1;
            }
            if n >= want && k.state() == State::Up {
                return assert_eq!(n, want);
            }
            p.s.lend(&mut p.pool);
            let taken = p.s.feed(k.output());
            k.sent(taken);
            while p.s.step(&mut ram) {}
            k.feed(p.s.output());
            p.s.sent(p.s.output().len());
        }
    };
    carry(&mut k, 0);
    let walk = walk_frame(1, 0, 1, &[b"dir", b"file"]);
    for m in [attach(0), Tmsg::decode(&walk).unwrap(), OPEN] {
        k.send(&m);
        carry(&mut k, 1);
    }
    let data = vec![1; 60_000];
    // Two for each write: room for its head, and then for all of it.
    for ((what, all), most) in rounds(&data).into_iter().zip([0, 0, 4]) {
        let n = counted(|| {
            all.iter().for_each(|m| {
                k.send(m);
            });
            carry(&mut k, all.len());
        });
        assert!(n <= most * 1000, "{what}: {n} allocations in 1000 rounds");
    }
}

#[test]
fn the_joint_allocates_nothing_in_a_steady_state() {
    let (mut ram, mut p) = opened();
    let mut m = Mux::new(64 << 10, Share::default());
    let id = m.open();
    let mut exchange = |m: &mut Mux, bytes: &[u8]| {
        m.from_client(id, bytes);
        while !m.to_server().is_empty() || p.s.is_ready() || !p.s.output().is_empty() {
            p.s.lend(&mut p.pool);
            let taken = p.s.feed(m.to_server());
            m.sent_to_server(taken);
            while p.s.step(&mut ram) {}
            m.from_server(p.s.output()).unwrap();
            p.s.sent(p.s.output().len());
        }
        let n = m.to_client(id).len();
        m.sent_to_client(id, n);
        n
    };
    exchange(&mut m, &[]);
    exchange(&mut m, &frame(0xffff, &Tmsg::Version { msize: 64 << 10, version: "9P2000.L" }));
    exchange(&mut m, &frame(1, &attach(0)));
    exchange(&mut m, &walk_frame(1, 0, 1, &[b"dir", b"file"]));
    exchange(&mut m, &frame(1, &OPEN));
    let data = vec![1; 60_000];
    for (what, all) in rounds(&data) {
        let mut bytes = Vec::new();
        (10..).zip(&all).for_each(|(tag, m)| bytes.extend(frame(tag, m)));
        let n = counted(|| assert!(exchange(&mut m, &bytes) > 4 * 11));
        assert_eq!(n, 0, "{what}");
    }
}

#[cfg(feature = "std")]
#[test]
fn a_blocking_file_allocates_nothing_for_what_it_reads_and_writes() {
    use atoll_9p::access::Identity;
    use atoll_9p::client::blocking::Connection;
    use atoll_9p::net::{Config, Server};
    use std::io::{Read, Seek, Write};

    let (ram, _) = opened();
    let mut server = Server::with(ram, Config::default()).unwrap();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    server.adopt(theirs, Identity::Owner).unwrap();
    let handle = server.handle();
    // Its allocations are its thread's.
    let serving = std::thread::spawn(move || server.run().unwrap());
    let conn = Connection::over(ours).unwrap();
    let mut file = conn.open_for(PATH, OpenFlags::RDWR).unwrap();
    let (data, mut buf) = (vec![1; 60_000], vec![0; 60_000]);
    for size in [100, 60_000] {
        let n = counted(|| {
            file.rewind().unwrap();
            assert_eq!(file.write(&data[..size]).unwrap(), size);
            file.rewind().unwrap();
            file.read_exact(&mut buf[..size]).unwrap();
        });
        assert_eq!(n, 0, "{size} bytes");
        assert!(buf[..size].iter().all(|b| *b == 1));
    }
    drop((file, conn));
    handle.stop();
    serving.join().unwrap();
}

atoll_9p::record! {
    /// How high something is.
    #[derive(Clone, Debug, PartialEq)]
    struct Level = "level", 1 {
        /// In metres.
        level: u64,
        is_low: bool,
    }
}

/// Neither do the functions' answers: what a file shows is computed into memory that another
/// was shown in.
#[test]
fn files_made_of_functions_allocate_nothing_in_a_steady_state() {
    use atoll_9p::stream::Stream;
    use atoll_9p::synth::{Files, Synth, Verb};
    const VERBS: &[Verb] = &[Verb::new("level", "N", 1), Verb::new("say", "WORD", 1)];
    struct State {
        level: u64,
        log: Stream,
    }
    let mut synth: Synth<'_, State> = Synth::new();
    let root = synth.root();
    synth.bytes(root, "bytes", b"some text\n");
    synth.text(root, "text", |s: &mut State, out| {
        core::fmt::Write::write_fmt(out, format_args!("level {}\n", s.level)).unwrap();
        Ok(())
    });
    synth.ctl(root, "ctl", VERBS, |s: &mut State, c| {
        match c.verb {
            "level" => s.level = c.number(0)?,
            _ => s.log.push(c.arg(0)),
        }
        Ok(())
    });
    synth.stream(root, "log", |s: &mut State| &mut s.log);
    synth.record(root, "record", |s: &mut State| Ok(Level { level: s.level, is_low: s.level < 3 }));
    let mut t = Files { synth, state: State { level: 0, log: Stream::new(4096) } };
    let mut p = served(&mut t, Limits::default());
    let walk = |fid, name: &[u8]| walk_frame(1, 0, fid, &[name]);
    let rw = |fid, flags| frame(1, &Tmsg::Lopen { fid, flags });
    let read = |fid| frame(1, &Tmsg::Read { fid, offset: 0, count: 4000 });
    for (fid, name, flags) in [
        (1, &b"bytes"[..], OpenFlags::RDONLY),
        (2, b"text", OpenFlags::RDONLY),
        (3, b"ctl", OpenFlags::RDWR),
        (4, b"log", OpenFlags::RDONLY),
        (5, b"..", OpenFlags::RDONLY),
        (6, b"record", OpenFlags::RDONLY),
    ] {
        p.exchange(&mut t, &walk(fid, name));
        p.exchange(&mut t, &rw(fid, flags));
    }
    let write = |data| frame(1, &Tmsg::Write { fid: 3, offset: 0, data, op: None });
    let clunk = frame(1, &Tmsg::Clunk { fid: 9 });
    let list = frame(1, &Tmsg::Readdir { fid: 5, offset: 0, count: 4000 });
    let once = |name| vec![walk(9, name), rw(9, OpenFlags::RDONLY), read(9), clunk.clone()];
    for (what, all) in [
        ("getattr", vec![frame(1, &Tmsg::Getattr { fid: 2, mask: 0x7ff })]),
        ("statfs", vec![frame(1, &Tmsg::Statfs { fid: 2 })]),
        ("bytes", vec![read(1)]),
        ("open", vec![walk(9, b"bytes"), rw(9, OpenFlags::RDONLY), clunk.clone()]),
        ("text", vec![read(2)]),
        ("open text", once(b"text")),
        ("record", vec![read(6)]),
        ("open record", once(b"record")),
        ("one after the other", [once(b"record"), once(b"text"), once(b"ctl")].concat()),
        ("ctl", vec![write(b"level 7\n"), read(3)]),
        ("list", vec![list]),
        ("stream", vec![write(b"say hello\n"), read(4)]),
    ] {
        let n = p.allocations(&mut t, |p, t| {
            all.iter().for_each(|f| assert!(p.exchange(t, f) >= 7));
        });
        // A stream's memory grows until it is full.
        assert!(n <= 8, "{what}: {n} allocations in 1000 rounds");
    }
}
