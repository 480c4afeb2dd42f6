//! What the supervisor wants of processes and the standard library does not offer: to go on
//! as two, to hear of children beside everything else, to end with the parent, and to be
//! called by what one does.
//!
//! It is a crate of its own because these few lines are `unsafe`, and the supervisor is not.
//! Each function is safe to call: what it needs to be sound it checks itself.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

mod title;

pub use title::Title;

/// Which of the two somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The one that was there before; the other has this number, and is to be waited for.
    Parent(Pid),
    /// The other.
    Child,
}

/// Goes on as two processes, the second of which has a copy of all that the first one has.
///
/// Refused where there is more than one thread: the others would be gone in the child, with
/// whatever they hold.
pub fn fork() -> io::Result<Fork> {
    if !is_alone() {
        let threads = threads()?;
        return Err(io::Error::other(format!("a process of {threads} threads is not doubled")));
    }
    // SAFETY: this is the only thread, and it is in no allocator's or other lock's hold: so
    // the child finds everything as an ordinary call would have left it.
    match unsafe { libc::fork() } {
        0 => Ok(Fork::Child),
        n => Pid::from_raw(n)
            .filter(|_| n > 0)
            .map(Fork::Parent)
            .ok_or_else(io::Error::last_os_error),
    }
}

/// Whether this is the only thread of its process.
pub fn is_alone() -> bool {
    // SAFETY: this is refused where there is another thread, and does nothing where there is
    // none (unshare(2)). No memory is handed over.
    let alone = unsafe { libc::unshare(libc::CLONE_THREAD) } == 0;
    // A sandbox may forbid to ask like that.
    alone || threads().is_ok_and(|n| n == 1)
}

/// How many threads this process has.
fn threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Has a double of this process do something else: its number. It is to be waited for, and ends
/// when this thread does. As a program that was just started it has no handler of a signal and
/// blocks none, and of open files the three standard ones and those that it is given; what it
/// refers to of this process beside them is closed. It ends when the work is done, with the status
/// that that gives, and never comes back to whoever has called this.
///
/// Refused where there is more than one thread, as in [`fork`].
pub fn double(
    files: Vec<OwnedFd>,
    work: impl FnOnce(Vec<OwnedFd>) -> i32 + 'static,
) -> io::Result<Pid> {
    let parent = rustix::process::getpid();
    if let Fork::Parent(pid) = fork()? {
        return Ok(pid);
    }
    let status = catch_unwind(AssertUnwindSafe(|| {
        if end_with(parent).is_err() {
            return 1;
        }
        begin_anew();
        close_all_but(&files);
        work(files)
    }));
    std::process::exit(status.unwrap_or(101))
}

/// No signal is handled or blocked any more. A closed pipe stays an error, as std has it.
fn begin_anew() {
    for signal in (1..=libc::SIGRTMAX()).filter(|s| *s != libc::SIGPIPE) {
        // SAFETY: without a handler nothing is ever called; some signals refuse this.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: sigemptyset writes all of the set before it is read, and the old one is not asked for.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Closes what is open beside the three standard files and these.
fn close_all_but(files: &[OwnedFd]) {
    let mut kept: Vec<u32> = files.iter().map(|f| f.as_raw_fd().unsigned_abs()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for next in kept.into_iter().chain([u32::MAX]) {
        if first < next {
            // SAFETY: whatever owned these is in frames to which this process never returns
            // ([`double`] ends it), so nothing is used or closed after this.
            unsafe { libc::syscall(libc::SYS_close_range, first, next - 1, 0) };
        }
        first = next.saturating_add(1);
    }
}

/// Has this process end when the thread of its parent does that has made it. Refused if that
/// has ended already.
pub fn end_with(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before that was said.
    match getppid() {
        Some(now) if now == parent => Ok(()),
        _ => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

/// Lets a program end when this thread does, however that ends.
pub fn end_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: between `fork` and `exec` these are two system calls; nothing is allocated and
    // no lock taken, also when one fails.
    unsafe { command.pre_exec(move || end_with(parent)) };
}

/// Children that end, as a descriptor that becomes readable then. The signal is blocked in
/// this thread for as long as the value lives.
#[derive(Debug)]
pub struct Deaths(OwnedFd);

impl Deaths {
    /// From now on.
    pub fn new() -> io::Result<Deaths> {
        mask(libc::SIG_BLOCK)?;
        // SAFETY: the set is valid for the call, and the descriptor is new and nobody else's.
        let fd = unsafe {
            match libc::signalfd(-1, &set(), libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) {
                -1 => return Err(io::Error::last_os_error()),
                fd => OwnedFd::from_raw_fd(fd),
            }
        };
        Ok(Deaths(fd))
    }

    /// What becomes readable.
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Takes note that what was to be read is known.
    pub fn clear(&self) {
        let mut buf = [0; 128];
        while rustix::io::read(&self.0, &mut buf).is_ok_and(|n| n > 0) {}
    }
}

impl Drop for Deaths {
    fn drop(&mut self) {
        let _ = mask(libc::SIG_UNBLOCK);
    }
}

/// The signal that tells of a child.
fn set() -> libc::sigset_t {
    // SAFETY: sigemptyset writes all of it before anything is read.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        set
    }
}

fn mask(how: i32) -> io::Result<()> {
    // SAFETY: the set is valid for the call, and the old one is not asked for.
    match unsafe { libc::sigprocmask(how, &set(), std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn who_has_other_threads_is_not_doubled() {
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || told.recv());
        assert!(!is_alone());
        assert!(fork().unwrap_err().to_string().contains("threads is not doubled"));
        drop(tell);
        let _ = other.join().unwrap();
    }

    #[test]
    fn a_program_ends_with_the_thread_that_started_it() {
        let sleep = || {
            let mut command = Command::new("sleep");
            command.arg("600");
            end_with_parent(&mut command);
            command.spawn().unwrap()
        };
        let mut child = std::thread::spawn(sleep).join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
        // One that cannot be started is the starter's to tell.
        let mut none = Command::new("/nonexistent/program");
        end_with_parent(&mut none);
        assert_eq!(none.spawn().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_process_is_listed_as_it_says() {
        let title = Title::find().unwrap();
        let line = || std::fs::read("/proc/self/cmdline").unwrap();
        let room = line().len();
        title.set(&[b"one", b"2"]);
        let mut wanted = b"one\x002".to_vec();
        wanted.resize(room, 0);
        assert_eq!(line(), wanted);
        // What is too long is cut, and what comes behind it in memory is left alone.
        title.set(&[&vec![b'x'; room + 9]]);
        assert!(line().len() == room && line().iter().filter(|b| **b == b'x').count() == room - 1);
    }
}
