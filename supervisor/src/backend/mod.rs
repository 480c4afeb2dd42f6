//! Where a guest runs. A backend is a program to start and a way to read how it
//! ended; all else is the same for every one.
//!
//! The program inherits a few descriptors, with the same numbers each time, so
//! that a command line can be printed before there is anything to run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use rustix::fd::OwnedFd;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::record::{Parser, Record};

mod child;
pub mod foreign;
pub mod kvm;
mod machine;
mod monitor;
pub mod process;
pub mod qemu;
pub mod xen;

pub use machine::{Machine, Still, start};

/// The listening socket of the `control` stream, in the program.
pub const CONTROL_FD: i32 = 3;
/// The listening socket of the `host` stream.
pub const HOST_FD: i32 = 4;
/// The pipe for early log lines and the record.
pub const DEBUG_FD: i32 = 5;
/// The listening socket of the monitor, where there is one.
pub const MONITOR_FD: i32 = 6;
/// The kernel of a guest that is none of ours.
pub const KERNEL_FD: i32 = 7;
/// Its initial file system.
pub const INITRD_FD: i32 = 8;

/// The listening socket at which a guest arrives from elsewhere.
pub const ARRIVAL_FD: i32 = 9;

/// The hidden command that starts a program which ends with its parent.
pub const EXEC: &str = "__exec";

/// What is to run.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The image file.
    pub image: PathBuf,
    /// Memory in bytes.
    pub memory: u64,
    /// The launch line.
    pub launch: String,
    /// Whether it has anything to ask of its host, which takes a `host` stream.
    pub calls: bool,
}

/// How a machine ended, as its program tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The guest ended by itself, with this status.
    Status(u8),
    /// It failed, and has written a record.
    Recorded,
    /// It was killed because that was wanted ([`Machine::wait`]); the text is what its program
    /// had complained of before, which may be nothing.
    Killed(String),
    /// It failed without a word; the text says all that is known.
    Lost(String),
    /// It runs elsewhere, or is to be taken for that: it must not be started again of itself.
    /// The text says where, as far as that is known.
    Moved(String),
    /// The program never ran the guest; the text is its complaint.
    Unstarted(String),
}

/// Why a guest was killed that nobody asked to end, by what its program had complained of.
pub fn of_no_use(said: &str) -> String {
    let killed = "it was of no use any more, and was killed";
    if said.is_empty() { killed.into() } else { format!("{killed}: {said}") }
}

/// Open files by the numbers that a program is told of.
pub type Files = BTreeMap<i32, OwnedFd>;

/// What a machine's process does if it is no program of its own: the status to end with.
pub type Work = Box<dyn FnOnce(Files) -> i32>;

/// A kind of place where guests run.
pub trait Backend {
    /// Its name, and what matters of how it runs.
    fn name(&self) -> String;

    /// The program and its arguments.
    fn line(&self, spec: &Spec) -> Vec<OsString>;

    /// Whether the program sees by itself to it that it does not outlive its parent.
    fn follows_parent(&self) -> bool;

    /// Whether the program has a monitor that is asked to let the guest stand still. One
    /// without is stopped as a process.
    fn has_monitor(&self) -> bool {
        false
    }

    /// Lets the guest arrive from elsewhere at a socket, instead of starting it.
    fn receive(&mut self, _: UnixListener) -> io::Result<()> {
        Err(io::Error::other("a guest arrives on Xen only: use --on xen"))
    }

    /// Whether the streams are made anew when they end, as often as the guest ends them.
    fn has_streams_again(&self) -> bool {
        false
    }

    /// Whether the guest has the streams `control` and `host`.
    fn has_streams(&self) -> bool {
        true
    }

    /// Open files that the program inherits beside those, with their numbers there.
    fn files(&self) -> io::Result<Vec<(OwnedFd, i32)>> {
        Ok(Vec::new())
    }

    /// What a double of this process can do in place of the program, which is quicker: it is given
    /// what the program would inherit, by numbers, and ends with the same statuses.
    fn double(&self, _: &Spec) -> Option<Work> {
        None
    }

    /// Reads the program's end.
    fn ended(&self, status: ExitStatus, stderr: &str) -> Ended;
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
    let parent = i32::try_from(parent).ok().and_then(rustix::process::Pid::from_raw);
    if let Err(e) = parent.ok_or(io::ErrorKind::InvalidInput.into()).and_then(atoll_fork::end_with)
    {
        return io::Error::new(e.kind(), format!("the parent is gone: {e}"));
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
