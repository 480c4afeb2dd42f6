//! Several guests on one machine, and the loop that drives them.
//!
//! [`Runtime::serve`] is all that a kernel or a tender calls: signals in, one event
//! after another, and sleep when there is nothing to do. There are no ticks.

use alloc::vec::Vec;

use atoll_config::payload::{Hash, Payload};

use crate::component::Entry;
use crate::core::{Core, StartError};
use crate::guest::Guest;
use crate::platform::{Conn, Exit, Platform, Signal, Stream, Time};
use crate::sched;

/// A guest of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestId(pub usize);

/// Guests and what they share.
pub struct Runtime<'a> {
    registry: &'static [Entry],
    guests: Vec<Guest<'a>>,
    arrivals: u64,
}

impl<'a> Runtime<'a> {
    /// A runtime without guests, which knows these kinds of components.
    pub fn new(registry: &'static [Entry]) -> Runtime<'a> {
        Runtime { registry, guests: Vec::new(), arrivals: 0 }
    }

    /// Adds a guest. Its components start with the first steps.
    pub fn add(
        &mut self,
        payload: Payload<'a>,
        hash: Hash,
        priority: u8,
        p: &mut impl Platform,
    ) -> Result<GuestId, StartError> {
        let mut guest = Guest::new(payload, hash, self.registry, p.wall(), p.seed())?;
        guest.place.priority = priority;
        guest.core().advance(p.now());
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
        let Some(guest) = self.guests.get_mut(id.0) else { return false };
        match stream {
            Stream::Control => guest.open_control(conn),
            Stream::Host => {
                if let Some(old) = guest.open_host(conn, p) {
                    p.close(old);
                }
                true
            }
        }
    }

    /// Takes in what the machine reports. Connections go to the first guest; who
    /// has several calls [`Runtime::connect`] instead.
    pub fn signal(&mut self, signal: Signal, p: &mut impl Platform) {
        match signal {
            Signal::Opened(stream, conn) => {
                if !self.connect(GuestId(0), stream, conn, p) {
                    p.close(conn);
                }
            }
            Signal::Readable(conn) => self.touch(conn, p, |g, p| g.receive(conn, p)),
            Signal::Writable(conn) => self.touch(conn, p, |g, p| g.writable(conn, p)),
            Signal::Closed(conn) => self.touch(conn, p, |_, _| false),
            Signal::Stop => self.guests.iter_mut().for_each(|g| {
                g.core().say("machine", "stop");
                g.core().stop(0);
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
        let now = p.now();
        for i in 0..self.guests.len() {
            self.advance(i, now);
        }
        let ready = self.guests.iter().enumerate().filter(|(_, g)| g.has_work());
        let Some(next) = sched::next(ready.map(|(i, g)| (i, g.place))) else { return false };
        let Some(guest) = self.guests.get_mut(next) else { return false };
        let core = guest.core();
        core.machine.0 = p.memory();
        core.machine.1.clear();
        p.stats(&mut |name, value| core.machine.1.push((name, value)));
        let before = p.cpu();
        let done_with = guest.step(p);
        let spent = p.cpu().saturating_sub(before);
        guest.core().sponsor.cpu += spent;
        guest.place.used += spent;
        self.arrivals += 1;
        guest.place.since = self.arrivals;
        if let Some(conn) = done_with {
            guest.close(conn);
            p.close(conn);
        }
        guest.send_host(p);
        if let Some(trap) = guest.core().take_trap() {
            p.trap(trap);
        }
        self.tell(p);
        true
    }

    /// Moves a guest on in time; one that wakes by it comes in level with the busy ones.
    fn advance(&mut self, i: usize, now: Time) {
        let Some(guest) = self.guests.get_mut(i) else { return };
        let rested = !guest.has_work();
        guest.core().advance(now);
        if guest.core().has_work() {
            guest.settle();
        }
        if rested && guest.has_work() {
            let mut place = guest.place;
            let busy = self.guests.iter().enumerate().filter(|(j, g)| *j != i && g.has_work());
            sched::level(&mut place, busy.map(|(_, g)| g.place));
            if let Some(guest) = self.guests.get_mut(i) {
                guest.place = place;
            }
        }
    }

    /// Hands new log lines to the machine, and the machine's to the first guest.
    fn tell(&mut self, p: &mut impl Platform) {
        if let Some(first) = self.guests.first_mut() {
            let core = first.core();
            let mut lines = 0;
            p.machine_log(&mut |line| {
                core.log.push(line);
                lines += 1;
            });
            if lines > 0 {
                first.settle();
            }
        }
        for guest in &mut self.guests {
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
            while let Some(signal) = p.poll() {
                self.signal(signal, p);
            }
            if let Some(exit) = self.exit() {
                // A client that does not read must not keep a guest from ending.
                let give_up = *give_up.get_or_insert(p.now().after(100_000_000));
                let flushed = self.guests.iter_mut().fold(true, |all, g| g.flush_all(p) && all);
                if flushed || p.now() >= give_up {
                    return exit;
                }
                p.idle(Some(give_up));
            } else if !self.step(p) {
                p.idle(self.deadline());
            }
        }
    }
}

/// Runs one guest on one machine, from its start to its end.
pub fn run(payload: Payload<'_>, hash: Hash, p: &mut impl Platform) -> Result<Exit, StartError> {
    let mut runtime = Runtime::new(crate::native::BUILT_IN);
    runtime.add(payload, hash, 0, p)?;
    Ok(runtime.serve(p))
}
