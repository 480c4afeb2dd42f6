//! The sources that a kernel flavour is made of, and their hash.
//!
//! All of the kernel's own crates are hashed, file by file, because "newer than"
//! is no proof: a checkout, a `git stash` or a copied folder changes times but
//! not bytes, and the other way round. About a hundred small files take a few
//! milliseconds.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::repo::Repo;

/// The folders whose code is in a kernel.
pub const FOLDERS: [&str; 5] = ["9p", "config", "runtime", "unikernel", "xen"];

/// The folder of what runs atoms.
const ENGINE: &str = "engine";

/// What never is in a kernel, though it lies in such a folder.
const SKIP: [&str; 6] = ["target", "tests", "benches", "examples", "fuzz", "dom0"];

/// One source file.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its path below the checkout's root, `/` between names.
    pub path: String,
    /// Its bytes' hash.
    pub hash: blake3::Hash,
}

/// Every source of a kernel, of one that runs atoms or one that does not, by path.
pub fn kernel(repo: &Repo, atoms: bool) -> Result<Vec<Input>> {
    // The root manifest is where they inherit from; the kernel's own
    // lockfile lies in its folder.
    let mut paths = vec![PathBuf::from("Cargo.toml")];
    for folder in FOLDERS.into_iter().chain(atoms.then_some(ENGINE)) {
        if !repo.path(folder).is_dir() {
            bail!(
                "the folder {folder}/ is missing, so no kernel can be built; get a whole checkout"
            );
        }
        walk(&repo.root, Path::new(folder), &mut paths)?;
    }
    paths.sort();
    let hash = |path: PathBuf| {
        let bytes = std::fs::read(repo.path(&path))
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Input { path: path.to_string_lossy().into_owned(), hash: blake3::hash(&bytes) })
    };
    paths.into_iter().map(hash).collect()
}

/// One hash over all of them, names included.
pub fn hash(inputs: &[Input]) -> blake3::Hash {
    let mut all = blake3::Hasher::new();
    for input in inputs {
        all.update(&(input.path.len() as u64).to_le_bytes());
        all.update(input.path.as_bytes()).update(input.hash.as_bytes());
    }
    all.finalize()
}

fn walk(root: &Path, folder: &Path, out: &mut Vec<PathBuf>) -> Result<()> {
    let dir = root.join(folder);
    let entries =
        std::fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = folder.join(name.as_ref());
        if entry.file_type()?.is_dir() {
            if !SKIP.contains(&name.as_ref()) {
                walk(root, &path, out)?;
            }
        } else if is_source(&name) {
            out.push(path);
        }
    }
    Ok(())
}

fn is_source(name: &str) -> bool {
    let ending = Path::new(name).extension().and_then(|e| e.to_str());
    matches!(ending, Some("rs" | "toml" | "lock" | "ld" | "x" | "s" | "S" | "json" | "bin"))
        && !name.starts_with('.')
}
