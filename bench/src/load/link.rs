//! A connection: a blocking socket, and the bytes that came in and are not yet
//! looked at.

use std::net::Shutdown;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::frame::{self, Frame, HEADER, NO_FID, NO_TAG, answer, ty};

/// The fid of the directory that a link works in.
pub const ROOT: u32 = 0;
/// The fid of the tree's root, where that is another.
const TOP: u32 = 0xffff_0000;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Room for answers to small requests, however small the messages.
const LEAST_ROOM: usize = 64 << 10;
/// Frames up to this size are sent together, which is cheaper than a list of them.
const SMALL: usize = 4096;

/// How a client waits for bytes.
///
/// Who sleeps in `recv` on a unix socket is also woken when the other end takes what
/// was sent, looks, and sleeps again; who sleeps in `poll` is woken for what it asked,
/// but needs a call more. Clients do either. Which is quicker depends on the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// In `recv`.
    #[default]
    Recv,
    /// In `poll`, and then `recv`.
    Poll,
}

/// A connection that has agreed on a version and attached.
#[derive(Debug)]
pub struct Link {
    socket: UnixStream,
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// Small frames that are to be sent.
    small: Vec<u8>,
    msize: u32,
    wait: Wait,
}

impl Link {
    /// Agrees on 9P2000.L and on messages of at most `msize` bytes, attaches to a
    /// tree, as the user that this process runs as, and goes to a directory in it.
    pub fn open(socket: UnixStream, msize: u32, aname: &str, dir: &[&str]) -> Result<Link> {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let room = LEAST_ROOM + msize as usize;
        let (buf, small, wait) = (vec![0; room], Vec::new(), Wait::Recv);
        let mut link = Link { socket, buf, start: 0, end: 0, small, msize, wait };
        let version = Frame::new(ty::TVERSION, NO_TAG).u32(msize).str("9P2000.L").done();
        let agreed = link.call(&version).and_then(|f| {
            let body = answer(f, ty::TVERSION, 6)?;
            if &body[6..] != b"9P2000.L" {
                bail!("the server does not speak 9P2000.L");
            }
            Ok(frame::u32_at(body, 0))
        })?;
        if agreed > msize || agreed < 512 {
            bail!("asked for messages of {msize} bytes, the server wants {agreed}");
        }
        link.msize = agreed;
        let user = rustix::process::geteuid().as_raw();
        let top = if dir.is_empty() { ROOT } else { TOP };
        let attach = Frame::new(ty::TATTACH, 0).u32(top).u32(NO_FID).str("").str(aname).u32(user);
        answer(link.call(&attach.done())?, ty::TATTACH, 13).context("cannot attach")?;
        if !dir.is_empty() {
            link.walk_from(TOP, ROOT, dir)?;
        }
        Ok(link)
    }

    /// Waits in another way from now on. In `poll` there is no end to it but that of
    /// [`Link::within`].
    pub fn waits(&mut self, wait: Wait) {
        self.wait = wait;
    }

    /// Does something that takes about so long. Where one call may wait only for a
    /// time, its timer is set and taken back for every answer; here one is set for all
    /// of them, in a thread that sleeps until the end, and cuts the connection if that
    /// is late.
    pub fn within<R>(
        &mut self,
        time: Duration,
        f: impl FnOnce(&mut Link) -> Result<R>,
    ) -> Result<R> {
        let socket = self.socket.try_clone()?;
        let (end, ended) = mpsc::channel::<()>();
        self.socket.set_read_timeout(None)?;
        let done = std::thread::scope(|scope| {
            scope.spawn(move || {
                if ended.recv_timeout(time + PATIENCE) == Err(RecvTimeoutError::Timeout) {
                    let _ = socket.shutdown(Shutdown::Both);
                }
            });
            let done = f(self);
            drop(end);
            done
        });
        self.socket.set_read_timeout(Some(PATIENCE))?;
        done
    }

    /// The largest message, as agreed.
    pub fn msize(&self) -> u32 {
        self.msize
    }

