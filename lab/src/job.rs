//! A script that runs in a guest, while the test goes on.
//!
//! A port carries one job at a time. The guest's half of the exchange, with its
//! format, is `guest/worker`.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::linux::PATIENCE;
use crate::shell::{Port, Shell};

/// How a script ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit status; 128 and the signal's number if it was ended by a signal.
    pub status: i32,
    /// What it wrote, on standard output and error.
    pub bytes: Vec<u8>,
}

impl Output {
    /// What it wrote, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// A script that runs. Dropped before its end, it is killed.
#[derive(Debug)]
pub struct Job {
    shell: Arc<Shell>,
    /// None when the job has ended, or is out of hand.
    port: Option<Port>,
    nonce: String,
    /// What it is called in errors.
    script: String,
    seen: Vec<u8>,
}

impl Job {
    pub(crate) fn start(shell: Arc<Shell>, mut port: Port, script: &str) -> Result<Job> {
        let nonce = format!("{:016x}", RandomState::new().build_hasher().finish());
        let head = format!("{nonce} {}\n", script.len());
        port.stream
            .write_all(head.as_bytes())
            .and_then(|()| port.stream.write_all(script.as_bytes()))
            .context("the guest takes no command")?;
        let mut job =
            Job { shell, port: Some(port), nonce, script: brief(script), seen: Vec::new() };
        let begun = format!("{}+\n", job.nonce);
        let at = job.until(PATIENCE, |seen| find(seen, begun.as_bytes()))?;
        job.seen.drain(..at + begun.len());
        Ok(job)
    }

    /// Waits until it has written this, and says all that it wrote up to then.
    pub fn wait_for(&mut self, text: &str) -> Result<String> {
        let end = self.end_mark();
        let at =
            self.until(PATIENCE, |seen| find(seen, text.as_bytes()).or_else(|| find(seen, &end)))?;
        let seen = String::from_utf8_lossy(&self.seen).into_owned();
        if find(&self.seen[..], text.as_bytes()) != Some(at) {
            bail!("`{}` ended without {text:?}: {seen}", self.script);
        }
        Ok(seen)
    }

    /// More of what it writes, as soon as it comes; nothing when it has ended, and then
    /// [`Job::wait`] knows its status.
    pub fn more(&mut self) -> Result<Option<Vec<u8>>> {
        let mark = self.end_mark();
        let at = self.until(EVER, |seen| match find(seen, &mark) {
            Some(at) => Some(at),
            None => Some(seen.len() - kept(seen, &mark)).filter(|n| *n > 0),
        })?;
        let more: Vec<u8> = self.seen.drain(..at).collect();
        Ok((!more.is_empty()).then_some(more))
    }

    /// A way to send it signals while somebody waits for it. It must not be used when
    /// that wait is over.
    pub(crate) fn signals(&self) -> Option<(Arc<Shell>, u32)> {
        self.port.as_ref().map(|port| (self.shell.clone(), port.number))
    }

    /// Sends it, and all that it started, a signal: `INT` is what Ctrl-C does.
    pub fn signal(&self, signal: &str) -> Result<()> {
        match &self.port {
            Some(port) => self.shell.signal(port.number, signal),
            None => bail!("`{}` has ended", self.script),
        }
    }

    /// Waits for its end.
    pub fn wait(self) -> Result<Output> {
        self.wait_within(PATIENCE)
    }

    /// Waits for its end, but no longer than this; then it is killed.
    pub fn wait_within(mut self, patience: Duration) -> Result<Output> {
        self.end(patience)
    }

    /// Waits for its end, and keeps its place: [`Job::wait`] gives that back, and has no more
    /// to wait for.
    pub(crate) fn over(&mut self, patience: Duration) -> Result<()> {
        let mark = self.end_mark();
        self.until(patience, |seen| whole(seen, &mark)).map(drop)
    }

    fn end_mark(&self) -> Vec<u8> {
        format!("\n{} ", self.nonce).into_bytes()
    }

    fn end(&mut self, patience: Duration) -> Result<Output> {
        let mark = self.end_mark();
        let at = self.until(patience, |seen| whole(seen, &mark))?;
        let status = String::from_utf8_lossy(&self.seen[at + mark.len()..]).trim().parse();
        if let Some(port) = self.port.take() {
            self.shell.give_back(port);
        }
        self.seen.truncate(at);
        let bytes = std::mem::take(&mut self.seen);
        Ok(Output { status: status.context("no status")?, bytes })
    }

    /// Reads until something is found in what was seen.
    fn until(
        &mut self,
        patience: Duration,
        found: impl Fn(&[u8]) -> Option<usize>,
    ) -> Result<usize> {
        let until = Instant::now() + patience;
        let mut buf = vec![0; 64 << 10];
        loop {
            if let Some(at) = found(&self.seen) {
                return Ok(at);
            }
            let Some(port) = &mut self.port else { bail!("`{}` has ended", self.script) };
            let left = until.saturating_duration_since(Instant::now());
            let why = if left.is_zero() {
                "took too long"
            } else {
                port.stream.set_read_timeout(Some(left))?;
                match port.stream.read(&mut buf) {
                    Ok(n @ 1..) => {
                        self.seen.extend_from_slice(buf.get(..n).unwrap_or_default());
                        continue;
                    }
                    Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                    _ => "was alone: the guest has ended",
                }
            };
            let seen = String::from_utf8_lossy(&self.seen).into_owned();
            let waits = if left.is_zero() { self.shell.waits() } else { String::new() };
            let console = self.shell.console();
            bail!(
                "`{}` {why}; it wrote: {seen}\nthe console: {console}\nwhat runs: {waits}",
                self.script
            );
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.port.is_some() && self.signal("KILL").is_ok() {
            // What cannot be killed keeps its port: the next job must not meet it.
            let _ = self.end(Duration::from_secs(5));
        }
    }
}

/// As long as anything lives.
pub(crate) const EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How many bytes at the end may be the begin of a mark.
fn kept(seen: &[u8], mark: &[u8]) -> usize {
    (1..mark.len()).rev().find(|n| seen.ends_with(mark.get(..*n).unwrap_or(mark))).unwrap_or(0)
}

/// Where a mark begins whose whole line is there, so that nothing of it is left for the next
/// job.
fn whole(seen: &[u8], mark: &[u8]) -> Option<usize> {
    let at = find(seen, mark)?;
    seen[at + mark.len()..].contains(&b'\n').then_some(at)
}

/// A script as errors call it: its first line, and a mark where more is left out.
pub(crate) fn brief(script: &str) -> String {
    const MOST: usize = 100;
    let script = script.trim();
    let line = script.lines().next().unwrap_or_default();
    let brief: String = line.chars().take(MOST).collect();
    if brief.len() == script.len() { brief } else { format!("{} [...]", brief.trim_end()) }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_the_end_is_kept_back() {
        assert_eq!(kept(b"some", b"\nab "), 0);
        assert_eq!(kept(b"some\n", b"\nab "), 1);
        assert_eq!(kept(b"some\na", b"\nab "), 2);
        assert_eq!(kept(b"\nab", b"\nab "), 3);
        assert_eq!(kept(b"\nac", b"\nab "), 0);
    }
    #[test]
    fn errors_call_a_script_by_its_first_line() {
        assert_eq!(brief("xl list\n"), "xl list");
        assert_eq!(brief(""), "");
        assert_eq!(brief("cd /run\nxl list"), "cd /run [...]");
        let long = format!("echo {}", "ä".repeat(200));
        assert_eq!(brief(&long), format!("echo {} [...]", "ä".repeat(95)));
    }
}
