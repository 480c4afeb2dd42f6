//! A domain of Xen: what `virtio` is on QEMU, out of what Xen gives every PVH guest.
//!
//! The streams are vchans ([`lane`]), announced in XenStore, whose ring also brings what
//! the host wants of the guest ([`store`]); the log goes to the console ([`console`]) and
//! the time is Xen's ([`clock`]). The guest sleeps in one call that ends with an event of
//! its ports or in time, so no interrupt is ever taken for any of it.
//!
//! Suspended, a domain keeps its memory and nothing else. [`Domain::suspend`] ends the
//! connections, and afterwards each part makes anew what it had (`resume`).

pub(crate) mod clock;
pub(crate) mod console;
mod lane;
mod store;

use core::ptr::NonNull;

use atoll_runtime::platform::{Conn, Signal, Stream, Time};
use atoll_xen::guest::grant::Grants;
use atoll_xen::guest::param::{self, Param};
use atoll_xen::guest::sched::{self, Reason, Resumed};
use atoll_xen::guest::{Domid, PAGE, call};
use heapless::Deque;

use crate::arch::time;
use lane::Lane;
use store::{Order, Store};

/// The domain that streams are lent to, and that XenStore and the console belong to.
const DOM0: Domid = 0;

/// How long the host may take for a last word, in nanoseconds.
const PATIENCE: u64 = 1_000_000_000;

/// What a domain is born with: pages, and the ports that go with them.
pub(crate) struct Born {
    store: (u64, u32),
    console: (u64, u32),
}

impl Born {
    /// Whether this is Xen, and what it gave.
    pub(crate) fn find() -> Result<Option<Born>, &'static str> {
        const MISSING: &str = "Xen gave no ring for XenStore or the console: use type=\"pvh\"";
        if call::detect().is_none() {
            return Ok(None);
        }
        let ask = |p| param::get(p).map_err(|_| MISSING);
        let pair = |pfn, port| -> Result<(u64, u32), &'static str> {
            let (pfn, port): (u64, u64) = (ask(pfn)?, ask(port)?);
            // What lies above 4 GiB cannot be mapped.
            let fits = (1..1 << 20).contains(&pfn) && port != 0;
            if fits { Ok((pfn * PAGE as u64, port as u32)) } else { Err(MISSING) }
        };
        Ok(Some(Born {
            store: pair(Param::StorePfn, Param::StoreEvtchn)?,
            console: pair(Param::ConsolePfn, Param::ConsoleEvtchn)?,
        }))
    }

    /// The addresses that are to be mapped.
    pub(crate) fn pages(&self) -> [u64; 2] {
        [self.store.0, self.console.0]
    }
}

/// The domain.
pub(crate) struct Domain {
    store: Store,
    grants: Grants,
    lanes: [Lane; 2],
    /// Which of them is asked first.
    turn: bool,
    signals: Deque<Signal, 16>,
    /// The last connection.
    conn: u32,
    /// How the guest is to end.
    end: Reason,
    /// The TSC when the first bytes went out on `control`; 0 before.
    first_reply: u64,
}

