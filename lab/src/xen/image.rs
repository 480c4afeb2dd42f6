//! What a dom0 is made of: Xen, Debian's kernel, and an archive with busybox, `xl` and
//! all that these need, from packages that are files here and installed nowhere.
//!
//! Making the archive takes seconds and a boot of it ten, so what is made is kept under a
//! name that depends on all that went into it. That name has to be found in much less,
//! so files count by path, length and time, not by what is in them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, ensure};

use crate::files::Files;
use crate::kernel::{self, Kernel};
use crate::{qemu, shell};

use super::machine;

/// Which program keeps XenStore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Store {
    /// The one in C, which Debian runs.
    #[default]
    C,
    /// The one in OCaml.
    OCaml,
}

impl Store {
    fn program(self) -> &'static str {
        match self {
            Store::C => "xenstored",
            Store::OCaml => "oxenstored",
        }
    }

    /// A word for names of files.
    pub(super) fn word(self) -> &'static str {
        match self {
            Store::C => "c",
            Store::OCaml => "ocaml",
        }
    }
}

/// Programs of Xen that are in dom0.
const PROGRAMS: [&str; 13] = [
    "libxl-save-helper",
    "lsevtchn",
    "oxenstored",
    "test-xenstore",
    "vchan-socket-proxy",
    "xen-diag",
    "xen-hvmctx",
    "xen-init-dom0",
    "xenconsole",
    "xenconsoled",
    "xenstore-control",
    "xenstored",
    "xl",
];
const BIN: &str = "usr/lib/xen-4.17/bin";

/// Modules of dom0, beside those that they depend on.
const MODULES: [&str; 13] = [
    "xen_evtchn",
    "xen_gntdev",
    "xen_gntalloc",
    "xen_privcmd",
    "xenfs",
    "virtio_pci",
    "virtio_rng",
    "9pnet_virtio",
    "9p",
    "xen_netback",
    "bridge",
    "tun",
    // Last: when its ports are there, so is all else.
    "virtio_console",
];

const BOOT: &[u8] = include_bytes!("dom0/boot");

const SESSION: &[u8] = include_bytes!("dom0/session");

/// What `xl` is told about every domain.
const XL: &[u8] = b"autoballoon=\"off\"\n";

/// What can be made into a snapshot.
#[derive(Debug)]
pub(super) struct Image {
    /// Packages of Xen and others, unpacked.
    tree: PathBuf,
    pub(super) kernel: Kernel,
    store: Store,
    busybox: PathBuf,
    bash: PathBuf,
}

impl Image {
    /// Finds all that it takes. An error says what is missing and how to get it.
    pub(super) fn find(store: Store) -> Result<Image> {
        if let Some(why) = qemu::missing() {
            anyhow::bail!(why);
        }
        let tree = kernel::root().join("target/atoll/debian/xen-4.17");
        ensure!(
            tree.is_dir(),
            "there is no Xen here: scripts/setup.sh test fetches it as files \
             (package xen-hypervisor-4.17-amd64 and others)"
        );
        let kernel = Kernel::find()?;
        ensure!(
            kernel.has("xen_privcmd"),
            "the kernel {} has no modules for dom0: scripts/setup.sh test fetches them",
            kernel.release
        );
        Ok(Image {
            tree: tree.canonicalize()?,
            kernel,
            store,
            busybox: program("busybox", "busybox-static")?,
            bash: program("bash", "bash")?,
        })
    }

    /// The name of what is made of this.
    pub(super) fn key(&self) -> Result<String> {
        let mut hash = blake3::Hasher::new();
        let mut add = |path: &Path| -> Result<()> {
            let about = path.metadata().with_context(|| format!("no {}", path.display()))?;
            let time = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let line = format!("{} {} {time:?}\n", path.display(), about.len());
            hash.update(line.as_bytes());
            Ok(())
        };
        let mut rest = vec![self.tree.clone()];
        while let Some(folder) = rest.pop() {
            let entries = std::fs::read_dir(&folder)?.collect::<std::io::Result<Vec<_>>>()?;
            let mut paths: Vec<_> = entries.iter().map(|e| e.path()).collect();
            paths.sort();
            for path in paths {
                if path.is_symlink() {
                    continue;
                }
                if path.is_dir() { rest.push(path) } else { add(&path)? }
            }
        }
        // The last is written whenever a library of the host changes.
        let host = [&self.kernel.image, &self.busybox, &self.bash, Path::new("/etc/ld.so.cache")];
        for path in host {
            add(path)?;
        }
        add(&qemu::path().context("no QEMU")?)?;
        hash.update(self.store.program().as_bytes());
        hash.update(BOOT);
        hash.update(SESSION);
        hash.update(XL);
        hash.update(MODULES.concat().as_bytes());
        hash.update(PROGRAMS.concat().as_bytes());
        hash.update(&shell::identity());
        hash.update(machine::identity().as_bytes());
        Ok(hash.finalize().to_hex().get(..16).unwrap_or_default().to_owned())
    }

