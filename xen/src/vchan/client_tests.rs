//! A client against a fair server, against one that dies, and against one that lies.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::page::Indices;
use super::*;

const ORDER: u16 = 12;
const SIZE: usize = 1 << ORDER;

#[derive(Clone, Debug)]
struct Mem(Arc<[AtomicU8]>);

impl AsRef<[AtomicU8]> for Mem {
    fn as_ref(&self) -> &[AtomicU8] {
        &self.0
    }
}

struct Pair {
    server: Server<Arc<Page>, Mem>,
    page: Arc<Page>,
    left: Mem,
    right: Mem,
}

fn pair() -> Pair {
    let memory = || Mem((0..SIZE).map(|_| AtomicU8::new(0xee)).collect());
    let (page, left, right) = (Arc::new(Page::default()), memory(), memory());
    let (l, r) = (left.clone(), right.clone());
    let server = Server::new(page.clone(), l, r, ORDER, [8, 9].into_iter()).unwrap();
    Pair { server, page, left, right }
}

impl Pair {
    fn connect(&self, takes: Takes) -> Result<Client<Arc<Page>, Mem>, NotYet> {
        Client::connect(self.page.clone(), self.left.clone(), self.right.clone(), takes)
    }
}

#[test]
fn a_connection_begins_when_the_server_is_free() {
    let mut p = pair();
    let mut client = p.connect(Takes::Fresh).unwrap();
    assert!(client.flush(), "the server must look");
    assert_eq!(p.server.turn(), Some(Change::Opened));
    assert_eq!(p.connect(Takes::Any).unwrap_err(), NotYet::Taken);
    assert_eq!(client.send(b"to nobody"), Ok(9));
    client.leave();
    assert_eq!(p.connect(Takes::Fresh).unwrap_err(), NotYet::Taken, "not forgotten yet");
    assert_eq!(p.server.turn(), Some(Change::Closed));
    let mut next = p.connect(Takes::Fresh).unwrap();
    assert_eq!(p.server.turn(), Some(Change::Opened));
    assert_eq!((p.server.ready(), next.can_recv()), (0, false));
    assert_eq!(next.recv(&mut [0; 4]), Ok(0));
}

#[test]
fn another_implementation_is_taken_when_it_says_that_nobody_is_there() {
    let p = pair();
    p.page.cli_live.store(0, Ordering::SeqCst);
    assert_eq!(p.connect(Takes::Fresh).unwrap_err(), NotYet::Taken);
    assert!(p.connect(Takes::Any).is_ok());
    p.page.srv_live.store(0, Ordering::SeqCst);
    assert_eq!(p.connect(Takes::Any).unwrap_err(), NotYet::Down);
    let short = Mem((0..3).map(AtomicU8::new).collect());
    let made = Client::connect(p.page.clone(), short, p.right.clone(), Takes::Any);
    assert_eq!(made.unwrap_err(), NotYet::Rings);
}

#[test]
fn the_end_comes_behind_the_last_bytes() {
    let mut p = pair();
    let mut client = p.connect(Takes::Fresh).unwrap();
    p.server.turn();
    assert_eq!(p.server.send(b"last words"), 10);
    p.server.close();
    assert_eq!(client.send(b"too late"), Err(Over::Closed));
    assert!(client.can_recv() && client.can_send());
    let mut buf = [0; 6];
    assert_eq!(client.recv(&mut buf), Ok(6));
    assert_eq!(client.recv(&mut []), Ok(0));
    assert_eq!(client.recv(&mut buf), Ok(4));
    assert_eq!(client.recv(&mut buf), Err(Over::Closed));
    client.leave();
    assert_eq!(p.server.turn(), None);
    assert!(p.connect(Takes::Fresh).is_ok(), "the server has begun anew");
}

#[test]
fn a_server_that_begins_anew_ends_the_connection() {
    let mut p = pair();
    let mut client = p.connect(Takes::Fresh).unwrap();
    p.server.turn();
    p.server.restart([1, 2].into_iter());
    assert_eq!(client.send(b"x"), Err(Over::Closed));
    assert_eq!(client.recv(&mut [0]), Err(Over::Closed));
    client.leave();
    assert_eq!(p.page.cli_live.load(Ordering::SeqCst), 2, "it is no longer ours to clear");
}

#[test]
fn an_index_that_cannot_be_is_a_lie_for_good() {
    let ends: [fn(&Page) -> &AtomicU32; 2] = [|p| &p.right.prod, |p| &p.left.cons];
    for (at, end) in ends.into_iter().enumerate() {
        let mut p = pair();
        let mut client = p.connect(Takes::Fresh).unwrap();
        p.server.turn();
        end(&p.page).store(SIZE as u32 + 1, Ordering::SeqCst);
        let mut buf = [0xaa; 8];
        if at == 0 {
            assert_eq!(client.recv(&mut buf), Err(Over::Lie));
        } else {
            assert_eq!(client.send(b"x"), Err(Over::Lie));
        }
        end(&p.page).store(0, Ordering::SeqCst);
        assert_eq!(client.recv(&mut buf), Err(Over::Lie));
        assert_eq!(client.send(b"x"), Err(Over::Lie));
        assert_eq!(buf, [0xaa; 8]);
    }
}

