//! Target `vchan`: the other end writes anything anywhere in the page at any time.
//!
//! The input is steps: bytes of the page that change, and what our end does between. A
//! server, then a client, gets the same. Neither takes nor gives more than a ring has, nor
//! touches what it was not given.

use std::sync::Arc;
use std::sync::atomic::AtomicU8;

use atoll_xen::vchan::{Client, Page, Raw, Server, Takes, Wish};

use crate::rng::Rng;

const ORDER: u16 = 12;
const SIZE: usize = 1 << ORDER;
/// Bytes of the page that mean something to a ring.
const MEANT: usize = 24;

type Mem = Arc<[AtomicU8]>;

fn ring() -> Mem {
    (0..SIZE).map(|_| AtomicU8::new(0xee)).collect()
}

/// The page as whoever shares it sees it.
#[expect(unsafe_code, reason = "the other end of shared memory")]
fn bytes(page: &Arc<Page>) -> Raw {
    let start = std::ptr::NonNull::from(&**page).cast();
    // SAFETY: the page has so many bytes, all of them in atomics, and is used by this thread
    // alone; every use of what is made here ends before the caller's page does.
    unsafe { Raw::new(start, MEANT) }
}

struct Steps<'a>(&'a [u8]);

impl Iterator for Steps<'_> {
    /// Where, the value there, what is done then, with how many bytes.
    type Item = (usize, u8, u8, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let (step, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        let [at, value, what, len] = *step;
        Some((usize::from(at), value, what, usize::from(len) * 40))
    }
}

/// Tries one input.
pub fn run(input: &[u8]) {
    server(input);
    client(input);
}

fn checked(got: usize, len: usize, buf: &[u8]) {
    assert!(got <= len.min(SIZE));
    assert!(buf[got..].iter().all(|b| *b == 0xaa), "more was written than said");
}

fn server(input: &[u8]) {
    use atoll_xen::vchan::Bytes;
    let page = Arc::new(Page::default());
    let made = Server::new(page.clone(), ring(), ring(), ORDER, [8, 9].into_iter());
    let mut server = made.expect("a page a ring");
    let other = bytes(&page);
    for (at, value, what, len) in Steps(input) {
        other.write(at % MEANT, &[value]);
        let mut buf = vec![0xaa; len];
        match what % 6 {
            0 => checked(server.recv(&mut buf), len, &buf),
            1 => assert!(server.send(&buf) <= len),
            2 => while server.turn().is_some() {},
            3 => server.close(),
            4 => server.listen(Wish::Written),
            _ => drop((server.flush(), server.ready(), server.room(), server.changed())),
        }
    }
}

fn client(input: &[u8]) {
    use atoll_xen::vchan::Bytes;
    let page = Arc::new(Page::default());
    let other = bytes(&page);
    // The server lives, and waits for a client.
    other.write(20, &[2, 1]);
    let made = Client::connect(page.clone(), ring(), ring(), Takes::Fresh);
    let mut client = made.expect("the server is free");
    let mut lied = false;
    for (at, value, what, len) in Steps(input) {
        other.write(at % MEANT, &[value]);
        let mut buf = vec![0xaa; len];
        match what % 4 {
            0 => match client.recv(&mut buf) {
                Ok(n) => {
                    assert!(!lied, "a lie is for good");
                    checked(n, len, &buf);
                }
                Err(over) => lied |= over == atoll_xen::vchan::Over::Lie,
            },
            1 => match client.send(&buf) {
                Ok(n) => assert!(!lied && n <= len.min(SIZE)),
                Err(over) => lied |= over == atoll_xen::vchan::Over::Lie,
            },
            2 => client.listen(Wish::Read),
            _ => drop((client.flush(), client.can_recv(), client.can_send())),
        }
    }
    client.leave();
}

/// Steps of every kind, with bytes of the page that are near what they were.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut rng = Rng::new(23);
    let step = |rng: &mut Rng| {
        let at = rng.below(MEANT) as u8;
        let value = [0, 1, 2, 16, 17, 255][rng.below(6)];
        [at, value, rng.below(12) as u8, rng.below(110) as u8]
    };
    (0..24).map(|n| (0..4 + n).flat_map(|_| step(&mut rng)).collect()).collect()
}

/// The steps, for people.
pub fn show(input: &[u8]) -> String {
    Steps(input)
        .map(|(at, value, what, len)| {
            format!("page[{}] = {value:#04x}, then {what} with {len} bytes\n", at % MEANT)
        })
        .collect()
}
