//! A byte stream to or from somebody: a unix socket, or TCP on this machine.
//!
//! What tokio makes of a socket is told when there are bytes and when there is room. On a unix
//! socket there is room again whenever the other end has read, so that every message would wake
//! who sent it, for nothing. Here only bytes are waited for; room is waited for when there was
//! none, and as long as that.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::sleep;

/// When there is no descriptor to wait for room with, it is looked again after so long.
const LATER: Duration = Duration::from_millis(10);

/// A connected socket.
#[derive(Debug)]
pub struct Stream(AsyncFd<OwnedFd>);

impl Stream {
    /// Connects to a unix socket.
    pub async fn connect(path: &Path) -> io::Result<Stream> {
        UnixStream::connect(path).await?.try_into()
    }

    /// Waits until there may be bytes.
    pub async fn readable(&self) -> io::Result<()> {
        self.0.readable().await?.retain_ready();
        Ok(())
    }

    /// Waits until there may be room.
    pub async fn writable(&self) -> io::Result<()> {
        // An epoll knows a descriptor once, with one interest.
        let again = self.0.get_ref().try_clone().and_then(|fd| register(fd, Interest::WRITABLE));
        match again {
            Ok(room) => room.writable().await?.retain_ready(),
            Err(_) => sleep(LATER).await,
        }
        Ok(())
    }

    /// Takes what is there: `None` when nothing is yet, 0 bytes at the end.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let room = buf.len();
        let read = later(self.0.try_io(Interest::READABLE, |fd| {
            recv(fd, &mut *buf, RecvFlags::DONTWAIT).map(|(n, _)| n).map_err(io::Error::from)
        }));
        if matches!(read, Ok(Some(n)) if n > 0 && n < room) {
            self.is_drained();
        }
        read
    }

    /// Who was given less than there was room for need not read again to learn that there
    /// is no more (epoll(7)): a request that comes alone costs one system call less. An end
    /// that was announced stays announced.
    fn is_drained(&self) {
        let no_more = |_: &OwnedFd| Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = self.0.try_io(Interest::READABLE, no_more);
    }

    /// Gives what there is room for: `None` when there is none yet.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        later(send(self.0.get_ref(), bytes, flags).map_err(io::Error::from))
    }
}

/// Tells tokio of a descriptor.
///
/// `AsyncFd::with_interest` is deprecated because it takes values that do not keep their
/// descriptor open; an [`OwnedFd`] does. What replaces it is unsafe to call.
#[allow(deprecated)]
pub(crate) fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}

impl TryFrom<TcpStream> for Stream {
    type Error = io::Error;
    fn try_from(s: TcpStream) -> io::Result<Stream> {
        // Small answers are wanted now; a socket that cannot be told so works too.
        let _ = s.set_nodelay(true);
        Ok(Stream(register(s.into_std()?.into(), Interest::READABLE)?))
    }
}

impl TryFrom<UnixStream> for Stream {
    type Error = io::Error;
    fn try_from(s: UnixStream) -> io::Result<Stream> {
        s.into_std()?.try_into()
    }
}

impl TryFrom<StdUnixStream> for Stream {
    type Error = io::Error;
    fn try_from(s: StdUnixStream) -> io::Result<Stream> {
        Ok(Stream(register(s.into(), Interest::READABLE)?))
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

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn pair() -> (Stream, Stream) {
        let (a, b) = StdUnixStream::pair().unwrap();
        (a.try_into().unwrap(), b.try_into().unwrap())
    }

    /// Whether a read would find something, as far as is known without looking.
    fn is_readable(s: &Stream) -> bool {
        let mut readable = pin!(s.readable());
        matches!(readable.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(_))
    }

    #[tokio::test]
    async fn what_was_read_to_its_end_is_waited_for_again() {
        let (a, b) = pair();
        let mut buf = [0; 4];
        for text in ["one", "two"] {
            assert_eq!(b.try_write(text.as_bytes()).unwrap(), Some(3));
            a.readable().await.unwrap();
            assert_eq!(a.try_read(&mut buf).unwrap(), Some(3));
            assert!(!is_readable(&a));
        }
        // As much as there was room for: there may be more.
        assert_eq!(b.try_write(b"four").unwrap(), Some(4));
        a.readable().await.unwrap();
        assert_eq!(a.try_read(&mut buf).unwrap(), Some(4));
        assert!(is_readable(&a));
        assert_eq!(a.try_read(&mut buf).unwrap(), None);
        // An end is found behind what was sent before it.
        assert_eq!(b.try_write(b"end").unwrap(), Some(3));
        drop(b);
        a.readable().await.unwrap();
        assert_eq!(a.try_read(&mut buf).unwrap(), Some(3));
        a.readable().await.unwrap();
        assert_eq!(a.try_read(&mut buf).unwrap(), Some(0));
    }

    #[tokio::test]
    async fn room_is_waited_for_when_there_was_none() {
        let (a, b) = pair();
        let mut sent = 0;
        while let Some(n) = a.try_write(&[7; 64 << 10]).unwrap() {
            sent += n;
        }
        let mut buf = vec![0; 16 << 10];
        let mut got = 0;
        // Somebody reads, but only once the other waits.
        let read = async {
            while got < sent {
                b.readable().await.unwrap();
                while let Some(n) = b.try_read(&mut buf).unwrap() {
                    got += n;
                }
            }
        };
        let (room, ()) = tokio::join!(a.writable(), read);
        room.unwrap();
        assert!(a.try_write(b"more").unwrap().is_some());
        // Who does not read any more is told of at once.
        drop(b);
        a.writable().await.unwrap();
        assert_eq!(a.try_write(b"lost").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
