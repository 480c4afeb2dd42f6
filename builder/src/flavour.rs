//! Kernel flavours: compiled once, then found by the hash of all that went in.
//!
//! A flavour is a platform and a set of component kinds. Its key covers the
//! sources, the features and the compiler, so a key that is in the cache *is*
//! the right kernel, whoever built it and when. Two builders at once are safe:
//! one compiles under a lock, the other waits and finds the result; files appear
//! by rename.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result};
use atoll_config::kinds::Kind;
use serde::Serialize;

use crate::repo::Repo;
use crate::rustc::Rustc;
use crate::ui::Ui;
use crate::{cargo, files, inputs};

/// The triple of a kernel: the host's own (no other has to be installed).
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Raised when this module begins to build in another way.
const RECIPE: u32 = 1;

/// A kernel to be found or built.
#[derive(Clone, Debug, Serialize)]
pub struct Flavour {
    /// What it is found by.
    pub key: String,
    /// Cargo features: the platform, then the kinds by name.
    pub features: Vec<String>,
    /// The compiler, by its first line.
    pub rustc: String,
    /// Hash over all source files.
    pub sources: String,
    /// How many source files there are.
    pub files: usize,
    #[serde(skip)]
    sysroot: PathBuf,
}

impl Flavour {
    /// The flavour that has these kinds in it.
    pub fn of(repo: &Repo, kinds: &[&Kind]) -> Result<Flavour> {
        let mut features = vec!["qemu".to_owned()];
        features.extend(kinds.iter().map(|k| k.name.to_owned()));
        let rustc = Rustc::find(&repo.out().join("rustc.json"))?;
        let inputs = inputs::kernel(repo)?;
        let mut sources = blake3::Hasher::new();
        for input in &inputs {
            sources.update(&(input.path.len() as u64).to_le_bytes());
            sources.update(input.path.as_bytes()).update(input.hash.as_bytes());
        }
        let sources = sources.finalize();
        let mut key = blake3::Hasher::new();
        key.update(&RECIPE.to_le_bytes()).update(sources.as_bytes());
        for text in features.iter().chain([&rustc.version]) {
            key.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        Ok(Flavour {
            key: key.finalize().to_hex()[..32].to_owned(),
            features,
            rustc: rustc.version.lines().next().unwrap_or_default().to_owned(),
            sources: sources.to_hex().to_string(),
            files: inputs.len(),
            sysroot: rustc.sysroot,
        })
    }

    /// Where its ELF is kept, symbols and all.
    pub fn path(&self, repo: &Repo) -> PathBuf {
        repo.out().join("flavours").join(format!("{}.elf", self.key))
    }

    /// Its bytes, and whether they had to be compiled.
    pub fn get(&self, repo: &Repo, ui: Ui) -> Result<(Vec<u8>, bool)> {
        let path = self.path(repo);
        if let Ok(bytes) = std::fs::read(&path) {
            return Ok((bytes, false));
        }
        let folder = repo.out().join("flavours");
        std::fs::create_dir_all(&folder)?;
        let lock = File::create(folder.join("lock"))?;
        lock.lock().context("cannot lock the cache of kernel flavours")?;
        if let Ok(bytes) = std::fs::read(&path) {
            return Ok((bytes, false));
        }
        ui.step("Compiling", format_args!("a kernel with {}", self.features.join(", ")));
        let bytes = self.compile(repo, ui).with_context(|| {
            format!("cannot build the kernel with {}", self.features.join(", "))
        })?;
        files::write_atomically(&path, &bytes)?;
        Ok((bytes, true))
    }

    fn compile(&self, repo: &Repo, ui: Ui) -> Result<Vec<u8>> {
        let mut command = cargo::command(repo.path("unikernel"));
        command
            .args(["build", "--release", "--locked", "--bin", "atoll-unikernel"])
            .args(["--no-default-features", "--features", &self.features.join(",")])
            .arg("--target-dir")
            .arg(repo.out().join("kernel"))
            .arg("--config")
            .arg(self.rustflags(repo)?);
        let made = cargo::build(command, ui)?;
        let elf = made.last().context("cargo made no program")?;
        std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))
    }

    /// Flags that take this machine's folders out of the result, so that it is
    /// byte for byte the same wherever the checkout lies. Added to the ones that
    /// `unikernel/.cargo/config.toml` says.
    fn rustflags(&self, repo: &Repo) -> Result<String> {
        let home = std::env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
        // Of several that fit, rustc takes the last.
        let mut flags = Vec::new();
        let names = [
            (Some(self.sysroot.clone()), "/rust"),
            (home, "/cargo"),
            (Some(repo.root.clone()), "/atoll"),
        ];
        for (from, to) in names {
            if let Some(from) = from.and_then(|f| f.canonicalize().ok()) {
                flags.push(format!("--remap-path-prefix={}={to}", from.display()));
            }
        }
        Ok(format!("target.{TARGET}.rustflags={}", serde_json::to_string(&flags)?))
    }
}
