//! A script that runs in a guest, while the test goes on.
//!
//! A port carries one job at a time. The guest's half of the exchange, with its
//! format, is `guest/worker`.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::linux::{Linux, PATIENCE, Port};

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
pub struct Job<'l> {
    linux: &'l Linux,
    /// None when the job has ended, or is out of hand.
    port: Option<Port>,
    nonce: String,
    script: String,
    seen: Vec<u8>,
}

impl<'l> Job<'l> {
    pub(crate) fn start(linux: &'l Linux, mut port: Port, script: &str) -> Result<Job<'l>> {
        let nonce = format!("{:016x}", RandomState::new().build_hasher().finish());
        let head = format!("{nonce} {}\n", script.len());
        port.stream
            .write_all(head.as_bytes())
            .and_then(|()| port.stream.write_all(script.as_bytes()))
            .context("the guest takes no command")?;
        let mut job =
            Job { linux, port: Some(port), nonce, script: script.to_owned(), seen: Vec::new() };
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

    /// Sends it, and all that it started, a signal: `INT` is what Ctrl-C does.
    pub fn signal(&self, signal: &str) -> Result<()> {
        match &self.port {
            Some(port) => self.linux.signal(port.number, signal),
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

    fn end_mark(&self) -> Vec<u8> {
        format!("\n{} ", self.nonce).into_bytes()
    }

    fn end(&mut self, patience: Duration) -> Result<Output> {
        let mark = self.end_mark();
        // The whole line, so that nothing of it is left for the next job.
        let at = self.until(patience, |seen| {
            let at = find(seen, &mark)?;
            seen[at + mark.len()..].contains(&b'\n').then_some(at)
        })?;
        let status = String::from_utf8_lossy(&self.seen[at + mark.len()..]).trim().parse();
        if let Some(port) = self.port.take() {
            self.linux.give_back(port);
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
            let waits = if left.is_zero() { self.linux.waits() } else { String::new() };
            let console = self.linux.console();
            bail!(
                "`{}` {why}; it wrote: {seen}\nthe console: {console}\nwhat runs: {waits}",
                self.script
            );
        }
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        if self.port.is_some() && self.signal("KILL").is_ok() {
            // What cannot be killed keeps its port: the next job must not meet it.
            let _ = self.end(Duration::from_secs(5));
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}
