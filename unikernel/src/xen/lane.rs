//! A stream: a vchan that this domain serves, as connections.

use core::ptr::NonNull;

use atoll_runtime::platform::{Conn, Signal, Stream};
use atoll_xen::guest::PAGE;
use atoll_xen::guest::event::{self, Port};
use atoll_xen::guest::grant::Grants;
use atoll_xen::vchan::{Change, Page, Raw, Server, Wish, ring_pages};
use heapless::{String, Vec};

use super::DOM0;
use super::store::Store;
use crate::arch::Lone;

/// References that a stream needs at most: two rings of 64 KiB.
const REFS: usize = 32;

/// What tells each stream's client that the guest is dead.
static LEFT: Lone<Vec<(&'static Page, Port), 2>> = Lone::new(Vec::new());

/// The machine dies: whoever is connected sees the end, and gives the memory back.
pub(super) fn abandon() {
    LEFT.with(|left| {
        for (page, port) in left {
            page.abandon();
            let _ = event::send(*port);
        }
    });
}

/// A stream.
pub(super) struct Lane {
    pub(super) stream: Stream,
    /// The connection that it serves now.
    pub(super) conn: Option<Conn>,
    server: Server<&'static Page, Raw>,
    page: &'static Page,
    /// The frame of the page; those of the rings follow.
    frame: u64,
    rings: usize,
    /// 0 until it is announced.
    port: Port,
    /// It was reported that there is something to read.
    told: bool,
    /// Less was accepted than given.
    short: bool,
}

impl Lane {
    /// A stream with rings of that many bytes, a power of two. None without memory.
    pub(super) fn new(stream: Stream, buffers: usize) -> Option<Lane> {
        let order = buffers.ilog2() as u16;
        let (size, rings) = (1 << order, 2 * ring_pages(order)?);
        let memory = crate::heap::pages(PAGE + 2 * size)?;
        let start = NonNull::from(memory).cast::<u8>();
        // SAFETY: the memory is aligned to pages, long enough, never freed, and used through
        // these three alone; any bytes are a `Page`.
        let (page, left, right) = unsafe {
            (
                start.cast::<Page>().as_ref(),
                Raw::new(start.add(PAGE), size),
                Raw::new(start.add(PAGE + size), size),
            )
        };
        // Nobody knows the page yet: the references follow when it is announced.
        let server = Server::new(page, left, right, order, (0..rings).map(|_| 0))?;
        Some(Lane {
            stream,
            conn: None,
            server,
            page,
            frame: start.as_ptr() as u64 / PAGE as u64,
            rings,
            port: 0,
            told: false,
            short: false,
        })
    }

    /// Lends the memory and says where it is. None where something is refused.
    pub(super) fn announce(&mut self, grants: &mut Grants, store: &mut Store) -> Option<()> {
        let page = grants.lend(DOM0, self.frame)?;
        let mut refs = Vec::<u32, REFS>::new();
        for n in 1..=self.rings {
            refs.push(grants.lend(DOM0, self.frame + n as u64)?).ok()?;
        }
        self.server.restart(refs.into_iter());
        self.port = event::alloc_unbound(DOM0).ok()?;
        LEFT.with(|left| {
            left.retain(|(page, _)| !core::ptr::eq(*page, self.page));
            // There are two streams.
            let _ = left.push((self.page, self.port));
        });
        let name = match self.stream {
            Stream::Control => "control",
            Stream::Host => "host",
        };
        use atoll_xen::vchan::{EVENT_CHANNEL, RING_REF};
        // In this order: where the port is, everything is.
        for (key, value) in [(RING_REF, page), (EVENT_CHANNEL, self.port)] {
            let mut path = String::<48>::new();
            for part in ["data/vchan/", name, "/", key] {
                path.push_str(part).ok()?;
            }
            store.write(&path, value);
        }
        Some(())
    }

    /// The port of its events.
    pub(super) fn port(&self) -> Port {
        self.port
    }

    /// What there is to say: about the connection, or that one began or ended.
    pub(super) fn signal(&mut self, last: &mut u32) -> Option<Signal> {
        while let Some(change) = self.server.turn() {
            match change {
                Change::Opened => {
                    *last = last.wrapping_add(1);
                    (self.told, self.short) = (false, false);
                    self.conn = Some(Conn(*last));
                    return Some(Signal::Opened(self.stream, Conn(*last)));
                }
                Change::Closed => {
                    if let Some(conn) = self.conn.take() {
                        return Some(Signal::Closed(conn));
                    }
                }
            }
        }
        let conn = self.conn?;
        if !self.told && self.server.ready() != 0 {
            self.told = true;
            return Some(Signal::Readable(conn));
        }
        if self.short && self.server.room() != 0 {
            self.short = false;
            return Some(Signal::Writable(conn));
        }
        None
    }

    /// Takes received bytes.
    pub(super) fn recv(&mut self, out: &mut [u8]) -> usize {
        let n = self.server.recv(out);
        if n < out.len() {
            self.told = false;
        }
        n
    }

    /// Accepts bytes to send.
    pub(super) fn send(&mut self, bytes: &[u8]) -> usize {
        let n = self.server.send(bytes);
        self.short |= n < bytes.len();
        n
    }

    /// Ends the connection.
    pub(super) fn close(&mut self) {
        self.conn = None;
        self.server.close();
    }

    /// Sends the event that the client waits for, if it does.
    pub(super) fn flush(&mut self) {
        if self.server.flush() {
            // Xen refuses it only for a port that is none.
            let _ = event::send(self.port);
        }
    }

    /// Asks to be told of what is waited for.
    pub(super) fn listen(&self) {
        if !self.told {
            self.server.listen(Wish::Written);
        }
        if self.short {
            self.server.listen(Wish::Read);
        }
    }

    /// Whether there is something to do. Changes nothing.
    pub(super) fn due(&self) -> bool {
        self.server.changed()
            || (self.conn.is_some()
                && ((!self.told && self.server.ready() != 0)
                    || (self.short && self.server.room() != 0)))
    }
}
