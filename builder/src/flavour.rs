//! Kernel flavours: compiled once, then found by the hash of all that went in.
//!
//! A flavour is the platforms that it boots on and a set of component kinds. Its key covers the
//! sources, the features and the compiler, so a key that is in the cache *is*
//! the right kernel, whoever built it and when. Nothing of this machine goes in
//! (see `rustflags` and `rustc-wrapper.sh`): two checkouts make the same bytes.
//! Two builders at once are safe:
//! one compiles under a lock, the other waits and finds the result; files appear
//! by rename.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use atoll_config::image::Platform;
use atoll_config::kinds::Kind;
use serde::Serialize;

use crate::repo::Repo;
use crate::rustc::Rustc;
use crate::ui::Ui;
use crate::{cargo, files, inputs, pack};

/// The triple of a kernel: the host's own (no other has to be installed).
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The kernel's feature that runs atoms.
const ATOMS: &str = "atoms";

/// How a kernel is compiled and packed: raise the number when this module does it
/// in another way.
const RECIPE: [&[u8]; 3] = [b"3", include_bytes!("../rustc-wrapper.sh"), include_bytes!("pack.rs")];

/// A kernel to be found or built.
#[derive(Clone, Debug, Serialize)]
pub struct Flavour {
    /// What it is found by.
    pub key: String,
    /// Cargo features: the platforms, then the kinds by name.
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
    /// The flavour for these platforms that has these kinds in it, and an engine for
    /// `atoms`. With several platforms it finds out on which it is.
    pub fn of(
        repo: &Repo,
        kinds: &[&Kind],
        atoms: bool,
        platforms: &[Platform],
    ) -> Result<Flavour> {
        let boots = [Platform::Qemu, Platform::Xen].into_iter().filter(|p| platforms.contains(p));
        let mut features: Vec<String> = boots.map(|p| p.name().to_owned()).collect();
        if features.is_empty() {
            // A guest that runs as a process only: its image holds some kernel all the same.
            features.push(Platform::Qemu.name().to_owned());
        }
        features.extend(atoms.then(|| ATOMS.to_owned()));
        features.extend(kinds.iter().map(|k| k.name.to_owned()));
        let rustc = Rustc::find(&repo.out().join("rustc.json"))?;
        let inputs = inputs::kernel(repo, atoms)?;
        let sources = inputs::hash(&inputs);
        let mut key = blake3::Hasher::new();
        key.update(sources.as_bytes());
        let texts = features.iter().chain([&rustc.version]).map(|t| t.as_bytes());
        for text in texts.chain(RECIPE) {
            key.update(&(text.len() as u64).to_le_bytes()).update(text);
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

    /// Whether it runs atoms.
    pub fn has_atoms(&self) -> bool {
        self.features.iter().any(|f| f == ATOMS)
    }

    /// Where it is kept as the compiler made it, symbols and all.
    pub fn symbols(&self, repo: &Repo) -> PathBuf {
        repo.out().join("flavours").join(format!("{}.elf", self.key))
    }

    /// Where it is kept as an image carries it.
    pub fn path(&self, repo: &Repo) -> PathBuf {
        repo.out().join("flavours").join(format!("{}.packed", self.key))
    }

    /// Its bytes as an image carries them, and whether they had to be compiled.
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
        // Somebody may have edited a source while it was compiled: then nobody
        // knows which version is in it, and it must not be found by this key.
        if inputs::hash(&inputs::kernel(repo, self.has_atoms())?).to_hex().as_str() != self.sources
        {
            bail!("a source of the kernel changed while it was compiled; build again");
        }
        let packed = pack::pack(&bytes)?;
        files::write_atomically(&self.symbols(repo), &bytes)?;
        files::write_atomically(&path, &packed)?;
        Ok((packed, true))
    }

    fn compile(&self, repo: &Repo, ui: Ui) -> Result<Vec<u8>> {
        let mut command = cargo::command(repo.path("unikernel"));
        command
            .args(["build", "--release", "--locked", "--bin", "atoll-unikernel"])
            .args(["--no-default-features", "--features", &self.features.join(",")])
            .arg("--target-dir")
            .arg(repo.out().join("kernel"))
            .arg("--config")
            .arg(self.rustflags(repo)?)
            .env("RUSTC_WRAPPER", repo.path("builder/rustc-wrapper.sh"))
            .env("ATOLL_ROOT", &repo.root);
        let made = cargo::build(command, ui)?;
        let elf = made.last().context("cargo made no program")?;
        std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))
    }

    /// Flags that take this machine's folders out of the result. Added to the
    /// ones that `unikernel/.cargo/config.toml` says.
    fn rustflags(&self, repo: &Repo) -> Result<String> {
        let mut folders = crates();
        folders.splice(..0, [(self.sysroot.clone(), "/rust"), (repo.root.clone(), "/atoll")]);
        // Of several that fit, rustc takes the last.
        let mut flags: Vec<String> = folders
            .iter()
            .filter_map(|(from, to)| Some((from.canonicalize().ok()?, to)))
            .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
            .collect();
        // The compiler's messages are for a person at this machine.
        flags.push("--remap-path-scope=object".to_owned());
        Ok(format!("target.{TARGET}.rustflags={}", serde_json::to_string(&flags)?))
    }
}

/// Where cargo keeps what it fetched, and what to call that in a result.
pub(crate) fn crates() -> Vec<(PathBuf, &'static str)> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let Some(home) = home else { return Vec::new() };
    // A registry's folder is named by where it is mirrored from.
    let registries = std::fs::read_dir(home.join("registry/src")).into_iter().flatten();
    let registries: Vec<_> = registries.flatten().map(|e| (e.path(), "/crates")).collect();
    [(home, "/cargo")].into_iter().chain(registries).collect()
}
