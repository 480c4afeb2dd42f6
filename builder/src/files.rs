//! Writing files so that nobody ever sees half of one.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

/// Writes a file at once: whoever opens `path` finds the old bytes or the new
/// ones, also after a crash of this program or beside another one.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let dir = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let what = || format!("cannot write {}", path.display());
    std::fs::create_dir_all(dir).with_context(what)?;
    let mut temp = tempfile::NamedTempFile::new_in(dir).with_context(what)?;
    temp.write_all(bytes).with_context(what)?;
    // A temporary file is its owner's alone; what is made of it is not secret.
    temp.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).with_context(what)?;
    // The error of `persist` would name a file that nobody knows.
    temp.persist(path).map_err(|e| e.error).with_context(what)?;
    Ok(())
}
