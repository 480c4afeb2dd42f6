//! A client that has its share of requests at the server, and asks for more.

mod common;

use std::collections::BTreeMap;

use atoll_9p::fault::Errno;
use atoll_9p::msg::Tmsg;
use atoll_9p::mux::{ClientId, Share};
use common::joint::Joint;
use common::*;
use proptest::prelude::*;

/// A joint with one client, which may have so many requests at the server.
fn joint(requests: usize) -> (Joint, ClientId) {
    let mut j = Joint::new(8192, Share { requests, ..Share::default() });
    let id = j.attached();
    (j, id)
}

/// Nothing is left at the server of a client that leaves.
fn end(mut j: Joint, id: ClientId) {
    j.m.close(id);
    j.run();
    j.assert_empty();
}

fn read(tag: u16, fid: u32, count: u32) -> Vec<u8> {
    frame(tag, &Tmsg::Read { fid, offset: 0, count })
}

/// Whoever waits in all its places can still ask, and end its waiting.
#[test]
fn a_client_whose_places_all_wait_is_served_what_need_not_wait() {
    let (mut j, id) = joint(4);
    for (fid, name) in [(1, "blk"), (2, "blk"), (3, "wild")] {
        j.open(id, fid, name);
    }
    for tag in 10..20 {
        assert!(j.ask(id, &read(tag, 1, 1)).is_empty());
    }
    // Reads of other fids pass, and whatever is no read.
    assert_eq!(tag_of(&j.ask(id, &read(20, 3, 10))[0]), 20);
    assert_eq!(j.ask(id, &frame(21, &Tmsg::Getattr { fid: 0, mask: 0 }))[0][4], 25);
    j.open(id, 4, "file");
    assert_eq!(j.ask(id, &read(22, 4, 10))[0][4], 117);
    // Those that wait too come after those that came before.
    assert!(j.ask(id, &read(23, 2, 1)).is_empty());
    assert_eq!(j.p.s.waiting(), 4);
    assert_eq!(j.ask(id, &frame(24, &Tmsg::Flush { oldtag: 15 }))[0][4], 109);
    // With a fid end the reads that wait on it, wherever they do.
    j.open(id, 5, "blk");
    assert!(j.ask(id, &read(25, 5, 1)).is_empty());
    let ended = j.ask(id, &frame(26, &Tmsg::Clunk { fid: 5 }));
    assert_eq!(ended.iter().map(|f| (f[4], tag_of(f))).collect::<Vec<_>>(), [(7, 25), (121, 26)]);
    assert_eq!(errno(&ended[0]), Errno::EBADF.0);
    for _ in 0..10 {
        j.ready(100);
    }
    let order: Vec<_> = j.take(id).iter().map(|f| tag_of(f)).collect();
    assert_eq!(order, [10, 11, 12, 13, 14, 16, 17, 18, 19, 23]);
    end(j, id);
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
        let (mut j, id) = joint(share);
        (1..4).for_each(|fid| j.open(id, fid, "blk"));
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
                    let f = j.ask(id, &read(tag, fid, 1));
                    prop_assert_eq!(take(f, &mut waiting), []);
                }
                Op::Look => {
                    let f = j.ask(id, &frame(tag, &Tmsg::Getattr { fid: 0, mask: 0 }));
                    prop_assert_eq!(take(f, &mut waiting), [(25, tag)]);
                }
                Op::Flush(n) => {
                    let all: Vec<_> = waiting.keys().copied().collect();
                    let Some(oldtag) = all.get(n % all.len().max(1)).copied() else { continue };
                    let f = j.ask(id, &frame(tag, &Tmsg::Flush { oldtag }));
                    prop_assert_eq!(take(f, &mut waiting), [(109, tag)]);
                    waiting.remove(&oldtag);
                }
                Op::Again(fid) => {
                    let f = j.ask(id, &frame(tag, &Tmsg::Clunk { fid }));
                    let ended: Vec<_> = waiting.iter().filter(|w| *w.1 == fid).map(|w| *w.0).collect();
                    let mut got = take(f, &mut waiting);
                    got.sort_unstable();
                    let mut want: Vec<_> = ended.into_iter().map(|tag| (7, tag)).collect();
                    want.push((121, tag));
                    prop_assert_eq!(got, want);
                    j.open(id, fid, "blk");
                }
                Op::Ready(n) => {
                    j.ready(n);
                    let f = j.take(id);
                    take(f, &mut waiting);
                }
            }
        }
        for _ in 0..130 {
            j.ready(1000);
            let f = j.take(id);
            take(f, &mut waiting);
        }
        prop_assert!(waiting.is_empty(), "{waiting:?}");
        end(j, id);
    }
}
