//! Kernel modules: where each is, what it depends on, the order to load them in.
//!
//! `modules.dep`, which says so on an installed system, is made at installation and
//! not in the package. The same is in each module's `.modinfo` section, as
//! `depends=NAME,NAME`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection};

use crate::kernel::unxz;

/// Every module below some folders, by name. `-` and `_` are the same in a name.
pub(crate) fn index(folders: &[PathBuf]) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut rest = folders.to_vec();
    while let Some(folder) = rest.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                rest.push(entry.path());
            } else if let Some((name, end)) = entry.file_name().to_string_lossy().split_once('.')
                && (end == "ko" || end == "ko.xz")
            {
                found.insert(name.replace('-', "_"), entry.path());
            }
        }
    }
    found
}

/// Modules and what they depend on, dependencies first: file names and bytes.
pub(crate) fn ordered(
    index: &BTreeMap<String, PathBuf>,
    names: &[&str],
) -> Result<Vec<(String, Vec<u8>)>> {
    let (mut out, mut seen) = (Vec::new(), BTreeSet::new());
    for name in names {
        if index.contains_key(*name) {
            add(index, name, &mut seen, &mut out)?;
        }
    }
    Ok(out)
}

fn add(
    index: &BTreeMap<String, PathBuf>,
    name: &str,
    seen: &mut BTreeSet<String>,
    out: &mut Vec<(String, Vec<u8>)>,
) -> Result<()> {
    if !seen.insert(name.to_owned()) {
        return Ok(());
    }
    let Some(path) = index.get(name) else { bail!("the kernel has no module {name}") };
    let bytes = read(path).with_context(|| format!("module {}", path.display()))?;
    for other in depends(&bytes).with_context(|| format!("module {}", path.display()))? {
        add(index, &other, seen, out)?;
    }
    out.push((format!("{name}.ko"), bytes));
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path)?;
    if path.extension().is_some_and(|e| e == "xz") { unxz(&bytes) } else { Ok(bytes) }
}

/// The names in `depends=` of a module.
fn depends(module: &[u8]) -> Result<Vec<String>> {
    let elf = object::File::parse(module)?;
    let info = elf.section_by_name(".modinfo").context("it has no .modinfo")?;
    Ok(names(info.data()?))
}

fn names(info: &[u8]) -> Vec<String> {
    let list = info.split(|b| *b == 0).find_map(|field| field.strip_prefix(b"depends="));
    let list = String::from_utf8_lossy(list.unwrap_or_default()).replace('-', "_");
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_from_the_field_that_has_them() {
        assert_eq!(
            names(b"alias=x\0depends=9pnet,virtio-ring\0retpoline=Y\0"),
            ["9pnet", "virtio_ring"]
        );
        assert!(names(b"license=GPL\0depends=\0").is_empty());
        assert!(names(b"license=GPL\0").is_empty());
    }
}