    /// The most bytes of one read or write, as Linux reckons.
    pub fn unit(&self) -> u32 {
        self.msize - frame::IO_HEADER
    }

    /// Makes `fid` stand for a file below the directory that is worked in.
    pub fn walk(&mut self, fid: u32, path: &[&str]) -> Result<()> {
        self.walk_from(ROOT, fid, path)
    }

    fn walk_from(&mut self, from: u32, to: u32, path: &[&str]) -> Result<()> {
        let body = answer(self.call(&frame::walk(0, from, to, path))?, ty::TWALK, 2)?;
        if body.len() != 2 + 13 * path.len() {
            bail!("there is no {}", path.join("/"));
        }
        Ok(())
    }

    /// Opens it, with flags of open(2).
    pub fn lopen(&mut self, fid: u32, flags: u32) -> Result<()> {
        answer(self.call(&frame::lopen(0, fid, flags))?, ty::TLOPEN, 17)?;
        Ok(())
    }

    /// Sends one request and waits for its answer.
    pub fn call(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.send_one(request)?;
        loop {
            if let Some(frame) = self.take()? {
                let frame = &self.buf[frame];
                if frame::tag(frame) != frame::tag(request) {
                    bail!("an answer with another request's tag");
                }
                return Ok(frame);
            }
            self.receive()?;
        }
    }

    /// Sends a frame, or keeps a small one until [`Link::flush`].
    pub fn put(&mut self, frame: &[u8]) -> Result<()> {
        if frame.len() > SMALL {
            self.flush()?;
            return self.send_one(frame);
        }
        self.small.extend_from_slice(frame);
        Ok(())
    }

    /// Sends the frames that were kept, all at once.
    pub fn flush(&mut self) -> Result<()> {
        if !self.small.is_empty() {
            send_all(&self.socket, &self.small)?;
            self.small.clear();
        }
        Ok(())
    }

    /// Sends one frame.
    pub fn send_one(&mut self, frame: &[u8]) -> Result<()> {
        send_all(&self.socket, frame)
    }

    /// Whether nothing has come in.
    pub fn is_silent(&self) -> Result<bool> {
        let mut one = [0];
        match recv(&self.socket, &mut one[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => Ok(self.start == self.end),
            Err(e) => Err(e).context("cannot look at a socket"),
            Ok(_) => Ok(false),
        }
    }

    /// Keeps room for small answers only: for one of many that do little.
    pub fn shrink(&mut self) {
        (self.start, self.end) = (0, 0);
        self.buf = vec![0; 512];
    }

    /// Waits for bytes, and takes as many as there are.
    pub fn receive(&mut self) -> Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buf.len() {
            self.buf.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.wait == Wait::Poll {
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            poll(&mut fds, None).context("cannot wait for an answer")?;
        }
        let room = &mut self.buf[self.end..];
        let (n, _) = recv(&self.socket, room, RecvFlags::empty()).context("no answer in time")?;
        if n == 0 {
            bail!("the server closed the connection, or did not answer in time");
        }
        self.end += n;
        Ok(())
    }

    /// The next whole frame among the bytes that are here.
    #[inline]
    pub fn take(&mut self) -> Result<Option<Range<usize>>> {
        let there = self.end - self.start;
        if there < HEADER {
            return Ok(None);
        }
        let size = frame::u32_at(&self.buf, self.start) as usize;
        if size < HEADER || size > self.msize as usize {
            bail!("a frame of {size} bytes, where {} were agreed on", self.msize);
        }
        if size > there {
            return Ok(None);
        }
        let from = self.start;
        self.start += size;
        Ok(Some(from..from + size))
    }

    /// The bytes of a frame that was just taken.
    #[inline]
    pub fn bytes(&self, frame: Range<usize>) -> &[u8] {
        &self.buf[frame]
    }
}

/// `send` and `recv` cost less than `writev` and `read`, and what the client costs is a
/// part of every round trip.
fn send_all(socket: &UnixStream, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let n = send(socket, bytes, SendFlags::NOSIGNAL).context("cannot send to the server")?;
        bytes = &bytes[n..];
    }
    Ok(())
}
