//! A server against a client, over memory of this process.

use std::boxed::Box;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::ring::Ring;
use super::*;

const ORDER: u16 = 12;
const SIZE: usize = 1 << ORDER;

#[derive(Clone)]
struct Mem(Arc<[AtomicU8]>);

impl AsRef<[AtomicU8]> for Mem {
    fn as_ref(&self) -> &[AtomicU8] {
        &self.0
    }
}

fn memory() -> Mem {
    Mem((0..SIZE).map(|_| AtomicU8::new(0xee)).collect())
}

type Ours = Server<Arc<Page>, Mem>;

/// A vchan, and what a client needs to take part.
struct Pair {
    server: Ours,
    page: Arc<Page>,
    left: Mem,
    right: Mem,
}

fn pair() -> Pair {
    let (page, left, right) = (Arc::new(Page::default()), memory(), memory());
    let server = Server::new(page.clone(), left.clone(), right.clone(), ORDER, [8, 9].into_iter());
    Pair { server: server.expect("one page a ring"), page, left, right }
}

impl Pair {
    /// What libxenvchan's `client_init` does, by a client that waits for its turn.
    fn connect(&mut self) -> Option<End<Arc<Page>, Mem>> {
        if self.page.cli_live.load(Ordering::SeqCst) != 2 {
            return None;
        }
        let (left, right) = (self.left.clone(), self.right.clone());
        let end = End::new(Role::Client, self.page.clone(), left, right)?;
        self.page.cli_live.store(1, Ordering::SeqCst);
        self.page.srv_notify.store(Wish::Written as u8, Ordering::SeqCst);
        Some(end)
    }

    fn leave(&self) {
        self.page.cli_live.store(0, Ordering::SeqCst);
    }

    /// A byte of the page, as whoever shares it sees it.
    fn scribble(&self, at: usize, value: u8) {
        let index = |i: &super::page::Indices, at: usize, value: u8| {
            let word = if at < 4 { &i.cons } else { &i.prod };
            let mut bytes = word.load(Ordering::SeqCst).to_le_bytes();
            bytes[at % 4] = value;
            word.store(u32::from_le_bytes(bytes), Ordering::SeqCst);
        };
        match at {
            0..8 => index(&self.page.left, at, value),
            8..16 => index(&self.page.right, at - 8, value),
            20 => self.page.cli_live.store(value, Ordering::SeqCst),
            21 => self.page.srv_live.store(value, Ordering::SeqCst),
            22 => self.page.cli_notify.store(value, Ordering::SeqCst),
            _ => self.page.srv_notify.store(value, Ordering::SeqCst),
        }
    }
}

#[test]
fn the_page_is_laid_out_as_the_header_says() {
    let page = Page::default();
    let start = &raw const page as usize;
    let at = |p: usize| p - start;
    assert_eq!(at(&raw const page.left as usize), 0);
    assert_eq!(at(&raw const page.right as usize), 8);
    assert_eq!(at(&raw const page.cli_live as usize), 20);
    assert_eq!(at(&raw const page.srv_live as usize), 21);
    assert_eq!(at(&raw const page.cli_notify as usize), 22);
    assert_eq!(at(&raw const page.srv_notify as usize), 23);
    let p = pair();
    assert_eq!(p.page.orders(), (ORDER, ORDER));
    assert_eq!(p.page.grants(0).take(2).collect::<Vec<_>>(), [8, 9]);
    assert_eq!(p.page.cli_live.load(Ordering::SeqCst), 2, "the client has not come yet");
    assert_eq!(p.page.srv_live.load(Ordering::SeqCst), 1);
    assert_eq!(p.page.cli_notify.load(Ordering::SeqCst), Wish::Written as u8);
}

