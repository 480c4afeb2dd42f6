//! The process that makes a domain and sees to its end.
//!
//! It is told what to make by a line of JSON on its standard input, and goes on as long as
//! that is open. What happens it says on its standard output: `made N` when one is there that
//! has arrived, `kept N` when the domain has ended and is still there, `gone` when somebody else
//! has destroyed it, `taken` when it was suspended before that, as `xl save` and `xl migrate` do,
//! `failed WHY` when it was never made. When its input ends, the domain is destroyed, in
//! whatever state it is.

use std::io::{BufRead, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use command_fds::{CommandFdExt, FdMapping};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::state::{self, Is};
use super::{XL, complaint, done, run as run_xl, store};

/// Where `xl` finds the configuration.
const CONFIG_FD: i32 = 9;
/// How soon it is asked again whether a domain that arrives is there.
const AGAIN: Duration = Duration::from_millis(100);
/// What `xl` complains of when its domain was suspended (`handle_domain_death`, and before
/// it, in xl_vmcontrol.c).
const SUSPENDED: &str = "reason code 2 ";
/// How long `xl` may take to make a domain that nobody wants any more.
const GOES_WITHIN: Duration = Duration::from_secs(60);
/// How long before XenStore knows of it. What `xl` does until then takes it milliseconds.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
/// How long a process that was killed may take to be gone.
const DIES_WITHIN: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// What is to be made.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The configuration.
    pub(super) config: String,
    /// The domain's own number for ever, which is in there.
    pub(super) uuid: String,
    /// The file that it is read from, if it is one that arrives. It does not run then.
    pub(super) from: Option<String>,
}

enum Event {
    /// `xl create -F` has ended: whether well, and what it said.
    Ended(bool, Vec<u8>),
    /// Nobody wants the domain any more.
    Unwanted,
}

/// Whether `xl` has done all that makes a domain: the last is to keep its configuration.
fn is_made(domid: u16) -> bool {
    let listed = run_xl(&["list", "-l", &domid.to_string()]).ok();
    let listed =
        listed.and_then(|out| serde_json::from_slice::<serde_json::Value>(&out.stdout).ok());
    listed.and_then(|l| Some(!l.as_array()?.is_empty())).unwrap_or(false)
}

/// Runs until the input ends.
pub fn run() -> Result<()> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line).context("no order")?;
    let mut store = store::open()?;
    let (send, events) = mpsc::channel();
    let input = send.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().lock().read(&mut [0]);
        let _ = input.send(Event::Unwanted);
    });

    let config = std::fs::File::from(memfd_create("domain", MemfdFlags::CLOEXEC)?);
    (&config).write_all(order.config.as_bytes())?;
    let mut command = Command::new(XL);
    let file = format!("/proc/self/fd/{CONFIG_FD}");
    match &order.from {
        None => command.args(["create", "-F", "-q", &file]),
        Some(from) => command.args(["restore", "-F", "-p", &file, from]),
    };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
        .fd_mappings(vec![FdMapping { parent_fd: config.into(), child_fd: CONFIG_FD }])
        .map_err(std::io::Error::other)?;
    let child = command.spawn().context("cannot start xl")?;
    let xl = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    let ended = send.clone();
    std::thread::spawn(move || {
        let out = child.wait_with_output();
        let (well, said) = out.map_or((false, Vec::new()), |o| (o.status.success(), o.stderr));
        let _ = ended.send(Event::Ended(well, said));
    });

    let (mut running, mut suspended) = (true, false);
    let mut arrives = order.from.is_some();
    let say = |word: &str| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{word}").and_then(|()| out.flush()).is_ok()
    };
    let wanted = loop {
        if arrives {
            match events.recv_timeout(AGAIN) {
                Ok(event) => {
                    arrives = false;
                    send.send(event)?;
                }
                Err(_) => {
                    let there = store::by_uuid(&mut store, &order.uuid)?;
                    if let Some(domid) = there.filter(|domid| is_made(*domid)) {
                        arrives = false;
                        say(&format!("made {domid}"));
                    }
                }
            }
            continue;
        }
        match events.recv()? {
            Event::Unwanted => break false,
            Event::Ended(well, said) => {
                running = false;
                suspended |= String::from_utf8_lossy(&said).contains(SUSPENDED);
                let there = store::by_uuid(&mut store, &order.uuid)?;
                let word = match there {
                    // It may go on, and is looked after without `xl` from now on.
                    Some(domid) if matches!(state::look(domid), Is::Alive | Is::Suspended) => {
                        suspended = true;
                        let (uuid, ended) = (order.uuid.clone(), send.clone());
                        std::thread::spawn(move || {
                            let _ = state::wait_end(&uuid);
                            let _ = ended.send(Event::Ended(true, Vec::new()));
                        });
                        continue;
                    }
                    Some(domid) => format!("kept {domid}"),
                    None if suspended => "taken".to_owned(),
                    None if well => "gone".to_owned(),
                    None => format!("failed {}", complaint(&said)),
                };
                if !say(&word) || there.is_none() {
                    break there.is_none();
                }
            }
        }
    };
    // What is there is destroyed; what is being made is let be made before, since half a
    // domain is nobody's. But one that does not go on is not waited for.
    let begun = Instant::now();
    while !wanted {
        let there = store::by_uuid(&mut store, &order.uuid)?;
        let patience = if there.is_some() { GOES_WITHIN } else { KNOWN_WITHIN };
        if running && begun.elapsed() >= patience {
            running = false;
            kill(&xl);
            continue;
        }
        if let Some(domid) = there
            && (!running || is_made(domid))
        {
            let _ = done(&["destroy", &domid.to_string()]);
        }
        if there.is_none() && !running || begun.elapsed() >= GOES_WITHIN * 2 {
            break;
        }
        if running && let Ok(Event::Ended(..)) = events.recv_timeout(Duration::from_millis(50)) {
            running = false;
        }
    }
    Ok(())
}

/// Kills a process, and waits until it is dead. (Who waits for its end hears of it later if
/// others have its output.)
fn kill(process: &OwnedFd) {
    let _ = pidfd_send_signal(process, Signal::KILL);
    let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&DIES_WITHIN));
}
