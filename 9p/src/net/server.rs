//! The loop.

use std::boxed::Box;
use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use std::vec::Vec;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno as Os;

use super::alone::{AWAKE, Alone, PATIENCE};
use super::handle::Handle;
use super::listener::{Accepted, Door, Listener, Policy};
use super::peer::{After, Peer};
use super::slots::{Key, Slots};
use crate::access::Identity;
use crate::server::{Limits, Pool, Session};
use crate::tree::Tree;

/// Requests that a session is served in one turn.
pub(super) const BURST: usize = 32;
/// Connections that a listening socket is let in at once.
const ACCEPTS: usize = 32;
/// Events taken from epoll at once.
const EVENTS: usize = 128;
/// How long a process without descriptors waits before it tries again. Most often
/// the end of a session comes first.
const RETRY: Duration = Duration::from_millis(100);

/// The least size of a buffer: two messages of the size that most clients ask for.
/// Those that got larger for larger messages are kept as well, up to so many bytes.
const BUFFER: usize = 2 * ((64 << 10) + 4096);
const BUFFERS: usize = 16 << 20;

/// What a server may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What each session may hold.
    pub limits: Limits,
    /// Sessions at once. Who comes then waits until one ends.
    pub sessions: usize,
}

impl Default for Config {
    fn default() -> Config {
        let msize = (1 << 20) + 4096; // a mebibyte of data in a message
        Config { limits: Limits { msize, ..Limits::default() }, sessions: 4096 }
    }
}

/// What an event is about, as it is told to epoll: a kind in the highest byte.
mod token {
    pub(super) const SESSION: u64 = 0;
    pub(super) const DOOR: u64 = 1 << 56;
    pub(super) const WATCH: u64 = 2 << 56;
    pub(super) const WAKE: u64 = 3 << 56;
    pub(super) const KIND: u64 = 0xff << 56;
}

type OnReady<T> = Box<dyn FnMut(&mut T) + Send>;

/// Serves a tree on sockets.
pub struct Server<T: Tree> {
    tree: T,
    config: Config,
    pool: Pool,
    epoll: OwnedFd,
    handle: Handle,
    doors: Vec<Door>,
    /// Nobody is let in: there is no room. Until when, if that is not the end of a session.
    shut: Option<Option<Instant>>,
    watched: Vec<(OwnedFd, OnReady<T>)>,
    tick: Option<OnReady<T>>,
    peers: Slots<Box<Peer<T>>>,
    /// Who was served last, and keeps the buffers until another is.
    lent: Option<Key>,
    /// Whether that one is all there is to wait for.
    alone: Alone,
    /// The session whose socket epoll does not watch, because the loop itself does: what is
    /// sent there needs no note in epoll's list, which costs each message some steps.
    apart: Option<Key>,
    /// Sessions that get a turn, in the order in which they get it.
    queue: VecDeque<Key>,
    /// Sessions with requests that wait for a node.
    waiting: Vec<Key>,
    /// Something happened that may have given nodes news.
    news: bool,
    /// Somebody outside said that there is news: the tree is to be asked even when
    /// no request waits.
    told: bool,
}

impl<T: Tree> Server<T> {
    /// A server with the usual limits that listens nowhere yet.
    pub fn new(tree: T) -> io::Result<Server<T>> {
        Server::with(tree, Config::default())
    }

