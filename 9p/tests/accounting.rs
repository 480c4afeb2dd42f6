//! Whatever clients do, every node is given back and every open file closed once.

mod common;

use atoll_9p::server::Limits;
use common::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Event {
    Request(usize, Vec<u8>),
    Garbage(usize, Vec<u8>),
    Version(usize),
    Ready(u32),
    Disconnect(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let request = (0..3usize, any::<u8>(), 0..12u16, 0..6u32, 0..6u32, any::<u8>())
        .prop_map(|(s, k, t, f, n, p)| Event::Request(s, any_request(k, t, f, n, p)));
    prop_oneof![
        60 => request,
        1 => (0..3usize, prop::collection::vec(any::<u8>(), 0..9)).prop_map(|(s, b)| Event::Garbage(s, b)),
        1 => (0..3usize).prop_map(Event::Version),
        4 => (0..4u32).prop_map(Event::Ready),
        1 => (0..3usize).prop_map(Event::Disconnect),
    ]
}

proptest! {
    #[test]
    fn every_node_is_forgotten_and_every_open_closed_once(
        events in prop::collection::vec(event(), 1..200),
        fids in 1..8u32,
        blocked in 0..4u32,
    ) {
        let mut t = Counting { many: 20, ..Counting::default() };
        let limits = Limits { msize: 1024, fids, blocked, ..Limits::default() };
        let new = |t: &mut Counting| Peer::attached(t, limits);
        let mut peers: Vec<_> = (0..3).map(|_| new(&mut t)).collect();
        for e in events {
            match e {
                Event::Request(i, f) => {
                    let tag = tag_of(&f);
                    for answer in peers[i].raw(&mut t, &f) {
                        prop_assert!(answer.len() <= 1024);
                        prop_assert!(tag_of(&answer) == tag || answer[4] == 7);
                    }
                }
                Event::Garbage(i, b) => drop(peers[i].raw(&mut t, &b)),
                Event::Version(i) => drop(peers[i].raw(&mut t, &frame(0xffff, &atoll_9p::msg::Tmsg::Version { msize: 512, version: "9P2000.L" }))),
                Event::Ready(n) => {
                    t.ready = n;
                    for p in &mut peers {
                        p.s.wake(BLK);
                        p.late(&mut t);
                        prop_assert!(!p.s.is_ready());
                    }
                    t.ready = 0;
                }
                Event::Disconnect(i) => {
                    peers[i].s.close(&mut t);
                    peers[i] = new(&mut t);
                }
            }
            for p in &peers {
                prop_assert!(p.s.fids() <= fids as usize && p.s.waiting() <= blocked as usize);
            }
        }
        for p in &mut peers {
            p.s.close(&mut t);
            p.s.close(&mut t);
            prop_assert_eq!((p.s.fids(), p.s.waiting(), p.s.held()), (0, 0, 0));
        }
        t.assert_empty();
    }
}
