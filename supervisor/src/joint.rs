//! Many clients, one guest: the input and output around [`atoll_9p::mux::Mux`].
//!
//! Each client has a task that reads from it only while the mux wants its bytes
//! and it has room for answers: so a client that never reads stops itself, and
//! nobody else waits. A task of the guest's does the same for the one connection
//! that all share.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use atoll_9p::mux::{ClientId, Mux, Share};
use tokio::sync::Notify;

use crate::stream::Stream;

/// How long clients may take to read what there is for them when a connection has ended.
const LET_GO: Duration = Duration::from_millis(500);
/// Clients at one time; more wait to be accepted.
pub const MAX_CLIENTS: usize = 128;
/// The message size that is proposed to a guest.
const MSIZE: u32 = 64 << 10;
/// Bytes that are taken from a client or the guest at one time.
const SCRATCH: usize = 64 << 10;
/// Room that is made for them: so much that the allocator gives it pages of its own
/// (malloc(3), M_MMAP_THRESHOLD). Those that no byte ever came to cost nothing.
const ROOM: usize = 192 << 10;

/// Why there is no more to be had of a guest.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// It closed the stream.
    #[error("the guest closed its control stream")]
    Closed,
    /// The stream failed.
    #[error("the control stream failed")]
    Io(#[from] io::Error),
    /// It speaks no 9P that we know.
    #[error(transparent)]
    Broken(#[from] atoll_9p::client::Broken),
}

struct Inner {
    mux: Mux,
    /// Where bytes are received before the mux sees them. One for all: who says nothing
    /// is to hold no buffer.
    scratch: Vec<u8>,
    clients: BTreeMap<ClientId, Rc<Notify>>,
    ended: bool,
    /// Counts the guest's connections: a client belongs to one.
    era: u64,
    /// It is to be told when the guest is asked something.
    heeds: bool,
}

/// The place where clients and a guest meet. Clones are the same place.
#[derive(Clone)]
pub struct Joint {
    inner: Rc<RefCell<Inner>>,
    server: Rc<Notify>,
    /// Told whenever a client has left.
    left: Rc<Notify>,
    /// Told when the guest was asked something, once for each [`Joint::heed`].
    asked: Rc<Notify>,
}

impl Default for Joint {
    fn default() -> Joint {
        Joint::new()
    }
}

/// A client's place, given back when its task ends, however it does.
struct Seat {
    joint: Joint,
    id: ClientId,
    era: u64,
    notify: Rc<Notify>,
    /// It is one of ours, and not somebody who wants something of the guest.
    ours: bool,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inner = self.joint.inner.borrow_mut();
        if inner.era == self.era {
            inner.mux.close(self.id);
            inner.clients.remove(&self.id);
        }
        drop(inner);
        self.joint.server.notify_one();
        self.joint.left.notify_waiters();
    }
}

impl Joint {
    /// A joint without guest or clients.
    pub fn new() -> Joint {
        let inner = Inner {
            mux: Mux::new(MSIZE, Share::default()),
            scratch: vec![0; ROOM],
            clients: BTreeMap::new(),
            ended: false,
            era: 0,
            heeds: false,
        };
        Joint {
            inner: Rc::new(RefCell::new(inner)),
            server: Rc::default(),
            left: Rc::default(),
            asked: Rc::default(),
        }
    }

    /// Whether the guest has greeted.
    pub fn is_ready(&self) -> bool {
        self.inner.borrow().mux.is_ready()
    }

    /// Clients there are, our own among them.
    pub fn clients(&self) -> usize {
        self.inner.borrow().clients.len()
    }

    /// Waits until there is room for another client.
    pub async fn room(&self) {
        while self.inner.borrow().clients.len() >= MAX_CLIENTS {
            self.left.notified().await;
        }
    }

    /// Moves bytes to and from the guest, until it is gone. All clients are then
    /// let go when they have read what there is for them.
    pub async fn serve_guest(&self, stream: Stream) -> Ended {
        let end = match self.guest(&stream).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        let mut inner = self.inner.borrow_mut();
        inner.ended = true;
        inner.clients.values().for_each(|n| n.notify_one());
        end
    }

    /// The guest's connection has ended, and there will be another. Clients are let go, if
    /// they have not been already: what they had open went with it. Those who come from now
    /// on wait for the next.
    pub async fn renew(&self) {
        let empty = async {
            while self.clients() > 0 {
                self.left.notified().await;
            }
        };
        let _ = tokio::time::timeout(LET_GO, empty).await;
        let mut inner = self.inner.borrow_mut();
        inner.era += 1;
        inner.mux = Mux::new(MSIZE, Share::default());
        inner.ended = false;
        for notify in std::mem::take(&mut inner.clients).into_values() {
            notify.notify_one();
        }
    }

