//! The peer that everyone knows: Debian's cloud kernel with busybox, which prints
//! one line and sleeps.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::proc::Spent;
use crate::qemu::{Kernel, Shell};
use atoll_lab::cpio::Cpio;

/// Its name in tables.
pub const NAME: &str = "Debian cloud kernel + busybox";

/// The line that is waited for; the script below writes it in another form, so
/// that a kernel that shows its files does not count.
const LINE: &[u8] = b"atoll-bench: up";
const INIT: &str = "#!/bin/busybox sh\necho atoll-bench: u''p\nexec /bin/busybox sleep 1000\n";

/// A kernel and its first file system.
#[derive(Debug)]
pub struct Linux {
    kernel: Kernel,
    initrd: Kernel,
}

impl Linux {
    /// Finds the kernel and packs the file system.
    pub fn find(root: &Path) -> Result<Linux> {
        let kernel = newest(Path::new("/boot"))
            .or_else(|| newest(&root.join("target/atoll/debian/boot")))
            .context(
                "there is no vmlinuz-*-cloud-amd64: scripts/setup.sh bench fetches it \
                 (package linux-image-cloud-amd64)",
            )?;
        let busybox = std::fs::read("/bin/busybox").context(
            "there is no /bin/busybox: install the package busybox-static \
             (scripts/setup.sh bench does)",
        )?;
        let mut files = Cpio::default();
        files.folder("dev");
        files.device("dev/console", 5, 1);
        files.folder("bin");
        files.program("bin/busybox", &busybox);
        files.program("init", INIT.as_bytes());
        Ok(Linux { kernel: Kernel::open(&kernel)?, initrd: Kernel::of(&files.finish())? })
    }

    /// From `exec` to its line.
    pub fn boot(&self) -> Result<Spent> {
        let mut shell = Shell::bare(128);
        // It has no other clock to set its own by than the PIT.
        shell.machine = "microvm,acpi=off".to_owned();
        let line = "console=ttyS0 quiet loglevel=0 reboot=t panic=-1";
        shell.more = ["-append", line].map(str::to_owned).into();
        shell.start(&self.kernel, Some(&self.initrd))?.says(LINE, Duration::from_secs(60))
    }
}

fn newest(dir: &Path) -> Option<PathBuf> {
    let names = std::fs::read_dir(dir).ok()?.flatten().map(|e| e.path());
    let is = |p: &PathBuf| {
        let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        name.starts_with("vmlinuz-") && name.ends_with("-cloud-amd64")
    };
    names.filter(is).max()
}
