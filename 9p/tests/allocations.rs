//! In a steady state no request allocates, and an idle session holds next to nothing.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use atoll_9p::msg::Tmsg;
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