    async fn guest(&self, stream: &Stream) -> Result<std::convert::Infallible, Ended> {
        // A guest that takes no more may still have said something: it is read to
        // its end all the same.
        let mut deaf = false;
        loop {
            let waiting = {
                let mut inner = self.inner.borrow_mut();
                loop {
                    let left = inner.mux.to_server().len();
                    if left == 0 {
                        break false;
                    }
                    if deaf {
                        inner.mux.sent_to_server(left);
                        continue;
                    }
                    match stream.try_write(inner.mux.to_server()) {
                        Ok(Some(n)) => inner.mux.sent_to_server(n),
                        Ok(None) => break true,
                        Err(_) => deaf = true,
                    }
                }
            };
            tokio::select! {
                () = self.server.notified() => {}
                r = stream.writable(), if waiting => r?,
                r = stream.readable() => {
                    r?;
                    while self.hear(stream)? {}
                }
            }
        }
    }

    /// Takes what the guest has said; whether there may be more.
    fn hear(&self, stream: &Stream) -> Result<bool, Ended> {
        let Inner { mux, scratch, clients, .. } = &mut *self.inner.borrow_mut();
        let n = match read(stream, &mut scratch[..SCRATCH])? {
            Some(0) => return Err(Ended::Closed),
            Some(n) => n,
            None => return Ok(false),
        };
        let before = mux.is_ready();
        mux.from_server(&scratch[..n])?;
        let greeted = !before && mux.is_ready();
        for (id, notify) in clients {
            if greeted || !mux.to_client(*id).is_empty() {
                notify.notify_one();
            }
        }
        Ok(n == SCRATCH)
    }

    /// From now on it is worth a word when somebody asks the guest something, once.
    pub fn heed(&self) {
        self.inner.borrow_mut().heeds = true;
    }

    /// Waits until the guest was asked something after [`Joint::heed`].
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Moves bytes to and from a client, until it is gone.
    pub async fn serve_client(&self, stream: Stream) {
        self.seat(stream, false).await;
    }

    /// The same for one of ours, of whom nobody is told.
    pub async fn serve_ours(&self, stream: Stream) {
        self.seat(stream, true).await;
    }

    async fn seat(&self, stream: Stream, ours: bool) {
        let seat = {
            let mut inner = self.inner.borrow_mut();
            let (id, notify) = (inner.mux.open(), Rc::new(Notify::new()));
            inner.clients.insert(id, notify.clone());
            Seat { joint: self.clone(), id, era: inner.era, notify, ours }
        };
        // A client's failure is the client's own, and ends with it.
        let _ = self.client(&seat, &stream).await;
    }

    async fn client(&self, seat: &Seat, stream: &Stream) -> io::Result<()> {
        let id = seat.id;
        loop {
            let (wants, waiting) = {
                let mut inner = self.inner.borrow_mut();
                if inner.era != seat.era {
                    return Ok(());
                }
                let waiting = loop {
                    if inner.mux.to_client(id).is_empty() {
                        break false;
                    }
                    match stream.try_write(inner.mux.to_client(id))? {
                        Some(n) => inner.mux.sent_to_client(id, n),
                        None => break true,
                    }
                };
                if !waiting && (inner.ended || inner.mux.is_dead(id)) {
                    return Ok(());
                }
                // What was sent may have let requests through.
                if !inner.mux.to_server().is_empty() {
                    self.server.notify_one();
                }
                (inner.mux.wants(id), waiting)
            };
            tokio::select! {
                () = seat.notify.notified() => {}
                r = stream.writable(), if waiting => r?,
                r = stream.readable(), if wants => {
                    r?;
                    let Inner { mux, scratch, heeds, era, .. } = &mut *self.inner.borrow_mut();
                    if *era != seat.era {
                        return Ok(());
                    }
                    match stream.try_read(&mut scratch[..SCRATCH])? {
                        Some(0) => return Ok(()),
                        Some(n) => {
                            mux.from_client(id, &scratch[..n]);
                            if !seat.ours && std::mem::take(heeds) {
                                self.asked.notify_one();
                            }
                        }
                        None => {}
                    }
                }
            }
        }
    }
}

/// Reads from a guest. One that ends with something unread resets the stream: to
/// us that is its end like any other.
fn read(stream: &Stream, buf: &mut [u8]) -> io::Result<Option<usize>> {
    match stream.try_read(buf) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(Some(0)),
        done => done,
    }
}
