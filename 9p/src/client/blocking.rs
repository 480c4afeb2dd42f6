//! Files of a server, for a program that waits for its answers.
//!
//! A [`Connection`] may be cloned and used from several threads; one asks at a time,
//! and a read that waits for an event makes the others wait too: give it a connection
//! of its own, or use the client of the feature `tokio`. Whole files are read and
//! written with several requests underway.
//!
//! [`Connection::reconnecting`] makes one that outlives its connections, as
//! [`super::keeper`] describes: then nothing answers [`Error::Closed`], and asking
//! takes as long as the server is away.

use std::boxed::Box;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::string::String;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::vec::Vec;

pub use super::Error;
use super::keeper::{Keeper, Settings};
use super::link::{Link, parts};
use super::transfer::{Fetch, Store, Transfer, WINDOW};
use super::{Ask, Client, Tag, fault};
use crate::fault::{Errno, Fault};
use crate::msg::{Rmsg, Tmsg, entries};
use crate::types::{OpenFlags, Qid, Stat, getattr, qid_type};
use crate::wire::{NOFID, NOTAG, READ_OVERHEAD};

/// The message size that is proposed.
pub const MSIZE: u32 = 256 << 10;
/// The fid of the tree's root.
const ROOT: u32 = 0;

/// A socket, or anything else that carries bytes both ways.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

type Connect = Box<dyn FnMut() -> io::Result<Box<dyn Stream>> + Send>;

/// A connection to a server, attached to its root. Clones are the same.
#[derive(Clone)]
pub struct Connection(Arc<Mutex<Inner>>);

struct Inner {
    link: Link,
    stream: Option<Box<dyn Stream>>,
    /// How to connect again, and since when times are counted.
    again: Option<(Connect, Instant)>,
    next_fid: u32,
    free: Vec<u32>,
    /// Clunks that nobody waits for, and the fids that are free with their answers.
    clunks: Vec<(Tag, u32)>,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub name: String,
    /// The file.
    pub qid: Qid,
}

impl Connection {
    /// Connects to a unix socket.
    pub fn unix(path: impl AsRef<Path>) -> Result<Connection, Error> {
        Connection::over(UnixStream::connect(path)?)
    }