    /// A server that listens nowhere yet.
    pub fn with(tree: T, config: Config) -> io::Result<Server<T>> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let handle = Handle::new()?;
        epoll::add(&epoll, handle.fd(), EventData::new_u64(token::WAKE), EventFlags::IN)?;
        Ok(Server {
            tree,
            config,
            pool: Pool::new(BUFFER, BUFFERS),
            epoll,
            handle,
            doors: Vec::new(),
            shut: None,
            watched: Vec::new(),
            tick: None,
            peers: Slots::new(),
            lent: None,
            alone: Alone::default(),
            apart: None,
            queue: VecDeque::new(),
            waiting: Vec::new(),
            news: false,
            told: false,
        })
    }

    /// Serves whoever connects to a listening socket.
    pub fn listen(&mut self, listener: impl Into<Listener>, policy: Policy) -> io::Result<()> {
        let door = Door::new(listener.into(), policy)?;
        let data = EventData::new_u64(token::DOOR | self.doors.len() as u64);
        let flags = if self.shut.is_some() { EventFlags::empty() } else { EventFlags::IN };
        epoll::add(&self.epoll, door.fd(), data, flags)?;
        self.doors.push(door);
        Ok(())
    }

    /// Serves a client on a connected stream socket.
    pub fn adopt(&mut self, stream: impl Into<OwnedFd>, identity: Identity) -> io::Result<()> {
        let peer = Peer::new(stream.into(), Session::serving(self.config.limits, identity));
        let key = self.peers.insert(Box::new(peer));
        let data = EventData::new_u64(token::SESSION | key.number());
        let Some(peer) = self.peers.get(key) else { return Ok(()) };
        if let Err(e) = epoll::add(&self.epoll, &peer.fd, data, peer.interest) {
            self.peers.remove(key);
            return Err(e.into());
        }
        Ok(())
    }

    /// Calls a function on the tree whenever a descriptor of the caller's is readable,
    /// until the server is dropped. The function has to make it unreadable again.
    pub fn watch(
        &mut self,
        fd: impl Into<OwnedFd>,
        on_ready: impl FnMut(&mut T) + Send + 'static,
    ) -> io::Result<()> {
        let fd = fd.into();
        let data = EventData::new_u64(token::WATCH | self.watched.len() as u64);
        epoll::add(&self.epoll, &fd, data, EventFlags::IN)?;
        self.watched.push((fd, Box::new(on_ready)));
        Ok(())
    }

    /// Calls a function on the tree before the sessions get their turns: the place to
    /// tell a tree that knows no time what time it is.
    pub fn before_turns(&mut self, tick: impl FnMut(&mut T) + Send + 'static) {
        self.tick = Some(Box::new(tick));
    }

    /// What another thread reaches this server by.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The tree. What is done to it between turns is seen by requests that wait.
    pub fn tree(&mut self) -> &mut T {
        self.news = true;
        &mut self.tree
    }

    /// Sessions there are.
    pub fn sessions(&self) -> usize {
        self.peers.len()
    }

    /// Bytes of memory behind its sessions, and their buffers.
    pub fn held(&self) -> usize {
        let each = size_of::<Peer<T>>();
        self.pool.held() + self.peers.iter().map(|p| each + p.session.held()).sum::<usize>()
    }

    /// Serves until [`Handle::stop`].
    pub fn run(&mut self) -> io::Result<()> {
        while !self.handle.is_stopped() {
            self.turn(None)?;
        }
        Ok(())
    }

    /// Waits until there is something to do, but no longer than `timeout`; then gives
    /// every session that has something to do one turn. For those who have timers
    /// of their own; an interrupting signal ends the wait too.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.settle();
        if timeout.is_none() && self.hear_alone() {
            return Ok(());
        }
        // Those that are put into it from now on have their turn in the next round.
        let queued = self.queue.len();
        self.wait(timeout)?;
        for _ in 0..queued {
            if let Some(key) = self.queue.pop_front() {
                self.serve(key);
            }
        }
        self.settle();
        Ok(())
    }

    /// Waits for the only client there is, and serves it. False when others are to be
    /// waited for, too.
    fn hear_alone(&mut self) -> bool {
        if !self.alone.is() {
            return false;
        }
        let Some(key) = self.only_one() else { return false };
        let Some(peer) = self.peers.get(key) else { return false };
        if self.apart.is_none() {
            if epoll::delete(&self.epoll, &peer.fd).is_err() {
                return false;
            }
            self.apart = Some(key);
        }
        let heard = peer.look(AWAKE) || peer.hear(PATIENCE);
        self.alone.heard(heard);
        if heard {
            self.tick();
            self.serve(key);
        }
        heard
    }

    /// The only session there is, if nothing is to be done but to wait for its client.
    fn only_one(&mut self) -> Option<Key> {
        if self.peers.len() != 1 || !self.waiting.is_empty() {
            return None;
        }
        let key = self.lent?;
        self.peers.get(key).filter(|p| p.rests()).map(|_| key)
    }

    /// Has epoll watch a session again.
    fn rejoin(&mut self) {
        let Some(key) = self.apart.take() else { return };
        let Some(peer) = self.peers.get(key) else { return };
        let data = EventData::new_u64(token::SESSION | key.number());
        // What has come in the meantime is told, too.
        if epoll::add(&self.epoll, &peer.fd, data, peer.interest).is_err() {
            self.end(key);
        }
    }

    fn tick(&mut self) {
        if let Some(tick) = &mut self.tick {
            tick(&mut self.tree);
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let one = (self.peers.len() == 1).then(Instant::now);
        // The others are only looked at while one client goes on alone.
        let glance = timeout.is_none() && self.alone.is_busy() && self.only_one().is_some();
        let at_once = !self.queue.is_empty() || (glance && self.apart.is_some());
        if !at_once {
            self.rejoin();
        }
        let retry = self.shut.flatten().map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = match (timeout, retry) {
            _ if at_once => Some(Duration::ZERO),
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let timeout = timeout.map(|t| Timespec {
            tv_sec: t.as_secs().min(1 << 31) as i64,
            tv_nsec: t.subsec_nanos().into(),
        });
        let mut events = [MaybeUninit::uninit(); EVENTS];
        let waited = epoll::wait(&self.epoll, &mut events, timeout.as_ref());
        self.alone.waited(one.map_or(Duration::MAX, |began| began.elapsed()));
        self.tick();
        let done = match waited {
            Ok((events, _)) => events.iter().try_for_each(|e| self.event(*e)),
            Err(Os::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        };
        if retry.is_some_and(|r| r.is_zero()) {
            self.open_doors()?;
        }
        done
    }

    fn event(&mut self, event: Event) -> io::Result<()> {
        let (flags, token) = (event.flags, event.data.u64());
        let number = token & !token::KIND;
        match token & token::KIND {
            token::SESSION => {
                let key = Key::from_number(number);
                let Some(peer) = self.peers.get(key) else { return Ok(()) };
                peer.event(flags);
                // One that is in the queue has its turn when it is up there.
                if !peer.queued {
                    self.serve(key);
                }
            }
            token::DOOR => self.accept(number as usize)?,
            token::WATCH => {
                if let Some((_, on_ready)) = self.watched.get_mut(number as usize) {
                    on_ready(&mut self.tree);
                    self.told = true;
                }
            }
            _ => {
                self.handle.was_woken();
                self.told = true;
            }
        }
        Ok(())
    }

    /// Gives a session its turn.
    fn serve(&mut self, key: Key) {
        if self.lent != Some(key) {
            self.lend_to(key);
        }
        let Some(peer) = self.peers.get(key) else { return };
        peer.queued = false;
        let after = peer.turn(&mut self.tree);
        self.news = true;
        match after {
            After::Gone => return self.end(key),
            After::Again => {
                peer.queued = true;
                self.queue.push_back(key);
            }
            After::Rest => {}
        }
        let wants = peer.wants();
        if wants != peer.interest {
            peer.interest = wants;
            let data = EventData::new_u64(token::SESSION | key.number());
            let watched = self.apart != Some(key);
            if watched && epoll::modify(&self.epoll, &peer.fd, data, wants).is_err() {
                return self.end(key);
            }
        }
        match (peer.session.waiting() > 0, peer.waits) {
            (true, None) => {
                peer.waits = Some(self.waiting.len());
                self.waiting.push(key);
            }
            (false, Some(at)) => self.waits_no_more(at),
            _ => {}
        }
    }

    fn lend_to(&mut self, key: Key) {
        if let Some(last) = self.lent.and_then(|last| self.peers.get(last)) {
            last.session.give_back(&mut self.pool);
        }
        if let Some(peer) = self.peers.get(key) {
            peer.session.lend(&mut self.pool);
        }
        self.lent = Some(key);
    }

    fn waits_no_more(&mut self, at: usize) {
        if at >= self.waiting.len() {
            return;
        }
        let key = self.waiting.swap_remove(at);
        if let Some(peer) = self.peers.get(key) {
            peer.waits = None;
        }
        if let Some(moved) = self.waiting.get(at).copied().and_then(|k| self.peers.get(k)) {
            moved.waits = Some(at);
        }
    }

    fn end(&mut self, key: Key) {
        if let Some(at) = self.peers.get(key).and_then(|p| p.waits) {
            self.waits_no_more(at);
        }
        self.apart = self.apart.filter(|apart| *apart != key);
        if let Some(mut peer) = self.peers.remove(key) {
            peer.session.give_back(&mut self.pool);
            peer.session.close(&mut self.tree);
        }
        // A failure will show again at the next accept.
        let _ = self.open_doors();
    }

    /// Wakes the requests that wait for nodes that have news. Costs something only
    /// while there are any.
    fn settle(&mut self) {
        let news = std::mem::take(&mut self.news) && !self.waiting.is_empty();
        if !std::mem::take(&mut self.told) && !news {
            return;
        }
        let (peers, waiting, queue) = (&mut self.peers, &self.waiting, &mut self.queue);
        self.tree.woken(&mut |node| {
            for &key in waiting {
                let Some(peer) = peers.get(key) else { continue };
                peer.session.wake(node);
                if !peer.queued && peer.session.is_ready() {
                    peer.queued = true;
                    queue.push_back(key);
                }
            }
        });
    }

    fn accept(&mut self, door: usize) -> io::Result<()> {
        for _ in 0..ACCEPTS {
            if self.shut.is_some() {
                break;
            }
            if self.peers.len() >= self.config.sessions {
                return self.shut_doors(None);
            }
            let Some(door) = self.doors.get(door) else { break };
            match door.accept()? {
                Accepted::Client(fd, identity) => {
                    if self.adopt(fd, identity).is_err() {
                        return self.shut_doors(Some(Instant::now() + RETRY));
                    }
                }
                Accepted::Nobody => {}
                Accepted::NoMore => break,
                Accepted::Full => return self.shut_doors(Some(Instant::now() + RETRY)),
            }
        }
        Ok(())
    }

    fn shut_doors(&mut self, until: Option<Instant>) -> io::Result<()> {
        self.shut = Some(until);
        self.set_doors(EventFlags::empty())
    }

    fn open_doors(&mut self) -> io::Result<()> {
        if self.shut.take().is_some() { self.set_doors(EventFlags::IN) } else { Ok(()) }
    }

    fn set_doors(&self, flags: EventFlags) -> io::Result<()> {
        for (i, door) in self.doors.iter().enumerate() {
            let data = EventData::new_u64(token::DOOR | i as u64);
            epoll::modify(&self.epoll, door.fd(), data, flags)?;
        }
        Ok(())
    }
}

impl<T: Tree> Drop for Server<T> {
    fn drop(&mut self) {
        for mut peer in self.peers.drain() {
            peer.session.close(&mut self.tree);
        }
    }
}
