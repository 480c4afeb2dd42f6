//! Several guests on one machine, and the loop that drives them.
//!
//! [`Runtime::serve`] is all that a kernel or a tender calls: signals in, one event
//! after another, and sleep when there is nothing to do. There are no ticks.

use alloc::vec::Vec;
use core::mem::ManuallyDrop;

use atoll_config::payload::{Hash, Payload};

use crate::component::Entry;
use crate::core::{Core, StartError};
use crate::engine::Engine;
use crate::guest::Guest;
use crate::namespace::CALLS;
use crate::platform::{Conn, Exit, Platform, Signal, Stream, Time};
use crate::sched::{self, Floors};

/// A guest of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestId(pub usize);

/// Guests and what they share.
pub struct Runtime<'a> {
    registry: &'static [Entry],
    engine: Option<&'a dyn Engine>,
    guests: Vec<Guest<'a>>,
    steps: u64,
    floors: Floors,
    /// The machine's CPU time at the end of the last step, while nothing but steps
    /// has used any since.
    cpu: Option<u64>,
}

/// Signals that are taken in between two steps: a flood of them must not keep the
/// guests from going on.
const SIGNALS: usize = 64;
/// How long clients may take to receive the last answers, in nanoseconds.
const GRACE: u64 = 100_000_000;

