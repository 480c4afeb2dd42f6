//! A program under measurement: started at a known moment, its CPU time readable
//! at any other, and gone when its value is dropped.
//!
//! It is started in two steps. A copy of this program ([`become_it`]) asks to die
//! with us, says that it is ready and waits for a word; then it becomes the
//! program by `exec`. So the clocks start at the `exec`: what a fork of a larger
//! process costs is not in them. No crash leaves anything behind: of ours it takes the
//! program along, with all that it has started ([`crate::leash`]), and of the program it
//! makes no core file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getppid, getrlimit, kill_process,
    kill_process_group, set_parent_process_death_signal, setpriority_process, setrlimit, waitid,
};

use crate::{leash, urgent};

/// The word on the command line that makes this program a copy that waits.
pub const BECOME: &str = "__become";

static HELPER: OnceLock<PathBuf> = OnceLock::new();

/// Says which program understands [`BECOME`], where that is not the one that
/// runs: in tests. Only the first word on it counts.
pub fn helper_is(path: PathBuf) {
    let _ = HELPER.set(path);
}

/// This program's own file, or what stands for it in tests.
pub fn own() -> Result<PathBuf> {
    match HELPER.get() {
        Some(helper) => Ok(helper.clone()),
        None => std::env::current_exe().context("cannot find this program's own file"),
    }
}

/// A program to start.
#[derive(Debug)]
pub struct Program {
    command: Command,
    fds: Vec<FdMapping>,
    name: OsString,
    urgent: bool,
}

impl Program {
    /// A program by its path or name. Its input is empty and its output dropped.
    pub fn new(program: impl AsRef<OsStr>) -> Result<Program> {
        let mut command = Command::new(own()?);
        let parent = std::process::id().to_string();
        command.args([BECOME, &parent]).arg(program.as_ref());
        command.stdout(Stdio::null()).stderr(Stdio::inherit()).process_group(0);
        Ok(Program { command, fds: Vec::new(), name: program.as_ref().to_owned(), urgent: false })
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Program {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
        self.command.args(args);
        self
    }

    /// Gives it a descriptor under a number of its own (3 or more).
    pub fn fd(mut self, number: i32, fd: impl Into<OwnedFd>) -> Program {
        self.fds.push(FdMapping { parent_fd: fd.into(), child_fd: number });
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Program {
        self.command.env(name, value);
        self
    }

    /// Runs it in a folder. Its path must be a whole one.
    pub fn dir(mut self, dir: &Path) -> Program {
        self.command.current_dir(dir);
        self
    }

    /// Drops what it says on stderr.
    pub fn silent(mut self) -> Program {
        self.command.stderr(Stdio::null());
        self
    }

    /// It goes before all others' programs, as far as this one has the right.
    pub fn urgent(mut self) -> Program {
        self.urgent = true;
        self
    }

    /// Starts it.
    pub fn start(mut self) -> Result<Running> {
        let what = || format!("cannot start {}", self.name.display());
        let (mut word, theirs) = UnixStream::pair()?;
        self.command.stdin(OwnedFd::from(theirs));
        self.command.fd_mappings(self.fds)?;
        let child = self.command.spawn().with_context(what)?;
        drop(self.command);
        let mut running = Running { child, begin: Instant::now(), used: 0 };
        word.set_read_timeout(Some(Duration::from_secs(10)))?;
        word.read_exact(&mut [0]).with_context(what)?;
        if self.urgent {
            let _ = setpriority_process(Some(running.pid()), urgent::NICE);
        }
        // Up to here it dies with us by itself.
        leash::take(running.pid())?;
        running.used = running.total()?;
        running.begin = Instant::now();
        word.write_all(b"!").with_context(what)?;
        Ok(running)
    }
}

/// What the copy does: waits, then becomes the program. Returns only an error.
pub fn become_it(args: &[OsString]) -> Result<()> {
    let [parent, program, rest @ ..] = args else { bail!("{BECOME} PARENT PROGRAM [ARG...]") };
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // A parent that was gone before that line will send no signal.
    let now = getppid().map_or(0, |p| p.as_raw_nonzero().get());
    if parent.to_str().and_then(|p| p.parse().ok()) != Some(now) {
        bail!("whoever asked for this is gone");
    }
    // What crashes here is for nobody to keep. The greatest limit stays: diod raises
    // its own to no limit at all, and does not run where it may not. So its core has no
    // content (core(5)), and goes where its folder says.
    let core = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: Some(0), ..core })?;
    let _ = std::fs::write("/proc/self/coredump_filter", "0");
    let mut word = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    word.write_all(b"?")?;
    word.read_exact(&mut [0])?;
    let error = Command::new(program).args(rest).stdin(Stdio::null()).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

/// A program that runs. Dropped, it is killed and waited for.
#[derive(Debug)]
pub struct Running {
    child: Child,
    begin: Instant,
    /// CPU time of the copy before it became the program, in nanoseconds.
    used: u64,
}

/// Time since an `exec`, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Of all its threads on a processor.
    pub cpu: f64,
    /// On the wall.
    pub wall: f64,
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has used up to now. Threads that have ended are not counted.
    pub fn spent(&self) -> Result<Spent> {
        let wall = self.begin.elapsed();
        let cpu = self.total()?.saturating_sub(self.used);
        Ok(Spent { cpu: cpu as f64 / 1e6, wall: wall.as_secs_f64() * 1e3 })
    }