    /// Connects to a TCP port.
    pub fn tcp(addr: impl ToSocketAddrs) -> Result<Connection, Error> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        Connection::over(stream)
    }

    /// Attaches over a stream that is connected.
    pub fn over(stream: impl Stream + 'static) -> Result<Connection, Error> {
        Connection::attach(Link::Plain(Client::new(MSIZE)), Some(Box::new(stream)), None)
    }

    /// Connects with `connect`, and again whenever the connection breaks. `client` is a
    /// random number ([`Settings::client`]).
    pub fn reconnecting(
        client: u64,
        connect: impl FnMut() -> io::Result<Box<dyn Stream>> + Send + 'static,
    ) -> Result<Connection, Error> {
        let keeper = Keeper::new(Settings { msize: MSIZE, ..Settings::new(client) });
        Connection::attach(
            Link::Kept(Box::new(keeper)),
            None,
            Some((Box::new(connect), Instant::now())),
        )
    }

    fn attach(
        link: Link,
        stream: Option<Box<dyn Stream>>,
        again: Option<(Connect, Instant)>,
    ) -> Result<Connection, Error> {
        let (next_fid, free, clunks) = (ROOT + 1, Vec::new(), Vec::new());
        let mut inner = Inner { link, stream, again, next_fid, free, clunks };
        let (uname, aname) = ("", "");
        inner.call(&Tmsg::Attach { fid: ROOT, afid: NOFID, uname, aname, n_uname: NOFID }, ok)?;
        Ok(Connection(Arc::new(Mutex::new(inner))))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a file for reading.
    pub fn open(&self, path: &str) -> Result<File, Error> {
        self.open_for(path, OpenFlags::RDONLY)
    }

    /// Opens a file.
    pub fn open_for(&self, path: &str, flags: OpenFlags) -> Result<File, Error> {
        let mut file = self.walk(path)?;
        file.qid = self.lock().call(&Tmsg::Lopen { fid: file.fid, flags }, |r| match r {
            Rmsg::Lopen { qid, .. } => Ok(*qid),
            _ => Err(wrong_kind()),
        })?;
        Ok(file)
    }

    /// Makes a file and opens it.
    pub fn create(&self, path: &str, flags: OpenFlags, mode: u32) -> Result<File, Error> {
        let (dir, name) = split(path);
        let mut file = self.walk(dir)?;
        let m = Tmsg::Lcreate { fid: file.fid, name, flags, mode, gid: NOFID };
        file.qid = self.lock().call(&m, |r| match r {
            Rmsg::Lcreate { qid, .. } => Ok(*qid),
            _ => Err(wrong_kind()),
        })?;
        Ok(file)
    }

    /// Makes a directory.
    pub fn mkdir(&self, path: &str, mode: u32) -> Result<(), Error> {
        let (dir, name) = split(path);
        let dir = self.walk(dir)?;
        self.lock().call(&Tmsg::Mkdir { dfid: dir.fid, name, mode, gid: NOFID }, ok)
    }

    /// Removes a file, or with [`crate::types::unlink::DIR`] an empty directory.
    pub fn remove(&self, path: &str, flags: u32) -> Result<(), Error> {
        let (dir, name) = split(path);
        let dir = self.walk(dir)?;
        self.lock().call(&Tmsg::Unlinkat { dirfd: dir.fid, name, flags }, ok)
    }

    /// Gives a file another path.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        let ((old, oldname), (new, newname)) = (split(from), split(to));
        let (old, new) = (self.walk(old)?, self.walk(new)?);
        let (olddirfid, newdirfid) = (old.fid, new.fid);
        self.lock().call(&Tmsg::Renameat { olddirfid, oldname, newdirfid, newname }, ok)
    }

    /// Reads a file to its end.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        let mut file = self.open(path)?;
        file.fetch(Vec::new())
    }

    /// Writes a file from its start; what was in it goes.
    pub fn write(&self, path: &str, data: &[u8]) -> Result<(), Error> {
        let mut file = self.open_for(path, OpenFlags(OpenFlags::WRONLY.0 | OpenFlags::TRUNC))?;
        file.store(data)
    }

    /// What there is to know about a file.
    pub fn stat(&self, path: &str) -> Result<Stat, Error> {
        self.walk(path)?.stat()
    }

    /// The names in a directory.
    pub fn list(&self, path: &str) -> Result<Vec<Name>, Error> {
        let dir = self.open(path)?;
        let mut inner = self.lock();
        let (mut names, mut offset) = (Vec::new(), 0);
        loop {
            let count = inner.link.msize() - READ_OVERHEAD;
            let last = inner.call(&Tmsg::Readdir { fid: dir.fid, offset, count }, |r| {
                let Rmsg::Readdir { data } = r else { return Err(wrong_kind()) };
                let mut last = None;
                for e in entries(data) {
                    last = Some(e.cookie);
                    if e.name != "." && e.name != ".." {
                        names.push(Name { name: e.name.into(), qid: e.qid });
                    }
                }
                Ok(last)
            })?;
            match last {
                Some(cookie) if cookie != offset => offset = cookie,
                _ => break,
            }
        }
        drop(inner);
        Ok(names)
    }

    /// A fid for a path, which is not opened.
    fn walk(&self, path: &str) -> Result<File, Error> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let fid = inner.free.pop().unwrap_or_else(|| {
            inner.next_fid += 1;
            inner.next_fid - 1
        });
        let (mut from, mut qid) = (ROOT, Qid::default());
        let msize = inner.link.msize() as usize;
        for part in parts(path, msize) {
            let mut frame = Vec::new();
            let names = crate::msg::encode_walk(0, from, fid, part, &mut frame);
            let names = names.map_err(|bad| Error::Refused(bad.into()))?;
            let long = part.split('/').any(|n| n.len() > crate::wire::MAX_NAME);
            let m = Tmsg::decode(&frame).map_err(|bad| Error::Refused(bad.into()));
            let walked = match m {
                _ if long => Err(Errno::ENAMETOOLONG.into()),
                Err(e) => Err(e),
                Ok(m) => inner.call(&m, |r| match r {
                    Rmsg::Walk { count, last } if usize::from(*count) == names => Ok(*last),
                    Rmsg::Walk { .. } => Err(Errno::ENOENT.into()),
                    _ => Err(wrong_kind()),
                }),
            };
            match walked {
                Ok(last) => qid = last.unwrap_or(qid),
                Err(e) if from == fid => {
                    inner.clunk(fid);
                    return Err(e);
                }
                Err(e) => {
                    inner.free.push(fid);
                    return Err(e);
                }
            }
            from = fid;
        }
        Ok(File { conn: self.clone(), fid, qid, at: 0 })
    }
}

