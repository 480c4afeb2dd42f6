//! A guest and its clients.
//!
//! Every connection of `control` is a 9P session on the guest's tree. A request is
//! an event like any other: it waits its turn in order of arrival, and is handled
//! between two dispatches, never inside one.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use atoll_9p::server::{Limits, Session};
use atoll_9p::synth::Files;
use atoll_config::payload::{Hash, Payload};

use crate::component::Entry;
use crate::core::{Core, StartError};
use crate::platform::{Conn, Platform};
use crate::sched::Place;
use crate::tree;

struct Client<'a> {
    conn: Conn,
    session: Session<Files<'a, Core<'a>>>,
    /// It stands in `Guest::turns`.
    queued: bool,
    /// It had no room for all that the platform holds for it.
    starved: bool,
}

/// What is next for a guest, in order of arrival.
enum Turn {
    /// One request of a client.
    Request(Conn),
    /// The oldest event of the queue.
    Event,
}

/// A guest, its clients, and its connection to the host.
pub(crate) struct Guest<'a> {
    pub(crate) files: Files<'a, Core<'a>>,
    pub(crate) place: Place,
    clients: Vec<Client<'a>>,
    host: Option<Conn>,
    limits: Limits,
    turns: VecDeque<Turn>,
    events_queued: bool,
}

/// The largest message of a guest with that much memory.
fn msize(memory: u64) -> u32 {
    (memory / 256).clamp(4096, 64 << 10) as u32
}

