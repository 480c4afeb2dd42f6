//! XenStore: where the streams are announced, and the host says what it wants.
//!
//! `control/shutdown` holds a word when the host wants something, and is emptied to say
//! that it was seen (`xen/docs/misc/xenstore-paths.pandoc`). Nothing here waits for an
//! answer but the last word of a guest that ends.

use atoll_xen::guest::event::{self, Port};
use atoll_xen::guest::ring::StoreRing;
use atoll_xen::guest::sched;
use atoll_xen::store::{Answer, Client, Incoming, Limits, NO_TRANSACTION, Request, RequestId};
use core::fmt::Write;
use heapless::String;

use super::{PATIENCE, clock};

/// What the host wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Poweroff,
    Reboot,
    Suspend,
}

const SHUTDOWN: &str = "control/shutdown";
const STATUS: &str = "data/status";

/// The connection to xenstored.
pub(super) struct Store {
    ring: &'static StoreRing,
    port: Port,
    client: Client,
    /// `control/shutdown` is being read.
    asked: Option<RequestId>,
    /// It is being emptied, and then done.
    order: Option<(RequestId, Order)>,
}

impl Store {
    /// # Safety
    /// The address is that of XenStore's ring, and mapped for good.
    pub(super) unsafe fn new((address, port): (u64, u32)) -> Store {
        // SAFETY: as above; every byte of the ring is an atomic's.
        let ring = unsafe { &*(address as *const StoreRing) };
        let client = Client::new(Limits { requests: 16, events: 4 });
        Store { ring, port, client, asked: None, order: None }
    }

    /// The port of its events.
    pub(super) fn port(&self) -> Port {
        self.port
    }

    /// Begins anew: the ring is empty, and what was asked is not answered any more.
    pub(super) fn resume(&mut self, port: Port) {
        self.port = port;
        self.client.reset();
        while self.client.take().is_some() {}
        (self.asked, self.order) = (None, None);
    }

    /// Asks to be told what the host wants.
    pub(super) fn watch(&mut self) {
        self.submit(&Request::Watch(SHUTDOWN, "shutdown"));
    }

    /// Gives a node a number. What cannot be is logged.
    pub(super) fn write(&mut self, path: &str, value: u32) {
        let mut text = String::<12>::new();
        let _ = write!(text, "{value}");
        self.submit(&Request::Write(path, text.as_bytes()));
    }

    /// The last word: the guest's status. Waits until it is written, for a while.
    pub(super) fn status(&mut self, status: u8) {
        self.write(STATUS, status.into());
        let until = clock::soon(PATIENCE);
        while self.client.in_hand() != 0 && clock::soon(0) < until {
            clock::clear(self.port);
            self.turn();
            if self.client.in_hand() != 0 && !self.due() {
                let _ = sched::poll(&[self.port], Some(until));
            }
        }
    }

    /// Whether there is something to read.
    pub(super) fn due(&self) -> bool {
        self.ring.ready() && self.client.broken().is_none()
    }

    /// Sends and receives, and says what the host wants.
    pub(super) fn turn(&mut self) -> Option<Order> {
        self.pump();
        while let Some(incoming) = self.client.take() {
            match incoming {
                Incoming::Event { .. } | Incoming::EventsLost => {
                    if self.asked.is_none() {
                        self.asked = self.submit(&Request::Read(SHUTDOWN));
                    }
                }
                Incoming::Answer(id, answer) if self.asked == Some(id) => {
                    self.asked = None;
                    if let Ok(Answer::Value(word)) = answer {
                        self.wanted(&word);
                    }
                }
                Incoming::Answer(id, answer) => {
                    if let Err(why) = answer {
                        log::error!("xenstore: {why}");
                    }
                    if let Some((of, order)) = self.order
                        && of == id
                    {
                        self.order = None;
                        return Some(order);
                    }
                }
            }
        }
        self.pump();
        None
    }

    fn wanted(&mut self, word: &[u8]) {
        let order = match word {
            b"poweroff" | b"halt" => Order::Poweroff,
            b"reboot" => Order::Reboot,
            b"suspend" => Order::Suspend,
            // It is empty when nothing is wanted.
            _ => return,
        };
        let id = self.submit(&Request::Write(SHUTDOWN, b""));
        self.order = id.map(|id| (id, order));
    }

    fn submit(&mut self, request: &Request<'_>) -> Option<RequestId> {
        let id = self.client.submit(NO_TRANSACTION, request);
        id.inspect_err(|why| log::error!("xenstore: {why}")).ok()
    }

    fn pump(&mut self) {
        let mut moved = 0;
        let mut buf = [0; 256];
        loop {
            let n = self.ring.recv(&mut buf);
            if n == 0 {
                break;
            }
            moved += n;
            if let Err(why) = self.client.received(buf.get(..n).unwrap_or_default()) {
                log::error!("xenstore: {why}");
                break;
            }
        }
        let n = self.ring.send(self.client.output());
        self.client.sent(n);
        if moved + n != 0 {
            // Xen refuses it only for a port that is none.
            let _ = event::send(self.port);
        }
    }
}
