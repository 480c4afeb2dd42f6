//! A 9P client that waits: the protocol is `atoll_9p`'s, a socket carries it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use atoll_9p::client::{Client, fault};
use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::types::OpenFlags;

/// Bytes of a message that are asked for.
const MSIZE: u32 = 64 << 10;
/// The `afid` and the numeric user that mean none.
const NONE: u32 = u32::MAX;
const ROOT: u32 = 0;
const FILE: u32 = 1;

/// A connection.
#[derive(Debug)]
pub struct Nine {
    socket: UnixStream,
    client: Client,
    /// Files that are followed.
    followed: u32,
}

/// An event file that stays open.
#[derive(Debug)]
pub struct Follow {
    fid: u32,
    offset: u64,
}

impl Nine {
    /// Sends Tversion on a socket, whose other end may not be awake yet.
    pub fn new(socket: UnixStream, patience: Duration) -> Result<Nine> {
        socket.set_read_timeout(Some(patience))?;
        socket.set_write_timeout(Some(patience))?;
        let mut nine = Nine { socket, client: Client::new(MSIZE), followed: 0 };
        nine.push()?;
        Ok(nine)
    }

    /// Waits for the answer to that: the first reply of a guest.
    pub fn version(&mut self) -> Result<()> {
        self.answer(|m| match m {
            Rmsg::Version { .. } => Some(()),
            _ => None,
        })
    }

    /// Attaches to the root of the tree.
    pub fn attach(&mut self) -> Result<()> {
        let attach =
            Tmsg::Attach { fid: ROOT, afid: NONE, uname: "bench", aname: "", n_uname: NONE };
        self.client.send(&attach);
        self.answer(|m| matches!(m, Rmsg::Attach { .. }).then_some(()))
    }

    /// A whole file's bytes.
    pub fn read(&mut self, path: &str) -> Result<Vec<u8>> {
        self.read_file(path).with_context(|| format!("cannot read the guest's file {path}"))
    }

    /// Writes a line to a file that takes commands.
    pub fn write(&mut self, path: &str, data: &[u8]) -> Result<()> {
        let wrong = || format!("cannot write the guest's file {path}");
        self.open(FILE, path, OpenFlags::WRONLY).with_context(wrong)?;
        self.client.send(&Tmsg::Write { fid: FILE, offset: 0, data, op: None });
        let written = self.answer(|m| matches!(m, Rmsg::Write { .. }).then_some(()));
        self.client.send(&Tmsg::Clunk { fid: FILE });
        self.answer(|m| matches!(m, Rmsg::Clunk).then_some(()))?;
        written.with_context(wrong)
    }

    /// Writes a file from its start to its end, piece by piece.
    pub fn write_all(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        let wrong = || format!("cannot write the guest's file {path}");
        self.open(FILE, path, OpenFlags::WRONLY).with_context(wrong)?;
        let (mut offset, piece) = (0, self.client.msize() as usize - 24);
        while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
            let data = &rest[..rest.len().min(piece)];
            self.client.send(&Tmsg::Write { fid: FILE, offset: offset as u64, data, op: None });
            offset += self
                .answer(|m| match m {
                    Rmsg::Write { count } => Some(count as usize),
                    _ => None,
                })
                .with_context(wrong)?;
        }
        self.client.send(&Tmsg::Clunk { fid: FILE });
        self.answer(|m| matches!(m, Rmsg::Clunk).then_some(()))
    }

    /// Opens an event file for [`Nine::next`].
    pub fn follow(&mut self, path: &str) -> Result<Follow> {
        self.followed += 1;
        let fid = FILE + self.followed;
        self.open(fid, path, OpenFlags::RDONLY)?;
        Ok(Follow { fid, offset: 0 })
    }

    /// What it says next: waits for it.
    pub fn next(&mut self, follow: &mut Follow) -> Result<Vec<u8>> {
        let Follow { fid, offset } = *follow;
        self.client.send(&Tmsg::Read { fid, offset, count: self.client.msize() - 24 });
        let data = self.answer(|m| match m {
            Rmsg::Read { data, .. } => Some(data.to_vec()),
            _ => None,
        })?;
        follow.offset += data.len() as u64;
        Ok(data)
    }

    /// Takes what it says, until it has said nothing for that long. Nothing else can be asked
    /// then: the last request waits still.
    pub fn exhaust(&mut self, mut follow: Follow, quiet: Duration) -> Result<()> {
        self.socket.set_read_timeout(Some(quiet))?;
        loop {
            match self.next(&mut follow) {
                Ok(data) if data.is_empty() => bail!("the guest's file has ended"),
                Ok(_) => {}
                Err(e) if e.downcast_ref().is_some_and(is_late) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }

    fn open(&mut self, fid: u32, path: &str, flags: OpenFlags) -> Result<()> {
        let (_, names) = self.client.walk(ROOT, fid, path)?;
        let walked = self.answer(|m| match m {
            Rmsg::Walk { count, .. } => Some(usize::from(count)),
            _ => None,
        })?;
        if walked < names {
            bail!("there is no such file");
        }
        self.client.send(&Tmsg::Lopen { fid, flags });
        self.answer(|m| matches!(m, Rmsg::Lopen { .. }).then_some(()))
    }

    fn read_file(&mut self, path: &str) -> Result<Vec<u8>> {
        self.open(FILE, path, OpenFlags::RDONLY)?;
        let mut out = Vec::new();
        loop {
            let (offset, count) = (out.len() as u64, self.client.msize() - 24);
            self.client.send(&Tmsg::Read { fid: FILE, offset, count });
            let n = self.answer(|m| match m {
                Rmsg::Read { data, .. } => {
                    out.extend_from_slice(data);
                    Some(data.len())
                }
                _ => None,
            })?;
            if n == 0 {
                break;
            }
        }
        self.client.send(&Tmsg::Clunk { fid: FILE });
        self.answer(|m| matches!(m, Rmsg::Clunk).then_some(()))?;
        Ok(out)
    }

    fn push(&mut self) -> Result<()> {
        while !self.client.output().is_empty() {
            let n = self.socket.write(self.client.output()).context("cannot send to the guest")?;
            self.client.sent(n);
        }
        Ok(())
    }

    fn answer<T>(&mut self, mut take: impl FnMut(Rmsg<'_>) -> Option<T>) -> Result<T> {
        self.push()?;
        let mut buf = [0; 16 << 10];
        loop {
            if let Some((_, answer)) = self.client.poll()? {
                if let Rmsg::Lerror { errno, text } = answer {
                    bail!("the guest refused: {}", fault(errno, text));
                }
                return take(answer).context("the guest answered something else");
            }
            let n = self.socket.read(&mut buf).context("the guest does not answer")?;
            if n == 0 {
                bail!("the guest closed the connection");
            }
            self.client.feed(&buf[..n]);
        }
    }
}

fn is_late(e: &std::io::Error) -> bool {
    e.kind() == std::io::ErrorKind::WouldBlock
}
