//! The Xen host that this runs on, in place of a lab: for a person who has one.
//!
//! Tests write where they like in dom0, and here that is somebody's machine. So they run in
//! namespaces of mounts and processes that end with the test, also when it is killed: `/mnt`,
//! `/run`, `/tmp` and Xen's logs are their own, and what they start is killed. What they share
//! with the host is Xen, XenStore and the locks of `xl`; of domains there must be none before.
//! `guest/here` is the inner half.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use command_fds::{CommandFdExt, FdMapping};

use crate::linux::PATIENCE;
use crate::qemu::memory_file;
use crate::shell::{Console, JOBS};

use super::Store;

/// Programs that tests use, and the packages of Debian that have them.
const NEEDED: [(&str, &str); 4] = [
    ("busybox", "busybox"),
    ("socat", "socat"),
    ("xl", "xen-utils-common"),
    ("xenstore-ls", "xenstore-utils"),
];

/// Free memory of Xen that guests of the tests are made of, in MiB.
const FREE: u64 = 128;

/// The first descriptor with a port of a worker: see `guest/here`.
const FIRST: i32 = 3;

/// A place for tests on this host. Dropped, nothing of it is left.
#[derive(Debug)]
pub(super) struct Here {
    process: Mutex<Child>,
    id: u32,
    said: File,
    /// What Xen had written on its console before.
    before: String,
    /// Nobody else has this host meanwhile.
    _lock: UnixListener,
}

impl Here {
    /// Makes one, with its ports. It is said why this host is not fit for that.
    pub(super) fn new() -> Result<(Here, Vec<UnixStream>)> {
        fit()?;
        let lock = lock()?;
        alone()?;
        let (mut ports, mut fds) = (Vec::new(), Vec::new());
        for _ in 0..=JOBS {
            let (ours, theirs) = UnixStream::pair()?;
            ports.push(ours);
            fds.push(OwnedFd::from(theirs));
        }
        let control = fds.remove(0);
        let said = memory_file(&[])?;
        let mut command = Command::new("busybox");
        command
            .args(["unshare", "-m", "-p", "-f", "busybox", "sh", "-c"])
            .args([include_str!("../guest/here"), "here", include_str!("../guest/worker")])
            .env_clear()
            .env("PATH", path())
            .env("HOME", "/root")
            .current_dir("/")
            .stdin(control)
            .stdout(said.try_clone()?)
            .stderr(said.try_clone()?);
        let map = |(child_fd, parent_fd)| FdMapping { parent_fd, child_fd };
        command.fd_mappings((FIRST..).zip(fds).map(map).collect())?;
        let process = command.spawn().context("cannot run busybox")?;
        let (id, before) = (process.id(), dmesg());
        Ok((Here { process: Mutex::new(process), id, said, before, _lock: lock }, ports))
    }

    /// The process that stands for all of them.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Where a path of the place is seen from here.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.id))
    }

    /// Shows a file of this host there. Programs are large and `/mnt` is in memory, so it is
    /// no copy.
    pub(super) fn bring(&self, name: &str, file: &Path) -> Result<()> {
        let file = file.canonicalize().with_context(|| format!("no {}", file.display()))?;
        let there = Path::new("/run/lab/host").join(file.strip_prefix("/")?);
        let link = self.path("/mnt").join(name);
        if link.is_symlink() {
            std::fs::remove_file(&link)?;
        }
        std::os::unix::fs::symlink(there, link)?;
        Ok(())
    }

    /// Waits for who connects to a socket there.
    pub(super) fn accept(listener: &UnixListener) -> Result<UnixStream> {
        listener.set_nonblocking(true)?;
        let until = Instant::now() + PATIENCE;
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(stream);
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(e) => return Err(e).context("socat does not connect"),
            }
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        let mut process = self.process.lock().unwrap_or_else(|e| e.into_inner());
        matches!(process.try_wait(), Ok(None))
    }

    /// Ends all that runs there.
    pub(super) fn end(&self) {
        let mut process = self.process.lock().unwrap_or_else(|e| e.into_inner());
        // The first process has one child, which is the first of the namespace: that one's end
        // is the end of all others.
        let children = format!("/proc/{0}/task/{0}/children", self.id);
        if let Ok(None) = process.try_wait() {
            let first = std::fs::read_to_string(children).unwrap_or_default();
            let pid = first.split_whitespace().next().and_then(|id| id.parse().ok());
            match pid.and_then(rustix::process::Pid::from_raw) {
                Some(pid) => {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
                // A kernel that does not tell. The other one ends when the ports are closed.
                None => drop(process.kill()),
            }
        }
        let _ = process.wait();
    }
}