impl<'a> Guest<'a> {
    pub(crate) fn new(
        payload: Payload<'a>,
        hash: Hash,
        registry: &'static [Entry],
        wall: u64,
        seed: [u8; 32],
    ) -> Result<Guest<'a>, StartError> {
        let msize = msize(payload.memory);
        let limits = Limits { msize, fids: payload.budget.fids, ..Limits::default() };
        let core = Core::new(payload, hash, registry, wall, seed, msize)?;
        let mut synth = tree::build(&core, registry);
        synth.mtime = wall / 1_000_000_000;
        let mut guest = Guest {
            files: Files { synth, state: core },
            place: Place::default(),
            clients: Vec::new(),
            host: None,
            limits,
            turns: VecDeque::new(),
            events_queued: false,
        };
        guest.settle();
        Ok(guest)
    }

    pub(crate) fn core(&mut self) -> &mut Core<'a> {
        &mut self.files.state
    }

    /// Whether the connection is one of this guest's.
    pub(crate) fn has(&self, conn: Conn) -> bool {
        self.host == Some(conn) || self.clients.iter().any(|c| c.conn == conn)
    }

    /// Whether there is something to do.
    pub(crate) fn has_work(&self) -> bool {
        !self.turns.is_empty()
    }

    /// A client has connected. False when there are too many.
    pub(crate) fn open_control(&mut self, conn: Conn) -> bool {
        let sessions = self.files.state.payload.budget.sessions as usize;
        let room = self.clients.len() < sessions;
        if room {
            let session = Session::new(self.limits);
            self.clients.push(Client { conn, session, queued: false, starved: false });
        }
        room
    }

    /// The host has connected. A newer connection takes an older one's place, whose
    /// number is given back to be closed.
    pub(crate) fn open_host(&mut self, conn: Conn, p: &mut impl Platform) -> Option<Conn> {
        let old = self.host;
        if let Some(old) = old {
            self.close(old);
        }
        self.host = Some(conn);
        self.files.state.namespace.opened();
        self.send_host(p);
        old
    }

    /// A connection is gone.
    pub(crate) fn close(&mut self, conn: Conn) {
        if self.host == Some(conn) {
            self.host = None;
            let mut done = Vec::new();
            self.core().namespace.closed(&mut done);
            self.core().returned(done);
        } else if let Some(i) = self.clients.iter().position(|c| c.conn == conn) {
            let mut client = self.clients.swap_remove(i);
            client.session.close(&mut self.files);
        }
        self.settle();
    }

    /// Bytes have come. False when the connection is of no further use.
    pub(crate) fn receive(&mut self, conn: Conn, p: &mut impl Platform) -> bool {
        if self.host == Some(conn) {
            return self.receive_host(conn, p);
        }
        if let Some(c) = self.clients.iter_mut().find(|c| c.conn == conn) {
            loop {
                let spare = c.session.spare();
                c.starved = spare.is_empty();
                if c.starved {
                    break;
                }
                let n = p.recv(conn, spare);
                if n == 0 {
                    break;
                }
                c.session.received(n);
            }
            enqueue(c, &mut self.turns);
        }
        true
    }

    fn receive_host(&mut self, conn: Conn, p: &mut impl Platform) -> bool {
        let mut buf = [0; 1024];
        let mut done = Vec::new();
        let mut alive = true;
        loop {
            let n = p.recv(conn, &mut buf);
            if n == 0 {
                break;
            }
            let bytes = buf.get(..n).unwrap_or_default();
            if let Err(fault) = self.core().namespace.feed(bytes, &mut done) {
                self.core().say("host", &fault);
                alive = false;
                break;
            }
        }
        self.core().returned(done);
        self.send_host(p);
        self.settle();
        alive
    }

    /// Sends what there is for the host.
    pub(crate) fn send_host(&mut self, p: &mut impl Platform) {
        let Some(conn) = self.host else { return };
        let namespace = &mut self.files.state.namespace;
        while !namespace.output().is_empty() {
            let n = p.send(conn, namespace.output());
            if n == 0 {
                break;
            }
            namespace.sent(n);
        }
    }

    /// A connection takes bytes again.
    pub(crate) fn writable(&mut self, conn: Conn, p: &mut impl Platform) -> bool {
        if self.host == Some(conn) {
            self.send_host(p);
            return true;
        }
        self.flush(conn, p)
    }

    /// Sends a client its answers. False when it is done with.
    fn flush(&mut self, conn: Conn, p: &mut impl Platform) -> bool {
        let Some(c) = self.clients.iter_mut().find(|c| c.conn == conn) else { return true };
        while !c.session.output().is_empty() {
            let n = p.send(conn, c.session.output());
            if n == 0 {
                break;
            }
            c.session.sent(n);
        }
        if c.session.is_dead() {
            return !c.session.output().is_empty();
        }
        if c.starved {
            return self.receive(conn, p);
        }
        enqueue(c, &mut self.turns);
        true
    }

    /// Sends all clients their answers. Whether the platform took all of them.
    pub(crate) fn flush_all(&mut self, p: &mut impl Platform) -> bool {
        let conns: Vec<Conn> = self.clients.iter().map(|c| c.conn).collect();
        for conn in conns {
            self.flush(conn, p);
        }
        self.clients.iter().all(|c| c.session.output().is_empty())
    }

    /// Does what is next. The connection is given back when it is to be closed.
    pub(crate) fn step(&mut self, p: &mut impl Platform) -> Option<Conn> {
        match self.turns.pop_front()? {
            Turn::Event => {
                self.events_queued = false;
                self.core().run_one();
                self.settle();
                None
            }
            Turn::Request(conn) => {
                let c = self.clients.iter_mut().find(|c| c.conn == conn)?;
                c.queued = false;
                self.files.state.counters.requests += 1;
                c.session.step(&mut self.files);
                // Answers of one burst go out together: while its client has more
                // for this turn's end, there is nothing to be gained by sending.
                let more = c.session.is_ready();
                if more {
                    enqueue(c, &mut self.turns);
                }
                self.settle();
                if !more && !self.flush(conn, p) {
                    return Some(conn);
                }
                None
            }
        }
    }

    /// After anything that may have changed the guest: wakes readers that wait, and
    /// queues what has become possible.
    pub(crate) fn settle(&mut self) {
        self.files.state.watch();
        let clients = &mut self.clients;
        self.files.woken(|node| clients.iter_mut().for_each(|c| c.session.wake(node)));
        for c in &mut self.clients {
            enqueue(c, &mut self.turns);
        }
        if !self.events_queued && self.files.state.has_work() {
            self.events_queued = true;
            self.turns.push_back(Turn::Event);
        }
    }
}

/// Gives a client its turn, if it has something to do and has none yet.
fn enqueue(c: &mut Client<'_>, turns: &mut VecDeque<Turn>) {
    if !c.queued && c.session.is_ready() {
        c.queued = true;
        turns.push_back(Turn::Request(c.conn));
    }
}
