//! Connections of the guest's two streams, on unix sockets.
//!
//! Readiness of a socket lasts; a [`Signal`] is an edge. So a connection is
//! asked about only after it had no bytes (or no room) left: what was signalled
//! once is not asked about again, and a guest that does not want to read yet
//! costs nothing while it waits.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use atoll_runtime::platform::{Conn, Signal, Stream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};

/// Connections that may be open at one time; more wait to be accepted.
pub const MAX_CONNECTIONS: usize = 64;

#[derive(Debug)]
struct Open {
    conn: Conn,
    fd: OwnedFd,
    /// It had no bytes when it was last asked.
    hungry: bool,
    /// It took fewer bytes than it was given.
    full: bool,
    /// The other end is gone, and the guest was or will be told so.
    gone: bool,
}

/// The listening sockets and what was accepted on them.
#[derive(Debug)]
pub struct Wires {
    listeners: Vec<(Stream, OwnedFd)>,
    stop: OwnedFd,
    /// In the order of their numbers.
    open: Vec<Open>,
    next: u32,
    signals: VecDeque<Signal>,
}

impl Wires {
    /// Listens on these, and for a request to stop.
    pub fn new(listeners: Vec<(Stream, OwnedFd)>, stop: OwnedFd) -> Wires {
        Wires { listeners, stop, open: Vec::new(), next: 0, signals: VecDeque::new() }
    }

    /// The next signal that is known.
    pub fn signal(&mut self) -> Option<Signal> {
        self.signals.pop_front()
    }

    /// Whether a signal is known.
    pub fn pending(&self) -> bool {
        !self.signals.is_empty()
    }

    /// Connections that were ever opened.
    pub fn ever(&self) -> u64 {
        self.next.into()
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.open.len()
    }

    fn find(&mut self, conn: Conn) -> Option<&mut Open> {
        let at = self.open.binary_search_by_key(&conn, |o| o.conn).ok()?;
        self.open.get_mut(at)
    }

    /// See [`atoll_runtime::platform::Platform::recv`].
    pub fn recv(&mut self, conn: Conn, buf: &mut [u8]) -> usize {
        let Some(open) = self.find(conn) else { return 0 };
        if open.gone || buf.is_empty() {
            return 0;
        }
        loop {
            return match recv(&open.fd, &mut *buf, RecvFlags::DONTWAIT) {
                Ok((n, _)) if n > 0 => n,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    open.hungry = true;
                    0
                }
                Ok(_) | Err(_) => {
                    open.gone = true;
                    self.signals.push_back(Signal::Closed(conn));
                    0
                }
            };
        }
    }

    /// See [`atoll_runtime::platform::Platform::send`].
    pub fn send(&mut self, conn: Conn, bytes: &[u8]) -> usize {
        let Some(open) = self.find(conn) else { return bytes.len() };
        let mut sent = 0;
        while sent < bytes.len() && !open.gone {
            match send(&open.fd, &bytes[sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(n) => sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    open.full = true;
                    return sent;
                }
                Err(_) => {
                    open.gone = true;
                    self.signals.push_back(Signal::Closed(conn));
                    break;
                }
            }
        }
        bytes.len()
    }

    /// See [`atoll_runtime::platform::Platform::close`].
    pub fn close(&mut self, conn: Conn) {
        self.open.retain(|o| o.conn != conn);
        self.signals.retain(|s| {
            !matches!(s, Signal::Opened(_, c) | Signal::Readable(c) | Signal::Writable(c)
                | Signal::Closed(c) if *c == conn)
        });
    }

    /// Waits until something happens (without a timeout: for ever), and turns it
    /// into signals.
    pub fn wait(&mut self, timeout: Option<&Timespec>) {
        let room = self.open.len() < MAX_CONNECTIONS;
        let mut fds = Vec::with_capacity(1 + self.listeners.len() + self.open.len());
        fds.push(PollFd::new(&self.stop, PollFlags::IN));
        for (_, fd) in &self.listeners {
            let what = if room { PollFlags::IN } else { PollFlags::empty() };
            fds.push(PollFd::new(fd, what));
        }
        // One that is gone is not asked about: it would answer for ever.
        let asked: Vec<usize> = (0..self.open.len()).filter(|&i| !self.open[i].gone).collect();
        for &i in &asked {
            let o = &self.open[i];
            let mut what = PollFlags::empty();
            what.set(PollFlags::IN, o.hungry);
            what.set(PollFlags::OUT, o.full);
            fds.push(PollFd::new(&o.fd, what));
        }
        match poll(&mut fds, timeout) {
            Ok(n) if n > 0 => {}
            // Nothing, or a signal: whoever waits asks again.
            _ => return,
        }
        let happened: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        let (of_listeners, of_open) = happened[1..].split_at(self.listeners.len());
        if happened[0].contains(PollFlags::IN) && drain(self.stop.as_fd()) {
            self.signals.push_back(Signal::Stop);
        }
        for (&i, &what) in asked.iter().zip(of_open) {
            let o = &mut self.open[i];
            if what.contains(PollFlags::IN) {
                // Also at the end: what was sent before it is read first.
                o.hungry = false;
                self.signals.push_back(Signal::Readable(o.conn));
            } else if what.intersects(PollFlags::HUP | PollFlags::ERR) {
                o.gone = true;
                self.signals.push_back(Signal::Closed(o.conn));
            }
            if what.contains(PollFlags::OUT) && !o.gone {
                o.full = false;
                self.signals.push_back(Signal::Writable(o.conn));
            }
        }
        for (i, &what) in of_listeners.iter().enumerate() {
            if what.contains(PollFlags::IN) {
                self.accept(i);
            }
        }
    }

    fn accept(&mut self, listener: usize) {
        let (stream, fd) = &self.listeners[listener];
        while self.open.len() < MAX_CONNECTIONS {
            match accept_with(fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(accepted) => {
                    let conn = Conn(self.next);
                    self.next += 1;
                    self.signals.push_back(Signal::Opened(*stream, conn));
                    self.open.push(Open {
                        conn,
                        fd: accepted,
                        hungry: true,
                        full: false,
                        gone: false,
                    });
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => return,
            }
        }
    }
}