    /// The hypervisor, unpacked: its boot loader would do that, and QEMU is none.
    pub(super) fn xen(&self) -> Result<Vec<u8>> {
        let packed = File::open(self.tree.join("boot/xen-4.17-amd64.gz"))?;
        let mut bytes = Vec::new();
        let mut gzip = Command::new("gzip")
            .args(["--decompress", "--stdout"])
            .stdin(packed)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run gzip")?;
        gzip.stdout.take().context("no output")?.read_to_end(&mut bytes)?;
        ensure!(gzip.wait()?.success(), "gzip did not succeed");
        Ok(bytes)
    }

    /// The first file system of dom0.
    pub(super) fn archive(&self) -> Result<Vec<u8>> {
        let mut files = Files::below(&self.tree);
        files.folder("dev");
        files.device("dev/console", 5, 1);
        for folder in ["proc", "sys", "tmp", "run", "mnt"] {
            files.folder(folder);
        }
        files.link("init", "bin/busybox");
        files.program("bin/busybox", &self.busybox)?;
        // Xen's own scripts are written for it.
        files.program("bin/bash", &self.bash)?;
        for name in PROGRAMS {
            let path = format!("{BIN}/{name}");
            files.program(&path, &self.tree.join(&path))?;
            files.link(&format!("usr/sbin/{name}"), &format!("/{path}"));
        }
        for name in self.names("usr/bin")?.iter().filter(|n| n.starts_with("xenstore")) {
            let path = format!("usr/bin/{name}");
            // Those of a version are links to a script that looks for them.
            if !self.tree.join(&path).is_symlink() {
                files.program(&path, &self.tree.join(&path))?;
            }
        }
        files.program("usr/bin/socat", &self.tree.join("usr/bin/socat"))?;
        // What programs of the host load that are brought along later: they are made by
        // the same compiler as this one.
        files.libraries(&std::env::current_exe()?)?;
        for name in self.names("etc/xen/scripts")? {
            let path = format!("etc/xen/scripts/{name}");
            files.executable(&path, &std::fs::read(self.tree.join(&path))?);
        }
        let oxenstored = "etc/xen/oxenstored.conf";
        files.file(oxenstored, &std::fs::read(self.tree.join(oxenstored))?);
        files.file("etc/xen/xl.conf", XL);
        files.file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n");
        files.file("etc/group", b"root:x:0:\n");
        files.executable("lab/boot", BOOT);
        files.executable("lab/session", SESSION);
        files.link("lab/xenstored", &format!("/{BIN}/{}", self.store.program()));
        files.file("lab/ports", machine::last_port().as_bytes());
        shell::add_to(&mut files);
        let mut order = String::new();
        for (name, bytes) in self.kernel.modules(&MODULES)? {
            files.file(&format!("lab/modules/{name}"), &bytes);
            order += &name;
            order.push('\n');
        }
        files.file("lab/modules/order", order.as_bytes());
        Ok(files.finish())
    }

    fn names(&self, folder: &str) -> Result<Vec<String>> {
        let entries = std::fs::read_dir(self.tree.join(folder))?;
        let mut names: Vec<_> =
            entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }
}

fn program(name: &str, package: &str) -> Result<PathBuf> {
    let places = [Path::new("/bin"), Path::new("/usr/bin")];
    places.into_iter().map(|p| p.join(name)).find(|p| p.is_file()).with_context(|| {
        format!("there is no /bin/{name}: scripts/setup.sh test installs it (package {package})")
    })
}
