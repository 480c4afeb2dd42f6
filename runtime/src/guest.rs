//! A guest and its clients.
//!
//! Every connection of `control` is a 9P session on the guest's tree. A request is
//! an event like any other: it waits its turn, and is handled between two
//! dispatches, never inside one. Turns go round: every client that has a request,
//! the queue of events, and the host get one each, in the order in which they became
//! ready; so none of them can hold the others off.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use atoll_9p::server::{Limits, Session};
#[cfg(not(feature = "atoms"))]
use atoll_9p::synth;
use atoll_9p::tree::Tree;
use atoll_config::payload::{Hash, Payload};

#[cfg(feature = "atoms")]
use crate::atoms::entries::Files;
use crate::component::Entry;
use crate::core::{Core, StartError};
use crate::engine::Engine;
use crate::namespace::CALLS;
use crate::platform::{Conn, Platform};
use crate::sched::Place;
use crate::tree;

/// The files of a guest.
#[cfg(not(feature = "atoms"))]
type Files<'a> = synth::Files<'a, Core<'a>>;

struct Client<'a> {
    conn: Conn,
    /// Who speaks 9P2000 is served by the joint, on the host (`9p/src/mux/plain/`).
    session: Session<Files<'a>, false>,
    /// It stands in `Guest::turns`.
    queued: bool,
    /// It had no room for all that the platform holds for it.
    starved: bool,
}

/// What is next for a guest. Each stands in the line at most once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// One request of a client.
    Request(Conn),
    /// Bytes of the host's.
    Host,
    /// The oldest event of the queue.
    Event,
}

/// A guest, its clients, and its connection to the host.
pub(crate) struct Guest<'a> {
    pub(crate) files: Files<'a>,
    pub(crate) place: Place,
    /// It had something to do when it was last looked at.
    pub(crate) busy: bool,
    /// By connection.
    clients: Vec<Client<'a>>,
    host: Option<Conn>,
    limits: Limits,
    turns: VecDeque<Turn>,
    host_queued: bool,
    events_queued: bool,
}

/// Events that are dispatched in one step, where nothing else waits.
const EVENTS: usize = 256;
/// Of these, how many share one look at the clock.
const MOMENT: usize = 4;
/// Nanoseconds after which such a step ends, so that who comes meanwhile gets a turn.
const SLICE: u64 = 50_000;
/// Reads of one turn of the host's, each as large as its buffer.
const HOST_READS: usize = 8;

/// The largest message of a guest with that much memory.
fn msize(memory: u64) -> u32 {
    (memory / 256).clamp(4096, 64 << 10) as u32
}