#[test]
fn rings_of_another_length_are_no_vchan() {
    let page = || Arc::new(Page::default());
    for (order, grants) in [(11, 2), (12, 1), (13, 4), (21, 1018)] {
        let made = Server::new(page(), memory(), memory(), order, 0..grants);
        assert!(made.is_none(), "order {order}, {grants} references");
    }
    assert!(Ring::<Mem>::new(Mem((0..3).map(AtomicU8::new).collect()), 0).is_none());
}
#[test]
fn a_server_that_ends_a_connection_is_read_to_the_end() {
    let mut p = pair();
    let mut client = p.connect().expect("it is free");
    assert_eq!(p.server.turn(), Some(Change::Opened));
    assert_eq!(p.server.send(b"last words"), 10);
    p.server.close();
    assert!(p.server.flush(), "the client must look");
    assert_eq!(p.page.srv_live.load(Ordering::SeqCst), 0);
    assert_eq!(p.server.send(b"nobody"), 6);
    let mut buf = [0; 20];
    assert_eq!(client.recv(&mut buf), Ok(10));
    assert_eq!(p.server.turn(), None, "the client has not left");
    assert!(p.connect().is_none());
    p.leave();
    assert!(p.server.changed());
    assert_eq!(p.server.turn(), None);
    assert!(p.server.flush(), "the next client may come");
    let mut next = p.connect().expect("it is free again");
    assert_eq!(p.server.turn(), Some(Change::Opened));
    assert_eq!(next.recv(&mut buf), Ok(0));
}

#[test]
fn what_a_server_wrote_before_it_died_is_read_to_the_end() {
    let mut p = pair();
    let mut client = p.connect().expect("it is free");
    assert_eq!(p.server.turn(), Some(Change::Opened));
    assert_eq!(p.server.send(b"last"), 4);
    p.page.abandon();
    assert_eq!(p.page.srv_live.load(Ordering::SeqCst), 0);
    assert_eq!(client.recv(&mut [0; 9]), Ok(4));
}

#[test]
fn a_client_that_does_not_wait_is_served() {
    let mut p = pair();
    let _ = p.connect();
    assert_eq!(p.server.turn(), Some(Change::Opened));
    p.leave();
    assert_eq!(p.server.turn(), Some(Change::Closed));
    p.page.cli_live.store(1, Ordering::SeqCst);
    assert_eq!(p.server.turn(), Some(Change::Opened));
    p.leave();
    // It has come and gone unseen, and one more is there.
    p.page.cli_live.store(1, Ordering::SeqCst);
    assert_eq!(p.server.turn(), None);
}

#[test]
fn after_a_move_all_begins_anew() {
    let mut p = pair();
    let mut client = p.connect().expect("it is free");
    assert_eq!(p.server.turn(), Some(Change::Opened));
    assert_eq!(client.send(&[1; 100]), Ok(100));
    assert_eq!(p.server.send(&[2; 100]), 100);
    p.server.restart([20, 21].into_iter());
    assert_eq!(p.page.grants(0).take(2).collect::<Vec<_>>(), [20, 21]);
    let mut next = p.connect().expect("it is free");
    assert_eq!(p.server.turn(), Some(Change::Opened));
    assert_eq!((p.server.ready(), next.ready()), (0, Ok(0)));
    assert_eq!(next.send(&[3; 5]), Ok(5));
    assert_eq!(p.server.recv(&mut [0; 9]), 5);
}

/// What the two may do, by turns.
#[derive(Clone, Debug)]
enum Step {
    ClientSends(usize),
    ClientReads(usize),
    ServerSends(usize),
    ServerReads(usize),
    ServerTurns,
    Connect,
    Leave,
    ServerCloses,
}

fn step() -> impl Strategy<Value = Step> {
    let len = || prop_oneof![0..64usize, 0..2 * SIZE];
    prop_oneof![
        4 => len().prop_map(Step::ClientSends),
        4 => len().prop_map(Step::ClientReads),
        4 => len().prop_map(Step::ServerSends),
        4 => len().prop_map(Step::ServerReads),
        4 => Just(Step::ServerTurns),
        2 => Just(Step::Connect),
        1 => Just(Step::Leave),
        1 => Just(Step::ServerCloses),
    ]
}

/// The next bytes of a stream that is unlike that of any other connection.
fn bytes(conn: u64, from: u64, len: usize) -> Vec<u8> {
    (from..from + len as u64)
        .map(|n| (n.wrapping_mul(31) ^ n >> 8 ^ conn.wrapping_mul(0x5b)) as u8)
        .collect()
}