impl Inner {
    /// Sends a request and waits for its answer.
    fn call<R>(
        &mut self,
        m: &Tmsg<'_>,
        f: impl FnOnce(&Rmsg<'_>) -> Result<R, Fault>,
    ) -> Result<R, Error> {
        let tag = self.link.send(m);
        if tag.0 == NOTAG {
            return Err(Errno::ENOBUFS.into());
        }
        loop {
            while let Some((got, spot)) = self.link.pull()? {
                if got == tag {
                    return Ok(match self.link.answer(&spot)? {
                        Rmsg::Lerror { errno, text } => Err(fault(errno, text)),
                        answer => f(&answer),
                    }?);
                }
                self.clunked(got);
            }
            self.exchange()?;
        }
    }

    /// Does all of a transfer.
    fn run(&mut self, mut transfer: impl Transfer) -> Result<Vec<u8>, Error> {
        loop {
            transfer.pump(&mut self.link, &mut |_| {});
            if transfer.is_done() {
                return Ok(transfer.result()?);
            }
            self.exchange()?;
            while let Some((tag, spot)) = self.link.pull()? {
                if !transfer.answer(tag, &self.link.answer(&spot)?) {
                    self.clunked(tag);
                }
            }
        }
    }

    fn clunked(&mut self, tag: Tag) {
        if let Some(at) = self.clunks.iter().position(|c| c.0 == tag) {
            self.free.push(self.clunks.swap_remove(at).1);
        }
    }

    /// Gives a fid back, and does not wait for the answer.
    fn clunk(&mut self, fid: u32) {
        let tag = self.link.send(&Tmsg::Clunk { fid });
        if tag.0 != NOTAG {
            self.clunks.push((tag, fid));
        }
    }

    /// Sends what is to be sent, and waits for what comes.
    fn exchange(&mut self) -> Result<(), Error> {
        loop {
            let done = match self.stream.as_mut() {
                Some(stream) => carry(&mut self.link, &mut **stream),
                None => Err(Error::Closed),
            };
            let (Link::Kept(keeper), Some((connect, since))) = (&mut self.link, &mut self.again)
            else {
                return done;
            };
            match done {
                Ok(()) => return Ok(()),
                Err(Error::Refused(fault)) => return Err(Error::Refused(fault)),
                Err(_) => self.stream = None,
            }
            let now = |since: &Instant| since.elapsed().as_millis() as u64;
            if keeper.retry_at().is_none() {
                keeper.broken(now(since));
            }
            let wait = keeper.retry_at().unwrap_or(0).saturating_sub(now(since));
            std::thread::sleep(Duration::from_millis(wait));
            match connect() {
                Ok(stream) => {
                    self.stream = Some(stream);
                    keeper.connected();
                }
                Err(_) => keeper.broken(now(since)),
            }
        }
    }
}

/// Sends what there is, then takes what comes first.
fn carry(link: &mut Link, stream: &mut dyn Stream) -> Result<(), Error> {
    if !link.output().is_empty() {
        stream.write_all(link.output())?;
        link.sent(link.output().len());
    }
    loop {
        match stream.read(link.spare()) {
            Ok(0) => return Err(Error::Closed),
            Ok(n) => {
                link.received(n);
                return Ok(());
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// A file, and a place in it. It is given back when it is dropped.
pub struct File {
    conn: Connection,
    fid: u32,
    qid: Qid,
    at: u64,
}

impl File {
    /// The server's name for it.
    pub fn qid(&self) -> Qid {
        self.qid
    }

    /// What there is to know about it.
    pub fn stat(&self) -> Result<Stat, Error> {
        let m = Tmsg::Getattr { fid: self.fid, mask: getattr::BASIC };
        self.conn.lock().call(&m, |r| match r {
            Rmsg::Getattr { stat } => Ok(*stat),
            _ => Err(wrong_kind()),
        })
    }

    /// Makes sure that what was written lasts.
    pub fn sync(&self) -> Result<(), Error> {
        self.conn.lock().call(&Tmsg::Fsync { fid: self.fid }, ok)
    }

    fn window(&self) -> usize {
        if self.qid.ty & qid_type::APPEND != 0 { 1 } else { WINDOW }
    }

    /// Reads to the end, into a buffer whose memory is used again.
    fn fetch(&mut self, buf: Vec<u8>) -> Result<Vec<u8>, Error> {
        let fetch = Fetch::new(self.fid, self.at, usize::MAX, self.window(), buf);
        let data = self.conn.lock().run(fetch)?;
        self.at += data.len() as u64;
        Ok(data)
    }

    fn store(&mut self, data: &[u8]) -> Result<(), Error> {
        let store = Store::new(self.fid, self.at, data, self.window());
        self.conn.lock().run(store)?;
        self.at += data.len() as u64;
        Ok(())
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.conn.lock();
        let most = inner.link.msize() - READ_OVERHEAD;
        let count = u32::try_from(buf.len()).unwrap_or(u32::MAX).min(most);
        let m = Tmsg::Read { fid: self.fid, offset: self.at, count };
        let n = inner.call(&m, |r| match r {
            Rmsg::Read { data, .. } => {
                let n = data.len().min(buf.len());
                if let (Some(to), Some(from)) = (buf.get_mut(..n), data.get(..n)) {
                    to.copy_from_slice(from);
                }
                Ok(n)
            }
            _ => Err(wrong_kind()),
        })?;
        drop(inner);
        self.at += n as u64;
        Ok(n)
    }

    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        if buf.is_empty() {
            *buf = self.fetch(core::mem::take(buf))?;
            return Ok(buf.len());
        }
        let data = self.fetch(Vec::new())?;
        buf.extend_from_slice(&data);
        Ok(data.len())
    }
}

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut inner = self.conn.lock();
        let room = (inner.link.msize() - crate::wire::WRITE_OVERHEAD) as usize;
        let data = buf.get(..room.min(buf.len())).unwrap_or_default();
        let m = Tmsg::Write { fid: self.fid, offset: self.at, data, op: None };
        let n = inner.call(&m, |r| match r {
            Rmsg::Write { count } => Ok(*count as usize),
            _ => Err(wrong_kind()),
        })?;
        drop(inner);
        self.at += n as u64;
        Ok(n)
    }

    fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
        if buf.is_empty() { Ok(()) } else { Ok(self.store(buf)?) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.stat()?.size.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let mut inner = self.conn.lock();
        inner.clunk(self.fid);
        // Nothing is lost if it cannot be sent now.
        let Inner { link, stream: Some(stream), .. } = &mut *inner else { return };
        if !link.is_down() && stream.write_all(link.output()).is_ok() {
            link.sent(link.output().len());
        }
    }
}

fn ok(_: &Rmsg<'_>) -> Result<(), Fault> {
    Ok(())
}

fn wrong_kind() -> Fault {
    Fault::new(Errno::EPROTO, "the server's answer is of the wrong kind")
}

/// A path's directory and its last name.
pub(super) fn split(path: &str) -> (&str, &str) {
    let path = path.trim_end_matches('/');
    path.rsplit_once('/').unwrap_or(("", path))
}
