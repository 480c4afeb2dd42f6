//! What was compiled is kept with a list of all files that went into it, and found
//! again as long as none of their bytes have changed.
//!
//! The list is the compiler's own (a "dep-info" file), so that it knows of files that
//! are included from anywhere; times are not looked at, since a checkout changes them.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::repo::Repo;

/// What a compiler made, and of which files.
pub(super) struct Made {
    pub(super) wasm: Vec<u8>,
    pub(super) inputs: Vec<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    wasm: String,
    inputs: Vec<(PathBuf, String)>,
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// The Wasm that `what` (compiler, flags, source) stands for: kept, or made by `make`,
/// which may use a folder of its own.
pub(super) fn cached(
    repo: &Repo,
    language: &str,
    what: &[&str],
    make: impl FnOnce(&Path) -> Result<Made>,
) -> Result<Vec<u8>> {
    let mut key = blake3::Hasher::new();
    for text in what {
        key.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    let key = &key.finalize().to_hex()[..32];
    let folder = repo.out().join("atoms");
    let path = folder.join(format!("{language}-{key}.json"));
    if let Some(wasm) = kept(&folder, &path) {
        return Ok(wasm);
    }
    std::fs::create_dir_all(&folder)?;
    let lock = File::create(folder.join("lock"))?;
    lock.lock().context("cannot lock the cache of atoms")?;
    if let Some(wasm) = kept(&folder, &path) {
        return Ok(wasm);
    }
    let scratch = tempfile::tempdir_in(&folder)?;
    let mut made = make(scratch.path())?;
    made.inputs.sort();
    made.inputs.dedup();
    let read = |path: PathBuf| {
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok((path, hash(&bytes)))
    };
    let inputs = made.inputs.into_iter().map(read).collect::<Result<_>>()?;
    let record = Record { wasm: hash(&made.wasm), inputs };
    files::write_atomically(&folder.join(format!("{}.wasm", record.wasm)), &made.wasm)?;
    files::write_atomically(&path, &serde_json::to_vec_pretty(&record)?)?;
    Ok(made.wasm)
}

/// What is kept, if nothing of it has changed.
fn kept(folder: &Path, path: &Path) -> Option<Vec<u8>> {
    let record: Record = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let same = |(path, was): &(PathBuf, String)| {
        std::fs::read(path).is_ok_and(|bytes| hash(&bytes) == *was)
    };
    if !record.inputs.iter().all(same) {
        return None;
    }
    let wasm = std::fs::read(folder.join(format!("{}.wasm", record.wasm))).ok()?;
    (hash(&wasm) == record.wasm).then_some(wasm)
}

/// The files that a dep-info file names: `output: input input …`, a backslash before
/// each space in a name and at the end of a line that goes on.
pub(super) fn depfile(path: &Path) -> Result<Vec<PathBuf>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(inputs(&text))
}

fn inputs(text: &str) -> Vec<PathBuf> {
    let text = text.replace("\\\r\n", " ").replace("\\\n", " ");
    let mut out = Vec::new();
    for line in text.lines() {
        let Some((_, names)) = line.split_once(": ") else { continue };
        let mut name = String::new();
        let mut chars = names.chars().chain([' ']);
        while let Some(c) = chars.next() {
            match c {
                '\\' => name.extend(chars.next()),
                ' ' => {
                    if !name.is_empty() {
                        out.push(PathBuf::from(std::mem::take(&mut name)));
                    }
                }
                c => name.push(c),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_inputs_is_read() {
        let text = "/t/a.wasm: /p/src/lib.rs /p/my\\ file.rs \\\n  /q/b.h\n\n/t/c.wasm:\n";
        assert_eq!(inputs(text), ["/p/src/lib.rs", "/p/my file.rs", "/q/b.h"].map(PathBuf::from));
    }

    #[test]
    fn what_is_kept_is_found_until_an_input_changes() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repo { root: dir.path().to_owned() };
        let source = dir.path().join("source");
        std::fs::write(&source, "1").unwrap();
        let mut made = 0;
        let mut get = |what: &str| {
            cached(&repo, "x", &[what], |scratch| {
                assert!(scratch.is_dir());
                made += 1;
                Ok(Made { wasm: vec![made], inputs: vec![source.clone()] })
            })
            .unwrap()[0]
        };
        assert_eq!([get("a"), get("a"), get("b"), get("a")], [1, 1, 2, 1]);
        std::fs::write(&source, "2").unwrap();
        assert_eq!([get("a"), get("b"), get("b")], [3, 4, 4]);
        std::fs::write(&source, "1").unwrap();
        assert_eq!(get("a"), 5);
        for entry in std::fs::read_dir(repo.out().join("atoms")).unwrap().flatten() {
            if entry.path().extension().is_some_and(|e| e == "wasm") {
                std::fs::write(entry.path(), "junk").unwrap();
            }
        }
        assert_eq!(get("a"), 6, "a damaged file is not taken");
    }
}