    /// Waits for its end, and says what it has used in all. What has ended keeps
    /// its figures until it is reaped.
    pub fn spent_in_all(&self) -> Result<Spent> {
        waitid(WaitId::Pid(self.pid()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
        self.spent()
    }

    /// CPU time of all threads of this process and of those below it, up to now.
    pub fn used_by_all(&self) -> Used {
        let one = |task: PathBuf| Some((used_by(&task)?, task));
        Used(self.all_tasks().into_iter().filter_map(one).map(|(n, task)| (task, n)).collect())
    }

    /// Numbers of all threads of this process and of those below it.
    pub fn threads(&self) -> Vec<Pid> {
        let number = |task: &PathBuf| task.file_name()?.to_str()?.parse().ok();
        self.all_tasks().iter().filter_map(number).filter_map(Pid::from_raw).collect()
    }

    fn all_tasks(&self) -> Vec<PathBuf> {
        let (mut out, mut found) = (Vec::new(), vec![self.id()]);
        while let Some(id) = found.pop() {
            // It may have ended meanwhile.
            for task in tasks(id).unwrap_or_default() {
                let text = std::fs::read_to_string(task.join("children")).unwrap_or_default();
                found.extend(text.split_whitespace().filter_map(|n| n.parse::<u32>().ok()));
                out.push(task);
            }
        }
        out
    }

    fn total(&self) -> Result<u64> {
        Ok(tasks(self.id())?.iter().filter_map(|task| used_by(task)).sum())
    }

    /// Its memory: all that is resident, and what of it only this process has
    /// written, in KiB. The rest is files that every process shares.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let path = format!("/proc/{}/smaps_rollup", self.id());
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(name))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        };
        field("Rss:")
            .zip(field("Private_Dirty:"))
            .with_context(|| format!("{path} has other fields than expected"))
    }

    /// Asks it to end, then what it has left of what it started, and waits that long.
    pub fn stop(&mut self, patience: Duration) {
        let begin = Instant::now();
        let _ = kill_process(self.pid(), Signal::TERM);
        while matches!(self.ended(), Ok(None)) && begin.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(5));
        }
        if leash::has_living(self.pid()) {
            let _ = kill_process_group(self.pid(), Signal::TERM);
        }
        while leash::has_living(self.pid()) && begin.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it has ended by itself. It is not waited for, so that its number stays
    /// its own, and that of its group.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        Ok(waitid(WaitId::Pid(self.pid()), how)?.map(|s| {
            let signal = s.terminating_signal().unwrap_or(0);
            ExitStatus::from_raw(s.exit_status().unwrap_or(0) << 8 | signal)
        }))
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process_group(self.pid(), Signal::KILL);
        leash::let_go(self.pid());
        let _ = self.child.wait();
    }
}

/// Folders of a process's threads.
fn tasks(id: u32) -> Result<Vec<PathBuf>> {
    let path = format!("/proc/{id}/task");
    let found = std::fs::read_dir(&path).with_context(|| format!("cannot list {path}"))?;
    Ok(found.flatten().map(|task| task.path()).collect())
}

/// Nanoseconds that a thread has been on a processor. It may end meanwhile.
fn used_by(task: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(task.join("schedstat")).ok()?;
    text.split(' ').next()?.parse().ok()
}

/// CPU time by thread.
#[derive(Clone, Debug)]
pub struct Used(BTreeMap<PathBuf, u64>);

impl Used {
    /// What was used since then, in milliseconds. A thread that has ended meanwhile
    /// is not counted, and takes nothing away from the others.
    pub fn since(&self, before: &Used) -> f64 {
        let one = |(task, now): (&PathBuf, &u64)| {
            now.saturating_sub(before.0.get(task).copied().unwrap_or(0))
        };
        self.0.iter().map(one).sum::<u64>() as f64 / 1e6
    }
}

/// A status in words.
pub fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (_, Some(signal)) => format!("was ended by signal {signal}"),
        _ => "ended".to_owned(),
    }
}
