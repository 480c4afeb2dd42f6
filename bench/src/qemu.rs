//! Guests on QEMU: the shell that all of them are measured in.
//!
//! The command line is that of `atoll run --on qemu`, without what costs nothing
//! there and helps here. A guest and the floor get the same line, devices and
//! all, so that what differs is the kernel. Everything is handed over as open
//! descriptors (sockets, and files that exist in memory only): nothing is named
//! in a file system, so nothing can be left behind.

use std::fs::File;
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::proc::{Program, Running, Spent, how};

/// The program.
pub const QEMU: &str = "qemu-system-x86_64";

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The machine that `atoll run` uses.
const MACHINE: &str = "microvm,acpi=off,pic=off,pit=off,rtc=off";

/// Its processor: what atoms are compiled for.
const CPU: &str = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt";

/// Numbers of the descriptors that QEMU is given.
const CONTROL: i32 = 10;
const HOST: i32 = 11;
const DEBUG: i32 = 12;
const KERNEL: i32 = 13;
const INITRD: i32 = 14;

/// A virtual machine to be.
#[derive(Clone, Debug)]
pub struct Shell {
    /// `-M`.
    pub machine: String,
    /// `-m`, in MiB.
    pub memory: u64,
    /// Whether it has a guest's devices: streams, entropy, ports of the end.
    pub devices: bool,
    /// Whether instructions are counted: the TSC is then their number.
    pub icount: bool,
    /// What else is on the command line.
    pub more: Vec<String>,
}

impl Shell {
    /// The machine of a guest.
    pub fn guest(memory: u64) -> Shell {
        Shell {
            machine: MACHINE.to_owned(),
            memory,
            devices: true,
            icount: false,
            more: Vec::new(),
        }
    }

    /// The same without devices.
    pub fn bare(memory: u64) -> Shell {
        Shell { devices: false, ..Shell::guest(memory) }
    }

    /// Starts it with a kernel. The client's end of `control` is there before it is.
    pub fn start(&self, kernel: &Kernel, initrd: Option<&Kernel>) -> Result<Machine> {
        let (debug, theirs) = UnixStream::pair()?;
        debug.set_read_timeout(Some(PATIENCE))?;
        let mut qemu = Program::new(QEMU)?
            .args([
                "-M",
                &self.machine,
                "-accel",
                "tcg",
                "-cpu",
                CPU,
                "-m",
                &format!("{}M", self.memory),
            ])
            .args(["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"])
            .args(["-chardev", &format!("socket,id=debug,fd={DEBUG}")])
            .fd(DEBUG, theirs)
            .fd(KERNEL, kernel.0.try_clone()?)
            .args(["-kernel", &format!("/proc/self/fd/{KERNEL}")])
            .args(&self.more);
        if let Some(initrd) = initrd {
            qemu = qemu
                .fd(INITRD, initrd.0.try_clone()?)
                .args(["-initrd", &format!("/proc/self/fd/{INITRD}")])
                .args(["-serial", "chardev:debug"]);
        } else {
            qemu = qemu.args(["-device", "isa-debugcon,iobase=0xe9,chardev=debug"]);
        }
        if self.icount {
            qemu = qemu.args(["-icount", "shift=0,sleep=off"]);
        }
        let (mut control, mut host) = (None, None);
        if self.devices {
            let (at_control, client) = stream("control")?;
            let (at_host, _) = stream("host")?;
            qemu = qemu
                .args(["-global", "virtio-mmio.force-legacy=false"])
                .args(["-device", "virtio-serial-device,max_ports=3"])
                .args(port("control", 1, CONTROL))
                .fd(CONTROL, at_control)
                .args(port("host", 2, HOST))
                .fd(HOST, at_host.try_clone()?)
                .args(["-device", "virtio-rng-device"])
                .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"])
                .args(["-append", "atoll.wall=1790000000000000000"]);
            (control, host) = (Some(client), Some(at_host));
        }
        Ok(Machine { running: qemu.start()?, control, debug, _host: host })
    }
}

fn port(name: &str, number: u32, fd: i32) -> [String; 4] {
    [
        "-chardev".to_owned(),
        format!("socket,id={name},fd={fd},server=on,wait=off"),
        "-device".to_owned(),
        format!("virtserialport,chardev={name},name={name},nr={number}"),
    ]
}

/// A listening socket without a place in the file system, and a client of it.
fn stream(name: &str) -> Result<(UnixListener, UnixStream)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let address = format!("atoll-bench-{}-{n}-{name}", std::process::id());
    let address = SocketAddr::from_abstract_name(address)?;
    let listener = UnixListener::bind_addr(&address).context("cannot listen on a socket")?;
    let client = UnixStream::connect_addr(&address).context("cannot connect to a socket")?;
    Ok((listener, client))
}

/// A file that QEMU loads.
#[derive(Debug)]
pub struct Kernel(File);

impl Kernel {
    /// A file.
    pub fn open(path: &Path) -> Result<Kernel> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Kernel(file))
    }

    /// Bytes, as a file in memory.
    pub fn of(bytes: &[u8]) -> Result<Kernel> {
        let mut file = File::from(memfd_create("atoll-bench", MemfdFlags::CLOEXEC)?);
        file.write_all(bytes)?;
        Ok(Kernel(file))
    }
}

/// A virtual machine that runs.
#[derive(Debug)]
pub struct Machine {
    /// The QEMU process.
    pub running: Running,
    /// A client's end of the `control` stream.
    pub control: Option<UnixStream>,
    debug: UnixStream,
    _host: Option<UnixListener>,
}

impl Machine {
    /// Waits until the guest has written this on its debug port or console, and
    /// says what that took.
    pub fn says(&mut self, what: &[u8], patience: Duration) -> Result<Spent> {
        let begin = Instant::now();
        let mut seen = Vec::new();
        let mut buf = [0; 4096];
        loop {
            let n = self.debug.read(&mut buf).unwrap_or(0);
            seen.extend_from_slice(&buf[..n]);
            if seen.windows(what.len()).any(|w| w == what) {
                return self.running.spent();
            }
            if n == 0 || begin.elapsed() > patience {
                bail!("{} (it said: {})", self.state(), String::from_utf8_lossy(&seen).trim());
            }
        }
    }

    /// What the guest has written on its debug port so far: its record, if it failed.
    pub fn record(&mut self) -> String {
        let mut out = Vec::new();
        let mut buf = [0; 4096];
        let _ = self.debug.set_nonblocking(true);
        while let Ok(n @ 1..) = self.debug.read(&mut buf) {
            out.extend_from_slice(&buf[..n]);
        }
        String::from_utf8_lossy(&out).trim().to_owned()
    }

    /// Whether it runs, in words. An end is heard of on a socket a little before
    /// the process is gone, so it is given a moment.
    pub fn state(&mut self) -> String {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(1) {
            if let Ok(Some(status)) = self.running.ended() {
                return format!("{QEMU} {}", how(status));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        "the guest did not answer".to_owned()
    }
}

/// Where QEMU is; says what to install if it is not.
pub fn find() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(QEMU))
        .find(|p| p.is_file())
        .with_context(|| {
            format!("there is no {QEMU}: install the package qemu-system-x86 (scripts/setup.sh bench does)")
        })
}
