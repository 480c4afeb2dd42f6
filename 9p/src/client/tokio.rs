//! Files of a server, for many tasks at once.
//!
//! A [`Connection`] is a handle; its clones share one socket, and whatever its tasks ask
//! is underway at the same time. A future that is dropped flushes its request, and
//! gives back the fid that it was to get. One task moves the bytes, so that a future
//! that nobody polls holds nobody else up; it ends when the last handle goes.
//!
//! With [`Connection::reconnecting`] it also makes the connection again, as
//! [`super::keeper`] describes.

use core::future::{Future, poll_fn};
use core::task::{Context, Poll, Waker};
use std::boxed::Box;
use std::io;
use std::pin::Pin;
use std::string::String;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use ::tokio::net::{TcpStream, UnixStream};
use ::tokio::sync::Notify;
use ::tokio::time::Instant;

pub use super::Error;
pub use super::blocking::Name;
use super::blocking::split;
use super::keeper::{Keeper, Settings};
use super::link::{Link, parts};
use super::transfer::{Fetch, Store, Transfer, WINDOW};
use super::{Ask, Client, Tag, fault};
use crate::fault::{Errno, Fault};
use crate::msg::{Rmsg, Tmsg, entries};
use crate::types::{OpenFlags, Qid, Stat, getattr, qid_type};
use crate::wire::{MAX_NAME, NOFID, NOTAG, READ_OVERHEAD, WRITE_OVERHEAD};

/// The message size that is proposed.
pub const MSIZE: u32 = 64 << 10;
/// The fid of the tree's root.
const ROOT: u32 = 0;

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// A unix socket.
    Unix(UnixStream),
    /// A TCP connection.
    Tcp(TcpStream),
}

impl From<UnixStream> for Stream {
    fn from(s: UnixStream) -> Stream {
        Stream::Unix(s)
    }
}

impl From<TcpStream> for Stream {
    fn from(s: TcpStream) -> Stream {
        // Small messages are wanted now; a socket that cannot be told so works too.
        let _ = s.set_nodelay(true);
        Stream::Tcp(s)
    }
}

impl Stream {
    async fn readable(&self) -> io::Result<()> {
        match self {
            Stream::Unix(s) => s.readable().await,
            Stream::Tcp(s) => s.readable().await,
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Stream::Unix(s) => s.writable().await,
            Stream::Tcp(s) => s.writable().await,
        }
    }

    /// Takes what is there: nothing when nothing is yet, 0 bytes at the end.
    fn try_read(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        later(match self {
            Stream::Unix(s) => s.try_read(buf),
            Stream::Tcp(s) => s.try_read(buf),
        })
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        later(match self {
            Stream::Unix(s) => s.try_write(bytes),
            Stream::Tcp(s) => s.try_write(bytes),
        })
    }
}

fn later(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Ok(n) => Ok(Some(n)),
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// How a connection is made again.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;
type Connect = Box<dyn FnMut() -> Connecting + Send>;

/// Who waits for the answer under a tag, and where it goes.
#[derive(Debug, Default)]
enum Slot {
    #[default]
    Free,
    /// A future: its place among those that wait.
    Waiting(usize),
    /// A transfer.
    Transfer(usize),
    /// Nobody, but this fid is free then.
    Clunk(u32),
    /// Nobody.
    Nobody,
}

/// A future that waits, for as long as it has not taken its answer: longer than its
/// tag is its own.
#[derive(Debug)]
enum Waits {
    /// The data of an Rread goes to the buffer, or the frame of any other answer.
    For(Option<Waker>, Vec<u8>),
    Done(Answer),
}

#[derive(Debug)]
enum Answer {
    Data(Vec<u8>),
    Frame(Vec<u8>),
    Fault(Fault),
}

type Job = Box<dyn Transfer2 + Send>;

/// A transfer whose result can be had behind a pointer.
trait Transfer2 {
    fn pump(&mut self, ask: &mut dyn Ask, sent: &mut dyn FnMut(Tag));
    fn answer(&mut self, tag: Tag, answer: &Rmsg<'_>) -> bool;
    fn is_done(&self) -> bool;
    fn result(self: Box<Self>) -> Result<Vec<u8>, Fault>;
}

impl<T: Transfer> Transfer2 for T {
    fn pump(&mut self, ask: &mut dyn Ask, sent: &mut dyn FnMut(Tag)) {
        Transfer::pump(self, ask, sent);
    }
    fn answer(&mut self, tag: Tag, answer: &Rmsg<'_>) -> bool {
        Transfer::answer(self, tag, answer)
    }
    fn is_done(&self) -> bool {
        Transfer::is_done(self)
    }
    fn result(self: Box<Self>) -> Result<Vec<u8>, Fault> {
        Transfer::result(*self)
    }
}

struct State {
    link: Link,
    stream: Option<Arc<Stream>>,
    slots: Vec<Slot>,
    waits: Vec<Option<Waits>>,
    free_waits: Vec<usize>,
    jobs: Vec<Option<(Job, Option<Waker>)>>,
    next_fid: u32,
    free: Vec<u32>,
    failed: Option<Error>,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    /// Tells the task that moves the bytes.
    news: Notify,
}

/// Ends the task when the last handle goes.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.news.notify_one();
    }
}

