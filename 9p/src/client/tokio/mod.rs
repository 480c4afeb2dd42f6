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

mod connection;
mod file;

pub use file::File;

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
    /// The result was taken, and the place with it.
    over: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
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
