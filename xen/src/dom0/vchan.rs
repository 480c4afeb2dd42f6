//! A domain's byte streams: the client of its vchans.
//!
//! [`Vchan::open`] tries once, since what it waits for, a server that is free, is told by
//! nobody: who waits tries again. An open one never blocks and has a descriptor that is readable when the
//! domain has done something; [`Stream`] waits for it, for programs that may.
//!
//! A domain that ends takes nothing back, neither its memory nor its port, so a client of
//! it would wait for ever. Who owns a [`Vchan`] watches `@releaseDomain`; a [`Stream`] does
//! so itself.

use core::fmt;
use std::format;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::string::{String, ToString};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::claims;
use super::evtchn::{EvtChn, Port};
use super::gntdev::{GntDev, MappedPage, Mapping};
use super::store::{AskError, Store};
use crate::store::{Answer, Error, Incoming, NO_TRANSACTION, Request};
use crate::vchan::{Client, EVENT_CHANNEL, NotYet, Over, RING_REF, Takes, Wish};

/// Where the byte that says that there is a client lies in the page.
const CLI_LIVE: usize = 20;
/// How long a [`Stream`] waits before it looks again whether a server is free.
const AGAIN: Duration = Duration::from_millis(5);

/// Why a vchan was not opened.
#[derive(Debug)]
pub enum Open {
    /// It is not there yet, or not free. It can be tried again.
    NotYet(String),
    /// What the domain says of it cannot be.
    Lie(String),
    /// The domain is not there.
    Gone(u16),
    /// xenstored did not answer.
    Store(AskError),
    /// The kernel refused.
    Io(io::Error),
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Open::NotYet(why) | Open::Lie(why) => f.write_str(why),
            Open::Gone(domid) => write!(f, "there is no domain {domid}"),
            Open::Store(e) => e.fmt(f),
            Open::Io(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for Open {}

impl From<io::Error> for Open {
    fn from(e: io::Error) -> Open {
        Open::Io(e)
    }
}

impl From<Open> for io::Error {
    fn from(open: Open) -> io::Error {
        let kind = match &open {
            Open::NotYet(_) => io::ErrorKind::WouldBlock,
            Open::Lie(_) => io::ErrorKind::InvalidData,
            Open::Gone(_) => io::ErrorKind::NotFound,
            Open::Io(e) => e.kind(),
            Open::Store(_) => io::ErrorKind::Other,
        };
        io::Error::new(kind, open.to_string())
    }
}

/// One vchan of a domain. The domain is told when it is dropped, also when this process dies.
#[derive(Debug)]
pub struct Vchan {
    domid: u16,
    /// Taken in `drop`: the page is unmapped before the port is closed.
    client: Option<Client<MappedPage, Mapping>>,
    port: Port,
    evtchn: EvtChn,
}

/// A number that a domain wrote.
fn number(store: &mut Store, path: &str, key: &str) -> Result<u32, Open> {
    let whole = format!("{path}/{key}");
    let value = match store.ask(NO_TRANSACTION, &Request::Read(&whole)) {
        Ok(Answer::Value(value)) => value,
        Ok(_) => return Err(Open::Store(AskError::Store(Error::Garbled))),
        Err(AskError::Store(Error::ENOENT)) => {
            return Err(Open::NotYet(format!("{whole} is not there: no vchan is served")));
        }
        Err(e) => return Err(Open::Store(e)),
    };
    claims::number(&whole, &value)
}

impl Vchan {
    /// Opens the vchan that a domain serves at a path, if it is there and free.
    pub fn open(store: &mut Store, domid: u16, path: &str, takes: Takes) -> Result<Vchan, Open> {
        // A server writes this one last.
        let remote = number(store, path, EVENT_CHANNEL)?;
        let ring_ref = number(store, path, RING_REF)?;
        let refused = |what: &str, e: io::Error| {
            let said = format!("domain {domid}'s {what}: {e}");
            match e.kind() {
                io::ErrorKind::InvalidData => Open::Lie(said),
                kind => Open::Io(io::Error::new(kind, said)),
            }
        };
        let gntdev = GntDev::open()?;
        let evtchn = EvtChn::open()?;
        let page = gntdev.map(domid, &[ring_ref]).map_err(|e| refused("vchan page", e))?;
        let page = page.page().ok_or_else(|| io::Error::other("more than a page was mapped"))?;
        let (left, grants) = claims::layout(&page)?;
        let (left, right) = grants.split_at_checked(left).unwrap_or_default();
        let left = gntdev.map(domid, left).map_err(|e| refused("vchan ring", e))?;
        let right = gntdev.map(domid, right).map_err(|e| refused("vchan ring", e))?;
        let port = evtchn.bind_interdomain(domid, remote).map_err(|e| match e.kind() {
            // It has another end already, or was never left open for us: Xen says only that
            // there is nothing to bind. The page may know.
            io::ErrorKind::InvalidInput if page.has_client() => {
                Open::NotYet(NotYet::Taken.to_string())
            }
            io::ErrorKind::InvalidInput => {
                Open::NotYet(format!("domain {domid}'s vchan port: {remote} waits for nobody"))
            }
            _ => refused("vchan port", e),
        })?;
        let client = Client::connect(page, left, right, takes).map_err(|why| match why {
            NotYet::Rings => Open::Lie(why.to_string()),
            _ => Open::NotYet(why.to_string()),
        })?;
        // From here on the byte is ours, and dropping this gives it back.
        if let Err(e) = client.page().on_unmap(CLI_LIVE, port) {
            client.leave();
            let _ = evtchn.notify(port);
            return Err(e.into());
        }
        let mut vchan = Vchan { domid, client: Some(client), port, evtchn };
        vchan.tell()?;
        Ok(vchan)
    }

    /// Whose it is.
    pub fn domid(&self) -> u16 {
        self.domid
    }

    /// Takes the event that came, if one did. To be called when the descriptor is readable,
    /// before anything else: what comes later makes it readable again.
    pub fn acknowledge(&mut self) -> io::Result<()> {
        self.evtchn.acknowledge()
    }

    /// Receives what there is and fits: nothing yet, 0 at the end, or so many bytes. After
    /// `None` the descriptor becomes readable when there is something.
    pub fn try_read(&mut self, out: &mut [u8]) -> io::Result<Option<usize>> {
        let domid = self.domid;
        let client = self.client()?;
        let mut got = client.recv(out);
        if got == Ok(0) && !out.is_empty() {
            client.listen(Wish::Written);
            got = client.recv(out);
        }
        match got {
            Ok(0) if !out.is_empty() => Ok(None),
            Ok(n) => {
                self.tell()?;
                Ok(Some(n))
            }
            Err(Over::Closed) => Ok(Some(0)),
            Err(over) => Err(failed(domid, over)),
        }
    }

    /// Sends what there is room for: none yet, or so many bytes.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let domid = self.domid;
        let client = self.client()?;
        let mut sent = client.send(bytes);
        if sent == Ok(0) && !bytes.is_empty() {
            client.listen(Wish::Read);
            sent = client.send(bytes);
        }
        match sent {
            Ok(0) if !bytes.is_empty() => Ok(None),
            Ok(n) => {
                self.tell()?;
                Ok(Some(n))
            }
            Err(over) => Err(failed(domid, over)),
        }
    }

    fn client(&mut self) -> io::Result<&mut Client<MappedPage, Mapping>> {
        self.client.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn tell(&mut self) -> io::Result<()> {
        if self.client()?.flush() { self.evtchn.notify(self.port) } else { Ok(()) }
    }
}

fn failed(domid: u16, over: Over) -> io::Error {
    let kind = match over {
        Over::Closed => io::ErrorKind::BrokenPipe,
        Over::Lie => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, format!("domain {domid}: {over}"))
}

impl Drop for Vchan {
    fn drop(&mut self) {
        // Unmapping clears the byte and sends an event; not every kernel in that order.
        self.client = None;
        let _ = self.evtchn.notify(self.port);
    }
}

impl AsFd for Vchan {
    /// Readable when the domain has done something, until [`Vchan::acknowledge`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.evtchn.as_fd()
    }
}

/// A vchan for a program that waits, with a connection to xenstored that tells it of the
/// domain's end.
#[derive(Debug)]
pub struct Stream {
    vchan: Vchan,
    store: Store,
    /// The domain is no more.
    ended: bool,
}

impl Stream {
    /// Opens the vchan that a domain serves at a path, as soon as it is there and free.
    pub fn open(
        mut store: Store,
        domid: u16,
        path: &str,
        takes: Takes,
        patience: Duration,
    ) -> Result<Stream, Open> {
        let until = Instant::now() + patience;
        let watch = Request::Watch("@releaseDomain", "vchan");
        store.ask(NO_TRANSACTION, &watch).map_err(Open::Store)?;
        loop {
            match Vchan::open(&mut store, domid, path, takes) {
                Ok(vchan) => return Ok(Stream { vchan, store, ended: false }),
                Err(Open::NotYet(why)) => {
                    if !is_there(&mut store, domid)? {
                        return Err(Open::Gone(domid));
                    }
                    if Instant::now() >= until {
                        return Err(Open::NotYet(why));
                    }
                }
                Err(other) => return Err(other),
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// Waits until the domain has done something. False when that was its end.
    fn wait(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let mut fds = [
            PollFd::new(&self.vchan.evtchn, PollFlags::IN),
            PollFd::new(&self.store, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        self.vchan.acknowledge()?;
        let mut told = false;
        while let Some(event) = self.store.event().map_err(io::Error::other)? {
            told |= matches!(event, Incoming::Event { .. } | Incoming::EventsLost);
        }
        self.ended = told && !is_there(&mut self.store, self.vchan.domid)?;
        Ok(!self.ended)
    }
}

/// Whether xenstored knows the domain, which it does until the domain has ended.
fn is_there(store: &mut Store, domid: u16) -> Result<bool, Open> {
    match store.ask(NO_TRANSACTION, &Request::IsDomainIntroduced(domid)) {
        Ok(Answer::Is(is)) => Ok(is),
        Ok(_) => Err(Open::Store(AskError::Store(Error::Garbled))),
        Err(e) => Err(Open::Store(e)),
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(n) = self.vchan.try_read(out)? {
                return Ok(n);
            }
            if !self.wait()? {
                // What it sent before it ended lies in its memory, which is mapped.
                return self.vchan.try_read(out).map(|n| n.unwrap_or(0));
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            if let Some(n) = self.vchan.try_write(bytes)? {
                return Ok(n);
            }
            if !self.wait()? {
                let ended = format!("domain {} has ended", self.vchan.domid);
                return Err(io::Error::new(io::ErrorKind::BrokenPipe, ended));
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
