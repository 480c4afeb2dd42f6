//! What is left of a guest that failed: a record, in the text that the kernel
//! writes too.
//!
//! A record is written when nothing can be trusted any more: out of memory, on a
//! signal stack, inside a panic. So it is put together in a fixed buffer from
//! what is already there, with one write at the end. The log lines that it ends
//! with are kept in a ring for that purpose.

use std::fmt::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

/// The process ends with this status when a record was written.
pub const RECORDED: i32 = 100;
/// Bytes of log that a record shows.
const RING: usize = 4096;

struct Ring {
    bytes: [u8; RING],
    /// Bytes ever written.
    end: u64,
}

static LOG: Mutex<Ring> = Mutex::new(Ring { bytes: [0; RING], end: 0 });
static TO: OnceLock<OwnedFd> = OnceLock::new();
static STARTED: AtomicU64 = AtomicU64::new(0);

/// What kind of end it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The guest's code panicked.
    Panic,
    /// The processor refused an instruction or an access.
    Fault,
    /// The stack was used up.
    StackOverflow,
    /// The guest's memory was used up.
    OutOfMemory,
    /// The guest could not be started.
    Boot,
}

impl Kind {
    /// Its name in the record.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Panic => "panic",
            Kind::Fault => "fault",
            Kind::StackOverflow => "stack-overflow",
            Kind::OutOfMemory => "out-of-memory",
            Kind::Boot => "boot",
        }
    }
}

/// Says where records go, and that time begins now.
pub fn prepare(to: OwnedFd) {
    let _ = TO.set(to);
    STARTED.store(now(), Relaxed);
}

/// The descriptor that records go to, or standard error's.
pub fn fd() -> RawFd {
    TO.get().map_or(2, AsRawFd::as_raw_fd)
}

/// Nanoseconds of the system's monotonic clock.
pub fn now() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// When [`prepare`] was called, on the clock of [`now`].
pub fn started() -> u64 {
    STARTED.load(Relaxed)
}

/// Keeps a line for a record that may come.
pub fn log(line: &str) {
    let Ok(mut ring) = LOG.lock() else { return };
    for b in line.bytes().take(RING / 4).chain([b'\n']) {
        let at = (ring.end % RING as u64) as usize;
        ring.bytes[at] = b;
        ring.end += 1;
    }
}

/// A text of bounded length. What does not fit is left out.
struct Text {
    bytes: [u8; 2 * RING + 2048],
    len: usize,
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let n = s.len().min(self.bytes.len() - self.len);
        self.bytes[self.len..self.len + n].copy_from_slice(&s.as_bytes()[..n]);
        self.len += n;
        Ok(())
    }
}

/// One line: what a display writes, with line ends as spaces.
struct OneLine<'a>(&'a mut Text);

impl Write for OneLine<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for part in s.split_inclusive('\n') {
            match part.strip_suffix('\n') {
                Some(head) => {
                    self.0.write_str(head)?;
                    self.0.write_str(" ")?;
                }
                None => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// Writes a record. Allocates nothing and takes no lock that it could wait for.
pub fn write(
    kind: Kind,
    reason: fmt::Arguments<'_>,
    at: Option<fmt::Arguments<'_>>,
    regs: &[(&str, u64)],
) {
    let mut text = Text { bytes: [0; 2 * RING + 2048], len: 0 };
    let _ = render(&mut text, kind, reason, at, regs);
    let mut rest = &text.bytes[..text.len];
    while !rest.is_empty() {
        let written = match TO.get() {
            Some(to) => rustix::io::write(to, rest),
            None => rustix::io::write(stderr(), rest),
        };
        match written {
            Ok(n) => rest = &rest[n..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn stderr() -> BorrowedFd<'static> {
    rustix::stdio::stderr()
}

fn render(
    out: &mut Text,
    kind: Kind,
    reason: fmt::Arguments<'_>,
    at: Option<fmt::Arguments<'_>>,
    regs: &[(&str, u64)],
) -> fmt::Result {
    write!(out, "atoll-record 1\nkind {}\nreason ", kind.name())?;
    OneLine(out).write_fmt(reason)?;
    out.write_str("\n")?;
    if let Some(at) = at {
        write!(out, "at ")?;
        OneLine(out).write_fmt(at)?;
        out.write_str("\n")?;
    }
    for (name, value) in regs {
        writeln!(out, "reg {name} {value:#018x}")?;
    }
    writeln!(out, "time {}", now().saturating_sub(started()))?;
    // A fault inside `log` itself would find it locked: no lines, then.
    if let Ok(ring) = LOG.try_lock() {
        let len = ring.end.min(RING as u64);
        let mut fresh = ring.end <= RING as u64;
        let mut line = [0u8; RING / 4];
        let mut n = 0;
        for i in ring.end - len..ring.end {
            match ring.bytes[(i % RING as u64) as usize] {
                // What is left of the oldest line is no line.
                b'\n' if !fresh => fresh = true,
                b'\n' => {
                    let text = std::str::from_utf8(&line[..n]).unwrap_or("?");
                    writeln!(out, "log {text}")?;
                    n = 0;
                    continue;
                }
                b if fresh && n < line.len() => {
                    line[n] = b;
                    n += 1;
                }
                _ => {}
            }
        }
    }
    out.write_str("end\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_lines_of_key_and_value() {
        for i in 0..2000 {
            log(&format!("line {i}"));
        }
        let mut text = Text { bytes: [0; 2 * RING + 2048], len: 0 };
        let (reason, at) = ("two\nlines", "a.rs:1:2");
        let regs = [("rip", 0x1000)];
        let at = Some(format_args!("{at}"));
        render(&mut text, Kind::Panic, format_args!("{reason}"), at, &regs).unwrap();
        let text = std::str::from_utf8(&text.bytes[..text.len]).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..4], ["atoll-record 1", "kind panic", "reason two lines", "at a.rs:1:2"]);
        assert_eq!(lines[4], "reg rip 0x0000000000001000");
        assert!(lines[5].starts_with("time "));
        let log: Vec<&str> = lines[6..lines.len() - 1].to_vec();
        assert!(log.len() > 100);
        assert!(log.iter().all(|l| l.starts_with("log line ")), "{log:?}");
        assert_eq!(log.last(), Some(&"log line 1999"));
        assert_eq!(lines.last(), Some(&"end"));
    }
}
