//! A command's connection to a tree: [`atoll_9p::client::tokio`] with limits of time,
//! one file at a time, and errors that say what to do.

use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::time::Duration;

use atoll_9p::client::Broken;
use atoll_9p::client::tokio::{self as client, Stream};
use atoll_9p::fault::{Errno, Fault};
use atoll_9p::types::{OpenFlags, Stat, unlink};
use tokio::net::{TcpStream, UnixStream};

pub use atoll_9p::client::blocking::Name;

use crate::address::Address;

/// Bytes of a long file that are sent before it is said how many there were.
const PIECE: usize = 4 << 20;

/// Why a tree could not be asked, or what it answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody is there.
    #[error("no guest at {address}: {why}; is it running? (atoll run IMAGE)")]
    NoGuest {
        /// Where.
        address: Address,
        /// What the system said.
        why: io::Error,
    },
    /// The supervisor is not there.
    #[error("no supervisor at {address}: {why}; start one with: atoll serve")]
    NoSupervisor {
        /// Where.
        address: Address,
        /// What the system said.
        why: io::Error,
    },
    /// The system does not let us connect.
    #[error("{address}: {why}")]
    Denied {
        /// Where.
        address: Address,
        /// What the system said.
        why: io::Error,
    },
    /// No answer came in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection broke.
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// The guest closed the connection, or is gone.
    #[error("the other end closed the connection")]
    Closed,
    /// The server does not speak as it should.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The server refused.
    #[error("{} ({:?})", .0.text(), .0.errno)]
    Refused(Fault),
}

impl From<client::Error> for Error {
    fn from(e: client::Error) -> Error {
        match e {
            client::Error::Io(e) => Error::Io(e),
            client::Error::Closed => Error::Closed,
            client::Error::Broken(broken) => Error::Broken(broken),
            client::Error::Refused(fault) => Error::Refused(fault),
        }
    }
}

/// A connection, attached to the root of a tree.
pub struct Conn {
    conn: client::Connection,
    file: Option<client::File>,
    limit: Duration,
}

impl Conn {
    /// Connects and attaches. `limit` is how long any answer may take that does
    /// not have to wait for something to happen.
    pub async fn open(address: &Address, limit: Duration) -> Result<Conn, Error> {
        let connect = async {
            match address {
                Address::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
                Address::Tcp(host) => TcpStream::connect(host).await.map(Stream::from),
            }
        };
        let stream = within(limit, async {
            connect.await.map_err(|why| {
                let address = address.clone();
                match why.kind() {
                    io::ErrorKind::PermissionDenied => Error::Denied { address, why },
                    _ if address.is_supervisor() => Error::NoSupervisor { address, why },
                    _ => Error::NoGuest { address, why },
                }
            })
        })
        .await?;
        Conn::attach(stream, limit).await
    }

    /// The same over connections that break: it is connected again whenever that is possible,
    /// and what is read goes on where it was.
    pub async fn open_again(address: &Address, limit: Duration) -> Result<Conn, Error> {
        // What is wrong with the first connection is told in the usual words.
        drop(Conn::open(address, limit).await?);
        let client = RandomState::new().build_hasher().finish();
        let address = address.clone();
        let connect = move || -> client::Connecting {
            let address = address.clone();
            Box::pin(async move {
                match &address {
                    Address::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
                    Address::Tcp(host) => TcpStream::connect(host).await.map(Stream::from),
                }
            })
        };
        let conn = within(limit, client::Connection::reconnecting(client, connect)).await?;
        Ok(Conn { conn, file: None, limit })
    }

    /// Attaches over a stream that is connected.
    pub async fn attach(stream: Stream, limit: Duration) -> Result<Conn, Error> {
        let conn = within(limit, client::Connection::over(stream)).await?;
        Ok(Conn { conn, file: None, limit })
    }

    /// The connection itself, for several files at one time and without limits of time.
    pub fn shared(&self) -> client::Connection {
        self.conn.clone()
    }

    /// Walks from the root to a file, which the other functions are about then. The
    /// one before is given back.
    pub async fn walk(&mut self, path: &str) -> Result<(), Error> {
        self.file = None;
        self.file = Some(within(self.limit, self.conn.walk(path)).await?);
        Ok(())
    }

    fn file(&self) -> Result<&client::File, Error> {
        self.file.as_ref().ok_or(Error::Refused(Errno::EBADF.into()))
    }

    /// Opens the file that was walked to.
    pub async fn open_file(&mut self, flags: OpenFlags) -> Result<(), Error> {
        let file = self.file.as_mut().ok_or(Error::Refused(Errno::EBADF.into()))?;
        within(self.limit, file.open(flags)).await
    }

    /// What there is to know about the file that was walked to.
    pub async fn stat(&self) -> Result<Stat, Error> {
        within(self.limit, self.file()?.stat()).await
    }

