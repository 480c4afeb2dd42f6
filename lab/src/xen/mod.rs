//! Real Xen as a fixture: version 4.17 of Debian with its PV dom0, in QEMU without
//! hardware help, on any machine.
//!
//! Everything about Xen is tested against this and nothing else. A boot takes ten
//! seconds and more, so it happens once: each [`Lab`] goes on from a snapshot of the
//! moment after it, in half a second, and has its memory to itself. Files come in by a
//! folder that both sides see, at `/mnt` in dom0; byte streams go through ports. A lab is
//! gone when it is dropped, and when its process is killed.
//!
//! ```no_run
//! use std::io::{Read, Write};
//! use atoll_lab::xen::Lab;
//!
//! let lab = Lab::start()?;
//! assert!(lab.ok("xl list")?.contains("Domain-0"));
//! lab.put("note", b"hello")?;
//! assert_eq!(lab.ok("cat /mnt/note")?, "hello");
//! let mut store = lab.open("UNIX-CONNECT:/run/xenstored/socket")?;
//! store.write_all(b"...")?;
//! # Ok::<(), anyhow::Error>(())
//! ```

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::job::{Job, Output};
use crate::qemu::Qemu;
use crate::shell::Shell;

mod folder;
mod image;
mod machine;
mod monitor;
pub mod session;
mod snapshot;
mod stream;
pub mod wire;

pub use image::Store;
pub use stream::Stream;
pub use wire::Wire;

use folder::Folder;
use snapshot::Snapshot;
use stream::Slots;

/// A Xen host that runs. Dropped, it is gone.
#[derive(Debug)]
pub struct Lab {
    shell: Arc<Shell>,
    qemu: Arc<Qemu>,
    slots: Arc<Slots>,
    folder: Folder,
    took: Took,
}

/// How long it took to have a lab.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// The boot from nothing with the snapshot of it, if there was none.
    pub boot: Option<Duration>,
    /// From the snapshot to the first answer of dom0.
    pub clone: Duration,
}

impl Lab {
    /// Starts a lab with XenStore in C. The first boots Xen, which the others need not.
    pub fn start() -> Result<Lab> {
        Lab::with(Store::C, None, &mut |_| ())
    }

    /// What a test begins with: a lab, or none where there can be none, for a reason that
    /// is said. `cargo xtask test lab` and CI say by `ATOLL_LAB=must` that there must be
    /// one, and `elsewhere` that these tests are run in another step.
    ///
    /// # Panics
    ///
    /// There must be one, and is none.
    #[allow(clippy::panic)]
    pub fn for_test() -> Option<Lab> {
        let word = std::env::var("ATOLL_LAB").unwrap_or_default();
        if word == "elsewhere" {
            eprintln!("skipped: `cargo xtask test lab` runs this");
            return None;
        }
        match Lab::start() {
            Ok(lab) => Some(lab),
            Err(e) if word == "must" => panic!("there is no lab: {e:#}"),
            Err(e) => {
                eprintln!("skipped: {e:#}");
                None
            }
        }
    }

    /// Starts a lab. What takes long is said before it begins; a file goes with it.
    pub fn with(store: Store, file: Option<&Path>, say: &mut dyn FnMut(&str)) -> Result<Lab> {
        let snapshot = Snapshot::get(store, say)?;
        let began = Instant::now();
        let folder = Folder::new(file)?;
        std::fs::create_dir(folder.path().join("share"))?;
        let machine = snapshot.start(folder.path())?;
        let qemu = Arc::new(machine.qemu);
        let shell = Shell::new(qemu.clone(), machine.ports)?;
        let mut lab = Lab {
            shell,
            qemu,
            slots: Arc::default(),
            folder,
            took: Took { boot: snapshot.made, clone: Duration::ZERO },
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let script = format!(
            "mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=none host /mnt && \
             date -s @{now}"
        );
        lab.ok(&script).context("the lab does not go on from its snapshot")?;
        lab.took.clone = began.elapsed();
        Ok(lab)
    }

    /// How long it took to have it.
    pub fn took(&self) -> Took {
        self.took
    }

    /// Starts a shell script in dom0. It waits for a place if [`crate::shell::JOBS`]
    /// others run, of which each open stream is one.
    pub fn job(&self, script: &str) -> Result<Job> {
        self.shell.start(script)
    }

    /// Runs a shell script in dom0 to its end: its status and what it wrote.
    pub fn run(&self, script: &str) -> Result<Output> {
        self.shell.run(script)
    }

    /// What a script writes, which must end with status 0.
    pub fn ok(&self, script: &str) -> Result<String> {
        self.shell.ok(script)
    }

    /// The folder that is `/mnt` in dom0.
    pub fn share(&self) -> PathBuf {
        self.folder.path().join("share")
    }

    /// Writes a file: its path in dom0.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<String> {
        std::fs::write(self.share().join(name), bytes)?;
        Ok(format!("/mnt/{name}"))
    }

    /// Copies a program or another file: its path in dom0. Libraries of Rust programs
    /// that were made on this machine are there.
    pub fn bring(&self, name: &str, file: &Path) -> Result<String> {
        let to = self.share().join(name);
        std::fs::copy(file, &to).with_context(|| format!("cannot copy {}", file.display()))?;
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o755))?;
        Ok(format!("/mnt/{name}"))
    }

    /// Opens a stream to what socat in dom0 knows by this address, such as
    /// `UNIX-CONNECT:/run/xenstored/socket`.
    pub fn open(&self, address: &str) -> Result<Stream> {
        let slot = self.slots.take()?;
        let name = format!("stream{slot}");
        let socket = UnixStream::connect(self.folder.path().join(&name))?;
        let script = format!("exec socat OPEN:/dev/virtio-ports/{name} '{address}'");
        Stream::new(socket, self.job(&script)?, self.slots.clone(), slot)
    }

    /// What Xen and dom0 have written on the serial console since the boot went on.
    pub fn log(&self) -> String {
        self.qemu.said()
    }

    /// CPU time that the machine has used so far, in milliseconds.
    pub fn cpu(&self) -> Result<f64> {
        self.qemu.cpu()
    }

    /// Whether the machine runs.
    pub fn is_alive(&self) -> bool {
        self.qemu.is_alive()
    }

    /// Ends it at once, as dropping it does.
    fn end(&self) {
        self.qemu.end();
    }

    /// Removes its folder now.
    fn remove(&self) {
        self.folder.remove();
    }

    /// The id of its process, for a test that looks whether it is gone.
    pub fn id(&self) -> u32 {
        self.qemu.id()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A job or a stream may outlive it, and hold what it runs in.
        self.qemu.end();
    }
}
