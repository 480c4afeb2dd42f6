//! Not a verb: a folder that goes away also when this program is killed.
//!
//! By `atoll`'s own guard: a second process, which reads what there is to remove and
//! does that when nobody is left to tell it that nothing is.

use std::fs::DirBuilder;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

/// A folder for this user alone.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    guard: Child,
    to: Option<ChildStdin>,
}

impl Folder {
    /// Makes it, guarded from before it is there.
    pub(super) fn new(atoll: &Path) -> Result<Folder> {
        let mut guard = Command::new(atoll)
            .arg("__guard")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of reach of the terminal's signals.
            .process_group(0)
            .spawn()
            .context("cannot run atoll")?;
        let to = guard.stdin.take();
        // A name that nobody else would choose, as the guard is told of it first.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("atoll-demo-{}-{now}", std::process::id());
        let path = std::path::absolute(std::env::temp_dir())?.join(name);
        let mut folder = Folder { path, guard, to };
        let line = [b"tree ", folder.path.as_os_str().as_bytes(), b"\n"].concat();
        folder.tell(&line).context("cannot speak to the guard")?;
        DirBuilder::new()
            .mode(0o700)
            .create(&folder.path)
            .with_context(|| format!("cannot make the folder {}", folder.path.display()))?;
        Ok(folder)
    }

    fn tell(&mut self, line: &[u8]) -> std::io::Result<()> {
        self.to.as_mut().map_or(Ok(()), |to| to.write_all(line))
    }

    /// Removes it.
    pub(super) fn close(self) -> Result<()> {
        let path = self.path.clone();
        drop(self);
        match path.symlink_metadata() {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            _ => anyhow::bail!("cannot remove {}", path.display()),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Without a `bye` it is the guard that removes it.
        drop(self.to.take());
        let _ = self.guard.wait();
        // Unless somebody has killed that.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