impl<'a> Runtime<'a> {
    /// A runtime without guests, which knows these kinds of components, and atoms if
    /// it has an engine.
    pub fn new(registry: &'static [Entry], engine: Option<&'a dyn Engine>) -> Runtime<'a> {
        Runtime {
            registry,
            engine,
            guests: Vec::new(),
            steps: 0,
            floors: Floors::default(),
            cpu: None,
        }
    }

    /// Adds a guest. Its components start with the first steps.
    pub fn add(
        &mut self,
        payload: Payload<'a>,
        hash: Hash,
        priority: u8,
        p: &mut impl Platform,
    ) -> Result<GuestId, StartError> {
        let mut guest =
            Guest::new(payload, hash, (self.registry, self.engine), p.wall(), p.seed())?;
        guest.place.priority = priority;
        guest.core().advance(p.now());
        #[cfg(feature = "atoms")]
        {
            if p.holds() {
                guest.core().hold();
            }
            if p.keeps() {
                guest.core().keep(!p.holds());
            }
        }
        self.guests.push(guest);
        Ok(GuestId(self.guests.len() - 1))
    }

    /// A guest's insides, for whoever embeds a runtime.
    pub fn guest(&mut self, id: GuestId) -> Option<&mut Core<'a>> {
        self.guests.get_mut(id.0).map(Guest::core)
    }

    /// Gives a connection to a guest. False when it was refused.
    pub fn connect(
        &mut self,
        id: GuestId,
        stream: Stream,
        conn: Conn,
        p: &mut impl Platform,
    ) -> bool {
        self.cpu = None;
        if self.guests.iter().any(|g| g.has(conn)) {
            return true; // it was told of before
        }
        let Some(guest) = self.guests.get_mut(id.0) else { return false };
        match stream {
            Stream::Control => guest.open_control(conn),
            Stream::Host if CALLS => {
                if let Some(old) = guest.open_host(conn, p) {
                    p.close(old);
                }
                true
            }
            Stream::Host => false,
        }
    }

    /// Takes in what the machine reports. Connections go to the first guest; who
    /// has several calls [`Runtime::connect`] instead.
    pub fn signal(&mut self, signal: Signal, p: &mut impl Platform) {
        self.cpu = None;
        let now = p.now();
        self.guests.iter_mut().for_each(|g| g.core().pass(now));
        match signal {
            Signal::Opened(stream, conn) => {
                if !self.connect(GuestId(0), stream, conn, p) {
                    p.close(conn);
                }
            }
            Signal::Readable(conn) => self.touch(conn, p, |g, p| {
                g.receive(conn, p);
                true
            }),
            Signal::Writable(conn) => self.touch(conn, p, |g, p| g.writable(conn, p)),
            Signal::Closed(conn) => self.touch(conn, p, |_, _| false),
            Signal::Stop => self.guests.iter_mut().for_each(|g| {
                g.core().say("machine", "stop");
                g.core().stop(0);
                g.settle();
            }),
        }
        self.tell(p);
    }

    /// Lets a guest handle its connection, and closes that if it says so.
    fn touch<P: Platform>(
        &mut self,
        conn: Conn,
        p: &mut P,
        f: impl FnOnce(&mut Guest<'a>, &mut P) -> bool,
    ) {
        if let Some(guest) = self.guests.iter_mut().find(|g| g.has(conn))
            && !f(guest, p)
        {
            guest.close(conn);
            p.close(conn);
        }
    }

    /// Does one thing: one event of one guest. False when there is nothing to do.
    pub fn step(&mut self, p: &mut impl Platform) -> bool {
        // The last step's end is this one's start, where nothing came between. All
        // that it takes to find out who is next is part of what he is charged.
        let before = self.cpu.take().unwrap_or_else(|| p.cpu());
        let now = p.now();
        let next = match self.next(now) {
            Some(next) => next,
            None => {
                // The machine may have said something while it slept.
                self.tell(p);
                let Some(next) = self.next(now) else { return false };
                next
            }
        };
        let alone = self.guests.iter().filter(|g| g.busy).count() == 1;
        let Some(guest) = self.guests.get_mut(next) else { return false };
        let done_with = guest.step(alone, p);
        if let Some(conn) = done_with {
            guest.close(conn);
            p.close(conn);
        }
        guest.send_host(p);
        let trap = guest.core().take_trap();
        self.tell(p);
        let after = p.cpu();
        if let Some(guest) = self.guests.get_mut(next) {
            let spent = after.saturating_sub(before);
            guest.core().sponsor.cpu += spent;
            guest.place.used += spent;
            self.steps += 1;
            guest.place.since = self.steps;
            if alone {
                // It may have used much in one step; who comes meanwhile starts from there.
                self.floors.raise(guest.place);
            }
        }
        self.cpu = Some(after);
        if let Some(trap) = trap {
            p.trap(trap);
        }
        true
    }

    /// Moves all guests on in time, and says who is next. One that comes back from
    /// rest comes in level with the others.
    fn next(&mut self, now: Time) -> Option<usize> {
        for guest in &mut self.guests {
            guest.core().advance(now);
            guest.settle();
            let rested = !guest.busy;
            guest.busy = guest.has_work();
            if rested && guest.busy {
                self.floors.level(&mut guest.place);
            }
        }
        let ready = self.guests.iter().enumerate().filter(|(_, g)| g.busy);
        let next = sched::next(ready.map(|(i, g)| (i, g.place)))?;
        self.floors.raise(self.guests.get(next)?.place);
        Some(next)
    }

    /// Hands new log lines to the machine, and the machine's to the first guest.
    fn tell(&mut self, p: &mut impl Platform) {
        if let Some(first) = self.guests.first_mut() {
            p.machine_log(&mut |line| first.core().overhear(line));
        }
        for guest in &mut self.guests {
            guest.settle();
            for line in guest.core().take_log() {
                p.log(&line);
            }
        }
    }

    /// When the next timer of any guest comes.
    pub fn deadline(&mut self) -> Option<Time> {
        self.guests.iter_mut().filter_map(|g| g.core().deadline()).min()
    }

    /// The status of the guests, when all have ended: the first one that is not 0.
    pub fn exit(&mut self) -> Option<Exit> {
        let mut status = 0;
        for guest in &mut self.guests {
            let s = guest.core().exit()?;
            status = if status == 0 { s } else { status };
        }
        Some(Exit { status })
    }

    /// Runs until all guests have ended and their last answers are under way.
    pub fn serve(&mut self, p: &mut impl Platform) -> Exit {
        let mut give_up = None;
        loop {
            let mut quiet = false;
            for _ in 0..SIGNALS {
                let Some(signal) = p.poll() else {
                    quiet = true;
                    break;
                };
                self.signal(signal, p);
            }
            if let Some(exit) = self.exit() {
                // A client that does not read must not keep a guest from ending.
                let give_up = *give_up.get_or_insert_with(|| {
                    self.tell(p);
                    self.guests.iter_mut().for_each(Guest::last_words);
                    p.now().after(GRACE)
                });
                let mut flushed = true;
                for guest in &mut self.guests {
                    flushed &= guest.flush_all(p);
                }
                if flushed || p.now() >= give_up {
                    return exit;
                }
                if quiet {
                    p.idle(Some(give_up));
                }
            } else if !self.step(p) && quiet {
                p.idle(self.deadline());
            }
        }
    }
}

/// Runs one guest on one machine, from its start to its end.
pub fn run(payload: Payload<'_>, hash: Hash, p: &mut impl Platform) -> Result<Exit, StartError> {
    run_with(payload, hash, None, p)
}

/// The same for a guest that may have atoms.
pub fn run_with<'a>(
    payload: Payload<'a>,
    hash: Hash,
    engine: Option<&'a dyn Engine>,
    p: &mut impl Platform,
) -> Result<Exit, StartError> {
    // A machine ends with its guest: giving back what that holds would be code and
    // work for nobody.
    let mut runtime = ManuallyDrop::new(Runtime::new(crate::native::BUILT_IN, engine));
    runtime.add(payload, hash, 0, p)?;
    Ok(runtime.serve(p))
}
