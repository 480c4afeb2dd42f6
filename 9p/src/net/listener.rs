//! Where clients come from, and who they are taken to be.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rustix::io::Errno as Os;
use rustix::net::sockopt::{set_tcp_nodelay, socket_peercred};
use rustix::net::{SocketFlags, accept_with};

use crate::access::{Identity, NOBODY};

/// Whom the clients of a listening socket are taken to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The owner of everything: the socket's own permissions decide who connects. What
    /// they make is theirs, as the kernel knows them ([`Identity::OwnerPeer`]).
    #[default]
    Owner,
    /// The user that the kernel says has connected. Unix sockets only.
    Peer,
}

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// Of the file system.
    Unix(UnixListener),
    /// Of the network. Nothing tells who connects, so the port is to be reachable
    /// only by those who may do anything: that of the loopback device, say.
    Tcp(TcpListener),
}

impl From<UnixListener> for Listener {
    fn from(l: UnixListener) -> Listener {
        Listener::Unix(l)
    }
}

impl From<TcpListener> for Listener {
    fn from(l: TcpListener) -> Listener {
        Listener::Tcp(l)
    }
}

/// What came of an accept.
pub(super) enum Accepted {
    Client(OwnedFd, Identity),
    /// Somebody who is gone already, or whose user cannot be told.
    Nobody,
    /// Nobody waits.
    NoMore,
    /// There is no room for another connection in this process or on this machine.
    Full,
}

pub(super) struct Door {
    fd: OwnedFd,
    is_tcp: bool,
    policy: Policy,
}

impl Door {
    pub(super) fn new(listener: Listener, policy: Policy) -> io::Result<Door> {
        let (fd, is_tcp): (OwnedFd, bool) = match listener {
            Listener::Unix(l) => {
                l.set_nonblocking(true)?;
                (l.into(), false)
            }
            Listener::Tcp(l) => {
                l.set_nonblocking(true)?;
                (l.into(), true)
            }
        };
        if is_tcp && policy == Policy::Peer {
            let text = "the user at the other end of a TCP connection cannot be told";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(Door { fd, is_tcp, policy })
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Takes a connection. An error means that the listening socket is of no more use.
    pub(super) fn accept(&self) -> io::Result<Accepted> {
        let fd = match accept_with(&self.fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(fd) => fd,
            Err(Os::AGAIN) => return Ok(Accepted::NoMore),
            Err(Os::MFILE | Os::NFILE | Os::NOBUFS | Os::NOMEM) => return Ok(Accepted::Full),
            Err(e @ (Os::BADF | Os::INVAL | Os::NOTSOCK | Os::FAULT)) => return Err(e.into()),
            // What the network did to this one connection (accept(2)).
            Err(_) => return Ok(Accepted::Nobody),
        };
        let identity = match self.policy {
            Policy::Owner if self.is_tcp => Identity::OwnerPeer { uid: NOBODY, gid: NOBODY },
            policy => match (policy, socket_peercred(&fd)) {
                (_, Err(_)) => return Ok(Accepted::Nobody),
                (Policy::Owner, Ok(c)) => {
                    Identity::OwnerPeer { uid: c.uid.as_raw(), gid: c.gid.as_raw() }
                }
                (Policy::Peer, Ok(c)) => {
                    Identity::Peer { uid: c.uid.as_raw(), gid: c.gid.as_raw() }
                }
            },
        };
        if self.is_tcp {
            // An answer is written whole: waiting for more of it only delays it.
            let _ = set_tcp_nodelay(&fd, true);
        }
        Ok(Accepted::Client(fd, identity))
    }
}
