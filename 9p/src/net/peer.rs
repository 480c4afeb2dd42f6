//! A session and the socket that it is on.
//!
//! Epoll tells once that a socket has become readable, not for as long as it is:
//! for a request that comes alone that saves looking at the socket again to learn
//! that it is empty. So it is remembered here. A socket is empty when a read was
//! given less than it had room for (epoll(7)), and at its end when a read says so,
//! which is tried again for as long as the end was announced.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::{Errno as Os, ioctl_fionbio};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::thread::sched_yield;

use super::server::BURST;
use crate::server::Session;
use crate::tree::Tree;

/// What epoll watches for while nothing is in the way: requests, and the end.
const READ: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);

/// What a session is to be given after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Another turn, when the others had theirs.
    Again,
    /// Nothing until its socket, or a node that it waits for, has something.
    Rest,
    /// Its end.
    Gone,
}

pub(super) struct Peer<T: Tree> {
    pub(super) fd: OwnedFd,
    pub(super) session: Session<T>,
    /// What epoll watches for.
    pub(super) interest: EventFlags,
    /// It is in the queue.
    pub(super) queued: bool,
    /// Where it is in the list of sessions with requests that wait.
    pub(super) waits: Option<usize>,
    /// There may be more to read.
    readable: bool,
    /// The client's end was announced: there is more to read until that is read.
    ending: bool,
    /// The socket took less than all: nothing more until it is writable.
    full: bool,
    /// The client will send no more.
    eof: bool,
    /// How long the socket lets a read wait was set.
    patient: bool,
}

impl<T: Tree> Peer<T> {
    pub(super) fn new(fd: OwnedFd, session: Session<T>) -> Peer<T> {
        Peer {
            fd,
            session,
            interest: READ,
            queued: false,
            waits: None,
            readable: false,
            ending: false,
            full: false,
            eof: false,
            patient: false,
        }
    }

    /// Takes note of what epoll said.
    pub(super) fn event(&mut self, flags: EventFlags) {
        let gone = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        self.ending |= gone || flags.contains(EventFlags::RDHUP);
        self.readable |= self.ending || flags.contains(EventFlags::IN);
        self.full &= !(gone || flags.contains(EventFlags::OUT));
    }

    /// What epoll is to watch for.
    pub(super) fn wants(&self) -> EventFlags {
        if self.full { READ.union(EventFlags::OUT) } else { READ }
    }

    /// One read, a bounded number of requests, one write.
    pub(super) fn turn(&mut self, tree: &mut T) -> After {
        // While answers do not go out nothing is read: a client that does not read is
        // not served.
        if self.readable && !self.eof && !self.full && self.read().is_err() {
            return After::Gone;
        }
        let mut left = if self.full { 0 } else { BURST };
        while left > 0 && self.session.step(tree) {
            left -= 1;
        }
        if !self.full && !self.session.output().is_empty() && self.write().is_err() {
            return After::Gone;
        }
        if self.full {
            After::Rest
        } else if self.session.is_ready() || !self.session.output().is_empty() {
            After::Again
        } else if self.eof || self.session.is_dead() {
            After::Gone
        } else if self.readable && !self.eof {
            After::Again
        } else {
            After::Rest
        }
    }

    /// Whether there is nothing to do but to wait for the client.
    pub(super) fn rests(&self) -> bool {
        !(self.queued || self.readable || self.full || self.eof || self.session.is_ready())
    }

    /// Looks again and again for what the client sends, until `long` has passed. False when
    /// nothing has come, or too little to do anything about.
    pub(super) fn look(&mut self, long: Duration) -> bool {
        let mut began = None;
        loop {
            if self.look_once() {
                return true;
            }
            // To let a client on the same processor send is what most often suffices.
            sched_yield();
            match began {
                None => began = Some(Instant::now()),
                Some(began) if began.elapsed() < long => {}
                Some(_) => return self.look_once(),
            }
        }
    }

    fn look_once(&mut self) -> bool {
        self.readable = true;
        self.read().is_err() || !self.rests()
    }

    /// Waits in a read for what the client sends, no longer than `most`. False when
    /// nothing has come, or too little to do anything about.
    pub(super) fn hear(&mut self, most: Duration) -> bool {
        if !self.patient {
            let set = ioctl_fionbio(&self.fd, false)
                .and_then(|()| set_socket_timeout(&self.fd, Timeout::Recv, Some(most)));
            if set.is_err() {
                return false;
            }
            self.patient = true;
        }
        // What is wrong with the socket shows at the next read.
        self.readable = true;
        self.read_by(RecvFlags::empty()).is_err() || !self.rests()
    }

    /// One read, and no second one to learn that there is no more.
    fn read(&mut self) -> Result<(), Os> {
        self.read_by(RecvFlags::DONTWAIT)
    }

    fn read_by(&mut self, flags: RecvFlags) -> Result<(), Os> {
        let room = self.session.spare();
        if room.is_empty() {
            // It has requests enough for now.
            return Ok(());
        }
        let most = room.len();
        match recv(&self.fd, room, flags) {
            Ok((0, _)) => {
                self.eof = true;
                self.readable = false;
            }
            Ok((n, _)) => {
                self.session.received(n);
                self.readable = n == most || self.ending;
            }
            Err(Os::INTR) => {}
            Err(Os::AGAIN) => self.readable = false,
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Os> {
        let unsent = self.session.output();
        match send(&self.fd, unsent, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(n) => {
                self.full = n < unsent.len();
                self.session.sent(n);
            }
            Err(Os::AGAIN) => self.full = true,
            Err(Os::INTR) => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }
}
