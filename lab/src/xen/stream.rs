//! Bytes between a test and anything in dom0: `socat` there, between a port of
//! virtio-serial and whatever it can reach.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::job::{EVER, Job};
use crate::linux::PATIENCE;
use crate::shell::Shell;

use super::machine::STREAMS;

/// Which ports are free.
#[derive(Debug)]
pub(super) struct Slots {
    free: Mutex<Vec<usize>>,
    freed: Condvar,
}

impl Default for Slots {
    fn default() -> Slots {
        Slots { free: Mutex::new((1..=STREAMS).collect()), freed: Condvar::new() }
    }
}

impl Slots {
    pub(super) fn take(&self) -> Result<usize> {
        let free = self.free.lock().unwrap_or_else(|e| e.into_inner());
        let waited = self.freed.wait_timeout_while(free, PATIENCE, |free| free.is_empty());
        let (mut free, _) = waited.unwrap_or_else(|e| e.into_inner());
        free.pop().context("all streams of the lab are taken")
    }

    fn give_back(&self, slot: usize) {
        self.free.lock().unwrap_or_else(|e| e.into_inner()).push(slot);
        self.freed.notify_one();
    }
}

/// How long what is in dom0 may take to notice that a stream is closed. What has been told to
/// write meanwhile waits for a reader, and would for ever: it is killed then.
const GRACE: Duration = Duration::from_secs(2);

/// Who runs in dom0, and whom signals for it go to; nothing when it has ended.
type Runs = Arc<Mutex<Option<(Arc<Shell>, u32)>>>;

/// An open stream. It ends when its other end does; dropped, it is closed.
#[derive(Debug)]
pub struct Stream {
    socket: UnixStream,
    /// Waits for the end of what is in dom0: what that wrote.
    there: Option<JoinHandle<()>>,
    runs: Runs,
    said: Arc<Mutex<String>>,
}

impl Stream {
    pub(super) fn new(
        socket: UnixStream,
        mut job: Job,
        slots: Arc<Slots>,
        slot: usize,
    ) -> Result<Stream> {
        let (ours, said) = (socket.try_clone()?, Arc::new(Mutex::new(String::new())));
        let theirs = said.clone();
        let runs: Runs = Arc::new(Mutex::new(job.signals()));
        let over = runs.clone();
        let there = std::thread::spawn(move || {
            let _ = job.over(EVER);
            // Before its place is given back: a signal must not meet the next one there.
            *over.lock().unwrap_or_else(|e| e.into_inner()) = None;
            let out = job.wait();
            let text = out.map_or_else(|e| format!("{e:#}"), |out| out.text());
            *theirs.lock().unwrap_or_else(|e| e.into_inner()) = text;
            // What has come already can still be read.
            let _ = ours.shutdown(Shutdown::Both);
            slots.give_back(slot);
        });
        Ok(Stream { socket, there: Some(there), runs, said })
    }

    /// The same stream once more, for another thread.
    pub fn socket(&self) -> io::Result<UnixStream> {
        self.socket.try_clone()
    }

    /// What socat complained of, once the stream has ended.
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buf)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        let Some(there) = self.there.take() else { return };
        let until = Instant::now() + GRACE;
        while !there.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Some((shell, port)) = &*self.runs.lock().unwrap_or_else(|e| e.into_inner()) {
            let _ = shell.signal(*port, "KILL");
        }
        let _ = there.join();
    }
}
