//! A domain's console, as xenconsoled gives it to dom0: a terminal whose path is in XenStore.
//!
//! Everything that the guest logs comes here, and is heard by the supervisor from the
//! guest's own tree too, from the first line on. So lines are held for a while, go on if that
//! tree cannot be read then, or ever, and are forgotten else. A record always goes on.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use atoll_xen::dom0::Store;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::store;

/// How long xenconsoled may take to have a terminal.
const COMES_WITHIN: Duration = Duration::from_secs(20);
/// When so long nothing has come after the domain's end, nothing comes.
const SILENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 300_000_000 };
/// How long lines are held.
const HELD_FOR: Duration = Duration::from_secs(3);
/// Bytes of them: the first are the ones that tell.
const HELD: usize = 16 << 10;
/// The first word of a record, and its last line.
const RECORD: &[u8] = b"atoll-record ";
const END: &[u8] = b"end";

/// The console's thread.
#[derive(Debug)]
pub(super) struct Console {
    thread: std::thread::JoinHandle<Result<bool>>,
    over: Arc<Bell>,
}

/// Rung when the domain has ended. Nothing else wakes who waits for a silent terminal.
#[derive(Debug)]
struct Bell(OwnedFd);

impl Bell {
    fn new() -> io::Result<Bell> {
        Ok(Bell(eventfd(0, EventfdFlags::CLOEXEC)?))
    }

    fn ring(&self) {
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    fn has_rung(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&now)), Ok(1))
    }
}

impl Console {
    /// Begins to read it; `open` is up as soon as the guest's tree can be read.
    pub(super) fn start(
        mut store: Store,
        domid: u16,
        to: File,
        open: Arc<AtomicBool>,
    ) -> io::Result<Console> {
        let over = Arc::new(Bell::new()?);
        let ended = over.clone();
        let thread = std::thread::spawn(move || {
            let path = path(&mut store, domid, &ended)?;
            drop(store);
            follow(&path, to, &open, &ended)
        });
        Ok(Console { thread, over })
    }

    /// The domain has ended: reads what is left. Whether there was a record.
    pub(super) fn rest(self) -> bool {
        self.over.ring();
        matches!(self.thread.join(), Ok(Ok(true)))
    }
}

/// Waits for the terminal's path.
fn path(store: &mut Store, domid: u16, over: &Bell) -> Result<String> {
    let key = store::path(domid, "console/tty");
    store::watch(store, &key)?;
    let until = Instant::now() + COMES_WITHIN;
    loop {
        if let Some(path) = store::read(store, &key)?.filter(|p| !p.is_empty()) {
            return Ok(path);
        }
        anyhow::ensure!(Instant::now() < until && !over.has_rung(), "xenconsoled gives no console");
        store.wait_event(Duration::from_millis(200)).map_err(|e| anyhow::anyhow!("{e}"))?;
    }
}

fn follow(path: &str, mut to: File, is_open: &AtomicBool, over: &Bell) -> Result<bool> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut tty = File::from(open(path, flags, Mode::empty()).context("the console")?);
    // Nothing that comes is to be sent back.
    if let Ok(mut mode) = tcgetattr(&tty) {
        mode.make_raw();
        let _ = tcsetattr(&tty, OptionalActions::Now, &mode);
    }
    let mut lines = Lines::default();
    let mut buf = [0; 4096];
    let until = Instant::now() + HELD_FOR;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if is_open.load(Ordering::Acquire) {
            lines.held = None;
        } else if left.is_zero() {
            to.write_all(&lines.release())?;
        }
        let last = over.has_rung();
        let patience = match &lines.held {
            _ if last => Some(SILENCE),
            Some(_) => Some(Timespec::try_from(left)?),
            None => None,
        };
        let bell = if last { PollFlags::empty() } else { PollFlags::IN };
        let mut fds = [PollFd::new(&tty, PollFlags::IN), PollFd::new(&over.0, bell)];
        match poll(&mut fds, patience.as_ref()) {
            Ok(0) if last => break,
            Ok(_) if fds[0].revents().is_empty() => continue,
            Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(e) => return Err(e.into()),
        }
        // The terminal goes with the domain.
        let n = tty.read(&mut buf).unwrap_or(0);
        if n == 0 {
            break;
        }
        let out = lines.take(buf.get(..n).unwrap_or_default(), is_open.load(Ordering::Acquire));
        to.write_all(&out)?;
    }
    if !is_open.load(Ordering::Acquire) {
        to.write_all(&lines.release())?;
    }
    Ok(lines.recorded)
}

/// The longest line that is kept whole.
const LONGEST: usize = 4096;

/// Tells what goes on.
#[derive(Debug)]
struct Lines {
    line: Vec<u8>,
    /// Nothing is held any more once there is none.
    held: Option<Vec<u8>>,
    inside: bool,
    recorded: bool,
}

impl Default for Lines {
    fn default() -> Lines {
        Lines { line: Vec::new(), held: Some(Vec::new()), inside: false, recorded: false }
    }
}

impl Lines {
    /// What was held goes on, and so does what follows.
    fn release(&mut self) -> Vec<u8> {
        self.held.take().unwrap_or_default()
    }

    /// The whole lines that go on, of what came.
    fn take(&mut self, bytes: &[u8], is_open: bool) -> Vec<u8> {
        let mut out = Vec::new();
        for byte in bytes.iter().filter(|b| **b != b'\r') {
            if *byte != b'\n' && self.line.len() < LONGEST {
                self.line.push(*byte);
                continue;
            }
            if self.line.starts_with(RECORD) {
                (self.inside, self.recorded) = (true, true);
            }
            let to = match &mut self.held {
                _ if self.inside => Some(&mut out),
                _ if is_open => None,
                Some(held) => Some(held).filter(|held| held.len() < HELD),
                None => Some(&mut out),
            };
            if let Some(to) = to {
                to.extend_from_slice(&self.line);
                to.push(b'\n');
            }
            self.inside &= self.line != END;
            self.line.clear();
            if *byte != b'\n' {
                self.line.push(*byte);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_on_if_the_tree_does_not_open_and_records_always() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"on\r\ne\r", false), b"");
        assert_eq!(lines.release(), b"on\n");
        assert_eq!(lines.take(b"\ntw", false), b"e\n");
        assert_eq!(lines.take(b"o\r\n", true), b"");
        assert!(!lines.recorded);
        let record = b"atoll-record 1\r\nkind panic\r\nend\r\nlate\r\n";
        assert_eq!(lines.take(record, true), b"atoll-record 1\nkind panic\nend\n");
        assert!(lines.recorded);
        assert_eq!(lines.take(&[b'x'; 3 * LONGEST], false).len(), 2 * (LONGEST + 1));
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut lines = Lines::default();
        for _ in 0..10_000 {
            lines.take(b"a line of a log\n", false);
        }
        assert!(lines.release().len() < HELD + LONGEST);
    }
}
