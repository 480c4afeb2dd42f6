//! What ends programs under measurement that would outlive this one.
//!
//! Each of them leads a process group, in which what it starts is too: a script that
//! runs a server leaves the server behind when only the script is ended. A second
//! process ([`hold`]) knows the groups and kills those that are left when this one is
//! gone, however it went. A program that leaves its group (a daemon) is not held.

use std::collections::HashSet;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::proc;

/// The word on the command line that makes this program the one that holds.
pub const LEASH: &str = "__leash";

/// The process that holds, while there is anything to hold.
static HOLDER: Mutex<Option<Holder>> = Mutex::new(None);

#[derive(Debug)]
struct Holder {
    child: Child,
    to: ChildStdin,
    groups: HashSet<Pid>,
}

/// A group is ours from now on.
pub(crate) fn take(group: Pid) -> Result<()> {
    let mut holder = HOLDER.lock().unwrap_or_else(PoisonError::into_inner);
    let holder = match &mut *holder {
        Some(holder) => holder,
        none => none.insert(Holder::start()?),
    };
    holder.groups.insert(group);
    holder.tell('+', group)
}

/// It is so no longer: to be said while its leader is not yet waited for, since the
/// number is another's afterwards.
pub(crate) fn let_go(group: Pid) {
    let mut holder = HOLDER.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(now) = &mut *holder else { return };
    if now.groups.remove(&group) {
        let _ = now.tell('-', group);
    }
    if now.groups.is_empty()
        && let Some(Holder { mut child, to, .. }) = holder.take()
    {
        drop(to);
        let _ = child.wait();
    }
}

impl Holder {
    fn start() -> Result<Holder> {
        let mut child = Command::new(proc::own()?)
            .arg(LEASH)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start this program again")?;
        let to = child.stdin.take().context("no pipe to it")?;
        Ok(Holder { child, to, groups: HashSet::new() })
    }

    fn tell(&mut self, sign: char, group: Pid) -> Result<()> {
        // One write, so that nobody reads a part of a number.
        let line = format!("{sign}{}\n", group.as_raw_nonzero());
        self.to.write_all(line.as_bytes()).context("what ends programs after this one is gone")
    }
}

/// Reads which groups there are, and kills those that are left at the end.
pub fn hold(from: impl BufRead) -> Result<()> {
    let mut groups = HashSet::new();
    for line in from.lines().map_while(Result::ok) {
        let known = line.split_at_checked(1);
        match known.and_then(|(sign, n)| Some((sign, Pid::from_raw(n.parse().ok()?)?))) {
            Some(("+", group)) => drop(groups.insert(group)),
            Some(("-", group)) => drop(groups.remove(&group)),
            _ => {}
        }
    }
    for group in groups {
        let _ = kill_process_group(group, Signal::KILL);
    }
    Ok(())
}

/// Whether anybody of a group is left who has not ended.
pub(crate) fn has_living(group: Pid) -> bool {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter(|e| e.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)).any(|e| {
        let stat = std::fs::read_to_string(e.path().join("stat")).unwrap_or_default();
        // proc_pid_stat(5): behind the name come the state, the parent and the group.
        let rest = stat.rsplit_once(") ").map_or("", |s| s.1);
        let mut fields = rest.split(' ');
        let state = fields.next();
        let of = fields.nth(1).and_then(|n| n.parse().ok());
        of == Some(group.as_raw_nonzero().get()) && state != Some("Z") && state != Some("X")
    })
}
