//! A byte stream to or from somebody: a unix socket, or TCP on this machine.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;

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
        later(match self {
            Stream::Unix(s) => s.try_read(buf),
            Stream::Tcp(s) => s.try_read(buf),
        })
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
