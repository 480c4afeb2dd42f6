//! A real xenstored, without Xen.
//!
//! The C xenstored asks the hypervisor for nothing but its domains. So one that is told that
//! there is dom0 and nothing else (`no-hypervisor.c`, loaded before Xen's libraries) serves
//! its socket with its own transactions, watches, permissions and quotas, which is all that
//! a client of a XenStore sees; `test-xenstore` of Xen finds nothing amiss. oxenstored makes
//! hypercalls itself, and is for the lab. `scripts/setup.sh` puts both under
//! `target/atoll/debian`, with the `xenstore-*` tools; a host of Xen has them installed.

use std::ffi::OsStr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Where Debian's packages for Xen are: a root folder, and the folder of programs below it.
fn debian() -> Result<(PathBuf, PathBuf)> {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/atoll/debian/xen-4.17");
    for root in [fetched, "/".into()] {
        let lib = root.join("usr/lib");
        let Ok(folders) = std::fs::read_dir(&lib) else { continue };
        for folder in folders.flatten() {
            let bin = folder.path().join("bin");
            let is_xen = folder.file_name().to_string_lossy().starts_with("xen-");
            if is_xen && bin.join("xenstored").is_file() {
                return Ok((root, bin));
            }
        }
    }
    bail!(
        "there is no xenstored here: scripts/setup.sh test fetches it (package xen-utils-4.17) \
         as a file"
    )
}

/// A xenstored with an empty store and a folder of its own. It ends with this, or with the
/// process.
#[derive(Debug)]
pub struct Xenstored {
    process: Child,
    folder: tempfile::TempDir,
    root: PathBuf,
}

impl Xenstored {
    /// Starts one. An error is the reason for which a test that wants one is skipped.
    pub fn start() -> Result<Xenstored> {
        let (root, bin) = debian()?;
        let folder = tempfile::tempdir()?;
        let alone = folder.path().join("no-hypervisor.so");
        let source = folder.path().join("no-hypervisor.c");
        std::fs::write(&source, include_str!("no-hypervisor.c"))?;
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-w", "-o"]);
        let made = cc.arg(&alone).arg(&source).output().context("cannot start cc")?;
        ensure!(made.status.success(), "cc: {}", String::from_utf8_lossy(&made.stderr));
        let mut preload = std::ffi::OsString::from("LD_PRELOAD=");
        preload.push(&alone);
        let process = Command::new("setpriv")
            .args(["--pdeathsig=KILL", "--", "env"])
            .arg(preload)
            .arg(bin.join("xenstored"))
            .arg("--no-fork")
            .env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"))
            .env("XENSTORED_RUNDIR", folder.path())
            .env("XENSTORED_ROOTDIR", folder.path())
            .env_remove("XENSTORED_PATH")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start setpriv (package util-linux)")?;
        let mut it = Xenstored { process, folder, root };
        let until = Instant::now() + Duration::from_secs(20);
        while UnixStream::connect(it.socket()).is_err() {
            if it.process.try_wait()?.is_some() {
                let said = it.process.stderr.take().map(std::io::read_to_string);
                bail!("xenstored ended: {}", said.transpose()?.unwrap_or_default().trim());
            }
            ensure!(Instant::now() < until, "xenstored does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(it)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// One of Xen's own programs, `xenstore-ls` or another, that talks to it.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig=KILL", "--"])
            .arg(self.root.join("usr/bin").join(name))
            .env("LD_LIBRARY_PATH", self.root.join("usr/lib/x86_64-linux-gnu"))
            .env("XENSTORED_PATH", self.socket())
            .stdin(Stdio::null());
        command
    }

    /// What such a program says; an error when it fails, with what it said then.
    pub fn run<S: AsRef<OsStr>>(&self, name: &str, args: &[S]) -> Result<String> {
        let output = self.tool(name).args(args).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{name}: {}", said.trim());
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Xenstored {
    fn drop(&mut self) {
        self.kill();
    }
}
