//! Target `mux`: two clients share a server's one connection, and either end may
//! send what it likes.
//!
//! To each client the mux is a server, so the same is asked of it as of one. To the
//! server it is a client that keeps the rules: none of its frames breaks the session,
//! and when the clients are gone, nothing of theirs is left there.

use atoll_9p::mux::{ClientId, Mux, Share};
use atoll_9p::ram::Ram;
use atoll_9p::server::{Limits, Session};
use atoll_9p::synth::Files;
use atoll_9p::tree::Tree as _;
use atoll_9p::wire::MIN_MSIZE;

use crate::files::State;
use crate::ledger::Ledger;
use crate::script::{Record, Script};
use crate::server::{BUSY, FAULT, KINDS, LEAVE, NEWS, RAM, READ, SECOND, sent};
use crate::tree::{Counted, Trial};

pub use crate::server::{fresh, seeds, show};

/// With this bit in the kind of a record, what it sends comes from the server.
const SERVER: u8 = 0x40;

struct Client {
    id: ClientId,
    ledger: Ledger,
    unsent: Vec<u8>,
    lazy: bool,
}

struct Joint<T: Trial> {
    mux: Mux,
    session: Session<Counted<T>>,
    tree: Counted<T>,
    clients: [Client; 2],
    msize: u32,
    lazy: bool,
}

impl<T: Trial> Joint<T> {
    fn new(head: [u8; 2]) -> Joint<T> {
        let msize = [0, 600, 1024, 9000][usize::from(head[0] & 3)];
        let share = Share {
            fids: [1, 3, 8, 100][usize::from(head[0] >> 2 & 3)],
            requests: [1, 2, 6, 64][usize::from(head[0] >> 4 & 3)],
            unread: [1, 600, 5000, 1 << 20][usize::from(head[0] >> 6)],
            waiting: [1, 3, 50, 900][usize::from(head[1] >> 6)],
        };
        let mut mux = Mux::new(msize, share);
        let lazy = head[1] & 4 != 0;
        let clients = [(); 2].map(|()| come(&mut mux, msize, lazy));
        let session =
            Session::new(Limits { msize: 8192, fids: 1000, blocked: 1000, writes: 1 << 20 });
        Joint { mux, session, tree: Counted::default(), clients, msize, lazy }
    }

    /// Carries bytes until nothing moves.
    fn run(&mut self) {
        loop {
            let mut moved = false;
            for client in &mut self.clients {
                let n = client.unsent.len().min(700);
                if n > 0 && self.mux.wants(client.id) {
                    let bytes: Vec<u8> = client.unsent.drain(..n).collect();
                    client.ledger.sent(&bytes);
                    self.mux.from_client(client.id, &bytes);
                    moved = true;
                }
                if !client.lazy {
                    moved |= client.read(&mut self.mux, usize::MAX);
                }
            }
            let n = self.session.feed(self.mux.to_server());
            self.mux.sent_to_server(n);
            moved |= n > 0;
            moved |= self.session.step(&mut self.tree);
            assert!(!self.session.is_dead(), "the mux broke the session");
            let output = self.session.output().to_vec();
            if !output.is_empty() {
                self.session.sent(output.len());
                self.mux.from_server(&output).expect("the server keeps the rules");
                moved = true;
            }
            self.session_woken();
            if !moved && !self.session.is_ready() {
                return;
            }
        }
    }

    fn session_woken(&mut self) {
        let Joint { tree, session, .. } = self;
        tree.woken(&mut |node| session.wake(node));
    }

    fn leave(&mut self, which: usize) {
        self.mux.close(self.clients[which].id);
        self.clients[which] = come(&mut self.mux, self.msize, self.lazy);
    }

    fn busy(&mut self, busy: bool) {
        self.tree.busy = busy;
        self.tree.held().into_iter().for_each(|node| self.session.wake(node));
    }

    fn play(&mut self, Record { kind, payload }: &Record) {
        let which = usize::from(kind & SECOND != 0);
        let first = payload.first().copied().unwrap_or_default();
        match (kind & !(SECOND | SERVER)) % KINDS {
            READ => drop(self.clients[which].read(&mut self.mux, first.into())),
            NEWS => self.tree.news(&String::from_utf8_lossy(payload)),
            BUSY => self.busy(first & 1 != 0),
            FAULT => self.tree.fault_in = first,
            LEAVE => self.leave(which),
            kind => self.clients[which].unsent.extend(sent(kind, payload)),
        }
    }

    /// Everything that can be answered is, and everything is given back.
    fn end(&mut self) {
        self.clients.iter_mut().for_each(|c| c.lazy = false);
        self.lazy = false;
        self.busy(false);
        self.run();
        for client in &self.clients {
            assert!(self.mux.to_client(client.id).is_empty());
            let taken = client.unsent.is_empty() || self.session.waiting() > 0;
            assert!(taken || self.mux.is_dead(client.id), "requests are not taken");
        }
        if self.clients.iter().all(|c| !self.mux.is_dead(c.id)) {
            let open: Option<usize> = self.clients.iter().map(|c| c.ledger.open()).sum();
            // Some are held back where others wait.
            let waiting = self.session.waiting();
            assert_eq!(self.mux.outstanding(), waiting, "requests without an answer");
            assert!(open.is_none_or(|n| n >= waiting && (n == 0 || waiting > 0)), "{open:?}");
        }
        (0..2).for_each(|which| self.leave(which));
        self.run();
        assert_eq!(self.mux.outstanding(), 0, "requests of those who are gone");
        assert_eq!(self.session.waiting(), 0);
        assert_eq!(self.session.fids(), 0, "fids of those who are gone");
        self.session.close(&mut self.tree);
        self.tree.assert_empty();
    }
}

fn come(mux: &mut Mux, msize: u32, lazy: bool) -> Client {
    let ledger = Ledger::behind_mux(msize.max(MIN_MSIZE));
    Client { id: mux.open(), ledger, unsent: Vec::new(), lazy }
}

impl Client {
    fn read(&mut self, mux: &mut Mux, most: usize) -> bool {
        let output = mux.to_client(self.id);
        let n = output.len().min(most);
        self.ledger.received(&output[..n], mux.is_dead(self.id));
        mux.sent_to_client(self.id, n);
        n > 0
    }
}

/// Tries one input.
pub fn run(input: &[u8]) {
    let script = Script::parse(input);
    match script.head[1] & RAM {
        0 => run_on::<Files<'static, State>>(&script),
        _ => run_on::<Ram>(&script),
    }
}

fn run_on<T: Trial>(script: &Script) {
    let mut joint = Joint::<T>::new(script.head);
    for record in &script.records {
        if record.kind & SERVER != 0 {
            // A server that breaks the rules ends it all, and breaks nothing else.
            let bytes = sent(record.kind & !SERVER, &record.payload);
            if !bytes.is_empty() {
                let _ = joint.mux.from_server(&bytes);
                return;
            }
        }
        joint.play(record);
        joint.run();
    }
    joint.end();
}