impl Console for Here {
    fn said(&self) -> String {
        let mut bytes = vec![0; self.said.metadata().map_or(0, |m| m.len()) as usize];
        let _ = self.said.read_exact_at(&mut bytes, 0);
        let now = dmesg();
        let new = now.strip_prefix(&self.before).unwrap_or(&now);
        format!("{}{new}", String::from_utf8_lossy(&bytes)).trim().to_owned()
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.end();
    }
}

/// Which program keeps XenStore on this host.
pub(super) fn store() -> Store {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut names = processes.map(|p| std::fs::read_to_string(p.path().join("comm")));
    match names.any(|name| name.is_ok_and(|name| name.trim() == "oxenstored")) {
        true => Store::OCaml,
        false => Store::C,
    }
}

/// Where programs are looked for: what is root's is not on everybody's PATH.
fn path() -> String {
    let own = std::env::var("PATH").unwrap_or_default();
    format!("{own}:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin")
}

/// What of the programs is not in these folders, and how to get it.
fn missing(path: &str) -> Option<String> {
    let there = |name: &str| std::env::split_paths(path).any(|dir| dir.join(name).is_file());
    let missing: Vec<_> = NEEDED.iter().filter(|(name, _)| !there(name)).collect();
    let list = |of: fn(&(&'static str, &'static str)) -> &'static str| {
        missing.iter().map(|pair| of(pair)).collect::<Vec<_>>().join(" ")
    };
    (!missing.is_empty())
        .then(|| format!("there is no {} here: apt-get install {}", list(|p| p.0), list(|p| p.1)))
}

/// Whether this can be a host for tests at all.
fn fit() -> Result<()> {
    let dom0 = std::fs::read_to_string("/proc/xen/capabilities").unwrap_or_default();
    ensure!(
        dom0.contains("control_d"),
        "this is no dom0: /proc/xen/capabilities does not say control_d; \
         `cargo xtask test lab` needs no Xen host"
    );
    ensure!(rustix::process::geteuid().is_root(), "tests of this Xen host need root: use sudo");
    if let Some(why) = missing(&path()) {
        bail!(why);
    }
    Ok(())
}

/// One test at a time has the host: an abstract socket is nobody's file.
fn lock() -> Result<UnixListener> {
    let until = Instant::now() + 2 * PATIENCE;
    let name = SocketAddr::from_abstract_name("atoll-lab-here")?;
    loop {
        match UnixListener::bind_addr(&name) {
            Ok(lock) => return Ok(lock),
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(50)),
            Err(e) => return Err(e).context("another test has this host, and goes on"),
        }
    }
}

/// Tests say that no domain is left; so there must be none, and what they start needs memory.
fn alone() -> Result<()> {
    let list = tool(&["xenstore-list", "/local/domain"]).context("xenstored does not answer")?;
    let other: Vec<_> = list
        .lines()
        .filter(|id| *id != "0")
        .map(|id| {
            let name = tool(&["xenstore-read", &format!("/local/domain/{id}/name")]);
            format!("{} ({id})", name.unwrap_or_default().trim())
        })
        .collect();
    ensure!(
        other.is_empty(),
        "there are domains on this host: {}; tests want one without any (`xl destroy` ends \
         what a test left that was killed)",
        other.join(", ")
    );
    let info = tool(&["xl", "info", "free_memory"])?;
    let free: u64 = info.trim().parse().with_context(|| format!("xl info: {info}"))?;
    ensure!(
        free >= FREE,
        "Xen has {free} MiB of free memory, and tests need {FREE}: `xl mem-set 0 SIZE` makes \
         dom0 smaller"
    );
    Ok(())
}

/// What a program of Xen says, which may hang.
fn tool(args: &[&str]) -> Result<String> {
    let mut child = Command::new("busybox")
        .args(["timeout", "20"])
        .args(args)
        .env("PATH", path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run busybox")?;
    let mut said = String::new();
    child.stdout.take().context("no output")?.read_to_string(&mut said)?;
    let out = child.wait_with_output()?;
    let why = String::from_utf8_lossy(&out.stderr).trim().to_owned();
    ensure!(out.status.success(), "{} ({}): {why}", args.join(" "), out.status);
    Ok(said)
}

fn dmesg() -> String {
    tool(&["xl", "dmesg"]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_its_package() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["busybox", "xenstore-ls"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let path = format!("/nowhere:{}", dir.path().display());
        assert_eq!(
            missing(&path).unwrap(),
            "there is no socat xl here: apt-get install socat xen-utils-common"
        );
        for name in ["socat", "xl"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(missing(&path), None);
    }

    #[test]
    fn there_is_a_port_for_each_job() {
        let script = include_str!("../guest/here");
        let ports: Vec<_> = (FIRST..).take(JOBS).map(|n| n.to_string()).collect();
        assert!(script.contains(&format!("for port in {}; do", ports.join(" "))));
    }
}