    /// Reads; waits for as long as the file wants. Empty at the end. To drop the future
    /// is to take the read back.
    pub async fn read(&self, offset: u64) -> Result<Vec<u8>, Error> {
        Ok(self.file()?.read(offset, u32::MAX, Vec::new()).await?)
    }

    /// Reads from a file that waits for nothing. Empty at the end.
    pub async fn read_now(&self, offset: u64) -> Result<Vec<u8>, Error> {
        within(self.limit, self.file()?.read(offset, u32::MAX, Vec::new())).await
    }

    /// Writes as much as one message holds to the file that was opened: how much.
    pub async fn write_now(&self, offset: u64, bytes: &[u8]) -> Result<usize, Error> {
        within(self.limit, self.file()?.write(offset, bytes)).await
    }

    /// Asks something that is answered at once. A server answers in order: what was
    /// asked before and is not answered then has to wait.
    pub async fn ping(&self) -> Result<(), Error> {
        self.stat().await.map(drop)
    }

    /// Lists the directory that was opened.
    pub async fn list(&self) -> Result<Vec<Name>, Error> {
        within(self.limit, self.file()?.list()).await
    }

    /// Gives the file back, so that another can be walked to.
    pub async fn clunk(&mut self) -> Result<(), Error> {
        match self.file.take() {
            Some(file) => within(self.limit, file.close()).await,
            None => Ok(()),
        }
    }

    /// Makes a file, and opens it. Where its directory takes no new ones, the answer is
    /// that it is not there.
    async fn make(&mut self, path: &str, flags: OpenFlags) -> Result<(), Error> {
        let made = within(self.limit, self.conn.create(path, flags, 0o666)).await;
        let never = [Errno::EPERM, Errno::EACCES, Errno::EROFS, Errno::EOPNOTSUPP, Errno::ENOTDIR];
        match made {
            Ok(file) => {
                self.file = Some(file);
                Ok(())
            }
            Err(Error::Refused(fault)) if never.contains(&fault.errno) => {
                Err(Error::Refused(Errno::ENOENT.into()))
            }
            Err(e) => Err(e),
        }
    }

    /// Writes a text to a file that is there, as one message if it fits; waits for the
    /// answer for as long as that takes.
    pub async fn tell(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        self.walk(path).await?;
        self.open_file(OpenFlags::WRONLY).await?;
        self.file()?.write_all(0, bytes.to_vec()).await?;
        self.clunk().await
    }

    /// Writes a file that is there from its start, with several messages underway, and says
    /// time and again how much that was.
    pub async fn put(
        &mut self,
        path: &str,
        bytes: &[u8],
        told: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        self.walk(path).await?;
        self.open_file(OpenFlags::WRONLY).await?;
        let mut offset = 0;
        for piece in bytes.chunks(PIECE) {
            self.file()?.write_all(offset, piece.to_vec()).await?;
            offset += piece.len() as u64;
            told(offset);
        }
        self.clunk().await
    }

    /// Reads a file that waits for nothing, to its end.
    pub async fn read_file(&mut self, path: &str) -> Result<Vec<u8>, Error> {
        self.walk(path).await?;
        self.open_file(OpenFlags::RDONLY).await?;
        let mut all = Vec::new();
        loop {
            let bytes = self.read_now(all.len() as u64).await?;
            if bytes.is_empty() {
                break;
            }
            all.extend_from_slice(&bytes);
        }
        self.clunk().await?;
        Ok(all)
    }

    /// Makes a directory.
    pub async fn mkdir(&mut self, path: &str) -> Result<(), Error> {
        within(self.limit, self.conn.mkdir(path, 0o755)).await
    }

    /// Removes a directory.
    pub async fn rmdir(&mut self, path: &str) -> Result<(), Error> {
        within(self.limit, self.conn.remove(path, unlink::DIR)).await
    }

    /// Writes a text to a file, as one message if it fits. A file that is not there is
    /// made, where its directory takes new ones.
    pub async fn write_file(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let flags = OpenFlags(OpenFlags::WRONLY.0 | OpenFlags::TRUNC);
        match self.walk(path).await {
            Ok(()) => self.open_file(flags).await?,
            Err(Error::Refused(fault)) if fault.errno == Errno::ENOENT => {
                self.make(path, flags).await?;
            }
            Err(e) => return Err(e),
        }
        within(self.limit, self.file()?.write_all(0, bytes.to_vec())).await?;
        // What was written may well have been the last thing that this guest
        // was to hear: it has taken it, and that is what was wanted.
        match self.clunk().await {
            Err(Error::Io(_) | Error::Closed) => Ok(()),
            done => done,
        }
    }
}

/// A future with a limit of time.
async fn within<T, E: Into<Error>>(
    limit: Duration,
    f: impl Future<Output = Result<T, E>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, f).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(Error::Timeout(limit)),
    }
}
