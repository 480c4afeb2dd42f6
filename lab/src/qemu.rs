//! The QEMU process under a guest.
//!
//! Everything is handed over as open descriptors (sockets, and files that exist in
//! memory only), so nothing is named in a file system and nothing can be left
//! behind. The process dies with the one that started it: `setpriv` asks the kernel
//! for that before it becomes QEMU. The kernel sends that signal when the *thread*
//! that started a process ends, and a test's thread ends with the test while others
//! still use the guest; so a thread that does nothing else starts QEMU and stays.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use command_fds::{CommandFdExt, FdMapping};
use rustix::fs::{MemfdFlags, memfd_create};

const QEMU: &str = "qemu-system-x86_64";

/// The first descriptor that QEMU is given; others follow.
const FIRST: i32 = 10;

/// A QEMU to be. What every guest has is in it: a console, and nothing else.
pub(crate) struct Launch {
    command: Command,
    fds: Vec<OwnedFd>,
    console: File,
    said: File,
}

impl Launch {
    pub(crate) fn new() -> Result<Launch> {
        let (console, said) = (memory_file(&[])?, memory_file(&[])?);
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig=KILL", QEMU])
            .args(["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said.try_clone()?);
        let mut launch = Launch { command, fds: Vec::new(), console, said };
        let console = launch.give(launch.console.try_clone()?);
        launch
            .args(["-chardev", &format!("file,id=console,path=/proc/self/fd/{console}")])
            .args(["-serial", "chardev:console"]);
        Ok(launch)
    }

    pub(crate) fn args<S: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = S>) -> &mut Self {
        self.command.args(args);
        self
    }

    /// Where its relative paths begin.
    pub(crate) fn folder(&mut self, path: &Path) {
        self.command.current_dir(path);
    }

    /// Hands over a descriptor: its number there.
    pub(crate) fn give(&mut self, fd: impl Into<OwnedFd>) -> i32 {
        let number = FIRST + self.fds.len() as i32;
        self.fds.push(fd.into());
        number
    }

    /// Hands over a file: its path there.
    pub(crate) fn file(&mut self, file: File) -> String {
        format!("/proc/self/fd/{}", self.give(file))
    }

    /// Hands over bytes as a file: its path there.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<String> {
        Ok(self.file(memory_file(bytes)?))
    }

    /// Adds a chardev of this name: our end of it.
    pub(crate) fn socket(&mut self, name: &str) -> Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        let fd = self.give(theirs);
        self.args(["-chardev", &format!("socket,id={name},fd={fd}")]);
        Ok(ours)
    }

    /// Adds virtio-serial with ports `port1` and so on: our ends of them.
    pub(crate) fn ports(&mut self, ports: usize) -> Result<Vec<UnixStream>> {
        self.args(["-device", "virtio-serial-pci,max_ports=31"]);
        (1..=ports)
            .map(|number| {
                let name = format!("port{number}");
                let ours = self.socket(&name)?;
                self.port(&name, number);
                Ok(ours)
            })
            .collect()
    }

    /// Adds a port for the chardev of that name.
    pub(crate) fn port(&mut self, name: &str, number: usize) {
        self.args(["-device", &format!("virtserialport,chardev={name},name={name},nr={number}")]);
    }

    pub(crate) fn start(mut self) -> Result<Qemu> {
        let map = |(child_fd, parent_fd)| FdMapping { parent_fd, child_fd };
        self.command.fd_mappings((FIRST..).zip(self.fds).map(map).collect())?;
        let process = Process::start(self.command)?;
        Ok(Qemu { console: self.console, said: self.said, process })
    }
}

/// A QEMU that runs. Dropped, it is killed and waited for.
#[derive(Debug)]
pub(crate) struct Qemu {
    console: File,
    said: File,
    process: Process,
}

impl Qemu {
    /// Kills it and waits for it.
    pub(crate) fn end(&self) {
        self.process.end();
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id
    }

    /// Whether it runs.
    pub(crate) fn is_alive(&self) -> bool {
        // One that has ended is not waited for before its end is asked for.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        let state = stat.rsplit_once(')').map_or("", |(_, rest)| rest.trim_start());
        !(state.is_empty() || state.starts_with(['Z', 'X']))
    }

    /// What the guest has written on its console, and QEMU on its stderr.
    pub(crate) fn said(&self) -> String {
        let mut text = String::new();
        for file in [&self.said, &self.console] {
            let mut bytes = vec![0; file.metadata().map_or(0, |m| m.len()) as usize];
            // Read by place: QEMU writes by the same open file.
            if file.read_exact_at(&mut bytes, 0).is_ok() {
                text += &String::from_utf8_lossy(&bytes);
            }
        }
        // The firmware clears its screen, which is not to be that of whoever reads this.
        text.retain(|c| c == '\n' || c == '\t' || !c.is_control());
        text.trim().to_owned()
    }

    /// CPU time that it has used, in milliseconds.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let mut sum = 0u64;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.id()))? {
            let mut text = String::new();
            // A thread may end meanwhile.
            if let Ok(mut file) = File::open(task?.path().join("schedstat")) {
                file.read_to_string(&mut text)?;
                sum += text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
            }
        }
        Ok(sum as f64 / 1e6)
    }
}

/// A process with the thread that started it.
#[derive(Debug)]
struct Process {
    id: u32,
    end: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl Process {
    fn start(mut command: Command) -> Result<Process> {
        let (started, hear) = channel::<std::io::Result<u32>>();
        let (word, until) = channel::<()>();
        let thread = std::thread::Builder::new().name("qemu".to_owned()).spawn(move || {
            let child = command.spawn();
            // With it go our copies of the guest's ends of the ports: else nobody
            // would hear of its end.
            drop(command);
            match child {
                Ok(mut child) => {
                    let _ = started.send(Ok(child.id()));
                    // Until the word is dropped; it is never sent.
                    let _ = until.recv();
                    let _ = child.kill();
                    let _ = child.wait();
                }
                Err(e) => drop(started.send(Err(e))),
            }
        })?;
        let id = hear.recv()?.context("cannot start setpriv (package util-linux)")?;
        Ok(Process { id, end: Mutex::new(Some((word, thread))) })
    }
}

impl Process {
    fn end(&self) {
        let end = self.end.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some((word, thread)) = end {
            drop(word);
            let _ = thread.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Bytes as a file in memory.
pub(crate) fn memory_file(bytes: &[u8]) -> Result<File> {
    let mut file = File::from(memfd_create("atoll-lab", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}

/// Where QEMU is.
pub(crate) fn path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(QEMU)).find(|file| file.is_file())
}

/// Why there can be no guest here, if QEMU is missing.
pub(crate) fn missing() -> Option<String> {
    path().is_none().then(|| {
        format!("there is no {QEMU}: scripts/setup.sh test installs it (package qemu-system-x86)")
    })
}
