//! A whole Linux as a fixture: Debian's kernel, busybox and whatever a test adds, in
//! QEMU without hardware help, with a shell for the test.
//!
//! There is no disk: all files are in memory and gone with the guest. Boots cost
//! about three seconds of CPU time, so tests share one. The machine is the old PC: a
//! microvm is up half a second earlier, but has no clock that this kernel can use
//! when a busy host keeps it from measuring its TSC, and then it hangs.
//!
//! ```no_run
//! use atoll_lab::{door::{Door, HOST}, linux::{Linux, Setup}};
//!
//! let linux = Linux::boot(Setup::new()?)?;
//! let door = Door::to_socket("tree.sock".as_ref())?;
//! let tcp = format!("trans=tcp,port={},version=9p2000.L,cache=none", door.port());
//! linux.ok(&format!("mount -t 9p -o {tcp} {HOST} /mnt"))?;
//! assert_eq!(linux.ok("cat /mnt/name")?, "hello\n");
//! let mut tail = linux.start("cat /mnt/log")?;
//! tail.wait_for("started")?;
//! tail.signal("INT")?;
//! assert_eq!(tail.wait()?.status, 130);
//! assert_eq!(linux.complaints()?, [""; 0]);
//! # Ok::<(), anyhow::Error>(())
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::files::Files;
use crate::job::{Job, Output};
use crate::kernel::Kernel;
use crate::qemu::{self, Launch, Qemu};
pub use crate::shell::JOBS;
use crate::shell::{self, Shell};

/// How long anything may take on a busy machine. A boot that costs four seconds of
/// CPU time has been seen to take ninety.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// What the guest can do: 9P over TCP, FUSE, and the devices of the machine.
const MODULES: [&str; 7] =
    ["virtio_pci", "virtio_console", "virtio_net", "virtio_rng", "9pnet_fd", "9p", "fuse"];

/// A guest to be.
#[derive(Debug)]
pub struct Setup {
    kernel: Kernel,
    /// Files beside those of the system. Programs there see `/bin` full of busybox.
    pub files: Files,
    /// RAM beside what the files need, in MiB.
    pub memory: u64,
}

impl Setup {
    /// Finds what a guest is made of. An error says what is missing and how to get
    /// it: the reason for which a test that wants a guest is skipped.
    pub fn new() -> Result<Setup> {
        if let Some(why) = qemu::missing() {
            anyhow::bail!(why);
        }
        let mut files = Files::default();
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
        let busybox = busybox.into_iter().find(|p| p.is_file()).context(
            "there is no /bin/busybox: scripts/setup.sh test installs it (package busybox-static)",
        )?;
        files.folder("dev");
        files.device("dev/console", 5, 1);
        files.program("bin/busybox", busybox)?;
        Ok(Setup { kernel: Kernel::find()?, files, memory: 192 })
    }

    /// Adds a program of the host, with the libraries that it loads.
    pub fn program(mut self, path: &str, host: &Path) -> Result<Setup> {
        self.files.program(path, host)?;
        Ok(self)
    }

    /// Adds a file.
    pub fn file(mut self, path: &str, bytes: &[u8]) -> Setup {
        self.files.file(path, bytes);
        self
    }

    fn system(&mut self) -> Result<()> {
        let files = &mut self.files;
        files.link("init", "bin/busybox");
        for folder in ["proc", "sys", "tmp", "run", "etc"] {
            files.folder(folder);
        }
        shell::add_to(files);
        files.executable("lab/boot", include_bytes!("guest/boot"));
        let mut order = String::new();
        for (name, bytes) in self.kernel.modules(&MODULES)? {
            files.file(&format!("lab/modules/{name}"), &bytes);
            order += &name;
            order.push('\n');
        }
        files.file("lab/modules/order", order.as_bytes());
        Ok(())
    }
}

/// The kernel's command line. On a busy host a guest that measures its TSC finds
/// anything, so that clock is not to be used (the HPET keeps the host's time); a
/// timer that is tested seems to be broken; and whoever watches for progress sees none.
const LINE: &str = "console=ttyS0 quiet loglevel=4 reboot=t panic=-1 tsc=unstable \
    no_timer_check nowatchdog rcupdate.rcu_cpu_stall_suppress=1";