proptest! {
    #[test]
    fn each_connection_gets_its_own_bytes_in_order(steps in prop::collection::vec(step(), 1..200)) {
        let mut p = pair();
        let mut client = None;
        // Connections so far as either sees them; bytes sent and received by each.
        let (mut began, mut served) = (0, 0);
        let (mut c, mut s) = ((0, 0), (0, 0));
        for step in steps {
            match step {
                Step::Connect if client.is_none() => {
                    client = p.connect();
                    if client.is_some() {
                        began += 1;
                        c = (0, 0);
                    }
                }
                Step::Leave if client.take().is_some() => p.leave(),
                Step::ClientSends(n) => if let Some(client) = &mut client {
                    let sent = client.send(&bytes(began, c.0, n)).expect("a fair server");
                    c.0 += sent as u64;
                },
                Step::ClientReads(n) => if let Some(client) = &mut client {
                    let mut buf = vec![0; n];
                    let got = client.recv(&mut buf).expect("a fair server");
                    prop_assert_eq!(&buf[..got], &bytes(!began, c.1, got)[..]);
                    c.1 += got as u64;
                },
                Step::ServerTurns => while let Some(change) = p.server.turn() {
                    if change == Change::Opened {
                        served = began;
                        s = (0, 0);
                    }
                },
                Step::ServerSends(n) if p.server.is_open() => {
                    s.0 += p.server.send(&bytes(!served, s.0, n)) as u64;
                }
                Step::ServerReads(n) => {
                    let mut buf = vec![0; n];
                    let got = p.server.recv(&mut buf);
                    prop_assert_eq!(&buf[..got], &bytes(served, s.1, got)[..]);
                    s.1 += got as u64;
                }
                Step::ServerCloses => p.server.close(),
                _ => {}
            }
        }
    }

    /// Two that sleep whenever there is nothing to do, and are woken by events only.
    #[test]
    fn nobody_sleeps_while_there_is_something_to_do(
        total in 1..40_000usize, seed in any::<u64>(), chunk in 1..SIZE,
    ) {
        let mut p = pair();
        let mut client = p.connect().expect("it is free");
        p.server.turn();
        let (mut sent, mut echo, mut back) = (0, VecDeque::new(), 0);
        let (mut awake, mut random) = ([true; 2], seed);
        while back < total {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let who = (random >> 33) as usize % 2;
            let who = if awake[who] { who } else { 1 - who };
            prop_assert!(awake[who], "both sleep: {sent} sent, {} to echo, {back} back", echo.len());
            let mut buf = vec![0; chunk];
            if who == 0 {
                let n = client.recv(&mut buf).expect("fair");
                back += n;
                let m = client.send(&buf[..chunk.min(total - sent)]).expect("fair");
                sent += m;
                awake[1] |= client.flush();
                if n == 0 && m == 0 {
                    client.listen(Wish::Written);
                    client.listen(Wish::Read);
                    let due = client.ready() != Ok(0) || (sent < total && client.room() != Ok(0));
                    awake[0] = due;
                }
            } else {
                let n = p.server.recv(&mut buf);
                echo.extend(&buf[..n]);
                let m = p.server.send(echo.make_contiguous());
                echo.drain(..m);
                awake[0] |= p.server.flush();
                if n == 0 && m == 0 {
                    p.server.listen(Wish::Written);
                    p.server.listen(Wish::Read);
                    awake[1] = p.server.ready() != 0 || (!echo.is_empty() && p.server.room() != 0);
                }
            }
        }
    }

    /// A client that writes anything anywhere at any time.
    #[test]
    fn a_liar_harms_itself_only(
        lies in prop::collection::vec((0..24usize, any::<u8>(), 0..5u8, 0..3 * SIZE), 1..100),
    ) {
        let mut p = pair();
        for (at, value, then, len) in lies {
            p.scribble(at, value);
            let mut buf: Box<[u8]> = vec![0xaa; len].into();
            match then {
                0 => {
                    let n = p.server.recv(&mut buf);
                    prop_assert!(n <= len.min(SIZE));
                    prop_assert!(buf[n..].iter().all(|b| *b == 0xaa));
                }
                1 => prop_assert!(p.server.send(&buf) <= len),
                2 => while p.server.turn().is_some() {},
                3 => p.server.close(),
                _ => {
                    p.server.listen(Wish::Read);
                    let _ = (p.server.flush(), p.server.ready(), p.server.room());
                }
            }
        }
        // It goes; whoever comes next is served.
        p.leave();
        for _ in 0..3 {
            p.server.turn();
        }
        let mut next = p.connect().expect("it is free");
        prop_assert_eq!(p.server.turn(), Some(Change::Opened));
        prop_assert_eq!(next.send(b"fair"), Ok(4));
        let mut buf = [0; 9];
        prop_assert_eq!(p.server.recv(&mut buf), 4);
        prop_assert_eq!(&buf[..4], b"fair");
        prop_assert_eq!(p.server.send(b"play"), 4);
        prop_assert_eq!(next.recv(&mut buf), Ok(4));
    }
}
