//! The QEMU process under a guest.
//!
//! Everything is handed over as open descriptors (sockets, and files that exist in
//! memory only), so nothing is named in a file system and nothing can be left
//! behind. The process dies with the one that started it: `setpriv` asks the kernel
//! for that before it becomes QEMU. The kernel sends that signal when the *thread*
//! that started a process ends, and a test's thread ends with the test while others
//! still use the guest; so a thread that does nothing else starts QEMU and stays.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use command_fds::{CommandFdExt, FdMapping};
use rustix::fs::{MemfdFlags, memfd_create};

const QEMU: &str = "qemu-system-x86_64";

/// The kernel's command line. On a busy host a guest that measures its TSC finds
/// anything, so that clock is not to be used (the HPET keeps the host's time); a
/// timer that is tested seems to be broken; and whoever watches for progress sees none.
const LINE: &str = "console=ttyS0 quiet loglevel=4 reboot=t panic=-1 tsc=unstable \
    no_timer_check nowatchdog rcupdate.rcu_cpu_stall_suppress=1";

/// Numbers of the descriptors that QEMU is given; the ports come last.
const INITRD: i32 = 10;
const CONSOLE: i32 = 11;
const PORT: i32 = 12;

/// A QEMU that runs. Dropped, it is killed and waited for.
#[derive(Debug)]
pub(crate) struct Qemu {
    console: File,
    said: File,
    process: Process,
}

impl Qemu {
    /// Starts a kernel with a first file system, `memory` MiB of RAM and as many
    /// ports; the host's ends of the ports are what it answers with.
    pub(crate) fn start(
        kernel: &Path,
        initrd: &[u8],
        memory: u64,
        ports: usize,
    ) -> Result<(Qemu, Vec<UnixStream>)> {
        let (console, said) = (memory_file(&[])?, memory_file(&[])?);
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig=KILL", QEMU])
            .args(["-M", "pc", "-accel", "tcg", "-cpu", "max"])
            .args(["-m", &format!("{memory}M"), "-smp", "1"])
            .args(["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"])
            .arg("-kernel")
            .arg(kernel)
            .args(["-initrd", &format!("/proc/self/fd/{INITRD}")])
            .args(["-append", LINE])
            .args(["-chardev", &format!("file,id=console,path=/proc/self/fd/{CONSOLE}")])
            .args(["-serial", "chardev:console"])
            .args(["-netdev", "user,id=net,ipv6=off"])
            .args(["-device", "virtio-net-pci,netdev=net,romfile="])
            .args(["-device", "virtio-rng-pci"])
            .args(["-device", &format!("virtio-serial-pci,max_ports={}", ports + 1)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said.try_clone()?);
        let mut fds: Vec<(i32, OwnedFd)> =
            vec![(INITRD, memory_file(initrd)?.into()), (CONSOLE, console.try_clone()?.into())];
        let mut ours = Vec::new();
        for (number, fd) in (1..=ports).zip(PORT..) {
            let (mine, theirs) = UnixStream::pair()?;
            fds.push((fd, theirs.into()));
            ours.push(mine);
            command
                .args(["-chardev", &format!("socket,id=port{number},fd={fd}")])
                .arg("-device")
                .arg(format!("virtserialport,chardev=port{number},name=port{number},nr={number}"));
        }
        let map = |(child_fd, parent_fd)| FdMapping { parent_fd, child_fd };
        command.fd_mappings(fds.into_iter().map(map).collect())?;
        Ok((Qemu { console, said, process: Process::start(command)? }, ours))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id
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
    end: Option<(Sender<()>, JoinHandle<()>)>,
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
        Ok(Process { id, end: Some((word, thread)) })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some((word, thread)) = self.end.take() {
            drop(word);
            let _ = thread.join();
        }
    }
}

/// Bytes as a file in memory.
fn memory_file(bytes: &[u8]) -> Result<File> {
    let mut file = File::from(memfd_create("atoll-lab", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}

/// Why there can be no guest here, if QEMU is missing.
pub(crate) fn missing() -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(QEMU).is_file());
    (!found).then(|| {
        format!("there is no {QEMU}: scripts/setup.sh test installs it (package qemu-system-x86)")
    })
}
