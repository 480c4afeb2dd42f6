//! Which compiler there is, without asking it each time.
//!
//! `rustc -vV` takes longer than all else that a warm build does, so its answer
//! is kept beside the path, time and size of the binary that gave it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::files;

/// A compiler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rustc {
    /// The program.
    pub(crate) binary: PathBuf,
    /// What it is, by `rustc -vV`.
    pub version: String,
    /// Where its libraries are.
    pub sysroot: PathBuf,
    /// What tells one binary from another.
    stamp: String,
}

impl Rustc {
    /// The compiler that cargo will use. `cache` is a file of ours.
    pub fn find(cache: &Path) -> Result<Rustc> {
        Rustc::of(binary()?, cache)
    }

    /// What this compiler is.
    pub(crate) fn of(binary: PathBuf, cache: &Path) -> Result<Rustc> {
        let stamp = stamp(&binary)?;
        let kept = std::fs::read(cache).ok().and_then(|b| serde_json::from_slice::<Rustc>(&b).ok());
        if let Some(kept) = kept.filter(|k| k.stamp == stamp) {
            return Ok(kept);
        }
        let version = ask(&binary, &["-vV"])?;
        let sysroot = PathBuf::from(ask(&binary, &["--print", "sysroot"])?.trim_end());
        let found = Rustc { binary, version, sysroot, stamp };
        files::write_atomically(cache, &serde_json::to_vec_pretty(&found)?)?;
        Ok(found)
    }
}

/// The binary itself: cargo's neighbour, so that a proxy (rustup's) in the search
/// path cannot stand for several compilers.
fn binary() -> Result<PathBuf> {
    if let Some(set) = std::env::var_os("RUSTC") {
        return Ok(set.into());
    }
    let beside = std::env::var_os("CARGO").map(|c| PathBuf::from(c).with_file_name("rustc"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = beside.into_iter().chain(std::env::split_paths(&path).map(|d| d.join("rustc")));
    match found.into_iter().find(|p| p.is_file()) {
        Some(p) => Ok(p),
        None => bail!("no rustc found; install Rust (https://rustup.rs) and try again"),
    }
}

fn stamp(binary: &Path) -> Result<String> {
    let real =
        binary.canonicalize().with_context(|| format!("no rustc at {}", binary.display()))?;
    let meta = real.metadata()?;
    let toolchain = std::env::var("RUSTUP_TOOLCHAIN").unwrap_or_default();
    Ok(format!("{} {:?} {} {toolchain}", real.display(), meta.modified()?, meta.len()))
}

fn ask(binary: &Path, args: &[&str]) -> Result<String> {
    let out = Command::new(binary).args(args).output().context("cannot run rustc")?;
    if !out.status.success() {
        bail!("rustc {} failed: {}", args.join(" "), String::from_utf8_lossy(&out.stderr));
    }
    Ok(String::from_utf8(out.stdout)?)
}
