//! A client that has its share of requests at the server, and asks for more.

mod common;

use std::collections::BTreeMap;

use atoll_9p::fault::Errno;
use atoll_9p::msg::Tmsg;
use atoll_9p::mux::{ClientId, Mux, Share};
use atoll_9p::server::Limits;
use atoll_9p::types::OpenFlags;
use atoll_9p::wire::NOTAG;
use common::*;
use proptest::prelude::*;

/// A joint with one client, and the server behind it.
struct Joint {
    m: Mux,
    id: ClientId,
    p: Peer<Counting>,
    t: Counting,
}

impl Joint {
    fn new(requests: usize) -> Joint {
        let mut m = Mux::new(8192, Share { requests, ..Share::default() });
        let id = m.open();
        let mut j = Joint { m, id, p: Peer::new(Limits::default()), t: Counting::default() };
        j.run();
        let mut hello = frame(NOTAG, &Tmsg::Version { msize: 8192, version: "9P2000.L" });
        hello.extend(frame(1, &attach(0)));
        assert_eq!(j.ask(&hello).len(), 2);
        j
    }

    /// Carries bytes between the joint and its server until none are left.
    fn run(&mut self) {
        loop {
            let up = self.m.to_server().to_vec();
            self.m.sent_to_server(up.len());
            let down = self.p.raw(&mut self.t, &up).concat();
            self.m.from_server(&down).unwrap();
            if up.is_empty() && down.is_empty() {
                return;
            }
        }
    }

    /// So many reads have something to read.
    fn ready(&mut self, n: u32) {
        self.t.ready = n;
        self.p.s.wake(BLK);
        self.run();
        self.t.ready = 0;
    }

    fn take(&mut self) -> Vec<Vec<u8>> {
        let out = frames(self.m.to_client(self.id));
        self.m.sent_to_client(self.id, self.m.to_client(self.id).len());
        self.run();
        out
    }

    fn ask(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.m.from_client(self.id, bytes);
        self.run();
        self.take()
    }

    fn open(&mut self, fid: u32, name: &str) {
        let mut f = walk_frame(1, 0, fid, &[name.as_bytes()]);
        f.extend(frame(2, &Tmsg::Lopen { fid, flags: OpenFlags::RDONLY }));
        let answers = self.ask(&f);
        assert!(answers.len() == 2 && answers.iter().all(|f| f[4] != 7), "{answers:?}");
    }

    /// Nothing is left at the server of a client that leaves.
    fn end(mut self) {
        self.m.close(self.id);
        self.run();
        assert_eq!((self.p.s.fids(), self.p.s.waiting(), self.m.outstanding()), (0, 0, 0));
        self.t.assert_empty();
    }
}

fn read(tag: u16, fid: u32, count: u32) -> Vec<u8> {
    frame(tag, &Tmsg::Read { fid, offset: 0, count })
}

/// Whoever waits in all its places can still ask, and end its waiting.
#[test]
fn a_client_whose_places_all_wait_is_served_what_need_not_wait() {
    let mut j = Joint::new(4);
    for (fid, name) in [(1, "blk"), (2, "blk"), (3, "wild")] {
        j.open(fid, name);
    }
    for tag in 10..20 {
        assert!(j.ask(&read(tag, 1, 1)).is_empty());
    }
    // Reads of other fids pass, and whatever is no read.
    assert_eq!(tag_of(&j.ask(&read(20, 3, 10))[0]), 20);
    assert_eq!(j.ask(&frame(21, &Tmsg::Getattr { fid: 0, mask: 0 }))[0][4], 25);
    j.open(4, "file");
    assert_eq!(j.ask(&read(22, 4, 10))[0][4], 117);
    // Those that wait too come after those that came before.
    assert!(j.ask(&read(23, 2, 1)).is_empty());
    assert_eq!(j.p.s.waiting(), 4);
    assert_eq!(j.ask(&frame(24, &Tmsg::Flush { oldtag: 15 }))[0][4], 109);
    // With a fid end the reads that wait on it, wherever they do.
    j.open(5, "blk");
    assert!(j.ask(&read(25, 5, 1)).is_empty());
    let ended = j.ask(&frame(26, &Tmsg::Clunk { fid: 5 }));
    assert_eq!(ended.iter().map(|f| (f[4], tag_of(f))).collect::<Vec<_>>(), [(7, 25), (121, 26)]);
    assert_eq!(errno(&ended[0]), Errno::EBADF.0);
    for _ in 0..10 {
        j.ready(100);
    }
    let order: Vec<_> = j.take().iter().map(|f| tag_of(f)).collect();
    assert_eq!(order, [10, 11, 12, 13, 14, 16, 17, 18, 19, 23]);
    j.end();
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Read(u32),
    Look,
    Flush(usize),
    /// The fid ends, and is another open file.
    Again(u32),
    Ready(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (1..4u32).prop_map(Op::Read),
        3 => Just(Op::Look),
        2 => any::<usize>().prop_map(Op::Flush),
        1 => (1..4u32).prop_map(Op::Again),
        1 => (1..5u32).prop_map(Op::Ready),
    ]
}

