//! Transactions on the ring that a domain is born with: our client in the place of the guest, and
//! the real xenstored behind it.

use std::process::Command;
use std::time::{Duration, Instant};

use atoll_xen::dom0::{GntDev, Mapping, Store};
use atoll_xen::store::{Answer, Client, Error, Limits, NO_TRANSACTION, Request, TxId};
use atoll_xen::vchan::Bytes;

use super::{PATIENCE, honest, in_dom0, path};

/// Under which reference the ring is lent (`public/grant_table.h`).
const STORE: u32 = 1;
/// Where in it these stand (`public/io/xs_wire.h`).
const SIZE: usize = 1024;
const RSP: usize = 1024;
const REQ_CONS: usize = 2048;
const REQ_PROD: usize = 2052;
const RSP_CONS: usize = 2056;
const RSP_PROD: usize = 2060;

#[test]
fn transactions_on_a_real_ring_are_done_or_not() {
    in_dom0("ring::transactions_on_a_real_ring_are_done_or_not", in_the_guests_place);
}

/// The guest's end of its ring, while the guest stands still.
struct Ring {
    page: Mapping,
    client: Client,
    host: Store,
    /// Bytes that went each way.
    moved: usize,
}

impl Ring {
    fn index(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        self.page.read(at, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn ask(&mut self, tx: TxId, request: &Request<'_>) -> Result<Answer, Error> {
        let id = self.client.submit(tx, request).unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            self.turn();
            if let Some(answer) = self.client.take_answer(id) {
                return answer;
            }
            assert!(Instant::now() < until, "{request:?} is not answered");
            // The port is the guest's. Whoever asks xenstored anything has it look into all rings.
            self.host.ask(NO_TRANSACTION, &Request::Read("/local/domain/0/name")).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn turn(&mut self) {
        let from = self.index(REQ_PROD);
        let room = SIZE - from.wrapping_sub(self.index(REQ_CONS)) as usize;
        let out = self.client.output();
        let n = out.len().min(room);
        for (i, byte) in out[..n].iter().enumerate() {
            self.page.write((from as usize + i) % SIZE, &[*byte]);
        }
        self.client.sent(n);
        self.page.write(REQ_PROD, &from.wrapping_add(n as u32).to_le_bytes());
        let from = self.index(RSP_CONS);
        let ready = self.index(RSP_PROD).wrapping_sub(from);
        let mut bytes = vec![0; ready as usize];
        for (i, byte) in bytes.iter_mut().enumerate() {
            self.page.read(RSP + (from as usize + i) % SIZE, std::slice::from_mut(byte));
        }
        self.client.received(&bytes).unwrap();
        self.page.write(RSP_CONS, &from.wrapping_add(ready).to_le_bytes());
        self.moved += n + bytes.len();
    }

    fn begin(&mut self) -> TxId {
        match self.ask(NO_TRANSACTION, &Request::TransactionStart) {
            Ok(Answer::Transaction(tx)) => tx,
            other => panic!("{other:?}"),
        }
    }

    /// What somebody else finds there.
    fn found(&mut self, path: &str) -> Option<Vec<u8>> {
        match self.host.ask(NO_TRANSACTION, &Request::Read(path)) {
            Ok(Answer::Value(value)) => Some(value),
            _ => None,
        }
    }
}

fn in_the_guests_place(domid: u16) {
    // It has said all that it wants to say.
    drop(honest(domid, &path(domid, "control")));
    assert!(Command::new("xl").args(["pause", "hello"]).status().unwrap().success());
    let page = GntDev::open().unwrap().map(domid, &[STORE]).unwrap();
    let client = Client::new(Limits::default());
    let mut ring = Ring { page, client, host: Store::open().unwrap(), moved: 0 };
    let all = |name: &str| format!("/local/domain/{domid}/{name}");
    let (commit, abort) = (Request::TransactionEnd(true), Request::TransactionEnd(false));
    // More than the ring holds, so that it comes round.
    let long = [b'x'; 900];

    let tx = ring.begin();
    for name in ["data/a", "data/b", "data/c"] {
        assert_eq!(ring.ask(tx, &Request::Write(name, &long)), Ok(Answer::Done));
        assert_eq!(ring.found(&all(name)), None);
    }
    assert_eq!(ring.ask(tx, &Request::Read("data/b")), Ok(Answer::Value(long.to_vec())));
    assert_eq!(ring.ask(NO_TRANSACTION, &Request::Read("data/b")), Err(Error::ENOENT));
    assert_eq!(ring.ask(tx, &commit), Ok(Answer::Done));
    assert_eq!(ring.found(&all("data/c")).as_deref(), Some(&long[..]));
    assert!(ring.moved > 3 * SIZE, "{}", ring.moved);

    let tx = ring.begin();
    assert_eq!(ring.ask(tx, &Request::Write("data/a", b"never")), Ok(Answer::Done));
    assert_eq!(ring.ask(tx, &abort), Ok(Answer::Done));
    assert_eq!(ring.found(&all("data/a")).as_deref(), Some(&long[..]));
    assert!(ring.ask(tx, &Request::Read("data/a")).is_err(), "it is over");

    // Somebody else comes between, once.
    for between in [true, false] {
        let tx = ring.begin();
        assert!(ring.ask(tx, &Request::Read("data/a")).is_ok());
        if between {
            let path = all("data/a");
            ring.host.ask(NO_TRANSACTION, &Request::Write(&path, b"between")).unwrap();
        }
        assert_eq!(ring.ask(tx, &Request::Write("data/a", b"late")), Ok(Answer::Done));
        let (ended, left) = match between {
            true => (Err(Error::EAGAIN), &b"between"[..]),
            false => (Ok(Answer::Done), &b"late"[..]),
        };
        assert_eq!(ring.ask(tx, &commit), ended);
        assert_eq!(ring.found(&all("data/a")).as_deref(), Some(left));
    }

    // One that asks for too many is told so, and has those that it had.
    let mut many = Vec::new();
    let refused = loop {
        match ring.ask(NO_TRANSACTION, &Request::TransactionStart) {
            Ok(Answer::Transaction(tx)) => many.push(tx),
            other => break other,
        }
        assert!(many.len() < 100);
    };
    assert!(refused.is_err() && many.len() > 1, "{refused:?} after {}", many.len());
    for tx in many {
        assert_eq!(ring.ask(tx, &abort), Ok(Answer::Done));
    }
    drop(ring);
    assert!(Command::new("xl").args(["destroy", "hello"]).status().unwrap().success());
}