impl<'a> Guest<'a> {
    pub(crate) fn new(
        payload: Payload<'a>,
        hash: Hash,
        (registry, engine): (&'static [Entry], Option<&'a dyn Engine>),
        wall: u64,
        seed: [u8; 32],
    ) -> Result<Guest<'a>, StartError> {
        let msize = msize(payload.memory);
        let limits = Limits { msize, fids: payload.budget.fids, ..Limits::default() };
        let core = Core::new(payload, hash, (registry, engine), wall, seed, msize)?;
        #[cfg(not(feature = "atoms"))]
        let mut synth = tree::build(&core);
        #[cfg(feature = "atoms")]
        let (mut synth, (entries, nodes)) = tree::build(&core);
        synth.mtime = wall / 1_000_000_000;
        // A sixteenth of the memory, for all computed files that are open.
        synth.limits.held = (core.payload.memory / 16) as usize;
        let mut guest = Guest {
            #[cfg(not(feature = "atoms"))]
            files: Files { synth, state: core },
            #[cfg(feature = "atoms")]
            files: Files::new(atoll_9p::synth::Files { synth, state: core }, entries, nodes),
            place: Place::default(),
            busy: false,
            clients: Vec::new(),
            host: None,
            limits,
            turns: VecDeque::new(),
            host_queued: false,
            events_queued: false,
        };
        guest.settle();
        Ok(guest)
    }

    pub(crate) fn core(&mut self) -> &mut Core<'a> {
        &mut self.files.state
    }

    /// Where a client is, or would be.
    fn place_of(&self, conn: Conn) -> Result<usize, usize> {
        self.clients.binary_search_by_key(&conn, |c| c.conn)
    }

    fn client(&mut self, conn: Conn) -> Option<&mut Client<'a>> {
        let at = self.place_of(conn).ok()?;
        self.clients.get_mut(at)
    }

    /// The host's connection.
    fn host(&self) -> Option<Conn> {
        if CALLS { self.host } else { None }
    }

    /// Whether the connection is one of this guest's.
    pub(crate) fn has(&self, conn: Conn) -> bool {
        self.host() == Some(conn) || self.place_of(conn).is_ok()
    }

    /// Whether there is something to do.
    pub(crate) fn has_work(&self) -> bool {
        !self.turns.is_empty()
    }

    /// A client has connected. False when there are too many.
    pub(crate) fn open_control(&mut self, conn: Conn) -> bool {
        let sessions = self.files.state.payload.budget.sessions as usize;
        let room = self.clients.len() < sessions;
        if room && let Err(at) = self.place_of(conn) {
            let session = Session::linux(self.limits);
            self.clients.insert(at, Client { conn, session, queued: false, starved: false });
        }
        room
    }

    /// The host has connected. A newer connection takes an older one's place, whose
    /// number is given back to be closed.
    pub(crate) fn open_host(&mut self, conn: Conn, p: &mut impl Platform) -> Option<Conn> {
        let old = self.host();
        if let Some(old) = old {
            self.close(old);
        }
        self.host = Some(conn);
        self.files.state.namespace.opened();
        self.send_host(p);
        old
    }

    /// A connection is gone, and with it all that waited for it.
    pub(crate) fn close(&mut self, conn: Conn) {
        if self.host() == Some(conn) {
            self.host = None;
            let mut done = Vec::new();
            self.core().namespace.closed(&mut done);
            self.core().returned(done);
            #[cfg(feature = "atoms")]
            self.core().keep_on();
        } else if let Ok(at) = self.place_of(conn) {
            let mut client = self.clients.remove(at);
            client.session.close(&mut self.files);
            if client.queued {
                self.turns.retain(|t| *t != Turn::Request(conn));
            }
        }
        self.settle();
    }

    /// Bytes have come.
    pub(crate) fn receive(&mut self, conn: Conn, p: &mut impl Platform) {
        if self.host() == Some(conn) {
            if !mem::replace(&mut self.host_queued, true) {
                self.turns.push_back(Turn::Host);
            }
            return;
        }
        let Ok(at) = self.place_of(conn) else { return };
        let Some(c) = self.clients.get_mut(at) else { return };
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

    /// The host's turn: some of what it has sent. False when its connection is of no
    /// further use.
    fn receive_host(&mut self, p: &mut impl Platform) -> bool {
        self.host_queued = false;
        let Some(conn) = self.host() else { return true };
        let mut buf = [0; 1024];
        for _ in 0..HOST_READS {
            let n = p.recv(conn, &mut buf);
            if n == 0 {
                return true;
            }
            if let Err(fault) = self.core().hear(buf.get(..n).unwrap_or_default()) {
                self.core().say("host", fault.text());
                return false;
            }
        }
        // There may be more, of which no signal tells again.
        self.receive(conn, p);
        true
    }

    /// Sends what there is for the host.
    pub(crate) fn send_host(&mut self, p: &mut impl Platform) {
        let Some(conn) = self.host() else { return };
        let namespace = &mut self.files.state.namespace;
        while !namespace.output().is_empty() {
            let n = p.send(conn, namespace.output());
            if n == 0 {
                break;
            }
            namespace.sent(n);
        }
    }

    /// A connection takes bytes again. False when it is of no further use.
    pub(crate) fn writable(&mut self, conn: Conn, p: &mut impl Platform) -> bool {
        if self.host() == Some(conn) {
            self.send_host(p);
            return true;
        }
        self.flush(conn, p)
    }

    /// Sends a client its answers. False when it is done with.
    fn flush(&mut self, conn: Conn, p: &mut impl Platform) -> bool {
        let Some(c) = self.client(conn) else { return true };
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
        // There is room for answers again, and so there is for requests.
        if c.starved {
            self.receive(conn, p);
        } else if let Ok(at) = self.place_of(conn)
            && let Some(c) = self.clients.get_mut(at)
        {
            enqueue(c, &mut self.turns);
        }
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

    /// The guest has ended: who waits for what it says hears its last lines.
    pub(crate) fn last_words(&mut self) {
        self.settle();
        for c in &mut self.clients {
            for _ in 0..c.session.waiting() {
                c.session.step(&mut self.files);
            }
        }
    }

    /// Dispatches events one after another while nothing else waits, for a while: what a
    /// step costs beside its event is then paid for many.
    fn go_on(&mut self, p: &mut impl Platform) {
        #[cfg(not(feature = "atoms"))]
        let until = self.core().now().after(SLICE);
        #[cfg(feature = "atoms")]
        let until = self.core().machine_time().after(SLICE);
        for n in 1..EVENTS {
            let event = self.turns.len() == 1 && self.turns.front() == Some(&Turn::Event);
            if !event || self.core().is_dying() {
                return;
            }
            // Those of one moment share its time.
            if n % MOMENT == 0 {
                let now = p.now();
                if now >= until {
                    return;
                }
                self.core().advance(now);
            }
            self.events_queued = false;
            self.turns.clear();
            self.core().run_one();
            self.settle();
        }
    }

    /// Does what is next; `alone`: and no other guest has anything to do. The connection
    /// is given back when it is to be closed.
    pub(crate) fn step(&mut self, alone: bool, p: &mut impl Platform) -> Option<Conn> {
        // Nothing comes before the first event of a component's life.
        if self.core().is_starting() {
            self.core().run_one();
            self.settle();
            return None;
        }
        match self.turns.pop_front()? {
            Turn::Event => {
                self.events_queued = false;
                self.core().run_one();
                self.settle();
                if alone {
                    self.go_on(p);
                }
                None
            }
            Turn::Host => {
                let alive = self.receive_host(p);
                self.settle();
                self.host().filter(|_| !alive)
            }
            // Who asks waits until the guest has what it had stored.
            #[cfg(feature = "atoms")]
            Turn::Request(conn) if self.core().is_loading() => {
                self.client(conn)?.queued = false;
                None
            }
            Turn::Request(conn) => {
                // A request may show the machine's figures.
                let core = &mut self.files.state;
                core.machine.0 = p.memory();
                core.machine.1.clear();
                p.stats(&mut |name, value| core.machine.1.push((name, value)));
                core.counters.requests += 1;
                let at = self.place_of(conn).ok()?;
                let c = self.clients.get_mut(at)?;
                c.queued = false;
                c.session.step(&mut self.files);
                // Answers of one burst go out together: while its client has more
                // for this turn's end, there is nothing to be gained by sending.
                let more = c.session.is_ready();
                enqueue(c, &mut self.turns);
                self.settle();
                (!more && !self.flush(conn, p)).then_some(conn)
            }
        }
    }

    /// After anything that may have changed the guest: wakes readers that wait, and
    /// queues what has become possible. Cheap where nothing has.
    #[inline]
    pub(crate) fn settle(&mut self) {
        #[cfg(feature = "atoms")]
        if self.files.state.atoms.keep.woken {
            self.files.state.atoms.keep.woken = false;
            self.clients.iter_mut().for_each(|c| enqueue(c, &mut self.turns));
        }
        if self.files.state.stirred {
            self.wake_readers();
        }
        if !self.events_queued && self.files.state.has_work() {
            self.events_queued = true;
            self.turns.push_back(Turn::Event);
        }
    }

    /// Wakes readers that wait for what there is now.
    #[cold]
    fn wake_readers(&mut self) {
        self.files.state.watch();
        let (clients, turns) = (&mut self.clients, &mut self.turns);
        self.files.woken(&mut |node| {
            for c in clients.iter_mut().filter(|c| c.session.waiting() > 0) {
                c.session.wake(node);
                enqueue(c, turns);
            }
        });
        // Looking at the streams was no news.
        self.files.state.stirred = false;
    }
}

/// Gives a client its turn, if it has something to do and has none yet.
fn enqueue(c: &mut Client<'_>, turns: &mut VecDeque<Turn>) {
    if !c.queued && c.session.is_ready() {
        c.queued = true;
        turns.push_back(Turn::Request(c.conn));
    }
}
