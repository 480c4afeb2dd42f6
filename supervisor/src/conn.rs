//! A client's connection to a tree: [`atoll_9p::client`] and a socket.
//!
//! One request at a time is all that a command line needs. A request that is
//! abandoned (its future dropped) stays outstanding; [`Conn::flush`] ends it.

use std::future::Future;
use std::io;
use std::time::Duration;

use atoll_9p::client::{Broken, Client, Tag, fault};
use atoll_9p::fault::{Errno, Fault};
use atoll_9p::msg::{Rmsg, Tmsg, entries};
use atoll_9p::types::{OpenFlags, Qid, Stat, getattr};
use atoll_9p::wire::{NOFID, READ_OVERHEAD, WRITE_OVERHEAD};
use tokio::net::{TcpStream, UnixStream};

use crate::address::Address;
use crate::stream::Stream;

/// The message size that is proposed.
pub const MSIZE: u32 = 64 << 10;
/// The fid of the tree's root.
pub const ROOT: u32 = 0;
const FILE: u32 = 1;

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
    #[error("the guest closed the connection")]
    Closed,
    /// The server does not speak as it should.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The server refused.
    #[error("{} ({:?})", .0.text(), .0.errno)]
    Refused(Fault),
}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Error {
        match e.kind() {
            // How a closed connection looks to whoever was writing.
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::Closed,
            _ => Error::Io(e),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        Error::Refused(fault)
    }
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub name: String,
    /// The file.
    pub qid: Qid,
}

