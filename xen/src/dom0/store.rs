//! A connection to xenstored, for a program that waits for its answers.
//!
//! xenstored does one request after the other and answers within microseconds; one that does
//! not answer in time is taken for dead, since its answer could come at any later time and
//! nobody would know to what state it belongs. Such a connection is not used any more:
//! transactions and watches went with it, and whoever had any opens another.

use core::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use crate::store::{
    Answer, Client, Error, HEADER, Header, Incoming, Limits, Refused, Request, TxId,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that are read at once: a full message and a header.
const CHUNK: usize = 4096 + HEADER;
/// The kernel's way to a xenstored that is not in this domain.
const DEVICE: &str = "/dev/xen/xenbus";

/// Where xenstored's socket is: `XENSTORED_PATH`, else `socket` in `XENSTORED_RUNDIR`, else in
/// `/run/xenstored`, as for libxenstore.
pub fn socket_path() -> PathBuf {
    match (std::env::var_os("XENSTORED_PATH"), std::env::var_os("XENSTORED_RUNDIR")) {
        (Some(path), _) if !path.is_empty() => path.into(),
        (_, Some(dir)) if !dir.is_empty() => Path::new(&dir).join("socket"),
        _ => "/run/xenstored/socket".into(),
    }
}

/// Whether this looks like a domain that has a XenStore: there is its socket or its device.
pub fn is_there() -> bool {
    socket_path().exists() || Path::new(DEVICE).exists()
}

/// Why there is no connection to a xenstored.
#[derive(Debug)]
pub struct ConnectError {
    tried: std::vec::Vec<(PathBuf, io::Error)>,
}

impl ConnectError {
    /// Whether there is one, for others.
    pub fn is_denied(&self) -> bool {
        self.tried.iter().any(|(_, e)| e.kind() == io::ErrorKind::PermissionDenied)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.is_denied() {
            true => "xenstored lets only root in",
            false => "no xenstored answers",
        })?;
        for (i, (path, e)) in self.tried.iter().enumerate() {
            write!(f, "{}{}: {e}", if i == 0 { ": " } else { "; " }, path.display())?;
        }
        Ok(())
    }
}

impl core::error::Error for ConnectError {}

/// Why a request has no answer.
#[derive(Debug)]
pub enum AskError {
    /// It was not sent.
    Refused(Refused),
    /// xenstored's own answer, or that it sent none that can be understood.
    Store(Error),
    /// The connection failed.
    Io(io::Error),
    /// It did not answer for so long.
    Silent(Duration),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::Refused(refused) => refused.fmt(f),
            AskError::Store(error) => error.fmt(f),
            AskError::Io(e) => write!(f, "the connection to xenstored failed: {e}"),
            AskError::Silent(for_) => {
                write!(f, "xenstored has not answered for {} s", for_.as_secs())
            }
        }
    }
}

impl core::error::Error for AskError {}

impl From<Refused> for AskError {
    fn from(refused: Refused) -> AskError {
        AskError::Refused(refused)
    }
}

/// A connection.
#[derive(Debug)]
pub struct Store {
    stream: File,
    client: Client,
    patience: Duration,
    /// It failed: nothing is sent any more.
    dead: bool,
}

impl Store {
    /// Connects where libxenstore would: to the socket, or by the kernel's device.
    pub fn open() -> Result<Store, ConnectError> {
        let socket = socket_path();
        let first = match Store::connect(&socket) {
            Ok(store) => return Ok(store),
            Err(e) => e,
        };
        match Store::device(Path::new(DEVICE)) {
            Ok(store) => Ok(store),
            Err(e) => Err(ConnectError { tried: [(socket, first), (DEVICE.into(), e)].into() }),
        }
    }

    /// Connects to that path: a socket, or a device as `/dev/xen/xenbus`.
    pub fn open_at(path: &Path) -> Result<Store, ConnectError> {
        let is_device = std::fs::metadata(path)
            .is_ok_and(|m| std::os::unix::fs::FileTypeExt::is_char_device(&m.file_type()));
        let store = if is_device { Store::device(path) } else { Store::connect(path) };
        store.map_err(|e| ConnectError { tried: [(path.into(), e)].into() })
    }

    fn connect(path: &Path) -> io::Result<Store> {
        let stream = UnixStream::connect(path)?;
        stream.set_nonblocking(true)?;
        Ok(Store::on(OwnedFd::from(stream).into()))
    }

    fn device(path: &Path) -> io::Result<Store> {
        let flags = OFlags::NONBLOCK.bits() as i32;
        let device = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        Ok(Store::on(device))
    }

    fn on(stream: File) -> Store {
        let client = Client::new(Limits::default());
        Store { stream, client, patience: PATIENCE, dead: false }
    }

    /// Waits so long for an answer.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Whether the connection failed. It stays so.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Asks something and waits for the answer.
    pub fn ask(&mut self, tx: TxId, request: &Request<'_>) -> Result<Answer, AskError> {
        if self.dead {
            return Err(AskError::Io(io::ErrorKind::NotConnected.into()));
        }
        let id = self.client.submit(tx, request)?;
        let until = Instant::now() + self.patience;
        let done = self.send(until).and_then(|()| {
            loop {
                if let Some(answer) = self.client.take_answer(id) {
                    return Ok(answer);
                }
                self.wait(PollFlags::IN, until)?;
                self.receive()?;
            }
        });
        match done {
            Ok(answer) => answer.map_err(AskError::Store),
            Err(e) => {
                self.dead = true;
                if e.kind() == io::ErrorKind::TimedOut {
                    return Err(AskError::Silent(self.patience));
                }
                Err(AskError::Io(e))
            }
        }
    }

    /// The next event or loss of events, if one has come.
    pub fn event(&mut self) -> Result<Option<Incoming>, AskError> {
        if let Some(event) = self.client.take_event() {
            return Ok(Some(event));
        }
        if self.dead {
            return Err(AskError::Io(io::ErrorKind::NotConnected.into()));
        }
        if let Err(e) = self.receive() {
            self.dead = true;
            return Err(AskError::Io(e));
        }
        Ok(self.client.take_event())
    }

    /// Waits for an event, at most so long.
    pub fn wait_event(&mut self, patience: Duration) -> Result<Option<Incoming>, AskError> {
        let until = Instant::now() + patience;
        loop {
            if let Some(event) = self.event()? {
                return Ok(Some(event));
            }
            match self.wait(PollFlags::IN, until) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::TimedOut => return Ok(None),
                Err(e) => return Err(AskError::Io(e)),
            }
        }
    }

    /// Sends what is to be sent, one message with one write: the kernel's device takes no
    /// more at once.
    fn send(&mut self, until: Instant) -> io::Result<()> {
        let mut left = 0;
        while !self.client.output().is_empty() {
            let out = self.client.output();
            if left == 0 {
                let header = out.first_chunk().map(Header::from_bytes);
                left = HEADER + header.map_or(0, |h| h.len as usize);
            }
            let message = out.get(..left).unwrap_or(out);
            match (&self.stream).write(message) {
                Ok(n) => {
                    self.client.sent(n);
                    left = left.saturating_sub(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT, until)?;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Takes what has come.
    fn receive(&mut self) -> io::Result<()> {
        let mut chunk = [0; CHUNK];
        loop {
            match (&self.stream).read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    let bytes = chunk.get(..n).unwrap_or_default();
                    self.client.received(bytes).map_err(io::Error::other)?;
                    if n < CHUNK {
                        return Ok(());
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn wait(&self, what: PollFlags, until: Instant) -> io::Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.stream, what)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

impl AsFd for Store {
    /// Readable when something came, which [`Store::event`] takes.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
