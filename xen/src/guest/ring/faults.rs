//! Rings whose other end does what it likes: indices that cannot be, bytes that mean nothing,
//! answers cut anywhere, storms, and a page that is emptied in the middle, as a resumed domain
//! finds it.

use std::format;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::store::{Answer, Client, Incoming, Limits, NO_TRANSACTION, Request};

/// A page that nobody has used.
pub(super) fn store() -> StoreRing {
    StoreRing {
        req: [const { AtomicU8::new(0) }; 1024],
        rsp: [const { AtomicU8::new(0) }; 1024],
        req_cons: AtomicU32::new(0),
        req_prod: AtomicU32::new(0),
        rsp_cons: AtomicU32::new(0),
        rsp_prod: AtomicU32::new(0),
    }
}

fn console() -> ConsoleRing {
    ConsoleRing {
        input: [const { AtomicU8::new(0) }; 1024],
        output: [const { AtomicU8::new(0) }; 2048],
        in_cons: AtomicU32::new(0),
        in_prod: AtomicU32::new(0),
        out_cons: AtomicU32::new(0),
        out_prod: AtomicU32::new(0),
    }
}

/// What xenstored does next.
#[derive(Clone, Debug)]
enum Step {
    /// It answers, but writes so many bytes of it only.
    Answer(usize),
    Event(u8),
    Garbage(Vec<u8>),
    /// An index becomes this.
    Index(u8, u32),
    /// The page is emptied, and the guest told.
    Anew,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..40usize).prop_map(Step::Answer),
        2 => any::<u8>().prop_map(Step::Event),
        1 => prop::collection::vec(any::<u8>(), 0..50).prop_map(Step::Garbage),
        2 => (0..4u8, prop_oneof![any::<u32>(), 0..3000u32]).prop_map(|(at, to)| Step::Index(at, to)),
        1 => Just(Step::Anew),
    ]
}

fn frame(kind: u32, id: u32, payload: &[u8]) -> Vec<u8> {
    let words = [kind, id, 0, payload.len() as u32];
    let mut out: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    out.extend_from_slice(payload);
    out
}

/// What a guest does when it is woken. Says whether the protocol holds.
fn pump(ring: &StoreRing, client: &mut Client) -> bool {
    let mut buf = [0xaa; 256];
    for _ in 0..8 {
        let n = ring.recv(&mut buf[..200]);
        assert!(n <= 200 && buf[200..].iter().all(|b| *b == 0xaa));
        if n == 0 {
            break;
        }
        if client.received(&buf[..n]).is_err() {
            return false;
        }
    }
    let n = ring.send(client.output());
    assert!(n <= 1024);
    client.sent(n);
    client.broken().is_none()
}

proptest! {
    #[test]
    fn a_store_that_lies_is_held_in_bounds_and_can_be_begun_anew(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let (mut ring, limits) = (store(), Limits { requests: 4, events: 3 });
        let mut client = Client::new(limits);
        for step in steps {
            let _ = client.submit(NO_TRANSACTION, &Request::Read("control/shutdown"));
            let write = |bytes: &[u8]| put(&ring.rsp, &ring.rsp_cons, &ring.rsp_prod, bytes);
            match step {
                Step::Answer(n) => {
                    let whole = frame(2, 1, b"poweroff");
                    write(&whole[..n.min(whole.len())]);
                }
                Step::Event(n) => for i in 0..n % 8 {
                    write(&frame(15, 0, format!("/{i}\0t\0").as_bytes()));
                },
                Step::Garbage(bytes) => {
                    write(&bytes);
                }
                Step::Index(at, to) => {
                    let all = [&ring.req_cons, &ring.req_prod, &ring.rsp_cons, &ring.rsp_prod];
                    all[at as usize].store(to, Ordering::SeqCst);
                }
                Step::Anew => {
                    ring = store();
                    client.reset();
                    while client.take().is_some() {}
                }
            }
            let holds = pump(&ring, &mut client);
            prop_assert!(client.in_hand() <= limits.requests);
            // What waits to be taken: all answers, and no more events than there may be.
            let mut waits = 0;
            while let Some(incoming) = client.take() {
                waits += 1;
                prop_assert!(waits <= limits.requests + limits.events, "{incoming:?}");
            }
            // Nobody is kept awake by what cannot be read.
            let ready = ring.ready();
            let at = ring.rsp_prod.load(Ordering::SeqCst);
            let read = ring.rsp_cons.load(Ordering::SeqCst);
            prop_assert!(!ready || !holds || (1..=1024).contains(&at.wrapping_sub(read)));
        }
        ring = store();
        client.reset();
        while client.take().is_some() {}
        let id = client.submit(NO_TRANSACTION, &Request::Read("control/shutdown")).expect("room");
        prop_assert!(pump(&ring, &mut client));
        let mut asked = vec![0; 64];
        let n = take(&ring.req, &ring.req_cons, &ring.req_prod, &mut asked);
        prop_assert!(asked[..n].ends_with(b"control/shutdown\0"));
        let id_there = u32::from_le_bytes([asked[4], asked[5], asked[6], asked[7]]);
        put(&ring.rsp, &ring.rsp_cons, &ring.rsp_prod, &frame(2, id_there, b"poweroff"));
        prop_assert!(pump(&ring, &mut client));
        let value = Answer::Value(b"poweroff".to_vec());
        prop_assert_eq!(client.take(), Some(Incoming::Answer(id, Ok(value))));
    }

    #[test]
    fn a_console_that_lies_costs_lines_only(
        steps in prop::collection::vec((0..4u8, any::<u32>(), 0..3000usize), 1..80),
    ) {
        let ring = console();
        for (at, to, len) in steps {
            let all = [&ring.in_cons, &ring.in_prod, &ring.out_cons, &ring.out_prod];
            all[at as usize].store(to, Ordering::SeqCst);
            ring.ignore();
            let room = ring.room();
            prop_assert!(room <= 2048);
            let n = ring.send(&vec![b'x'; len]);
            prop_assert!(n == len.min(room));
        }
        // Whoever reads it again finds what is written then.
        let at = ring.out_prod.load(Ordering::SeqCst);
        ring.out_cons.store(at, Ordering::SeqCst);
        prop_assert_eq!(ring.send(b"line\r\n"), 6);
        let mut line = [0; 8];
        prop_assert_eq!(take(&ring.output, &ring.out_cons, &ring.out_prod, &mut line), 6);
        prop_assert_eq!(&line[..6], b"line\r\n");
    }
}
