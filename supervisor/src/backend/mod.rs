//! Where a guest runs. A backend is a program to start and a way to read how it
//! ended; all else is the same for every one.
//!
//! The program inherits three descriptors, with the same numbers each time, so
//! that a command line can be printed before there is anything to run.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;

use command_fds::{CommandFdExt, FdMapping};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::Notify;

use crate::guard::Guard;
use crate::record::{Parser, Record};
use crate::socket::Private;
use crate::stream::Stream;

pub mod kvm;
pub mod process;
pub mod qemu;

/// The listening socket of the `control` stream, in the program.
pub const CONTROL_FD: i32 = 3;
/// The listening socket of the `host` stream.
pub const HOST_FD: i32 = 4;
/// The pipe for early log lines and the record.
pub const DEBUG_FD: i32 = 5;

/// The hidden command that starts a program which ends with its parent.
pub const EXEC: &str = "__exec";
/// The most of a program's complaints that is kept.
const MAX_STDERR: usize = 16 << 10;

/// What is to run.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The image file.
    pub image: PathBuf,
    /// Memory in bytes.
    pub memory: u64,
    /// The launch line.
    pub launch: String,
}

/// How a machine ended, as its program tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The guest ended by itself, with this status.
    Status(u8),
    /// It failed, and has written a record.
    Recorded,
    /// It failed without a word; the text says all that is known.
    Lost(String),
    /// The program never ran the guest; the text is its complaint.
    Unstarted(String),
}

/// A kind of place where guests run.
pub trait Backend {
    /// Its name, and what matters of how it runs.
    fn name(&self) -> String;

    /// The program and its arguments.
    fn line(&self, spec: &Spec) -> Vec<OsString>;

    /// Whether the program sees by itself to it that it does not outlive its parent.
    fn follows_parent(&self) -> bool;

    /// Reads the program's end.
    fn ended(&self, status: ExitStatus, stderr: &str) -> Ended;
}

/// A guest's machine, running.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    /// The connection of the `control` stream.
    pub control: Option<Stream>,
    /// The connection of the `host` stream.
    pub host: Option<Stream>,
    /// Early log lines and the record.
    pub debug: Option<pipe::Receiver>,
    stderr: Option<ChildStderr>,
    said: Rc<RefCell<Vec<u8>>>,
}

/// Starts a machine.
pub fn start(
    backend: &dyn Backend,
    spec: &Spec,
    atoll: &Path,
    private: &Private,
    guard: &mut Guard,
) -> anyhow::Result<Machine> {
    let line = backend.line(spec);
    let mut command = if backend.follows_parent() {
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]);
        command
    } else {
        let mut command = Command::new(atoll);
        command.arg(EXEC).arg(std::process::id().to_string()).args(&line);
        command
    };
    let (control_at, control) = private.listen("control")?;
    let (host_at, host) = private.listen("host")?;
    let (debug, debug_end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let map = |fd, child_fd| FdMapping { parent_fd: fd, child_fd };
    // Out of the terminal's reach: an interrupt is for the supervisor to judge.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    command.as_std_mut().fd_mappings(vec![
        map(control.into(), CONTROL_FD),
        map(host.into(), HOST_FD),
        map(debug_end, DEBUG_FD),
    ])?;
    let mut child =
        command.spawn().map_err(|e| anyhow::anyhow!("cannot start {}: {e}", line[0].display()))?;
    if let Some(pid) = child.id() {
        guard.child(pid)?;
    }
    let connect = |path: &Path| -> io::Result<Stream> {
        let stream = std::os::unix::net::UnixStream::connect(path)?;
        std::fs::remove_file(path)?;
        stream.try_into()
    };
    let (control, host) = (connect(&control_at)?, connect(&host_at)?);
    // What was handed over is closed here with the command that holds it. Not before:
    // a program that ends at once would be seen as a refused connection, and what it
    // said as to why not at all.
    drop(command);
    Ok(Machine {
        control: Some(control),
        host: Some(host),
        debug: Some(pipe::Receiver::from_owned_fd(debug)?),
        stderr: child.stderr.take(),
        child,
        said: Rc::default(),
    })
}

impl Machine {
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
                status = child.wait() => return status,
                () = kill.notified() => {}
            }
            child.kill().await?;
            child.wait().await
        };
        let (status, ()) = tokio::join!(wait, listen);
        let said = String::from_utf8_lossy(&self.said.borrow()).trim().to_owned();
        Ok(backend.ended(status?, &said))
    }
}

/// Reads a debug stream to its end.
pub async fn follow(debug: pipe::Receiver, mut log: impl FnMut(&str)) -> Option<Record> {
    let mut debug = debug;
    let mut parser = Parser::default();
    let mut buf = [0; 4096];
    while let Ok(n) = debug.read(&mut buf).await {
        if n == 0 {
            break;
        }
        parser.feed(&buf[..n], &mut log);
    }
    parser.record()
}

/// Runs [`EXEC`]: becomes a program that ends when its parent does.
pub fn exec(parent: u32, line: &[OsString]) -> io::Error {
    use std::os::unix::process::CommandExt;
    if let Err(e) =
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
    {
        return e.into();
    }
    // It may have ended before that was said.
    let now = rustix::process::getppid().map(|p| p.as_raw_nonzero().get().unsigned_abs());
    if now != Some(parent) {
        return io::Error::other("the parent is gone");
    }
    match line {
        [program, args @ ..] => {
            let why = std::process::Command::new(program).args(args).exec();
            io::Error::new(why.kind(), format!("cannot start {}: {why}", program.display()))
        }
        [] => io::Error::other("no program"),
    }
}

/// Finds a program: where a variable says, beside this one, or on the path.
pub fn find_program(name: &str, variable: &str, atoll: &Path) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable).filter(|v| !v.is_empty()) {
        return Some(path.into());
    }
    let beside = atoll.with_file_name(name);
    if beside.is_file() {
        return Some(beside);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|p| p.is_file())
}
