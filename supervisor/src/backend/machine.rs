//! The machine of a guest: its process, its streams, and its end.

use std::any::Any;
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;

use command_fds::{CommandFdExt, FdMapping};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, setpgid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::sync::Notify;

use super::child::{Child, Double};
use super::monitor::Monitor;
use super::{Backend, CONTROL_FD, DEBUG_FD, Ended, Files, HOST_FD, MONITOR_FD, Spec, Work};
use crate::guard::Guard;
use crate::socket::Private;
use crate::stream::Stream;

/// The most of a program's complaints that is kept.
const MAX_STDERR: usize = 16 << 10;

/// What lets a machine stand still and go on.
#[derive(Debug)]
pub struct Still(How);

#[derive(Debug)]
enum How {
    /// The process is stopped.
    Process(OwnedFd),
    /// A monitor is asked.
    Monitor(Monitor),
}

impl Still {
    /// Lets the guest stand still. Nothing of it is lost, and it uses no processor.
    pub async fn pause(&mut self) -> io::Result<()> {
        match &mut self.0 {
            How::Process(process) => Ok(pidfd_send_signal(process, Signal::STOP)?),
            How::Monitor(monitor) => monitor.run("stop").await,
        }
    }

    /// Waits until the machine is there, where there is a monitor that says so.
    pub async fn ready(&mut self) -> io::Result<()> {
        match &mut self.0 {
            How::Process(_) => Ok(()),
            How::Monitor(monitor) => monitor.greet().await,
        }
    }

    /// Presses the machine's power button.
    pub async fn press(&mut self) -> io::Result<()> {
        match &mut self.0 {
            How::Process(_) => Err(io::Error::other("it has no power button")),
            How::Monitor(monitor) => monitor.run("system_powerdown").await,
        }
    }

    /// Waits for the machine's end: why it was turned off, if its monitor says so. Given up
    /// before that, it has missed nothing.
    pub async fn farewell(&mut self) -> Option<String> {
        match &mut self.0 {
            How::Process(_) => std::future::pending().await,
            How::Monitor(monitor) => monitor.farewell().await,
        }
    }

    /// Moves the guest to whoever takes it at a socket, however long that takes. What it says
    /// of itself when it cannot begins with [`crate::domain::HELD`] if it stands still then.
    pub async fn relocate(&mut self, to: &str) -> io::Result<()> {
        match &mut self.0 {
            How::Process(_) => Err(io::Error::other("only a domain of Xen can be moved")),
            How::Monitor(monitor) => {
                monitor.run_to_its_end(crate::domain::RELOCATE, Some(to)).await
            }
        }
    }

    /// Lets it go on.
    pub async fn resume(&mut self) -> io::Result<()> {
        match &mut self.0 {
            How::Process(process) => Ok(pidfd_send_signal(process, Signal::CONT)?),
            How::Monitor(monitor) => monitor.run("cont").await,
        }
    }
}

/// A guest's machine, running.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    /// The connection of the `control` stream, where there is one.
    pub control: Option<Stream>,
    /// The connection of the `host` stream, where there is one and it is of use.
    pub host: Option<Stream>,
    /// Early log lines and the record.
    pub debug: Option<pipe::Receiver>,
    /// What lets it stand still and go on.
    pub still: Option<Still>,
    /// The sockets of the streams, where those can be made again.
    again: Option<(PathBuf, PathBuf)>,
    stderr: Option<pipe::Receiver>,
    said: Rc<RefCell<Vec<u8>>>,
}

/// A process that was just started, and what holds the files that it was given.
type Started = (Child, Box<dyn Any>);

/// Starts the backend's program.
fn program(
    backend: &dyn Backend,
    spec: &Spec,
    files: Files,
    stderr: OwnedFd,
    held: Option<File>,
) -> anyhow::Result<Started> {
    let line = backend.line(spec);
    let mut command = std::process::Command::new(&line[0]);
    command.args(&line[1..]);
    if !backend.follows_parent() {
        atoll_fork::end_with_parent(&mut command);
    }
    let mut command = Command::from(command);
    // Out of the terminal's reach: an interrupt is for the supervisor to judge.
    command
        .process_group(0)
        .stdin(held.map_or(Stdio::null(), Stdio::from))
        .stdout(Stdio::null())
        .stderr(Stdio::from(stderr));
    command.kill_on_drop(true);
    let map = |(child_fd, parent_fd)| FdMapping { parent_fd, child_fd };
    command.as_std_mut().fd_mappings(files.into_iter().map(map).collect())?;
    let child =
        command.spawn().map_err(|e| anyhow::anyhow!("cannot start {}: {e}", line[0].display()))?;
    Ok((Child::Program(child), Box::new(command)))
}

