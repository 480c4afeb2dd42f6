//! A folder that goes away also when this program is killed: a shell waits for the end
//! of a pipe of which only this process has the other end, and removes it then.

use std::fs::DirBuilder;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result};

/// A folder for this user alone.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    guard: Mutex<Child>,
}

/// What is still in use by a process that was killed a moment ago is tried again.
const GUARD: &str = "trap '' INT HUP TERM; cat >/dev/null; \
    for try in 1 2 3 4 5; do rm -rf -- \"$@\" && exit; sleep 1; done";

impl Folder {
    /// Makes it. Another file may go with it.
    pub(super) fn new(other: Option<&Path>) -> Result<Folder> {
        let name = format!("atoll-lab-{:016x}", RandomState::new().build_hasher().finish());
        let path = std::path::absolute(std::env::temp_dir())?.join(name);
        let guard = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .arg(&path)
            .args(other)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of reach of the terminal's signals.
            .process_group(0)
            .spawn()
            .context("cannot run sh")?;
        let folder = Folder { path, guard: Mutex::new(guard) };
        DirBuilder::new()
            .mode(0o700)
            .create(&folder.path)
            .with_context(|| format!("cannot make the folder {}", folder.path.display()))?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Folder {
    /// Removes it, and what goes with it.
    pub(super) fn remove(&self) {
        let mut guard = self.guard.lock().unwrap_or_else(|e| e.into_inner());
        drop(guard.stdin.take());
        let _ = guard.wait();
        // Unless somebody has killed that.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.remove();
    }
}
