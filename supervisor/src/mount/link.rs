//! The helper's way to the server: a [`Keeper`], and what carries its bytes.
//!
//! The keeper outlives its connections: what it is asked waits while there is none,
//! and files are what they were when there is another. Here are the socket, the clock,
//! and for each request somebody who awaits its answer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use atoll_9p::client::keeper::{Keeper, Settings, State};
use atoll_9p::client::{Tag, fault};
use atoll_9p::fault::{Errno, Fault};
use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::types::OpId;
use atoll_9p::wire::{NOTAG, READ_OVERHEAD, WRITE_OVERHEAD};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};

use super::fuse::abi;
use super::job::Job;
use crate::address::Address;
use crate::stream::Stream;

/// The message size that is proposed: a megabyte of data and what is around it.
pub const MSIZE: u32 = (1 << 20) + 64;
/// The fid of the tree's root.
pub const ROOT: u32 = 0;
/// How long a server may take to accept a connection.
const GREETING: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fail {
    /// The server refused, or cannot be asked.
    Refused(Fault),
    /// Whoever asked was interrupted, and the request was taken back.
    Interrupted,
}

impl From<Fault> for Fail {
    fn from(fault: Fault) -> Fail {
        Fail::Refused(fault)
    }
}

impl From<Errno> for Fail {
    fn from(errno: Errno) -> Fail {
        Fail::Refused(errno.into())
    }
}

impl Fail {
    /// What whoever asked is told.
    pub fn fault(self) -> Fault {
        match self {
            Fail::Refused(fault) => fault,
            Fail::Interrupted => Fault::new(Errno(abi::EINTR as u32), "interrupted"),
        }
    }
}

type Take = Box<dyn FnOnce(Tag, &Rmsg<'_>)>;

/// What an answer leads to.
enum Waiter {
    /// Somebody is told.
    Tell(Take),
    /// A fid is free again.
    Clunk(u32),
}

struct Inner {
    keeper: Keeper,
    waiting: HashMap<u16, Waiter>,
    free: Vec<u32>,
    next: u32,
}

/// The way to a server.
pub struct Link {
    inner: RefCell<Inner>,
    /// Something was asked.
    kick: Notify,
    start: Instant,
    last_error: RefCell<String>,
    losses: Cell<u64>,
    why_down: RefCell<String>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("losses", &self.losses).finish_non_exhaustive()
    }
}

/// A fid, which is clunked when nobody has it any more.
#[derive(Debug)]
pub struct Fid {
    link: Rc<Link>,
    /// Its number.
    pub number: u32,
}

impl Drop for Fid {
    fn drop(&mut self) {
        if self.number != ROOT {
            self.link.clunk(self.number);
        }
    }
}

/// A number that is another in every process.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