/// A connection to a server, attached to its root. Clones are the same.
#[derive(Clone)]
pub struct Connection(Arc<Guard>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn slot(&mut self, tag: Tag) -> &mut Slot {
        let at = usize::from(tag.0);
        while self.slots.len() <= at {
            self.slots.push(Slot::Free);
        }
        // There is one: it was just made.
        let last = self.slots.len() - 1;
        match self.slots.get_mut(at.min(last)) {
            Some(slot) => slot,
            None => unreachable!("a table that was just filled"),
        }
    }

    /// Sends a request for somebody.
    fn ask(&mut self, m: &Tmsg<'_>, slot: Slot) -> Result<Tag, Error> {
        if let Some(e) = &self.failed {
            return Err(e.again());
        }
        let tag = self.link.send(m);
        if tag.0 == NOTAG {
            return Err(Errno::ENOBUFS.into());
        }
        *self.slot(tag) = slot;
        Ok(tag)
    }

    /// Sends what can be sent without waiting; whether something is left.
    fn push(&mut self) -> io::Result<bool> {
        let Some(stream) = &self.stream else { return Ok(false) };
        while !self.link.output().is_empty() {
            match stream.try_write(self.link.output())? {
                Some(n) => self.link.sent(n),
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Hands the answers that are here to whom they belong.
    fn deliver(&mut self) -> Result<(), Error> {
        while let Some((tag, spot)) = self.link.pull()? {
            // That to Tversion is for the link alone.
            if tag.0 == NOTAG {
                continue;
            }
            match core::mem::take(self.slot(tag)) {
                Slot::Waiting(at) => {
                    let waits = self.waits.get_mut(at).and_then(Option::take);
                    let Some(Waits::For(waker, mut into)) = waits else { continue };
                    let answer = match self.link.answer(&spot)? {
                        Rmsg::Lerror { errno, text } => Answer::Fault(fault(errno, text)),
                        Rmsg::Read { data, .. } => {
                            into.clear();
                            into.extend_from_slice(data);
                            Answer::Data(into)
                        }
                        _ => {
                            into.clear();
                            into.extend_from_slice(&self.link.frame(&spot));
                            Answer::Frame(into)
                        }
                    };
                    if let Some(waits) = self.waits.get_mut(at) {
                        *waits = Some(Waits::Done(answer));
                    }
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
                Slot::Transfer(at) => {
                    let State { link, jobs, .. } = self;
                    if let Some(Some((job, _))) = jobs.get_mut(at) {
                        job.answer(tag, &link.answer(&spot)?);
                    }
                    self.pump(at);
                }
                Slot::Clunk(fid) => self.free.push(fid),
                Slot::Free | Slot::Nobody => {}
            }
        }
        Ok(())
    }

    /// Lets a transfer send what it may.
    fn pump(&mut self, at: usize) {
        let mut tags = Vec::new();
        let State { link, jobs, .. } = self;
        let Some(Some((job, waker))) = jobs.get_mut(at) else { return };
        job.pump(link, &mut |tag| tags.push(tag));
        if job.is_done()
            && let Some(waker) = waker.take()
        {
            waker.wake();
        }
        for tag in tags {
            *self.slot(tag) = Slot::Transfer(at);
        }
    }

    /// Ends a request that nobody waits for any more.
    fn abandon(&mut self, tag: Tag) {
        *self.slot(tag) = Slot::Nobody;
        if self.failed.is_none() {
            let _ = self.ask(&Tmsg::Flush { oldtag: tag.0 }, Slot::Nobody);
        }
    }

    /// The connection is of no further use: whoever waits learns it.
    fn fail(&mut self, e: Error) {
        self.failed = Some(e);
        self.stream = None;
        for waits in self.waits.iter_mut().flatten() {
            if let Waits::For(waker, _) = waits
                && let Some(waker) = waker.take()
            {
                waker.wake();
            }
        }
        for (_, waker) in self.jobs.iter_mut().flatten() {
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
    }
}

/// Moves the bytes of a connection.
async fn drive(shared: Arc<Shared>, mut connect: Option<Connect>) {
    let since = Instant::now();
    let now = || since.elapsed().as_millis() as u64;
    loop {
        let failed = match serve(&shared).await {
            Ok(()) => return,
            Err(e) => e,
        };
        let Some(connect) = &mut connect else {
            return shared.lock().fail(failed);
        };
        let retry = {
            let mut state = shared.lock();
            state.stream = None;
            let Link::Kept(keeper) = &mut state.link else { return };
            if keeper.retry_at().is_none() {
                keeper.broken(now());
            }
            let retry = keeper.retry_at();
            // What was answered because of that goes to whom it belongs.
            let _ = state.deliver();
            retry.unwrap_or(0)
        };
        let at = since + core::time::Duration::from_millis(retry);
        while now() < retry {
            ::tokio::select! {
                () = ::tokio::time::sleep_until(at) => {}
                () = shared.news.notified() => {
                    let mut state = shared.lock();
                    if state.closed {
                        return;
                    }
                    let _ = state.deliver();
                }
            }
        }
        let made = connect().await;
        let mut state = shared.lock();
        if state.closed {
            return;
        }
        let Link::Kept(keeper) = &mut state.link else { return };
        match made {
            Ok(stream) => {
                keeper.connected();
                state.stream = Some(Arc::new(stream));
            }
            Err(_) => keeper.broken(now()),
        }
    }
}

/// Moves bytes until the handles are gone, or the connection is.
async fn serve(shared: &Shared) -> Result<(), Error> {
    loop {
        let (stream, waiting) = {
            let mut state = shared.lock();
            if state.closed {
                return Ok(());
            }
            let waiting = state.push()?;
            state.deliver()?;
            let Some(stream) = state.stream.clone() else { return Err(Error::Closed) };
            (stream, waiting)
        };
        ::tokio::select! {
            () = shared.news.notified() => {}
            r = stream.writable(), if waiting => r?,
            r = stream.readable() => {
                r?;
                let mut state = shared.lock();
                while let Some(n) = stream.try_read(state.link.spare())? {
                    if n == 0 {
                        return Err(Error::Closed);
                    }
                    state.link.received(n);
                    state.deliver()?;
                }
                state.push()?;
            }
        }
    }
}

/// A request, for as long as its answer is wanted.
struct Request<'a> {
    shared: &'a Shared,
    tag: Tag,
    at: usize,
}

impl Request<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Error>> {
        let mut state = self.shared.lock();
        let failed = state.failed.as_ref().map(Error::again);
        let Some(slot) = state.waits.get_mut(self.at) else {
            return Poll::Ready(Err(Error::Closed));
        };
        match slot.take() {
            Some(Waits::Done(answer)) => Poll::Ready(Ok(answer)),
            Some(Waits::For(..)) | None if failed.is_some() => {
                Poll::Ready(Err(failed.unwrap_or(Error::Closed)))
            }
            Some(Waits::For(waker, into)) => {
                let waker = match waker {
                    Some(waker) if waker.will_wake(cx.waker()) => waker,
                    _ => cx.waker().clone(),
                };
                *slot = Some(Waits::For(Some(waker), into));
                Poll::Pending
            }
            None => Poll::Ready(Err(Error::Closed)),
        }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let left = state.waits.get_mut(self.at).and_then(Option::take);
        state.free_waits.push(self.at);
        if matches!(left, Some(Waits::For(..))) {
            state.abandon(self.tag);
            let _ = state.push();
            drop(state);
            self.shared.news.notify_one();
        }
    }
}

/// A transfer, for as long as its result is wanted.
struct Running<'a> {
    shared: &'a Shared,
    at: usize,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(job) = state.jobs.get_mut(self.at) {
            *job = None;
        }
        let mine: Vec<_> = (0u16..)
            .zip(&state.slots)
            .filter(|(_, s)| matches!(s, Slot::Transfer(at) if *at == self.at))
            .map(|(tag, _)| Tag(tag))
            .collect();
        if !mine.is_empty() {
            mine.into_iter().for_each(|tag| state.abandon(tag));
            self.shared.news.notify_one();
        }
    }
}

impl Connection {
    /// Connects to a unix socket.
    pub async fn unix(path: impl AsRef<std::path::Path>) -> Result<Connection, Error> {
        Connection::over(UnixStream::connect(path).await?).await
    }

    /// Connects to a TCP port.
    pub async fn tcp(addr: impl ::tokio::net::ToSocketAddrs) -> Result<Connection, Error> {
        Connection::over(TcpStream::connect(addr).await?).await
    }

    /// Attaches over a socket that is connected.
    pub async fn over(stream: impl Into<Stream>) -> Result<Connection, Error> {
        let link = Link::Plain(Client::new(MSIZE));
        Connection::attach(link, Some(stream.into()), None).await
    }

    /// Connects with `connect`, and again whenever the connection breaks. `client` is a
    /// random number ([`Settings::client`]).
    pub async fn reconnecting(
        client: u64,
        mut connect: impl FnMut() -> Connecting + Send + 'static,
    ) -> Result<Connection, Error> {
        let keeper = Keeper::new(Settings { msize: MSIZE, ..Settings::new(client) });
        let first = connect().await?;
        let mut link = Link::Kept(Box::new(keeper));
        if let Link::Kept(keeper) = &mut link {
            keeper.connected();
        }
        Connection::attach(link, Some(first), Some(Box::new(connect))).await
    }

    async fn attach(
        link: Link,
        stream: Option<Stream>,
        connect: Option<Connect>,
    ) -> Result<Connection, Error> {
        let state = State {
            link,
            stream: stream.map(Arc::new),
            slots: Vec::new(),
            waits: Vec::new(),
            free_waits: Vec::new(),
            jobs: Vec::new(),
            next_fid: ROOT + 1,
            free: Vec::new(),
            failed: None,
            closed: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), news: Notify::new() });
        let conn = Connection(Arc::new(Guard(shared.clone())));
        ::tokio::spawn(drive(shared, connect));
        let (uname, aname) = ("", "");
        let m = Tmsg::Attach { fid: ROOT, afid: NOFID, uname, aname, n_uname: NOFID };
        conn.call(&m, |_| Some(())).await?;
        Ok(conn)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    async fn request(&self, m: &Tmsg<'_>, into: Vec<u8>) -> Result<Answer, Error> {
        let shared = self.shared();
        let (mut request, left) = {
            let mut state = shared.lock();
            let at = state.free_waits.pop().unwrap_or(state.waits.len());
            if at == state.waits.len() {
                state.waits.push(None);
            }
            let tag = match state.ask(m, Slot::Waiting(at)) {
                Ok(tag) => tag,
                Err(e) => {
                    state.free_waits.push(at);
                    return Err(e);
                }
            };
            if let Some(slot) = state.waits.get_mut(at) {
                *slot = Some(Waits::For(None, into));
            }
            // An error is found again by the task that reads.
            let left = state.push().unwrap_or(true) || state.link.is_down();
            (Request { shared, tag, at }, left)
        };
        if left {
            shared.news.notify_one();
        }
        poll_fn(|cx| request.poll(cx)).await
    }

    /// Sends a request and waits for its answer, which `f` takes apart. A future that is
    /// dropped before flushes it.
    pub async fn call<R>(
        &self,
        m: &Tmsg<'_>,
        f: impl FnOnce(&Rmsg<'_>) -> Option<R>,
    ) -> Result<R, Error> {
        let wrong = || Error::from(Fault::new(Errno::EPROTO, "an answer of the wrong kind"));
        match self.request(m, Vec::new()).await? {
            Answer::Fault(fault) => Err(fault.into()),
            Answer::Data(data) => f(&Rmsg::Read { data: &data, next: None }).ok_or_else(wrong),
            Answer::Frame(frame) => {
                // The keeper's own answers that are not errors have no frame.
                let answer = Rmsg::decode(&frame).map_err(super::Broken::Frame)?;
                f(&answer).ok_or_else(wrong)
            }
        }
    }

    /// The agreed message size.
    pub fn msize(&self) -> u32 {
        self.shared().lock().link.msize()
    }

    async fn run(&self, job: Job) -> Result<Vec<u8>, Error> {
        let shared = self.shared();
        let at = {
            let mut state = shared.lock();
            if let Some(e) = &state.failed {
                return Err(e.again());
            }
            let at = state.jobs.iter().position(Option::is_none).unwrap_or(state.jobs.len());
            if at == state.jobs.len() {
                state.jobs.push(None);
            }
            if let Some(slot) = state.jobs.get_mut(at) {
                *slot = Some((job, None));
            }
            state.pump(at);
            let _ = state.push();
            at
        };
        let running = Running { shared, at };
        shared.news.notify_one();
        poll_fn(|cx| {
            let mut state = shared.lock();
            let failed = state.failed.as_ref().map(Error::again);
            let slot = state.jobs.get_mut(running.at);
            let Some(Some((job, waker))) = slot.map(|s| s.as_mut().map(|j| (&j.0, &mut j.1)))
            else {
                return Poll::Ready(Err(Error::Closed));
            };
            if !job.is_done() {
                return match failed {
                    Some(e) => Poll::Ready(Err(e)),
                    None => {
                        *waker = Some(cx.waker().clone());
                        Poll::Pending
                    }
                };
            }
            let job = state.jobs.get_mut(running.at).and_then(Option::take);
            Poll::Ready(match job {
                Some((job, _)) => job.result().map_err(Error::from),
                None => Err(Error::Closed),
            })
        })
        .await
    }

    /// A fid for a path, which is not opened.
    pub async fn walk(&self, path: &str) -> Result<File, Error> {
        let fid = {
            let mut state = self.shared().lock();
            let fid = state.free.pop().unwrap_or(state.next_fid);
            state.next_fid += u32::from(fid == state.next_fid);
            fid
        };
        // From here on it is given back, whatever was made of it.
        let mut file = File { conn: self.clone(), fid, qid: Qid::default(), there: true };
        let mut from = ROOT;
        for part in parts(path, self.msize() as usize) {
            if part.split('/').any(|n| n.len() > MAX_NAME) {
                file.there = from != ROOT;
                return Err(Errno::ENAMETOOLONG.into());
            }
            let mut frame = Vec::new();
            let names = crate::msg::encode_walk(0, from, fid, part, &mut frame);
            let names = names.map_err(|bad| Error::Refused(bad.into()))?;
            let m = Tmsg::decode(&frame).map_err(|bad| Error::Refused(bad.into()))?;
            let walked = self.call(&m, |r| match r {
                Rmsg::Walk { count, last } => Some((usize::from(*count), *last)),
                _ => None,
            });
            match walked.await {
                Ok((n, last)) if n == names => file.qid = last.unwrap_or(file.qid),
                Ok(_) => {
                    file.there = from != ROOT;
                    return Err(Errno::ENOENT.into());
                }
                Err(e) => {
                    file.there = from != ROOT;
                    return Err(e);
                }
            }
            from = fid;
        }
        Ok(file)
    }

    /// Opens a file.
    pub async fn open(&self, path: &str, flags: OpenFlags) -> Result<File, Error> {
        let mut file = self.walk(path).await?;
        file.open(flags).await?;
        Ok(file)
    }

    /// Makes a file and opens it.
    pub async fn create(&self, path: &str, flags: OpenFlags, mode: u32) -> Result<File, Error> {
        let (dir, name) = split(path);
        let mut file = self.walk(dir).await?;
        let m = Tmsg::Lcreate { fid: file.fid, name, flags, mode, gid: NOFID };
        file.qid = self
            .call(&m, |r| match r {
                Rmsg::Lcreate { qid, .. } => Some(*qid),
                _ => None,
            })
            .await?;
        Ok(file)
    }

    /// Reads a file of at most `max` bytes to its end.
    pub async fn read(&self, path: &str, max: usize) -> Result<Vec<u8>, Error> {
        let file = self.open(path, OpenFlags::RDONLY).await?;
        file.read_to_end(0, max).await
    }

    /// Writes a file from its start; what was in it goes.
    pub async fn write(&self, path: &str, data: Vec<u8>) -> Result<(), Error> {
        let flags = OpenFlags(OpenFlags::WRONLY.0 | OpenFlags::TRUNC);
        self.open(path, flags).await?.write_all(0, data).await
    }

    /// What there is to know about a file.
    pub async fn stat(&self, path: &str) -> Result<Stat, Error> {
        self.walk(path).await?.stat().await
    }
}

/// A fid. It is given back when it is dropped.
pub struct File {
    conn: Connection,
    fid: u32,
    qid: Qid,
    /// Whether the server may have it.
    there: bool,
}

impl File {
    /// The server's name for the file.
    pub fn qid(&self) -> Qid {
        self.qid
    }

    /// Opens what was walked to.
    pub async fn open(&mut self, flags: OpenFlags) -> Result<(), Error> {
        let m = Tmsg::Lopen { fid: self.fid, flags };
        let opened = self.conn.call(&m, |r| match r {
            Rmsg::Lopen { qid, .. } => Some(*qid),
            _ => None,
        });
        self.qid = opened.await?;
        Ok(())
    }

    /// What there is to know about it.
    pub async fn stat(&self) -> Result<Stat, Error> {
        let m = Tmsg::Getattr { fid: self.fid, mask: getattr::BASIC };
        let stat = self.conn.call(&m, |r| match r {
            Rmsg::Getattr { stat } => Some(*stat),
            _ => None,
        });
        stat.await
    }

    /// Reads as much as one message holds, at most `count` bytes; waits for as long as
    /// the file wants. Nothing at the end. The buffer is used again.
    pub async fn read(&self, offset: u64, count: u32, buf: Vec<u8>) -> Result<Vec<u8>, Error> {
        let count = count.min(self.conn.msize() - READ_OVERHEAD);
        match self.conn.request(&Tmsg::Read { fid: self.fid, offset, count }, buf).await? {
            Answer::Data(data) => Ok(data),
            Answer::Fault(fault) => Err(fault.into()),
            Answer::Frame(_) => Err(Errno::EPROTO.into()),
        }
    }

    /// Writes as much as one message holds; says how much that was.
    pub async fn write(&self, offset: u64, data: &[u8]) -> Result<usize, Error> {
        let room = (self.conn.msize() - WRITE_OVERHEAD) as usize;
        let data = data.get(..room.min(data.len())).unwrap_or_default();
        let m = Tmsg::Write { fid: self.fid, offset, data, op: None };
        let n = self.conn.call(&m, |r| match r {
            Rmsg::Write { count } => Some(*count as usize),
            _ => None,
        });
        n.await
    }

    fn window(&self) -> usize {
        if self.qid.ty & qid_type::APPEND != 0 { 1 } else { WINDOW }
    }

    /// Reads from an offset to the end, with several requests underway; more than
    /// `max` bytes are an error.
    pub async fn read_to_end(&self, offset: u64, max: usize) -> Result<Vec<u8>, Error> {
        let fetch = Fetch::new(self.fid, offset, max, self.window(), Vec::new());
        self.conn.run(Box::new(fetch)).await
    }

    /// Writes all of it, with several requests underway: one, if it fits into one.
    pub async fn write_all(&self, offset: u64, data: Vec<u8>) -> Result<(), Error> {
        let store = Store::new(self.fid, offset, data, self.window());
        self.conn.run(Box::new(store)).await.map(drop)
    }

    /// The names in the directory.
    pub async fn list(&self) -> Result<Vec<Name>, Error> {
        let (mut names, mut offset) = (Vec::new(), 0);
        loop {
            let count = self.conn.msize() - READ_OVERHEAD;
            let m = Tmsg::Readdir { fid: self.fid, offset, count };
            let last = self.conn.call(&m, |r| {
                let Rmsg::Readdir { data } = r else { return None };
                let mut last = None;
                for e in entries(data) {
                    last = Some(e.cookie);
                    if e.name != "." && e.name != ".." {
                        names.push(Name { name: String::from(e.name), qid: e.qid });
                    }
                }
                Some(last)
            });
            match last.await? {
                Some(cookie) if cookie != offset => offset = cookie,
                _ => return Ok(names),
            }
        }
    }

    /// Gives it back, and says how that went.
    pub async fn close(mut self) -> Result<(), Error> {
        self.there = false;
        let done = self.conn.call(&Tmsg::Clunk { fid: self.fid }, |_| Some(())).await;
        self.conn.shared().lock().free.push(self.fid);
        done
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if !self.there {
            return;
        }
        let shared = self.conn.shared();
        let mut state = shared.lock();
        if state.ask(&Tmsg::Clunk { fid: self.fid }, Slot::Clunk(self.fid)).is_ok()
            && state.push().unwrap_or(true)
        {
            shared.news.notify_one();
        }
    }
}
