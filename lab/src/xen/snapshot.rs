//! A dom0 that has booted once, kept for all that follow.
//!
//! The RAM of the machine is a file that QEMU maps, so keeping it costs nothing, and
//! each machine that goes on from there maps the same file privately. What else there is
//! to a machine is half a megabyte (`x-ignore-shared` of QEMU's migration).

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::kernel;
use crate::linux::PATIENCE;
use crate::qemu::memory_file;
use crate::shell::Shell;

use super::image::{Image, Store};
use super::machine::{self, Begin, MEMORY};

/// A snapshot that machines can go on from.
#[derive(Debug)]
pub(super) struct Snapshot {
    path: PathBuf,
    /// How long its boot took, if it was made just now.
    pub(super) made: Option<Duration>,
    /// Held until the machine has opened what it needs of it.
    _lock: File,
}

/// The folder of all snapshots.
pub(super) fn folder() -> PathBuf {
    kernel::root().join("target/atoll/lab")
}

impl Snapshot {
    /// The one that there is, or else a new one; older ones go.
    pub(super) fn get(store: Store, say: &mut dyn FnMut(&str)) -> Result<Snapshot> {
        let image = Image::find(store)?;
        let all = folder();
        std::fs::create_dir_all(&all)?;
        let path = all.canonicalize()?.join(format!("{}-{}", store.word(), image.key()?));
        let lock = File::options().create(true).append(true).open(all.join("lock"))?;
        lock.lock_shared()?;
        if path.is_dir() {
            return Ok(Snapshot { path, made: None, _lock: lock });
        }
        lock.unlock()?;
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            say("somebody else is using or making a snapshot: waiting for them");
            lock.lock()?;
        }
        let mut made = None;
        // Somebody else may have made it meanwhile.
        if !path.is_dir() {
            say("booting Xen and its dom0, once");
            remove_older(&all, store)?;
            let began = Instant::now();
            make(&image, &all, &path)?;
            made = Some(began.elapsed());
        }
        lock.lock_shared()?;
        Ok(Snapshot { path, made, _lock: lock })
    }

    /// Starts a machine from it.
    pub(super) fn start(&self, folder: &Path) -> Result<machine::Machine> {
        let open = |name: &str| File::open(self.path.join(name));
        // QEMU opens the RAM for writing, also when it maps it privately.
        let ram = File::options().read(true).write(true).open(self.path.join("ram"))?;
        machine::start(open("xen")?, ram, Begin::GoOn { state: open("state")? }, folder)
    }
}

fn remove_older(all: &Path, store: Store) -> Result<()> {
    for entry in std::fs::read_dir(all)?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&format!("{}-", store.word())) || name.starts_with("new-") {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Boots a machine and writes it down. What is at its path is whole.
fn make(image: &Image, all: &Path, path: &Path) -> Result<()> {
    let new = tempfile::Builder::new().prefix("new-").tempdir_in(all)?;
    std::fs::create_dir(new.path().join("share"))?;
    let xen = image.xen()?;
    std::fs::write(new.path().join("xen"), &xen)?;
    let ram =
        File::options().create_new(true).read(true).write(true).open(new.path().join("ram"))?;
    ram.set_len(MEMORY << 20)?;
    let begin = Begin::Boot { linux: &image.kernel.image, archive: &image.archive()? };
    let machine = machine::start(memory_file(&xen)?, ram, begin, new.path())?;
    let qemu = Arc::new(machine.qemu);
    let shell = Shell::new(qemu.clone(), machine.ports)?;
    let told = shell.ok("xl list && echo 3 >/proc/sys/vm/drop_caches");
    told.context("Xen's dom0 did not come up")?;
    let mut monitor = machine.monitor;
    monitor.ask("migrate-set-parameters", json!({"max-bandwidth": 100_000_000_000u64}))?;
    monitor.ask("migrate", json!({"uri": "exec:cat >state"}))?;
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = monitor.ask("query-migrate", json!({}))?;
        match answer["status"].as_str() {
            Some("completed") => break,
            Some("failed") => bail!("QEMU cannot write its state down: {answer}"),
            _ => ensure!(Instant::now() < until, "QEMU does not write its state down"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    qemu.end();
    let new = new.keep();
    for entry in std::fs::read_dir(&new)?.flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("stream") {
            std::fs::remove_file(entry.path())?;
        }
    }
    std::fs::remove_dir(new.join("share"))?;
    std::fs::rename(&new, path)?;
    Ok(())
}