/// Has a double of this process do the work.
fn double(
    work: Work,
    files: Files,
    stderr: OwnedFd,
    held: Option<File>,
) -> anyhow::Result<Started> {
    let (numbers, mut all): (Vec<i32>, Vec<OwnedFd>) = files.into_iter().unzip();
    let null = OwnedFd::from(File::options().read(true).write(true).open("/dev/null")?);
    let input = held.map_or_else(|| null.try_clone(), |held| Ok(held.into()))?;
    all.extend([input, null, stderr]);
    let begin = move |mut all: Vec<OwnedFd>| {
        let standard = all.split_off(numbers.len());
        // Out of the terminal's reach, as a program is.
        let done = setpgid(None, None)
            .and_then(|()| dup2_stdin(&standard[0]))
            .and_then(|()| dup2_stdout(&standard[1]))
            .and_then(|()| dup2_stderr(&standard[2]));
        drop(standard);
        match done {
            Ok(()) => work(numbers.into_iter().zip(all).collect()),
            Err(_) => 1,
        }
    };
    let kept = all.iter().map(OwnedFd::try_clone).collect::<io::Result<Vec<_>>>()?;
    let pid = atoll_fork::double(all, begin)?;
    Ok((Child::Double(Double::new(pid)?), Box::new(kept)))
}

/// Starts a machine. `held` is an open file that is not closed before the machine's end,
/// or before it is sure to end with this process.
pub fn start(
    backend: &dyn Backend,
    spec: &Spec,
    private: &Private,
    guard: &mut Guard,
    held: Option<File>,
) -> anyhow::Result<Machine> {
    let streams = match backend.has_streams() {
        true => Some((private.listen("control")?, private.listen("host")?)),
        false => None,
    };
    let (debug, debug_end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let monitor = match backend.has_monitor() {
        true => Some(private.listen("monitor")?),
        false => None,
    };
    let mut files = Files::from([(DEBUG_FD, debug_end)]);
    files.extend(backend.files()?.into_iter().map(|(fd, number)| (number, fd)));
    let streams = streams.map(|((control_at, control), (host_at, host))| {
        files.insert(CONTROL_FD, control.into());
        files.insert(HOST_FD, host.into());
        (control_at, host_at)
    });
    let monitor = monitor.map(|(path, listener)| {
        files.insert(MONITOR_FD, listener.into());
        path
    });
    let (stderr, stderr_end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // Only who has one thread can be doubled.
    let (child, handed_over) = match backend.double(spec).filter(|_| atoll_fork::is_alone()) {
        Some(work) => double(work, files, stderr_end, held)?,
        None => program(backend, spec, files, stderr_end, held)?,
    };
    let mut process = None;
    if let Some(pid) = child.id() {
        guard.child(pid)?;
        // Nobody has waited for it yet: the number is its own.
        let pid = Pid::from_raw(pid as i32);
        process = pid.and_then(|p| pidfd_open(p, PidfdFlags::empty()).ok());
    }
    let again = streams.clone().filter(|_| backend.has_streams_again());
    let connect = |path: &Path| -> io::Result<Stream> {
        let stream = std::os::unix::net::UnixStream::connect(path)?;
        if again.is_none() {
            std::fs::remove_file(path)?;
        }
        stream.try_into()
    };
    // Where nobody waits for it, a guest that calls nobody is not asked what it has to say.
    let host = streams.as_ref().filter(|_| spec.calls || again.is_none());
    let host = host.map(|(_, at)| connect(at)).transpose()?;
    let control = streams.as_ref().map(|(at, _)| connect(at)).transpose()?;
    let still = match monitor {
        Some(path) => Some(Still(How::Monitor(Monitor::new(connect(&path)?)))),
        None => process.map(|p| Still(How::Process(p))),
    };
    // What was handed over is closed here, and not before: a program that ends at once would be
    // seen as a refused connection, and what it said as to why not at all.
    drop(handed_over);
    Ok(Machine {
        control,
        host,
        debug: Some(pipe::Receiver::from_owned_fd(debug)?),
        still,
        again,
        stderr: Some(pipe::Receiver::from_owned_fd(stderr)?),
        child,
        said: Rc::default(),
    })
}

impl Machine {
    /// The number of its process, until that was waited for.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Where the streams `control` and `host` are found again after they have ended, if they
    /// are.
    pub fn again(&self) -> Option<(PathBuf, PathBuf)> {
        self.again.clone()
    }

    /// Waits for the end, and brings it about when told to.
    pub async fn wait(&mut self, backend: &dyn Backend, kill: &Notify) -> io::Result<Ended> {
        let said = self.said.clone();
        let stderr = self.stderr.take();
        let listen = async move {
            let Some(mut stderr) = stderr else { return };
            let mut buf = [0; 4096];
            while let Ok(n) = stderr.read(&mut buf).await {
                let mut said = said.borrow_mut();
                let room = MAX_STDERR.saturating_sub(said.len());
                said.extend_from_slice(&buf[..n.min(room)]);
                if n == 0 {
                    break;
                }
            }
        };
        let child = &mut self.child;
        let wait = async {
            tokio::select! {
                status = child.wait() => return status.map(|status| (status, false)),
                () = kill.notified() => {}
            }
            child.kill()?;
            child.wait().await.map(|status| (status, true))
        };
        let (status, ()) = tokio::join!(wait, listen);
        let (status, killed) = status?;
        let said = String::from_utf8_lossy(&self.said.borrow()).trim().to_owned();
        // It may have ended by itself just before.
        if killed && status.signal() == Some(Signal::KILL.as_raw()) {
            return Ok(Ended::Killed(said));
        }
        Ok(backend.ended(status, &said))
    }
}
