//! What a guest's first file system holds: files of a test, and programs of the host
//! with all that they load.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cpio::Cpio;

/// Files for a guest. Paths are written without a slash at their start.
#[derive(Debug, Default)]
pub struct Files {
    cpio: Cpio,
    known: BTreeSet<String>,
    bytes: u64,
    tree: Option<PathBuf>,
}

impl Files {
    /// Programs come from a tree that is the root of a system, with libraries of its own;
    /// what it has not is the host's.
    pub(crate) fn below(tree: &Path) -> Files {
        Files { tree: Some(tree.to_owned()), ..Files::default() }
    }

    /// Adds a plain file, and the folders on the way to it.
    pub fn file(&mut self, path: &str, bytes: &[u8]) {
        if self.new_here(path, bytes) {
            self.cpio.file(path, bytes);
        }
    }

    /// Adds a file that can be run.
    pub fn executable(&mut self, path: &str, bytes: &[u8]) {
        if self.new_here(path, bytes) {
            self.cpio.program(path, bytes);
        }
    }

    /// Adds a program of the host. If it loads libraries, they and their loader come
    /// along, at the paths that it looks for them.
    pub fn program(&mut self, path: &str, host: &Path) -> Result<()> {
        self.executable(path, &read(host)?);
        self.libraries(host)
    }

    /// Adds what a program of the host loads, if it loads anything.
    pub(crate) fn libraries(&mut self, program: &Path) -> Result<()> {
        let tree = self.tree.clone();
        for library in libraries(program, tree.as_deref())? {
            let own = tree.as_deref().and_then(|tree| library.strip_prefix(tree).ok());
            let at = own.unwrap_or(&library).to_string_lossy();
            self.executable(at.trim_start_matches('/'), &read(&library)?);
        }
        Ok(())
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        if self.new_here(path, &[]) {
            self.cpio.link(path, target);
        }
    }

    /// Adds a folder.
    pub fn folder(&mut self, path: &str) {
        if self.new_here(path, &[]) {
            self.cpio.folder(path);
        }
    }

    /// Adds a character device.
    pub(crate) fn device(&mut self, path: &str, major: u32, minor: u32) {
        if self.new_here(path, &[]) {
            self.cpio.device(path, major, minor);
        }
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The whole archive.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.cpio.finish()
    }

    /// Makes the folders that a new file needs. The first of a name stays.
    fn new_here(&mut self, path: &str, bytes: &[u8]) -> bool {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
        let new = self.known.insert(path.to_owned());
        if new {
            self.bytes += bytes.len() as u64;
        }
        new
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What a program of the host loads, by `ldd`; nothing for one that is static.
fn libraries(program: &Path, tree: Option<&Path>) -> Result<Vec<PathBuf>> {
    let mut ldd = Command::new("ldd");
    if let Some(tree) = tree {
        let places = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|p| tree.join(p));
        ldd.env("LD_LIBRARY_PATH", std::env::join_paths(places)?);
    }
    let out = ldd.arg(program).output().context("cannot run ldd")?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&out.stderr).into_owned();
    if (said + &complaint).contains("not a dynamic executable") {
        return Ok(Vec::new());
    }
    ensure!(out.status.success(), "ldd {}: {}", program.display(), complaint.trim());
    listed(&String::from_utf8_lossy(&out.stdout))
        .with_context(|| format!("ldd {}", program.display()))
}

/// The files in what ldd prints: `NAME => PATH (ADDRESS)`, `PATH (ADDRESS)` for the
/// loader, and a name alone for what the kernel gives.
fn listed(text: &str) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for line in text.lines() {
        ensure!(!line.contains("not found"), "{}", line.trim());
        let line = line.split_once("=>").map_or(line, |(_, path)| path).trim();
        let path = line.split_once(" (").map_or(line, |(path, _)| path);
        if path.starts_with('/') {
            out.push(path.into());
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_in_what_ldd_prints() {
        let text = "\tlinux-vdso.so.1 (0x00007ffc)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f01)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f02)\n\
                    \tstatically linked\n";
        let found = listed(text).unwrap();
        let want = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(found, want.map(PathBuf::from));
        assert!(listed("\tlibx.so => not found\n").is_err());
    }

    #[test]
    fn a_file_comes_with_its_folders_and_once() {
        let mut files = Files::default();
        files.file("a/b/c", b"1");
        files.file("a/b/c", b"22");
        files.file("a/d", b"3");
        assert_eq!(files.bytes(), 2);
        let text = String::from_utf8(files.finish()).unwrap();
        for (path, times) in [("\0a\0", 0), ("a/b/c\0", 1), ("a/d\0", 1)] {
            assert_eq!(text.matches(path).count(), times, "{path:?}");
        }
        assert_eq!(text.matches("070701").count(), 5);
    }
}