proptest! {
    /// Whatever waits, wherever it does: each request has one answer, but those that are
    /// flushed, what need not wait has it at once, and reads of a fid have theirs in order.
    #[test]
    fn each_request_has_one_answer(ops in prop::collection::vec(op(), 1..120), share in 1..6usize) {
        let mut j = Joint::new(share);
        (1..4).for_each(|fid| j.open(fid, "blk"));
        // The reads without an answer, by tag: tags rise.
        let mut waiting: BTreeMap<u16, u32> = BTreeMap::new();
        let take = |got: Vec<Vec<u8>>, waiting: &mut BTreeMap<u16, u32>| {
            for f in &got {
                let Some(fid) = waiting.remove(&tag_of(f)) else { continue };
                let older = waiting.iter().any(|(tag, of)| *of == fid && *tag < tag_of(f));
                assert!(!older || f[4] == 7, "out of order: {f:?} before {waiting:?}");
            }
            got.into_iter().map(|f| (f[4], tag_of(&f))).collect::<Vec<_>>()
        };
        for (i, op) in ops.into_iter().enumerate() {
            let tag = 10 + i as u16;
            match op {
                Op::Read(fid) => {
                    waiting.insert(tag, fid);
                    let f = j.ask(&read(tag, fid, 1));
                    prop_assert_eq!(take(f, &mut waiting), []);
                }
                Op::Look => {
                    let f = j.ask(&frame(tag, &Tmsg::Getattr { fid: 0, mask: 0 }));
                    prop_assert_eq!(take(f, &mut waiting), [(25, tag)]);
                }
                Op::Flush(n) => {
                    let all: Vec<_> = waiting.keys().copied().collect();
                    let Some(oldtag) = all.get(n % all.len().max(1)).copied() else { continue };
                    let f = j.ask(&frame(tag, &Tmsg::Flush { oldtag }));
                    prop_assert_eq!(take(f, &mut waiting), [(109, tag)]);
                    waiting.remove(&oldtag);
                }
                Op::Again(fid) => {
                    let f = j.ask(&frame(tag, &Tmsg::Clunk { fid }));
                    let ended: Vec<_> = waiting.iter().filter(|w| *w.1 == fid).map(|w| *w.0).collect();
                    let mut got = take(f, &mut waiting);
                    got.sort_unstable();
                    let mut want: Vec<_> = ended.into_iter().map(|tag| (7, tag)).collect();
                    want.push((121, tag));
                    prop_assert_eq!(got, want);
                    j.open(fid, "blk");
                }
                Op::Ready(n) => {
                    j.ready(n);
                    let f = j.take();
                    take(f, &mut waiting);
                }
            }
        }
        for _ in 0..130 {
            j.ready(1000);
            let f = j.take();
            take(f, &mut waiting);
        }
        prop_assert!(waiting.is_empty(), "{waiting:?}");
        j.end();
    }
}
