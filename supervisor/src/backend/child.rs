//! The process of a machine: a program that was started, or a double of this one.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::fd::OwnedFd;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::stream::register;

/// One of the two. It is killed when this is dropped.
#[derive(Debug)]
pub(super) enum Child {
    Program(tokio::process::Child),
    Double(Double),
}

impl Child {
    /// Its number, until it was waited for.
    pub(super) fn id(&self) -> Option<u32> {
        match self {
            Child::Program(child) => child.id(),
            Child::Double(double) => double.ended.is_none().then(|| number(double.pid)),
        }
    }

    /// Waits for its end.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        match self {
            Child::Program(child) => child.wait().await,
            Child::Double(double) => double.wait().await,
        }
    }

    /// Has it end at once.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        match self {
            Child::Program(child) => child.start_kill(),
            Child::Double(double) => double.kill(),
        }
    }
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

/// A double of this process.
#[derive(Debug)]
pub(super) struct Double {
    pid: Pid,
    process: AsyncFd<OwnedFd>,
    ended: Option<ExitStatus>,
}

impl Double {
    /// One that nobody has waited for.
    pub(super) fn new(pid: Pid) -> io::Result<Double> {
        let process = register(pidfd_open(pid, PidfdFlags::empty())?, Interest::READABLE)?;
        Ok(Double { pid, process, ended: None })
    }

    async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(ended) = self.ended {
                return Ok(ended);
            }
            let mut ready = self.process.readable().await?;
            match waitpid(Some(self.pid), WaitOptions::NOHANG)? {
                Some((_, status)) => self.ended = Some(ExitStatus::from_raw(status.as_raw())),
                None => ready.clear_ready(),
            }
        }
    }

    fn kill(&self) -> io::Result<()> {
        if self.ended.is_none() {
            pidfd_send_signal(&self.process, Signal::KILL)?;
        }
        Ok(())
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        if self.ended.is_none() && self.kill().is_ok() {
            let _ = waitpid(Some(self.pid), WaitOptions::empty());
        }
    }
}