fn scribble(page: &Page, at: usize, value: u8) {
    let word = |i: &Indices, at: usize| {
        let word = if at < 4 { &i.cons } else { &i.prod };
        let mut bytes = word.load(Ordering::SeqCst).to_le_bytes();
        bytes[at % 4] = value;
        word.store(u32::from_le_bytes(bytes), Ordering::SeqCst);
    };
    match at {
        0..8 => word(&page.left, at),
        8..16 => word(&page.right, at - 8),
        20 => page.cli_live.store(value, Ordering::SeqCst),
        21 => page.srv_live.store(value, Ordering::SeqCst),
        22 => page.cli_notify.store(value, Ordering::SeqCst),
        _ => page.srv_notify.store(value, Ordering::SeqCst),
    }
}

proptest! {
    /// Two that sleep whenever there is nothing to do, and are woken by events only, until
    /// one of them leaves.
    #[test]
    fn nobody_sleeps_while_there_is_something_to_do(
        total in 1..30_000usize, seed in any::<u64>(), chunk in 1..SIZE,
    ) {
        let mut p = pair();
        let mut client = p.connect(Takes::Fresh).unwrap();
        let (mut sent, mut back, mut echo) = (0_usize, 0_usize, VecDeque::new());
        let (mut awake, mut random) = ([true, client.flush()], seed);
        let byte = |n: usize| (n.wrapping_mul(31) ^ n >> 8) as u8;
        let mut ended = false;
        while !ended {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let who = (random >> 33) as usize % 2;
            let who = if awake[who] { who } else { 1 - who };
            prop_assert!(awake[who], "both sleep: {sent} sent, {} to echo, {back} back", echo.len());
            let mut buf = vec![0; chunk];
            if who == 0 {
                let n = match client.recv(&mut buf) {
                    Ok(n) => n,
                    Err(over) => {
                        prop_assert_eq!((over, back), (Over::Closed, total));
                        ended = true;
                        0
                    }
                };
                prop_assert!(buf[..n].iter().enumerate().all(|(i, b)| *b == byte(back + i)));
                back += n;
                let out: Vec<u8> = (sent..total.min(sent + chunk)).map(byte).collect();
                let m = if out.is_empty() { 0 } else { client.send(&out).expect("fair") };
                sent += m;
                awake[1] |= client.flush();
                if n == 0 && m == 0 {
                    client.listen(Wish::Written);
                    client.listen(Wish::Read);
                    awake[0] = client.can_recv() || sent < total && client.can_send();
                }
            } else {
                while p.server.turn().is_some() {}
                let n = p.server.recv(&mut buf);
                echo.extend(&buf[..n]);
                let m = p.server.send(echo.make_contiguous());
                echo.drain(..m);
                if sent == total && echo.is_empty() && p.server.ready() == 0 {
                    p.server.close();
                }
                awake[0] |= p.server.flush();
                if n == 0 && m == 0 {
                    p.server.listen(Wish::Written);
                    p.server.listen(Wish::Read);
                    awake[1] = p.server.changed() || p.server.ready() != 0
                        || !echo.is_empty() && p.server.room() != 0;
                }
            }
        }
    }

    /// A server that writes anything anywhere at any time.
    #[test]
    fn a_liar_gets_and_gives_no_more_than_there_is(
        lies in prop::collection::vec((0..24usize, any::<u8>(), 0..4u8, 0..3 * SIZE), 1..100),
    ) {
        let p = pair();
        let mut client = p.connect(Takes::Fresh).unwrap();
        let mut over = None;
        for (at, value, then, len) in lies {
            scribble(&p.page, at, value);
            let mut buf = vec![0xaa; len];
            match then {
                0 => match client.recv(&mut buf) {
                    Ok(n) => {
                        prop_assert!(n <= len.min(SIZE) && over != Some(Over::Lie));
                        prop_assert!(buf[n..].iter().all(|b| *b == 0xaa));
                    }
                    Err(why) => over = Some(over.unwrap_or(why)),
                },
                1 => match client.send(&buf) {
                    Ok(n) => prop_assert!(n <= len.min(SIZE) && over.is_none()),
                    Err(why) => over = Some(over.unwrap_or(why)),
                },
                2 => {
                    client.listen(Wish::Read);
                    let _ = client.flush();
                }
                _ => {
                    let _ = (client.can_recv(), client.can_send());
                }
            }
        }
        client.leave();
    }
}
