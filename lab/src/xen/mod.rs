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
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::job::{Job, Output};
use crate::qemu::Qemu;
use crate::shell::{Console, Shell};

mod folder;
mod here;
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
use here::Here;
use snapshot::Snapshot;
use stream::Slots;

/// A Xen host that runs. Dropped, it is gone.
#[derive(Debug)]
pub struct Lab {
    shell: Arc<Shell>,
    place: Place,
    slots: Arc<Slots>,
    took: Took,
}

/// Where its dom0 is.
#[derive(Debug)]
enum Place {
    /// In a machine of its own.
    Machine { qemu: Arc<Qemu>, folder: Folder },
    /// On this host, by `ATOLL_LAB=here`.
    Here(Arc<Here>),
}

/// How long it took to have a lab.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// The boot from nothing with the snapshot of it, if there was none.
    pub boot: Option<Duration>,
    /// From the snapshot to the first answer of dom0.
    pub clone: Duration,
}

#[allow(clippy::panic)]
impl Lab {
    /// Starts a lab with XenStore in C. The first boots Xen, which the others need not.
    pub fn start() -> Result<Lab> {
        Lab::with(Store::C, None, &mut |_| ())
    }

    /// What a test begins with: a lab, or none where there can be none, for a reason that
    /// is said. `cargo xtask test lab` and CI say by `ATOLL_LAB=must` that there must be
    /// one, and `elsewhere` that these tests are run in another step; `cargo xtask test lab
    /// --here` says by `here` that this host is to be taken, which must be the dom0 of a Xen.
    ///
    /// # Panics
    ///
    /// There must be one, and is none.
    pub fn for_test() -> Option<Lab> {
        let word = std::env::var("ATOLL_LAB").unwrap_or_default();
        if word == "elsewhere" {
            eprintln!("skipped: `cargo xtask test lab` runs this");
            return None;
        }
        let lab = if here() { Lab::here() } else { Lab::start() };
        match lab {
            Ok(lab) => Some(lab),
            Err(e) if word == "must" || here() => panic!("there is no Xen host: {e:#}"),
            Err(e) => {
                crate::left_out(e);
                None
            }
        }
    }

    /// A lab for a test that no host can be taken for that is somebody's, and why that is.
    pub fn for_test_apart(why: &str) -> Option<Lab> {
        if here() {
            eprintln!("left out on this host: {why}");
            return None;
        }
        Lab::for_test()
    }

    /// One with the XenStore of this program, for a test. A host has the one that it has.
    pub fn for_test_with(store: Store) -> Option<Lab> {
        if here() {
            if here::store() != store {
                eprintln!("left out on this host: its XenStore is another");
                return None;
            }
            return Lab::for_test();
        }
        let lab = Lab::for_test()?;
        if store == Store::C {
            return Some(lab);
        }
        drop(lab);
        Some(Lab::with(store, None, &mut |_| ()).unwrap_or_else(|e| panic!("{e:#}")))
    }

    /// The Xen host that this runs on.
    fn here() -> Result<Lab> {
        let began = Instant::now();
        let (here, ports) = Here::new()?;
        let here = Arc::new(here);
        let shell = Shell::new(here.clone(), ports)?;
        let mut lab = Lab {
            shell,
            place: Place::Here(here),
            slots: Arc::default(),
            took: Took { boot: None, clone: Duration::ZERO },
        };
        lab.ok("xl list >/dev/null")?;
        lab.took.clone = began.elapsed();
        Ok(lab)
    }

    /// Whether it is the host that this runs on, of which less is known than of a lab.
    pub fn is_here(&self) -> bool {
        matches!(self.place, Place::Here(_))
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
            place: Place::Machine { qemu, folder },
            slots: Arc::default(),
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
        match &self.place {
            Place::Machine { folder, .. } => folder.path().join("share"),
            Place::Here(here) => here.path("/mnt"),
        }
    }

    /// Writes a file: its path in dom0.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<String> {
        std::fs::write(self.share().join(name), bytes)?;
        Ok(format!("/mnt/{name}"))
    }

    /// Copies a program or another file: its path in dom0. Libraries of Rust programs
    /// that were made on this machine are there.
    pub fn bring(&self, name: &str, file: &Path) -> Result<String> {
        if let Place::Here(here) = &self.place {
            here.bring(name, file)?;
            return Ok(format!("/mnt/{name}"));
        }
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
        let (socket, job) = match &self.place {
            Place::Machine { folder, .. } => {
                let socket = UnixStream::connect(folder.path().join(&name))?;
                let script = format!("exec socat OPEN:/dev/virtio-ports/{name} '{address}'");
                (socket, self.job(&script)?)
            }
            Place::Here(here) => {
                let socket = here.path("/run/lab").join(&name);
                let listener = UnixListener::bind(&socket)?;
                let script = format!("exec socat UNIX-CONNECT:/run/lab/{name} '{address}'");
                let job = self.job(&script)?;
                let stream = Here::accept(&listener)?;
                std::fs::remove_file(socket)?;
                (stream, job)
            }
        };
        Stream::new(socket, job, self.slots.clone(), slot)
    }

    /// What Xen and dom0 have written on the serial console since the boot went on.
    pub fn log(&self) -> String {
        match &self.place {
            Place::Machine { qemu, .. } => qemu.said(),
            Place::Here(here) => here.said(),
        }
    }

    /// CPU time that the machine has used so far, in milliseconds.
    pub fn cpu(&self) -> Result<f64> {
        match &self.place {
            Place::Machine { qemu, .. } => qemu.cpu(),
            Place::Here(_) => bail!("this host does more than these tests"),
        }
    }

    /// Whether the machine runs.
    pub fn is_alive(&self) -> bool {
        match &self.place {
            Place::Machine { qemu, .. } => qemu.is_alive(),
            Place::Here(here) => here.is_alive(),
        }
    }

    /// Ends it at once, as dropping it does.
    fn end(&self) {
        match &self.place {
            Place::Machine { qemu, .. } => qemu.end(),
            Place::Here(here) => here.end(),
        }
    }

    /// Removes its folder now.
    fn remove(&self) {
        if let Place::Machine { folder, .. } = &self.place {
            folder.remove();
        }
    }

    /// The id of its process, for a test that looks whether it is gone.
    pub fn id(&self) -> u32 {
        match &self.place {
            Place::Machine { qemu, .. } => qemu.id(),
            Place::Here(here) => here.id(),
        }
    }
}

/// Whether tests are told to take this host.
fn here() -> bool {
    std::env::var_os("ATOLL_LAB").is_some_and(|word| word == "here")
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A job or a stream may outlive it, and hold what it runs in.
        self.end();
    }
}
