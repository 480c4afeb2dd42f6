//! The other end writes into the page while an operation here is under way.
//!
//! The tests beside this one lie between operations. Here the lies come in the middle: the
//! memory of a ring is a wrapper that changes the page, by a list that a seed gave, whenever
//! bytes of it are copied, which is between the reading of an index and the telling of one.
//! An end that reads an index twice, or believes one that it told, is found so.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const ORDER: u16 = 12;
const SIZE: usize = 1 << ORDER;

/// One change of the page or of a ring.
#[derive(Clone, Copy, Debug)]
enum Lie {
    /// An index of the page becomes this.
    Index(u8, u32),
    /// An index moves by a little.
    Step(u8, i8),
    /// One of the bytes of the ends and their wishes.
    Byte(u8, u8),
    /// Orders and references.
    Grants(u16, u32),
}

fn lie() -> impl Strategy<Value = Lie> {
    prop_oneof![
        (0..4u8, any::<u32>()).prop_map(|(at, to)| Lie::Index(at, to)),
        (0..4u8, any::<i8>()).prop_map(|(at, by)| Lie::Step(at, by)),
        (0..4u8, 0..4u8).prop_map(|(at, to)| Lie::Byte(at, to)),
        (0..4u8, any::<u8>()).prop_map(|(at, to)| Lie::Byte(at, to)),
        (any::<u16>(), any::<u32>()).prop_map(|(order, grant)| Lie::Grants(order, grant)),
    ]
}

fn tell(page: &Page, lie: Lie) {
    let index = |at: u8| match at {
        0 => &page.left.cons,
        1 => &page.left.prod,
        2 => &page.right.cons,
        _ => &page.right.prod,
    };
    match lie {
        Lie::Index(at, to) => index(at).store(to, Ordering::SeqCst),
        Lie::Step(at, by) => {
            index(at).fetch_add(i32::from(by) as u32, Ordering::SeqCst);
        }
        Lie::Byte(0, to) => page.cli_live.store(to, Ordering::SeqCst),
        Lie::Byte(1, to) => page.srv_live.store(to, Ordering::SeqCst),
        Lie::Byte(2, to) => page.cli_notify.store(to, Ordering::SeqCst),
        Lie::Byte(_, to) => page.srv_notify.store(to, Ordering::SeqCst),
        Lie::Grants(order, grant) => page.lay_out(order, core::iter::repeat_n(grant, 9)),
    }
}

/// Memory of a ring, of which every access is a chance to lie.
#[derive(Clone)]
struct Faulty {
    bytes: Arc<[AtomicU8]>,
    page: Arc<Page>,
    lies: Rc<RefCell<Vec<Lie>>>,
}

impl Faulty {
    fn lie(&self) {
        if let Some(lie) = self.lies.borrow_mut().pop() {
            tell(&self.page, lie);
            // What was written is not what will be read, either.
            for byte in self.bytes.iter().step_by(97) {
                byte.fetch_xor(0x5a, Ordering::SeqCst);
            }
        }
    }
}

impl Bytes for Faulty {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn read(&self, at: usize, out: &mut [u8]) {
        // An end that asks for more than there is would be given it by a mapping.
        assert!(out.is_empty() || at + out.len() <= SIZE, "{at} {}", out.len());
        self.lie();
        (&*self.bytes).read(at, out);
        self.lie();
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        assert!(bytes.is_empty() || at + bytes.len() <= SIZE, "{at} {}", bytes.len());
        self.lie();
        (&*self.bytes).write(at, bytes);
        self.lie();
    }
}

/// A page whose lies are given, and its two rings.
fn made(lies: &[Lie]) -> (Arc<Page>, [Faulty; 2]) {
    let page = Arc::new(Page::default());
    let lies = Rc::new(RefCell::new(lies.to_vec()));
    let ring = || Faulty {
        bytes: (0..SIZE).map(|_| AtomicU8::new(0xee)).collect(),
        page: page.clone(),
        lies: lies.clone(),
    };
    let rings = [ring(), ring()];
    (page, rings)
}

