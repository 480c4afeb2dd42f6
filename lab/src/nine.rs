//! A 9P server for one tree, behind a [`Door`].
//!
//! A tree need not be [`Send`] and is changed from one place at a time, so one
//! thread makes it, owns it with all sessions, and takes one event after another:
//! bytes of a connection, its end, or a wish of the test to look or change
//! something ([`Server::with`]). After each, readers that have news are woken, on
//! whatever connection they are.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use atoll_9p::access::Identity;
use atoll_9p::server::{Limits, Session};
use atoll_9p::tree::Tree;

use crate::door::Door;
use crate::joint::Joint;

/// As large a message as `atoll export` takes: a mebibyte of data.
const MSIZE: u32 = (1 << 20) + 4096;

/// What one connection makes its session hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Fids that are in use.
    pub fids: usize,
    /// Requests that wait for something to happen.
    pub waiting: usize,
}

enum Event<T: Tree> {
    Open(u64, TcpStream),
    Bytes(u64, Vec<u8>),
    Close(u64),
    Look(Look<T>),
}

type Look<T> = Box<dyn FnOnce(&mut Inside<T>) + Send>;

struct Inside<T: Tree> {
    tree: T,
    identity: Identity,
    sessions: BTreeMap<u64, (Session<T>, TcpStream)>,
    /// What all connections go through, if they do.
    joint: Option<Joint<T>>,
}

/// How a tree is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Each connection has a session.
    Sessions,
    /// They share one, behind a joint.
    Joint,
}

/// A server that runs. Dropped, it is gone with its connections.
pub struct Server<T: Tree> {
    door: Option<Door>,
    events: Option<SyncSender<Event<T>>>,
    thread: Option<JoinHandle<()>>,
    port: u16,
}

impl<T: Tree + 'static> Server<T> {
    /// Serves the tree that `make` makes, to whom it belongs.
    pub fn start(make: impl FnOnce() -> T + Send + 'static) -> io::Result<Server<T>> {
        Server::start_for(Identity::Owner, make)
    }

    /// Serves it to clients who are taken to be these.
    pub fn start_for(
        identity: Identity,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Server<T>> {
        Server::start_on(Way::Sessions, identity, make)
    }

    /// The same, in this way.
    pub fn start_on(
        way: Way,
        identity: Identity,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Server<T>> {
        let (events, receiver) = sync_channel::<Event<T>>(16);
        let thread = std::thread::spawn(move || {
            let joint = (way == Way::Joint).then(|| Joint::new(limits(), identity));
            Inside { tree: make(), identity, sessions: BTreeMap::new(), joint }.run(&receiver);
        });
        let (to, count) = (events.clone(), AtomicU64::new(0));
        let door = Door::open(move |stream| {
            let id = count.fetch_add(1, Ordering::Relaxed);
            let _ = pump(id, stream, &to);
            let _ = to.send(Event::Close(id));
        })?;
        let port = door.port();
        Ok(Server { door: Some(door), events: Some(events), thread: Some(thread), port })
    }

    /// The port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Does something with the tree, between two events.
    pub fn with<R: Send + 'static>(&self, f: impl FnOnce(&mut T) -> R + Send + 'static) -> R {
        self.look(move |inside| f(&mut inside.tree))
    }

    /// What the connections that are open hold. Behind a joint nobody can tell whose it
    /// is: then the first holds it all.
    pub fn held(&self) -> Vec<Held> {
        let of = |s: &Session<T>| Held { fids: s.fids(), waiting: s.waiting() };
        self.look(move |inside| match &inside.joint {
            Some(joint) => joint.held(),
            None => inside.sessions.values().map(|(s, _)| of(s)).collect(),
        })
    }

    fn look<R: Send + 'static>(&self, f: impl FnOnce(&mut Inside<T>) -> R + Send + 'static) -> R {
        let (answer, hear) = sync_channel(1);
        let look = Event::Look(Box::new(move |inside: &mut Inside<T>| {
            let _ = answer.send(f(inside));
        }));
        let sent = self.events.as_ref().is_some_and(|events| events.send(look).is_ok());
        assert!(sent, "the server's thread has ended");
        hear.recv().expect("the server's thread has ended")
    }
}

impl<T: Tree> Drop for Server<T> {
    fn drop(&mut self) {
        drop(self.door.take());
        drop(self.events.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn limits() -> Limits {
    Limits { msize: MSIZE, ..Limits::default() }
}

/// Hands on what a connection sends, until it ends.
fn pump<T: Tree>(id: u64, mut stream: TcpStream, to: &SyncSender<Event<T>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    to.send(Event::Open(id, stream.try_clone()?)).map_err(gone)?;
    let mut buf = vec![0; 128 << 10];
    loop {
        match stream.read(&mut buf)? {
            0 => return Ok(()),
            n => to.send(Event::Bytes(id, buf[..n].to_vec())).map_err(gone)?,
        }
    }
}

impl<T: Tree> Inside<T> {
    fn run(mut self, events: &Receiver<Event<T>>) {
        for event in events {
            match event {
                Event::Open(id, stream) => match &mut self.joint {
                    Some(joint) => joint.open(id, stream),
                    None => {
                        let session = Session::serving(limits(), self.identity);
                        self.sessions.insert(id, (session, stream));
                    }
                },
                Event::Bytes(id, bytes) => match &mut self.joint {
                    Some(joint) => joint.bytes(id, &bytes),
                    None => self.bytes(id, &bytes),
                },
                Event::Close(id) => {
                    if let Some(joint) = &mut self.joint {
                        joint.close(id);
                    }
                    if let Some((mut session, _)) = self.sessions.remove(&id) {
                        session.close(&mut self.tree);
                    }
                }
                Event::Look(f) => f(&mut self),
            }
            self.settle();
        }
    }

    fn bytes(&mut self, id: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some((session, _)) = self.sessions.get_mut(&id) else { return };
            let n = session.feed(bytes);
            bytes = &bytes[n..];
            self.settle();
            if self.sessions.get(&id).is_none_or(|(s, _)| n == 0 && s.is_dead()) {
                return;
            }
        }
    }

    /// Works off what can be worked off, on every connection.
    fn settle(&mut self) {
        loop {
            let mut woken = Vec::new();
            self.tree.woken(&mut |node| woken.push(node));
            let mut busy = match &mut self.joint {
                Some(joint) => joint.settle(&mut self.tree, &woken),
                None => false,
            };
            for (session, stream) in self.sessions.values_mut() {
                woken.iter().for_each(|node| session.wake(*node));
                while session.step(&mut self.tree) || !session.output().is_empty() {
                    busy = true;
                    // Its reading end hears of it when this fails.
                    let _ = stream.write_all(session.output());
                    session.sent(session.output().len());
                }
                if session.is_dead() {
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
            if !busy {
                let left = self.joint.as_ref().is_some_and(|j| !j.is_clean());
                assert!(!left, "clients have gone and left something behind the joint");
                return;
            }
        }
    }
}
