//! A byte stream to or from somebody: a unix socket, or TCP on this machine.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;

use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// A unix socket.
    Unix(UnixStream),
    /// A TCP connection.
    Tcp(TcpStream),
}

impl Stream {
    /// Two ends of a new stream.
    pub fn pair() -> io::Result<(Stream, Stream)> {
        let (a, b) = UnixStream::pair()?;
        Ok((Stream::Unix(a), Stream::Unix(b)))
    }

    /// Waits until there may be bytes.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Stream::Unix(s) => s.readable().await,
            Stream::Tcp(s) => s.readable().await,
        }
    }

    /// Waits until there may be room.
    pub async fn writable(&self) -> io::Result<()> {
        match self {
            Stream::Unix(s) => s.writable().await,
            Stream::Tcp(s) => s.writable().await,
        }
    }

    /// Takes what is there: `None` when nothing is yet, 0 bytes at the end.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let read = later(match self {
            Stream::Unix(s) => s.try_read(buf),
            Stream::Tcp(s) => s.try_read(buf),
        });
        if matches!(read, Ok(Some(n)) if n > 0 && n < buf.len()) {
            self.is_drained();
        }
        read
    }

    /// Who was given less than there was room for need not read again to learn that there
    /// is no more (epoll(7)): a request that comes alone costs one system call less. An end
    /// that was announced stays announced.
    fn is_drained(&self) {
        let no_more = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = match self {
            Stream::Unix(s) => s.try_io(Interest::READABLE, no_more),
            Stream::Tcp(s) => s.try_io(Interest::READABLE, no_more),
        };
    }

    /// Gives what there is room for: `None` when there is none yet.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        later(match self {
            Stream::Unix(s) => s.try_write(bytes),
            Stream::Tcp(s) => s.try_write(bytes),
        })
    }
}

impl From<TcpStream> for Stream {
    fn from(s: TcpStream) -> Stream {
        // Small answers are wanted now; a socket that cannot be told so works too.
        let _ = s.set_nodelay(true);
        Stream::Tcp(s)
    }
}

impl TryFrom<StdUnixStream> for Stream {
    type Error = io::Error;
    fn try_from(s: StdUnixStream) -> io::Result<Stream> {
        s.set_nonblocking(true)?;
        Ok(Stream::Unix(UnixStream::from_std(s)?))
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

    /// Whether a read would find something, as far as is known without looking.
    fn is_readable(s: &Stream) -> bool {
        let mut readable = pin!(s.readable());
        matches!(readable.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(_))
    }

    #[tokio::test]
    async fn what_was_read_to_its_end_is_waited_for_again() {
        let (a, b) = Stream::pair().unwrap();
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
}
