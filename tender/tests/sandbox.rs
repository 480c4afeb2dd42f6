//! The sandbox holds: each thing that a guest has no business with is tried in a
//! process of its own, and the system must end it.
//!
//! The process is this test program again: with `ATOLL_PROBE` set, the test
//! [`probe`] enters the sandbox and tries that one thing.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use atoll_tender::sandbox::{self, Needs};

/// What a probe ends with when the thing worked.
const DONE: i32 = 42;
/// What it ends with when it was refused without being ended.
const REFUSED: i32 = 43;

fn try_in_sandbox(what: &str) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "probe", "--test-threads=1", "--nocapture"])
        .env("ATOLL_PROBE", what)
        .output()
        .unwrap()
        .status
}

#[test]
fn probe() {
    let Ok(what) = std::env::var("ATOLL_PROBE") else {
        return;
    };
    let (what, atoms) = match what.strip_prefix("atoms-") {
        Some(what) => (what, true),
        None => (&*what, false),
    };
    sandbox::close_others(&[]).unwrap();
    sandbox::enter(&Needs { memory: 8 << 20, connections: 4, atoms }).unwrap();
    let done = attempt(what);
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(if done { DONE } else { REFUSED }) }
}

fn attempt(what: &str) -> bool {
    // SAFETY: raw calls with arguments that are good; most do not return.
    unsafe {
        match what {
            "nothing" => true,
            "time" => std::time::Instant::now().elapsed().as_secs() == 0,
            "memory" => {
                let p = anonymous(1 << 20, libc::PROT_READ | libc::PROT_WRITE);
                p != libc::MAP_FAILED
            }
            "memory-beyond" => {
                let p = anonymous(64 << 20, libc::PROT_READ | libc::PROT_WRITE);
                p != libc::MAP_FAILED
            }
            "code" => anonymous(4096, libc::PROT_READ | libc::PROT_EXEC) != libc::MAP_FAILED,
            "protect" => {
                let p = anonymous(4096, libc::PROT_READ | libc::PROT_WRITE);
                libc::mprotect(p, 4096, libc::PROT_READ | libc::PROT_EXEC) == 0
            }
            "unprotect" => {
                let p = anonymous(4096, libc::PROT_NONE);
                libc::mprotect(p, 4096, libc::PROT_READ) == 0
            }
            "reserve" => {
                // What becomes a memory of an atom: nothing of it is there at first.
                let p = anonymous(4 << 30, libc::PROT_NONE);
                let used = libc::PROT_READ | libc::PROT_WRITE;
                p != libc::MAP_FAILED && libc::mprotect(p, 1 << 20, used) == 0
            }
            "reserve-beyond" => {
                let p = anonymous(4 << 30, libc::PROT_NONE);
                let used = libc::PROT_READ | libc::PROT_WRITE;
                p != libc::MAP_FAILED && libc::mprotect(p, 64 << 20, used) == 0
            }
            "timer" => libc::syscall(libc::SYS_timer_settime, 99, 0, 0, 0) != 0,
            "timer-create" => libc::syscall(libc::SYS_timer_create, 0, 0, 0) == 0,
            "map-code" => {
                let (rx, own) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE);
                libc::mmap(std::ptr::null_mut(), 4096, rx, own, 2, 0) != libc::MAP_FAILED
            }
            "map-shared" => {
                let (rw, all) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
                libc::mmap(std::ptr::null_mut(), 4096, rw, all, 2, 0) != libc::MAP_FAILED
            }
            "pkey-protect" => libc::syscall(libc::SYS_pkey_mprotect, 0, 0, 5, 0) == 0,
            "map-file" => {
                let p = libc::mmap(std::ptr::null_mut(), 4096, 1, libc::MAP_PRIVATE, 2, 0);
                p != libc::MAP_FAILED
            }
            "open" => libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY) >= 0,
            "socket" => libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) >= 0,
            "connect" => libc::connect(2, std::ptr::null(), 0) == 0,
            "execve" => {
                let argv = [c"/bin/true".as_ptr(), std::ptr::null()];
                libc::execve(argv[0], argv.as_ptr(), argv[1..].as_ptr()) == 0
            }
            "fork" => libc::syscall(libc::SYS_fork) >= 0,
            "clone" => libc::fork() >= 0,
            "ptrace" => libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) == 0,
            "kill" => libc::kill(libc::getppid(), 0) == 0,
            "kill-other" => libc::syscall(libc::SYS_tgkill, 1, 1, libc::SIGABRT) == 0,
            "ioctl" => libc::ioctl(2, libc::FIONREAD, std::ptr::null_mut::<i32>()) == 0,
            "prctl" => libc::prctl(libc::PR_SET_DUMPABLE, 1) == 0,
            "sendto-address" => {
                let address: libc::sockaddr_un = std::mem::zeroed();
                libc::sendto(2, c"x".as_ptr().cast(), 1, 0, (&raw const address).cast(), 110) >= 0
            }
            "x32" => libc::syscall(0x4000_0000 + libc::SYS_getpid) > 0,
            other => panic!("no probe named {other}"),
        }
    }
}

unsafe fn anonymous(len: usize, prot: libc::c_int) -> *mut libc::c_void {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, wherever there is room.
    unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) }
}

#[test]
fn what_a_guest_needs_works() {
    for what in ["nothing", "time", "memory"] {
        let status = try_in_sandbox(what);
        assert_eq!(status.code(), Some(DONE), "{what}: {status}");
    }
    let status = try_in_sandbox("memory-beyond");
    assert_eq!(status.code(), Some(REFUSED), "memory beyond the limit: {status}");
}

#[test]
fn what_atoms_need_works() {
    for what in ["atoms-nothing", "atoms-memory", "atoms-reserve", "atoms-timer"] {
        let status = try_in_sandbox(what);
        assert_eq!(status.code(), Some(DONE), "{what}: {status}");
    }
    let status = try_in_sandbox("atoms-reserve-beyond");
    assert_eq!(status.code(), Some(REFUSED), "memory beyond the limit: {status}");
}

#[test]
fn everything_else_ends_the_process() {
    for what in [
        "code",
        "protect",
        "map-file",
        "open",
        "socket",
        "connect",
        "execve",
        "fork",
        "clone",
        "ptrace",
        "kill",
        "kill-other",
        "ioctl",
        "prctl",
        "sendto-address",
        "x32",
        "unprotect",
        "timer",
        "atoms-code",
        "atoms-protect",
        "atoms-map-code",
        "atoms-map-shared",
        "atoms-pkey-protect",
        "atoms-timer-create",
        "atoms-open",
        "atoms-socket",
        "atoms-clone",
        "atoms-kill-other",
    ] {
        let status = try_in_sandbox(what);
        assert_eq!(status.signal(), Some(libc::SIGSYS), "{what}: {status}");
    }
}
