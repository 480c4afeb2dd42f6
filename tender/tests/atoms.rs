//! Atoms in the sandbox: the conformance suite, through a real socket, in a process that
//! has given up everything else.
//!
//! The process is this test program again: with `ATOLL_ATOMS` set to the number of a
//! listening socket and that of its parent, the test [`guest`] loads the suite's module, enters the sandbox
//! and serves.

#[allow(dead_code)] // the suite's other way of being run
#[path = "../../engine/tests/suite/mod.rs"]
mod suite;

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::{Duration, Instant};

use atoll_9p::client::Error;
use atoll_9p::client::blocking::Connection;
use atoll_config::code::Code;
use atoll_config::launch::Launch;
use atoll_config::payload::Hash;
use atoll_runtime::platform::Stream;
use atoll_tender::alloc::Counting;
use atoll_tender::plat::Machine;
use atoll_tender::sandbox::{self, Needs};
use atoll_tender::wire::{self, Wires};
use atoll_tender::{atoms, record, signal};
use suite::Suite;

const SOURCE: &str = include_str!("../../engine/conformance/calls.wat");
const MEMORY: u64 = 32 << 20;

static COUNTING: Counting = Counting::new();

#[test]
fn guest() {
    let Ok(fd) = std::env::var("ATOLL_ATOMS") else {
        return;
    };
    let (fd, parent) = fd.split_once(' ').unwrap();
    signal::end_with(parent.parse().unwrap()).unwrap();
    // SAFETY: whoever started this process made it and left it to it.
    let listener = unsafe { OwnedFd::from_raw_fd(fd.parse().unwrap()) };
    record::prepare(rustix::io::dup(rustix::stdio::stderr()).unwrap());
    let stop = signal::stop_requests().unwrap();
    sandbox::close_others(&[listener.as_raw_fd(), stop.as_raw_fd(), record::fd()]).unwrap();
    // Before any engine is made, the compiler's too: wasmtime asks whoever was here first.
    signal::record_failures(&COUNTING).unwrap();
    let suite = Suite::new(SOURCE);
    let (payload, segment) = (suite.payload(), suite.segment(|_| {}));
    let (engine, watchdog) = atoms::load(&payload, &Code::parse(&segment).unwrap()).unwrap();
    let connections = wire::MAX_CONNECTIONS as u64;
    let notes = sandbox::enter(&Needs { memory: MEMORY, connections, atoms: true }).unwrap();
    let wires = Wires::new(vec![(Stream::Control, listener)], stop);
    let mut machine =
        Machine::new(wires, &COUNTING, MEMORY, Launch::default(), notes, Some(watchdog));
    let end = atoll_runtime::run_with(payload, Hash([7; 32]), Some(&engine), &mut machine);
    signal::exit(end.map_or(99, |e| e.status.into()));
}

#[test]
fn the_conformance_suite_runs_in_the_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control");
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "guest", "--test-threads=1", "--nocapture"])
        .env("ATOLL_ATOMS", format!("{} {}", listener.as_raw_fd(), std::process::id()))
        .spawn()
        .unwrap();
    drop(listener);
    let connection = Connection::unix(&path).unwrap();
    let mut failed = None;
    for line in Suite::new(SOURCE).script {
        if let Err(why) = step(&connection, line) {
            failed = Some(format!("{line}: {why}"));
            child.kill().unwrap();
            break;
        }
    }
    let status = child.wait().unwrap();
    assert_eq!(failed, None);
    assert_eq!(status.code(), Some(3), "{status}");
}

/// What can be told from here: other lines are about simulated time, and about the log.
fn step(c: &Connection, line: &str) -> Result<(), String> {
    let mut words = line.splitn(3, ' ');
    let (verb, file) = (words.next().unwrap(), words.next().unwrap_or_default());
    let (text, path) = (words.next().unwrap_or_default(), format!("export/{file}"));
    match verb {
        "write" => {
            let (text, fault) = text.split_once(" => ").unwrap_or((text, ""));
            let name = match c.write(&path, text.as_bytes()) {
                Ok(()) => String::new(),
                // The last command ends the guest, which may close before it answers.
                Err(Error::Closed) if text == "F" => String::new(),
                Err(Error::Refused(fault)) => {
                    fault.errno.name().map_or(fault.errno.0.to_string(), String::from)
                }
                Err(other) => return Err(other.to_string()),
            };
            if name == fault.split(' ').next().unwrap() { Ok(()) } else { Err(name) }
        }
        "read" if !text.is_empty() => {
            let end = Instant::now() + Duration::from_secs(20);
            loop {
                let got = c.read(&path).map_err(|e| e.to_string())?;
                if got == text.as_bytes() {
                    return Ok(());
                }
                if !got.is_empty() || Instant::now() > end {
                    return Err(String::from_utf8_lossy(&got).into_owned());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        _ => Ok(()),
    }
}
