//! The shell of a guest: several scripts at a time, each over a port of its own.
//!
//! Which guest it is does not matter here: one has a `worker` at each port (see
//! `guest/worker`), and a `control` at another for signals.

use std::fmt;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::job::{self, Job, Output};
use crate::linux::PATIENCE;
use crate::qemu::Qemu;

/// Commands that can run at the same time.
pub const JOBS: usize = 6;

/// The port over which jobs get signals; theirs are behind it.
pub(crate) const CONTROL: u32 = 1;

/// What says why nobody answers.
pub(crate) trait Console: Send + Sync {
    /// All that it shows.
    fn said(&self) -> String;
}

impl Console for Qemu {
    fn said(&self) -> String {
        Qemu::said(self)
    }
}

/// Where scripts are sent to.
pub struct Shell {
    console: Arc<dyn Console>,
    control: Mutex<UnixStream>,
    free: Mutex<Vec<Port>>,
    freed: Condvar,
    /// Somebody has asked what hangs.
    asked: AtomicBool,
}

impl fmt::Debug for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shell").finish_non_exhaustive()
    }
}

/// Where one job at a time runs.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u32,
    pub(crate) stream: UnixStream,
}

/// `/etc/inittab` of a guest that has these scripts below `/lab`.
fn inittab() -> String {
    let workers = (CONTROL + 1..).take(JOBS);
    let mut text = include_str!("guest/inittab").to_owned();
    for port in workers {
        text += &format!("::respawn:/lab/worker {port}\n");
    }
    text
}

/// Adds what every guest's shell is made of. What it boots with is its own.
pub(crate) fn add_to(files: &mut crate::files::Files) {
    files.file("etc/inittab", inittab().as_bytes());
    files.executable("lab/control", include_bytes!("guest/control"));
    files.file("lab/port", include_bytes!("guest/port"));
    files.executable("lab/worker", include_bytes!("guest/worker"));
}

/// The bytes of all that, for who keeps what was made of it.
pub(crate) fn identity() -> Vec<u8> {
    let mut bytes = inittab().into_bytes();
    for script in [
        &include_bytes!("guest/control")[..],
        include_bytes!("guest/port"),
        include_bytes!("guest/worker"),
    ] {
        bytes.extend_from_slice(script);
    }
    bytes
}

impl Shell {
    /// Of a guest whose ports these are, the one of signals first.
    pub(crate) fn new(console: Arc<dyn Console>, ports: Vec<UnixStream>) -> Result<Arc<Shell>> {
        let mut ports = (CONTROL..).zip(ports).map(|(number, stream)| Port { number, stream });
        let control = ports.next().context("no port")?.stream;
        Ok(Arc::new(Shell {
            console,
            control: Mutex::new(control),
            free: Mutex::new(ports.collect()),
            freed: Condvar::new(),
            asked: AtomicBool::new(false),
        }))
    }

    /// Starts a shell script. It waits for a place if [`JOBS`] others run.
    pub fn start(self: &Arc<Self>, script: &str) -> Result<Job> {
        let free = self.freed.wait_timeout_while(self.free(), PATIENCE, |free| free.is_empty());
        let (mut free, _) = free.unwrap_or_else(|e| e.into_inner());
        let port = free.pop().context("all places for jobs are taken")?;
        drop(free);
        Job::start(self.clone(), port, script)
    }

    /// Runs a shell script to its end: its status and what it wrote.
    pub fn run(self: &Arc<Self>, script: &str) -> Result<Output> {
        self.start(script)?.wait()
    }

    /// What a script writes, which must end with status 0.
    pub fn ok(self: &Arc<Self>, script: &str) -> Result<String> {
        let out = self.run(script)?;
        let (script, status) = (job::brief(script), out.status);
        ensure!(status == 0, "`{script}` ended with status {status}: {}", out.text());
        Ok(out.text())
    }

    /// What all processes of the guest wait for: for the error about one that hangs. Asked
    /// once, since who asks may hang as well.
    pub(crate) fn waits(self: &Arc<Self>) -> String {
        const LOOK: &str = "cd /proc; for p in [0-9]*; do \
            c=$(tr '\\0' ' ' <$p/cmdline); \
            [ -n \"$c\" ] && echo \"$p $c: $(cat $p/wchan $p/stack)\"; done";
        if self.asked.swap(true, Ordering::Relaxed) {
            return String::new();
        }
        let looked = self.start(LOOK).and_then(|job| job.wait_within(Duration::from_secs(10)));
        looked.map_or_else(|e| format!("{e:#}"), |out| out.text())
    }

    /// What the console shows.
    pub(crate) fn console(&self) -> String {
        self.console.said()
    }

    pub(crate) fn signal(&self, port: u32, signal: &str) -> Result<()> {
        let mut control = self.control.lock().unwrap_or_else(|e| e.into_inner());
        control.write_all(format!("{port} {signal}\n").as_bytes())?;
        Ok(())
    }

    pub(crate) fn give_back(&self, port: Port) {
        self.free().push(port);
        self.freed.notify_one();
    }

    fn free(&self) -> MutexGuard<'_, Vec<Port>> {
        self.free.lock().unwrap_or_else(|e| e.into_inner())
    }
}
