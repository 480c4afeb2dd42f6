//! Why a tree could not be asked, or what it answered.

use std::io;

use super::Broken;
use crate::fault::{Errno, Fault};

/// What goes wrong for a client that has a socket.
#[derive(Debug)]
pub enum Error {
    /// The connection could not be made, or failed.
    Io(io::Error),
    /// The server closed the connection, or is gone.
    Closed,
    /// The server does not speak as it should.
    Broken(Broken),
    /// The server refused.
    Refused(Fault),
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Error::Io(e) => e.fmt(f),
            Error::Closed => f.write_str("the server closed the connection"),
            Error::Broken(broken) => broken.fmt(f),
            Error::Refused(fault) => fault.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Error {
        match e.kind() {
            // How a closed connection looks to whoever was writing, or had not read all.
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::UnexpectedEof => Error::Closed,
            _ => Error::Io(e),
        }
    }
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Error {
        Error::Broken(broken)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        Error::Refused(fault)
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Error {
        Error::Refused(errno.into())
    }
}

impl From<Error> for io::Error {
    /// The kind is the error number's, as the system maps it; the text is the server's.
    fn from(e: Error) -> io::Error {
        let kind = match &e {
            Error::Io(e) => e.kind(),
            Error::Closed => io::ErrorKind::UnexpectedEof,
            Error::Broken(_) => io::ErrorKind::InvalidData,
            Error::Refused(fault) => io::Error::from_raw_os_error(fault.errno.0 as i32).kind(),
        };
        match e {
            Error::Io(e) => e,
            other => io::Error::new(kind, other),
        }
    }
}

impl Error {
    #[cfg(feature = "tokio")]
    /// The same again, for everybody who waits on the same connection.
    pub(crate) fn again(&self) -> Error {
        match self {
            Error::Io(e) => Error::Io(io::Error::new(e.kind(), std::format!("{e}"))),
            Error::Closed => Error::Closed,
            Error::Broken(b) => Error::Broken(*b),
            Error::Refused(f) => Error::Refused(f.clone()),
        }
    }
}