/// What a guest does with one stream when it is woken: it echoes, and asks to be told.
/// Says how many times it went round before it would sleep.
fn wake(server: &mut Server<Arc<Page>, Faulty>, held: &mut Vec<u8>) -> usize {
    for round in 1..=20 {
        while server.turn().is_some_and(|change| change == Change::Opened) {
            held.clear();
        }
        let mut buf = [0xaa; 700];
        let n = server.recv(&mut buf[..600]);
        assert!(n <= 600 && buf[600..].iter().all(|b| *b == 0xaa));
        held.extend_from_slice(&buf[..n]);
        // No more is held than a ring holds.
        held.truncate(SIZE);
        let m = server.send(held);
        assert!(m <= held.len());
        held.drain(..m);
        let _ = server.flush();
        server.listen(Wish::Written);
        let due = server.changed() || server.ready() != 0 || !held.is_empty() && server.room() != 0;
        if !due {
            return round;
        }
    }
    20
}

proptest! {
    /// A guest has two streams. Whatever the client of one does, and as often as it sends
    /// events, the client of the other has its answers, and the first stream serves again when
    /// somebody else comes.
    #[test]
    fn a_client_that_lies_amid_things_harms_itself_only(
        amid in prop::collection::vec(lie(), 0..60),
        between in prop::collection::vec((lie(), 0..900usize), 1..40),
    ) {
        let (page, [left, right]) = made(&amid);
        let server = Server::new(page.clone(), left.clone(), right.clone(), ORDER, [8, 9].into_iter());
        let mut server = server.expect("one page a ring");
        let (fair, [l, r]) = made(&[]);
        let other = Server::new(fair.clone(), l.clone(), r.clone(), ORDER, [8, 9].into_iter());
        let mut other = other.expect("one page a ring");
        let mut client = Client::connect(fair, l, r, Takes::Fresh).expect("it is free");
        let (mut held, mut kept) = (Vec::new(), Vec::new());
        page.cli_live.store(1, Ordering::SeqCst);
        for (at, (lie, len)) in between.into_iter().enumerate() {
            tell(&page, lie);
            // An event, and perhaps some more without a reason.
            for _ in 0..at % 3 {
                wake(&mut server, &mut held);
            }
            let said: Vec<u8> = (0..len).map(|n| (n + at) as u8).collect();
            prop_assert_eq!(client.send(&said), Ok(len));
            wake(&mut other, &mut kept);
            let mut back = vec![0; len + 1];
            let mut got = 0;
            while let Ok(n @ 1..) = client.recv(&mut back[got..]) {
                got += n;
                wake(&mut other, &mut kept);
            }
            prop_assert_eq!(&back[..got], &said[..]);
        }
        // It goes; whoever comes next is served.
        left.lies.borrow_mut().clear();
        page.cli_live.store(0, Ordering::SeqCst);
        for _ in 0..3 {
            wake(&mut server, &mut held);
        }
        prop_assert_eq!(wake(&mut server, &mut held), 1, "nothing is left to do: it sleeps");
        let mut next = Client::connect(page, left, right, Takes::Fresh).expect("it is free");
        prop_assert_eq!(next.send(b"fair"), Ok(4));
        wake(&mut server, &mut held);
        let mut buf = [0; 9];
        prop_assert_eq!(next.recv(&mut buf), Ok(4));
        prop_assert_eq!(&buf[..4], b"fair");
    }

    /// What dom0 does: it never gets more than it asked for, and once it has seen a lie or the
    /// end it stays with that.
    #[test]
    fn a_server_that_lies_amid_things_is_left(
        amid in prop::collection::vec(lie(), 0..60),
        between in prop::collection::vec((lie(), any::<bool>(), 0..2 * SIZE), 1..40),
    ) {
        let (page, [left, right]) = made(&amid);
        page.srv_live.store(1, Ordering::SeqCst);
        page.cli_live.store(2, Ordering::SeqCst);
        let mut client = Client::connect(page.clone(), left, right, Takes::Fresh).expect("free");
        let mut over = None;
        for (lie, sends, len) in between {
            tell(&page, lie);
            let mut buf = vec![0xaa; len + 8];
            let done = if sends { client.send(&buf[..len]) } else { client.recv(&mut buf[..len]) };
            prop_assert!(buf[len..].iter().all(|b| *b == 0xaa));
            match (done, over) {
                (Ok(n), before) => {
                    prop_assert!(n <= len.min(SIZE) && before != Some(Over::Lie));
                    // What was sent before the end is received behind it.
                    prop_assert!(before.is_none() || !sends);
                }
                (Err(now), Some(before)) => prop_assert!(now == before || now == Over::Lie),
                (Err(now), None) => over = Some(now),
            }
            client.listen(Wish::Read);
            let _ = (client.flush(), client.can_recv(), client.can_send());
        }
        client.leave();
    }
}