/// A connection, attached to the root of a tree.
#[derive(Debug)]
pub struct Conn {
    client: Client,
    stream: Stream,
    limit: Duration,
    last: Option<Tag>,
    buf: Vec<u8>,
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
                    _ => Error::NoGuest { address, why },
                }
            })
        })
        .await?;
        Conn::attach(stream, limit).await
    }

    /// Attaches over a stream that is connected.
    pub async fn attach(stream: Stream, limit: Duration) -> Result<Conn, Error> {
        let client = Client::new(MSIZE);
        let mut conn = Conn { client, stream, limit, last: None, buf: vec![0; 16 << 10] };
        conn.ask(&Tmsg::Attach {
            fid: ROOT,
            afid: NOFID,
            uname: "atoll",
            aname: "",
            n_uname: NOFID,
        })
        .await?;
        Ok(conn)
    }

    /// Sends a request and waits for its answer, as long as it takes.
    pub async fn wait<R>(
        &mut self,
        m: &Tmsg<'_>,
        f: impl FnOnce(&Rmsg<'_>) -> R,
    ) -> Result<R, Error> {
        let tag = self.client.send(m);
        self.answer(tag, f).await
    }

    async fn ask(&mut self, m: &Tmsg<'_>) -> Result<(), Error> {
        let limit = self.limit;
        within(limit, self.wait(m, |_| ())).await
    }

    async fn answer<R>(&mut self, tag: Tag, f: impl FnOnce(&Rmsg<'_>) -> R) -> Result<R, Error> {
        self.last = Some(tag);
        loop {
            while let Some((got, answer)) = self.client.poll()? {
                if got == tag {
                    self.last = None;
                    return match answer {
                        Rmsg::Lerror { errno, text } => Err(Error::Refused(fault(errno, text))),
                        ref other => Ok(f(other)),
                    };
                }
            }
            self.exchange().await?;
        }
    }

    /// Sends what is to be sent, and takes what comes; returns after some of either.
    async fn exchange(&mut self) -> Result<(), Error> {
        let mut read = true;
        if !self.client.output().is_empty() {
            tokio::select! {
                r = self.stream.writable() => { r?; read = false; }
                r = self.stream.readable() => r?,
            }
        } else {
            self.stream.readable().await?;
        }
        if !read {
            if let Some(n) = self.stream.try_write(self.client.output())? {
                self.client.sent(n);
            }
            return Ok(());
        }
        match self.stream.try_read(&mut self.buf)? {
            Some(0) => Err(Error::Closed),
            Some(n) => {
                self.client.feed(&self.buf[..n]);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Ends the request that was abandoned, if there is one.
    pub async fn flush(&mut self) -> Result<(), Error> {
        let Some(old) = self.last.take() else { return Ok(()) };
        self.ask(&Tmsg::Flush { oldtag: old.0 }).await?;
        Ok(())
    }

    /// Walks from the root; the file is then at the one fid that this connection uses.
    pub async fn walk(&mut self, path: &str) -> Result<(), Error> {
        let names: Vec<&str> = path.split('/').filter(|n| !n.is_empty() && *n != ".").collect();
        let mut from = ROOT;
        let mut rest = &names[..];
        loop {
            let (some, more) = rest.split_at(rest.len().min(16));
            let (tag, wanted) = self.client.walk(from, FILE, &some.join("/"))?;
            let limit = self.limit;
            let walked = within(
                limit,
                self.answer(tag, |r| match r {
                    Rmsg::Walk { count, .. } => usize::from(*count),
                    _ => 0,
                }),
            )
            .await;
            match walked {
                Ok(n) if n == wanted => {}
                Ok(_) => {
                    if from == FILE {
                        self.clunk().await?;
                    }
                    return Err(Fault::from(Errno::ENOENT).into());
                }
                Err(e) => return Err(e),
            }
            (from, rest) = (FILE, more);
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// Opens the file that was walked to.
    pub async fn open_file(&mut self, flags: OpenFlags) -> Result<(), Error> {
        self.ask(&Tmsg::Lopen { fid: FILE, flags }).await
    }

    /// What there is to know about the file that was walked to.
    pub async fn stat(&mut self) -> Result<Stat, Error> {
        let m = Tmsg::Getattr { fid: FILE, mask: getattr::BASIC };
        let stat = within(
            self.limit,
            self.wait(&m, |r| match r {
                Rmsg::Getattr { stat } => Some(*stat),
                _ => None,
            }),
        );
        stat.await?.ok_or(Error::Broken(Broken::Unasked))
    }

    /// Reads; waits for as long as the file wants. Empty at the end.
    pub async fn read(&mut self, offset: u64) -> Result<Vec<u8>, Error> {
        let count = self.client.msize() - READ_OVERHEAD;
        self.wait(&Tmsg::Read { fid: FILE, offset, count }, data).await
    }

    /// Reads, or says that a read would have to wait: the server answers in order,
    /// so it would when a question behind it is answered first.
    pub async fn read_now(&mut self, offset: u64) -> Result<Option<Vec<u8>>, Error> {
        let count = self.client.msize() - READ_OVERHEAD;
        let read = self.client.send(&Tmsg::Read { fid: FILE, offset, count });
        let behind = self.client.send(&Tmsg::Getattr { fid: ROOT, mask: 0 });
        let limit = self.limit;
        let mut got = None;
        let both = async {
            loop {
                while let Some((tag, answer)) = self.client.poll()? {
                    match answer {
                        Rmsg::Lerror { errno, text } if tag == read => {
                            return Err(Error::Refused(fault(errno, text)));
                        }
                        ref other if tag == read => got = Some(data(other)),
                        _ if tag == behind => return Ok(()),
                        _ => {}
                    }
                }
                self.exchange().await?;
            }
        };
        within(limit, both).await?;
        if got.is_none() {
            self.last = Some(read);
            self.flush_or(&mut got).await?;
        }
        Ok(got)
    }

    /// Flushes a read; should its answer come first after all, it is kept.
    async fn flush_or(&mut self, got: &mut Option<Vec<u8>>) -> Result<(), Error> {
        let Some(read) = self.last.take() else { return Ok(()) };
        let flush = self.client.send(&Tmsg::Flush { oldtag: read.0 });
        let limit = self.limit;
        let done = async {
            loop {
                while let Some((tag, answer)) = self.client.poll()? {
                    if tag == read {
                        *got = Some(data(&answer));
                    } else if tag == flush {
                        return Ok::<_, Error>(());
                    }
                }
                self.exchange().await?;
            }
        };
        within(limit, done).await?;
        Ok(())
    }

    /// Writes, with as many requests as it takes: one, if it fits into one.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let max = (self.client.msize() - WRITE_OVERHEAD) as usize;
        let mut at = 0;
        loop {
            let part = &bytes[at..bytes.len().min(at + max)];
            let m = Tmsg::Write { fid: FILE, offset: at as u64, data: part, op: None };
            let n = within(
                self.limit,
                self.wait(&m, |r| match r {
                    Rmsg::Write { count } => *count as usize,
                    _ => 0,
                }),
            )
            .await?;
            at += n.min(part.len());
            if at >= bytes.len() {
                return Ok(());
            }
            if n == 0 {
                return Err(Error::Refused(Errno::ENOSPC.into()));
            }
        }
    }

    /// Lists the directory that was opened.
    pub async fn list(&mut self) -> Result<Vec<Name>, Error> {
        let mut names = Vec::new();
        let mut cookie = 0;
        let count = self.client.msize() - READ_OVERHEAD;
        loop {
            let m = Tmsg::Readdir { fid: FILE, offset: cookie, count };
            let some = within(
                self.limit,
                self.wait(&m, |r| match r {
                    Rmsg::Readdir { data } => entries(data)
                        .map(|e| (e.cookie, Name { name: e.name.to_owned(), qid: e.qid }))
                        .collect(),
                    _ => Vec::new(),
                }),
            )
            .await?;
            let Some(&(last, _)) = some.last() else { break };
            if last == cookie {
                break;
            }
            cookie = last;
            names.extend(
                some.into_iter().map(|(_, n)| n).filter(|n| n.name != "." && n.name != ".."),
            );
        }
        Ok(names)
    }

    /// Gives the file back, so that another can be walked to.
    pub async fn clunk(&mut self) -> Result<(), Error> {
        self.ask(&Tmsg::Clunk { fid: FILE }).await
    }

    /// Writes a text to a file.
    pub async fn write_file(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        self.walk(path).await?;
        let flags = OpenFlags(OpenFlags::WRONLY.0 | OpenFlags::TRUNC);
        let done = match self.open_file(flags).await {
            Ok(()) => self.write(bytes).await,
            Err(e) => Err(e),
        };
        match done {
            // What was written may well have been the last thing that this guest
            // was to hear: it has taken it, and that is what was wanted.
            Ok(()) => match self.clunk().await {
                Err(Error::Io(_) | Error::Closed) => Ok(()),
                done => done,
            },
            Err(e @ Error::Refused(_)) => {
                self.clunk().await?;
                Err(e)
            }
            Err(e) => Err(e),
        }
    }
}

fn data(r: &Rmsg<'_>) -> Vec<u8> {
    match r {
        Rmsg::Read { data, .. } => data.to_vec(),
        _ => Vec::new(),
    }
}

/// A future with a limit of time.
async fn within<T>(limit: Duration, f: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(limit, f).await {
        Ok(done) => done,
        Err(_) => Err(Error::Timeout(limit)),
    }
}
