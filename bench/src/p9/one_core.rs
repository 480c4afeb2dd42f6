//! Client and server on one processor, for as long as a value lives.
//!
//! Where there is a choice, the kernel makes it anew each time: a wake-up on the
//! same processor takes a context switch, one on another that sleeps ten times as
//! long on a virtual machine. Rates then have two values and any in between.

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::proc::Running;

/// This thread, and all of a program's.
#[derive(Debug)]
pub struct OneCore {
    before: CpuSet,
    threads: Vec<Pid>,
}

impl OneCore {
    /// Keeps them on the last processor that this thread may use.
    pub fn pin(running: &Running) -> Result<OneCore> {
        let before = sched_getaffinity(None)?;
        let last =
            (0..CpuSet::MAX_CPU).rev().find(|n| before.is_set(*n)).context("no processor")?;
        let mut one = CpuSet::new();
        one.set(last);
        let pinned = OneCore { before, threads: running.threads() };
        pinned.set(&one)?;
        Ok(pinned)
    }

    fn set(&self, set: &CpuSet) -> Result<()> {
        sched_setaffinity(None, set)?;
        for thread in &self.threads {
            match sched_setaffinity(Some(*thread), set) {
                // What a server runs beside may have ended since it was seen.
                Ok(()) | Err(Errno::SRCH) => {}
                Err(e) => return Err(e).context("cannot choose a server's processor"),
            }
        }
        Ok(())
    }
}

impl Drop for OneCore {
    fn drop(&mut self) {
        // A thread that has ended needs nothing any more.
        let _ = sched_setaffinity(None, &self.before);
        for thread in &self.threads {
            let _ = sched_setaffinity(Some(*thread), &self.before);
        }
    }
}
