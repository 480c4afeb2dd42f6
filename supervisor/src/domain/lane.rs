//! A stream of a domain: a socket of the supervisor's on one side, a vchan on the other.
//!
//! The supervisor connects before there is a domain, and waits: what it sends is carried
//! as soon as the guest serves. Between a connection's end and the next, the vchan is
//! closed, which is how the guest hears of it. A guest that is suspended ends its
//! connections; they are made again when it goes on.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use anyhow::Result;
use atoll_xen::dom0::{Open, Store, Vchan};
use atoll_xen::vchan::{EVENT_CHANNEL, Takes};
use rustix::event::{PollFd, PollFlags, poll};

use super::gate::{Gate, Pass};
use super::store;

/// How soon a domain that does not serve yet is asked again, at first and at most. When it begins
/// to serve it says so in XenStore, but not when it has let go of a client.
const AGAIN: Duration = Duration::from_millis(5);
const AT_MOST: Duration = Duration::from_millis(80);
/// How long events are waited for at a time.
const SOME_TIME: Duration = Duration::from_secs(3600);
/// Bytes that wait on their way, each way.
const WAITING: usize = 64 << 10;

/// Serves one stream for ever: this process ends with its domain.
pub(super) fn serve(
    listener: &UnixListener,
    domid: u16,
    name: &str,
    gate: &Gate,
    opened: &dyn Fn(),
) -> Result<()> {
    // Nobody may ever come: then XenStore is not asked.
    let (mut socket, _) = listener.accept()?;
    let path = store::path(domid, &format!("data/vchan/{name}"));
    let mut store = store::open()?;
    store::watch(&mut store, &format!("{path}/{EVENT_CHANNEL}"))?;
    let mut anew = false;
    loop {
        let (vchan, pass) = connect(&mut store, domid, &path, gate, anew)?;
        opened();
        socket.set_nonblocking(true)?;
        let carried = carry(&socket, vchan, gate);
        drop(pass);
        anew = carried? == End::Refused;
        let _ = socket.shutdown(Shutdown::Both);
        (socket, _) = listener.accept()?;
    }
}

/// Connects to what the domain serves; to what it serves `anew` only if it did not want the
/// last connection.
fn connect<'g>(
    store: &mut Store,
    domid: u16,
    path: &str,
    gate: &'g Gate,
    anew: bool,
) -> Result<(Vchan, Pass<'g>)> {
    let failed = |e| anyhow::anyhow!("{path}: {e}");
    while anew && store.wait_event(SOME_TIME).map_err(failed)?.is_none() {}
    let mut patience = AGAIN;
    loop {
        // What was told before this is about what is opened now, or older. (What is told in between
        // is too, and lets a domain that wants no connection refuse one more.)
        while store.event().map_err(failed)?.is_some() {}
        let pass = gate.enter();
        match Vchan::open(store, domid, path, Takes::Fresh) {
            Ok(vchan) => return Ok((vchan, pass)),
            Err(Open::NotYet(_)) => drop(pass),
            Err(e) => return Err(anyhow::anyhow!("{path}: {e}")),
        }
        store.wait_event(patience).map_err(failed)?;
        patience = (patience * 2).min(AT_MOST);
    }
}

/// How a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By the guest, before it had said anything: it wants none.
    Refused,
    /// Otherwise.
    Over,
}

/// Bytes on their way.
#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    sent: usize,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn left(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    fn fill(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn took(&mut self, n: usize) {
        self.sent += n;
        if self.sent >= self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
    }
}

/// Carries bytes both ways until one side ends, or the gate is shut.
fn carry(socket: &UnixStream, mut vchan: Vchan, gate: &Gate) -> io::Result<End> {
    let (mut there, mut back) = (Queue::default(), Queue::default());
    let mut buf = vec![0; WAITING];
    let mut over = false;
    let mut end = End::Refused;
    loop {
        vchan.acknowledge()?;
        let mut moved = true;
        while moved {
            moved = false;
            if back.is_empty() && !over {
                match vchan.try_read(&mut buf)? {
                    Some(0) => over = true,
                    Some(n) => {
                        end = End::Over;
                        back.fill(buf.get(..n).unwrap_or_default());
                        moved = true;
                    }
                    None => {}
                }
            }
            if !back.is_empty() {
                if let Some(n) = ready((&*socket).write(back.left()))? {
                    back.took(n);
                    moved = true;
                }
            } else if over {
                return Ok(end);
            }
            if there.is_empty() {
                match ready((&*socket).read(&mut buf))? {
                    Some(0) => return Ok(End::Over),
                    Some(n) => there.fill(buf.get(..n).unwrap_or_default()),
                    None => {}
                }
            }
            if !there.is_empty() && !over {
                match vchan.try_write(there.left()) {
                    Ok(Some(n)) => {
                        there.took(n);
                        moved = true;
                    }
                    Ok(None) => {}
                    // What it sent before may still be read.
                    Err(e) if e.kind() == io::ErrorKind::BrokenPipe => there.took(usize::MAX / 2),
                    Err(e) => return Err(e),
                }
            }
        }
        let mut wishes = PollFlags::empty();
        if there.is_empty() {
            wishes |= PollFlags::IN;
        }
        if !back.is_empty() {
            wishes |= PollFlags::OUT;
        }
        let bell = gate.bell();
        let mut fds = [
            PollFd::new(socket, wishes),
            PollFd::new(&vchan, PollFlags::IN),
            PollFd::new(&bell, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) if gate.is_shut() => return Ok(End::Over),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// None where it would block; an end where the other side has gone.
fn ready(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Ok(n) => Ok(Some(n)),
        Err(e) => match e.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
            _ => Err(e),
        },
    }
}