/// Reads what is in a descriptor; whether there was something.
fn drain(fd: BorrowedFd<'_>) -> bool {
    let mut buf = [0u8; 512];
    matches!(rustix::io::read(fd, &mut buf), Ok(n) if n > 0)
}

/// Makes a listening socket at a path.
pub fn listen_at(path: &std::path::Path) -> io::Result<OwnedFd> {
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

    fn wires(name: &str) -> (Wires, std::path::PathBuf, OwnedFd) {
        let path = std::env::temp_dir().join(format!("atoll-{name}-{}", std::process::id()));
        let (stop, stopper) = rustix::pipe::pipe().unwrap();
        let listener = listen_at(&path).unwrap();
        (Wires::new(vec![(Stream::Control, listener)], stop), path, stopper)
    }

    fn signals(w: &mut Wires) -> Vec<Signal> {
        w.wait(Some(&NOW));
        std::iter::from_fn(|| w.signal()).collect()
    }

    #[test]
    fn readiness_becomes_edges_and_the_last_bytes_come_before_the_end() {
        let (mut w, path, stopper) = wires("edges");
        let mut client = UnixStream::connect(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let conn = Conn(0);
        assert_eq!(signals(&mut w), [Signal::Opened(Stream::Control, conn)]);
        assert_eq!(signals(&mut w), []);
        client.write_all(b"hello").unwrap();
        assert_eq!(signals(&mut w), [Signal::Readable(conn)]);
        assert_eq!(signals(&mut w), [], "told once");
        let mut buf = [0; 4];
        assert_eq!((w.recv(conn, &mut buf), w.recv(conn, &mut buf)), (4, 1));
        assert_eq!(w.recv(conn, &mut buf), 0);
        client.write_all(b"bye").unwrap();
        drop(client);
        assert_eq!(signals(&mut w), [Signal::Readable(conn)]);
        assert_eq!(w.recv(conn, &mut buf), 3);
        assert_eq!(w.recv(conn, &mut buf), 0);
        assert_eq!(signals(&mut w), [Signal::Closed(conn)]);
        assert_eq!(w.send(conn, b"late"), 4);
        w.close(conn);
        assert_eq!(w.connections(), 0);
        rustix::io::write(&stopper, b"x").unwrap();
        assert_eq!(signals(&mut w), [Signal::Stop]);
    }

    #[test]
    fn a_client_that_does_not_read_fills_up_and_goes_on_when_it_does() {
        let (mut w, path, _stopper) = wires("full");
        let mut client = UnixStream::connect(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        signals(&mut w);
        let data = vec![7u8; 4 << 20];
        let sent = w.send(Conn(0), &data);
        assert!(sent < data.len());
        assert_eq!(signals(&mut w), []);
        let mut got = vec![0; sent];
        client.read_exact(&mut got).unwrap();
        assert_eq!(signals(&mut w), [Signal::Writable(Conn(0))]);
        // One that is gone while nobody wants its bytes is noticed too.
        assert!(w.send(Conn(0), &data) < data.len());
        client.write_all(b"unread").unwrap();
        assert_eq!(signals(&mut w), [Signal::Readable(Conn(0))]);
        drop(client);
        assert_eq!(signals(&mut w), [Signal::Closed(Conn(0))]);
        assert_eq!(signals(&mut w), []);
    }
}