impl Link {
    /// A way that leads nowhere until [`Link::run`] does. `patience` is how long a
    /// request waits for a server that is gone; nothing is for ever.
    pub fn new(patience: Option<Duration>) -> Rc<Link> {
        let settings = Settings {
            msize: MSIZE,
            patience: patience.map(|p| u64::try_from(p.as_millis()).unwrap_or(u64::MAX)),
            longest_wait: 2000,
            ..Settings::new(random())
        };
        let inner = Inner {
            keeper: Keeper::new(settings),
            waiting: HashMap::new(),
            free: Vec::new(),
            next: ROOT + 1,
        };
        Rc::new(Link {
            inner: RefCell::new(inner),
            kick: Notify::new(),
            start: Instant::now(),
            last_error: RefCell::default(),
            losses: Cell::new(0),
            why_down: RefCell::default(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether there is a connection.
    pub fn is_up(&self) -> bool {
        self.inner.borrow().keeper.state() == State::Up
    }

    /// The most bytes that one message reads.
    pub fn most_read(&self) -> u32 {
        // A read of a stream tells where it goes on.
        self.inner.borrow().keeper.msize() - READ_OVERHEAD - 8
    }

    /// The most bytes that one message writes, even if it names the write.
    pub fn most_written(&self) -> u32 {
        self.inner.borrow().keeper.msize() - WRITE_OVERHEAD - OpId::SIZE as u32
    }

    /// The text of the last error that somebody was told.
    pub fn last_error(&self) -> String {
        self.last_error.borrow().clone()
    }

    /// Remembers an error that somebody is told.
    pub fn note(&self, what: &str, fault: &Fault) {
        *self.last_error.borrow_mut() = format!("{what}: {} ({:?})\n", fault.text(), fault.errno);
    }

    /// How often a connection was lost, and why there is none now.
    pub fn health(&self) -> (u64, String) {
        (self.losses.get(), self.why_down.borrow().clone())
    }

    /// A fid that is free.
    pub fn fid(self: &Rc<Link>) -> Fid {
        let mut inner = self.inner.borrow_mut();
        let number = inner.free.pop().unwrap_or_else(|| {
            let n = inner.next;
            inner.next += 1;
            n
        });
        Fid { link: self.clone(), number }
    }

    /// The fid of the root, which no clunk ends.
    pub fn root(self: &Rc<Link>) -> Fid {
        Fid { link: self.clone(), number: ROOT }
    }

    fn clunk(&self, fid: u32) {
        let mut inner = self.inner.borrow_mut();
        let Tag(tag) = inner.keeper.send(&Tmsg::Clunk { fid });
        if tag != NOTAG {
            // Not to be used again before the server has forgotten it.
            inner.waiting.insert(tag, Waiter::Clunk(fid));
            self.kick.notify_one();
        }
    }

    /// Hands a request over as it is; `take` is told its answer. Nothing if there are
    /// too many already.
    pub fn pass(&self, m: &Tmsg<'_>, take: impl FnOnce(Tag, &Rmsg<'_>) + 'static) -> Option<Tag> {
        let mut inner = self.inner.borrow_mut();
        let tag = inner.keeper.send(m);
        if tag.0 == NOTAG {
            return None;
        }
        inner.waiting.insert(tag.0, Waiter::Tell(Box::new(take)));
        self.kick.notify_one();
        Some(tag)
    }

    /// Asks; what is wanted of the answer is what `take` makes of it. Requests go in
    /// the order in which they are asked, whether or not their answers are awaited.
    pub fn ask<R: 'static>(
        self: &Rc<Link>,
        m: &Tmsg<'_>,
        take: impl FnOnce(&Rmsg<'_>) -> Option<R> + 'static,
    ) -> Result<Asked<R>, Fail> {
        let (tell, answer) = oneshot::channel();
        let done = move |_: Tag, r: &Rmsg<'_>| {
            let got = match r {
                Rmsg::Lerror { errno, text } => Err(fault(*errno, *text).into()),
                r => take(r).ok_or_else(|| Errno::EPROTO.into()),
            };
            let _ = tell.send(got); // nobody waits any more
        };
        let tag = self.pass(m, done).ok_or(Errno::ENOBUFS)?;
        Ok(Asked { link: self.clone(), tag, answer })
    }

    /// Connects, carries bytes, and connects again when that ends: for ever. `first`
    /// is told how the first attempt went; if it failed, this ends.
    pub async fn run(self: Rc<Link>, address: Address, first: oneshot::Sender<Result<(), String>>) {
        let mut first = Some(first);
        loop {
            let at = self.inner.borrow().keeper.retry_at().unwrap_or_default();
            let pause = Duration::from_millis(at.saturating_sub(self.now()));
            self.meanwhile(sleep(pause)).await;
            let why = match self.meanwhile(timeout(GREETING, connect(&address))).await {
                Ok(Ok(stream)) => {
                    self.inner.borrow_mut().keeper.connected();
                    let why = self.carry(&stream, &mut first).await;
                    if self.is_up() {
                        self.losses.set(self.losses.get() + 1);
                    }
                    why
                }
                Ok(Err(e)) => e.to_string(),
                Err(_) => "it accepts no connection".to_owned(),
            };
            *self.why_down.borrow_mut() = why.clone();
            self.inner.borrow_mut().keeper.broken(self.now());
            if let Some(first) = first.take() {
                let _ = first.send(Err(why));
                return;
            }
        }
    }

    /// Does what can be done without a connection, until the future is done.
    async fn meanwhile<T>(&self, f: impl Future<Output = T>) -> T {
        let mut f = pin!(f);
        loop {
            tokio::select! {
                done = &mut f => return done,
                () = self.kick.notified() => {}
                () = self.expiry() => {}
            }
            self.inner.borrow_mut().keeper.expire(self.now());
            // Without a connection there is nothing that could break.
            let _ = self.answers();
        }
    }

    /// Waits until a request has waited long enough.
    async fn expiry(&self) {
        let at = self.inner.borrow().keeper.expires_at();
        match at {
            Some(at) => sleep(Duration::from_millis(at.saturating_sub(self.now()))).await,
            None => std::future::pending().await,
        }
    }

    /// Carries bytes until that fails, and says why.
    async fn carry(
        &self,
        stream: &Stream,
        first: &mut Option<oneshot::Sender<Result<(), String>>>,
    ) -> String {
        loop {
            let sending = !self.inner.borrow().keeper.output().is_empty();
            let writable = async {
                match sending {
                    true => stream.writable().await,
                    false => std::future::pending().await,
                }
            };
            let done = tokio::select! {
                r = stream.readable() => r.and_then(|()| self.receive(stream)),
                r = writable => r.and_then(|()| self.send(stream)),
                () = self.kick.notified() => self.send(stream),
                () = self.expiry() => {
                    self.inner.borrow_mut().keeper.expire(self.now());
                    Ok(true)
                }
            };
            match done {
                Ok(true) => {}
                Ok(false) => return "the server closed the connection".into(),
                Err(e) => return e.to_string(),
            }
            if let Err(why) = self.answers() {
                return why;
            }
            if self.is_up()
                && let Some(first) = first.take()
            {
                let _ = first.send(Ok(()));
            }
        }
    }

    fn send(&self, stream: &Stream) -> io::Result<bool> {
        let mut inner = self.inner.borrow_mut();
        while !inner.keeper.output().is_empty() {
            match stream.try_write(inner.keeper.output())? {
                Some(n) => inner.keeper.sent(n),
                None => break,
            }
        }
        Ok(true)
    }

    fn receive(&self, stream: &Stream) -> io::Result<bool> {
        let mut inner = self.inner.borrow_mut();
        match stream.try_read(inner.keeper.spare())? {
            Some(0) => return Ok(false),
            Some(n) => inner.keeper.received(n),
            None => {}
        }
        Ok(true)
    }

    /// Gives the answers that are there to whoever waits for them.
    fn answers(&self) -> Result<(), String> {
        let mut inner = self.inner.borrow_mut();
        let Inner { keeper, waiting, free, .. } = &mut *inner;
        while let Some((tag, answer)) = keeper.poll().map_err(|e| e.to_string())? {
            match waiting.remove(&tag.0) {
                Some(Waiter::Tell(take)) => take(tag, &answer),
                Some(Waiter::Clunk(fid)) => free.push(fid),
                None => {}
            }
        }
        Ok(())
    }
}

async fn connect(address: &Address) -> io::Result<Stream> {
    match address {
        Address::Unix(path) => Stream::connect(path).await,
        Address::Tcp(host) => TcpStream::connect(host).await?.try_into(),
    }
}

/// A request that has been asked.
#[derive(Debug)]
pub struct Asked<R> {
    link: Rc<Link>,
    tag: Tag,
    answer: oneshot::Receiver<Result<R, Fail>>,
}

impl<R: 'static> Asked<R> {
    /// Waits for the answer. Should the caller lose patience, the request is taken
    /// back with a Tflush; what comes first, its answer or that, decides.
    pub async fn answer(mut self, job: &Job) -> Result<R, Fail> {
        let gone = |_| Err(Errno::EIO.into());
        tokio::select! {
            biased;
            got = &mut self.answer => return got.unwrap_or_else(gone),
            () = job.given_up() => {}
        }
        let flushed = self.link.ask(&Tmsg::Flush { oldtag: self.tag.0 }, |_| Some(()))?;
        tokio::select! {
            biased;
            got = self.answer => got.unwrap_or_else(gone),
            // Its tag is free: the next request that has it takes our place.
            _ = flushed.answer => Err(Fail::Interrupted),
        }
    }
}