impl Domain {
    /// Takes what the domain was born with, and announces the streams, each of which has
    /// that many bytes of buffer in each direction.
    pub(crate) fn start(born: &Born, boot: u64, buffers: usize) -> Result<Domain, &'static str> {
        const MEMORY: &str = "there is no memory for the streams: give the domain more";
        const REFUSED: &str =
            "Xen refused the shared info page, the vector of events or the grant table";
        // SAFETY: Xen gave this page for the console, and the page tables map it.
        unsafe { console::start(born.console) };
        #[cfg(feature = "atoms")]
        crate::wasm::watchdog::alone();
        let page = || crate::heap::pages(PAGE).map(|p| NonNull::from(p).cast()).ok_or(MEMORY);
        // SAFETY: the pages are mapped where their frames are, and nothing else's.
        let grants = unsafe {
            clock::start(page()?, boot).map_err(|_| REFUSED)?;
            Grants::map(page()?).map_err(|_| REFUSED)?
        };
        // SAFETY: Xen gave this page for XenStore, and the page tables map it.
        let store = unsafe { Store::new(born.store) };
        let lane = |stream| Lane::new(stream, buffers).ok_or(MEMORY);
        let lanes = [lane(Stream::Control)?, lane(Stream::Host)?];
        let mut domain = Domain {
            store,
            grants,
            lanes,
            turn: false,
            signals: Deque::new(),
            conn: 0,
            end: Reason::Poweroff,
            first_reply: 0,
        };
        domain.announce()?;
        Ok(domain)
    }

    /// Lends the streams' memory, says so in XenStore, and listens there.
    fn announce(&mut self) -> Result<(), &'static str> {
        self.store.watch();
        for lane in &mut self.lanes {
            lane.announce(&mut self.grants, &mut self.store)
                .ok_or("Xen refused a port for a stream, or the grant table is full")?;
        }
        self.store.turn();
        Ok(())
    }

    /// The next signal. When there is none, everything sent so far is on its way.
    pub(crate) fn poll(&mut self) -> Option<Signal> {
        if let Some(order) = self.store.turn() {
            self.obey(order);
        }
        if let Some(signal) = self.signals.pop_front() {
            return Some(signal);
        }
        // Turn about: a client that comes and goes without end, or writes faster than it is
        // read, does not keep the other stream from being heard.
        self.turn = !self.turn;
        let [one, other] = &mut self.lanes;
        let (first, second) = if self.turn { (one, other) } else { (other, one) };
        if let Some(signal) = first.signal(&mut self.conn) {
            return Some(signal);
        }
        if let Some(signal) = second.signal(&mut self.conn) {
            return Some(signal);
        }
        self.flush();
        None
    }

    /// The TSC when the first bytes went out on `control`; 0 before.
    pub(crate) fn first_reply(&self) -> u64 {
        self.first_reply
    }

    /// Takes received bytes.
    pub(crate) fn recv(&mut self, conn: Conn, out: &mut [u8]) -> usize {
        self.lane(conn).map_or(0, |lane| lane.recv(out))
    }

    /// Accepts bytes to send.
    pub(crate) fn send(&mut self, conn: Conn, bytes: &[u8]) -> usize {
        let Some(lane) = self.lane(conn) else { return bytes.len() };
        let (stream, n) = (lane.stream, lane.send(bytes));
        if stream == Stream::Control && self.first_reply == 0 {
            self.first_reply = time::tsc();
        }
        n
    }

    /// Ends a connection; what was sent on it can still be read.
    pub(crate) fn close(&mut self, conn: Conn) {
        if let Some(lane) = self.lane(conn) {
            lane.close();
        }
    }

    fn lane(&mut self, conn: Conn) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|l| l.conn == Some(conn))
    }

    /// Everything sent so far is on its way.
    pub(crate) fn flush(&mut self) {
        self.lanes.iter_mut().for_each(Lane::flush);
    }

    /// Sleeps until something happens or the time has come.
    pub(crate) fn idle(&mut self, until: Option<Time>) {
        #[cfg(feature = "atoms")]
        time::rest();
        self.flush();
        let [one, other] = &self.lanes;
        let ports = [self.store.port(), one.port(), other.port()];
        ports.iter().for_each(|p| clock::clear(*p));
        // An event that comes from here on ends the sleep below, or its cause is seen now.
        self.lanes.iter().for_each(Lane::listen);
        if self.store.due() || self.lanes.iter().any(Lane::due) || !self.signals.is_empty() {
            return;
        }
        // Refused, it returns at once and is tried again.
        let _ = sched::poll(&ports, until.map(clock::system_at));
    }

    /// Ends the domain with a status of the guest, which the host finds in XenStore as long
    /// as it keeps the domain.
    pub(crate) fn exit(mut self, status: u8) -> ! {
        // Who is connected sees the end, and gives the memory back.
        self.lanes.iter_mut().for_each(Lane::close);
        self.flush();
        self.store.status(status);
        sched::shutdown(self.end);
        // Nothing brings a domain back from there.
        crate::record::boot(format_args!("Xen refused to end the domain"))
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Poweroff | Order::Reboot => {
                let reboot = order == Order::Reboot;
                self.end = if reboot { Reason::Reboot } else { Reason::Poweroff };
                self.signal(Signal::Stop);
            }
            Order::Suspend => self.suspend(),
        }
    }

    fn signal(&mut self, signal: Signal) {
        if self.signals.push_back(signal).is_err() {
            log::warn!("xen: too many connections at once");
        }
    }

    /// Ends all connections, and is suspended. Whoever has a stream's memory mapped keeps a
    /// domain from being gone; so clients are told before, and come again afterwards.
    fn suspend(&mut self) {
        for lane in &mut self.lanes {
            let conn = lane.conn;
            lane.close();
            lane.flush();
            if let Some(conn) = conn
                && self.signals.push_back(Signal::Closed(conn)).is_err()
            {
                log::warn!("xen: too many connections at once");
            }
        }
        match sched::suspend() {
            Ok(Resumed::Anew) => {
                if let Err(why) = self.resume() {
                    crate::record::boot(format_args!("after a suspension: {why}"));
                }
                log::info!("xen: resumed");
            }
            Ok(Resumed::Same) => log::info!("xen: the suspension was called off"),
            Err(why) => log::error!("xen: no suspension: {why}"),
        }
    }

    /// Makes anew all that is not memory.
    fn resume(&mut self) -> Result<(), &'static str> {
        clock::resume().map_err(|_| "Xen refused the shared info page or the vector of events")?;
        let port = |p| param::get(p).map(|n| n as u32).map_err(|_| "Xen gave no port");
        console::resume(port(Param::ConsoleEvtchn)?);
        self.store.resume(port(Param::StoreEvtchn)?);
        self.grants.resume().map_err(|_| "Xen refused the grant table")?;
        self.announce()
    }
}

/// Ends the machine after its record, if this is Xen; else there is nobody to call.
pub(crate) fn crash() {
    lane::abandon();
    sched::shutdown(Reason::Crash);
}