/// A Linux that runs. Dropped, it is gone.
#[derive(Debug)]
pub struct Linux {
    qemu: Arc<Qemu>,
    shell: Arc<Shell>,
}

impl Linux {
    /// Boots a guest and waits until its shell answers.
    pub fn boot(mut setup: Setup) -> Result<Linux> {
        setup.system()?;
        // The archive is in memory together with what was unpacked from it.
        let memory = setup.memory + (setup.files.bytes() >> 20) * 2 + 1;
        let mut launch = Launch::new()?;
        let initrd = launch.bytes(&setup.files.finish())?;
        launch
            .args(["-M", "pc", "-accel", "tcg", "-cpu", "max", "-smp", "1"])
            .args(["-m", &format!("{memory}M"), "-append", LINE, "-initrd", &initrd])
            .args([std::ffi::OsStr::new("-kernel"), setup.kernel.image.as_os_str()])
            .args(["-netdev", "user,id=net,ipv6=off"])
            .args(["-device", "virtio-net-pci,netdev=net,romfile="])
            .args(["-device", "virtio-rng-pci"]);
        let ports = launch.ports(JOBS + 1)?;
        let qemu = Arc::new(launch.start()?);
        let shell = Shell::new(qemu.clone(), ports)?;
        let linux = Linux { qemu, shell };
        linux.ok("true").context("Linux did not come up")?;
        linux.complaints()?;
        Ok(linux)
    }

    /// Starts a shell script. It waits for a place if [`JOBS`] others run.
    pub fn start(&self, script: &str) -> Result<Job> {
        self.shell.start(script)
    }

    /// Runs a shell script to its end: its status and what it wrote.
    pub fn run(&self, script: &str) -> Result<Output> {
        self.shell.run(script)
    }

    /// What a script writes, which must end with status 0.
    pub fn ok(&self, script: &str) -> Result<String> {
        self.shell.ok(script)
    }

    /// Warnings and worse that the kernel has logged since the last call about what
    /// is tested, or about itself: none is right. A busy host gives it reasons for
    /// others, about time.
    pub fn complaints(&self) -> Result<Vec<String>> {
        let log = self.ok("dmesg -r -c")?;
        Ok(log.lines().filter(|line| is_complaint(line)).map(str::to_owned).collect())
    }

    /// What the console shows: the kernel's warnings, and how it died if it did.
    pub fn console(&self) -> String {
        self.qemu.said()
    }

    /// CPU time that the guest has used so far, in milliseconds.
    pub fn cpu(&self) -> Result<f64> {
        self.qemu.cpu()
    }

    /// The id of its process, for a test that looks whether it is gone.
    pub fn id(&self) -> u32 {
        self.qemu.id()
    }
}

impl Drop for Linux {
    fn drop(&mut self) {
        // A job may outlive it, and hold what it runs in.
        self.qemu.end();
    }
}

/// `KERN_WARNING` of `include/linux/kern_levels.h`; less is worse.
const WARNING: u32 = 4;

/// What a complaint that counts is about.
const SUBJECTS: [&str; 9] =
    ["9p", "v9fs", "netfs", "fscache", "FS-Cache", "fuse", "BUG:", "WARNING:", "Oops:"];

fn is_complaint(line: &str) -> bool {
    severity(line).is_some_and(|s| s <= WARNING) && SUBJECTS.iter().any(|s| line.contains(s))
}

/// The severity of a raw line of the kernel's log: the lowest three bits of the
/// number in angle brackets. Other bits name a facility, which is 0 for the kernel.
fn severity(line: &str) -> Option<u32> {
    let number: u32 = line.strip_prefix('<')?.split_once('>')?.0.parse().ok()?;
    (number < 8).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_those_of_the_kernel_alone() {
        assert!(is_complaint("<4>[    1.0] 9pnet: bad"));
        assert!(is_complaint("<1>[    1.0] BUG: kernel NULL pointer dereference"));
        assert!(!is_complaint("<6>[    1.0] 9p: Installing v9fs 9p2000 file system support"));
        assert!(!is_complaint("<4>[    1.0] clocksource: slow"));
        assert_eq!(severity("<30>[    1.0] init: started"), None);
        assert_eq!(severity("a second line"), None);
    }
}
