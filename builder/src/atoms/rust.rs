//! A Rust package becomes Wasm: the same bytes wherever it and the checkout lie.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::record::{self, Made};
use super::toolchain::{TARGET, Toolchain};
use crate::repo::Repo;
use crate::ui::Ui;

/// How a package is compiled: raise the number when this module does it in another way.
const RECIPE: &str = "1";

/// How every atom is compiled, whatever the profile of its workspace says. The level of
/// optimisation is the package's own affair.
const PROFILE: [&str; 4] = [
    "profile.release.panic=\"abort\"",
    "profile.release.lto=true",
    "profile.release.codegen-units=1",
    "profile.release.debug=false",
];

/// The Wasm of a package, compiled when anything of it has changed.
pub(super) fn wasm(repo: &Repo, folder: &Path, stack: u64, ui: Ui) -> Result<Vec<u8>> {
    let toolchain = Toolchain::find(repo)?;
    let wrapper = include_str!("../../rustc-wrapper.sh");
    let stack_text = stack.to_string();
    let id = toolchain.id();
    let what = [RECIPE, wrapper, &id, &stack_text, &folder.to_string_lossy()];
    record::cached(repo, "rust", &what, |out| {
        ui.step("Compiling", format_args!("the atom in {}", repo.show(folder)));
        compile(repo, &toolchain, folder, stack, out, ui)
            .with_context(|| format!("cannot compile the atom in {}", repo.show(folder)))
    })
}

fn compile(
    repo: &Repo,
    toolchain: &Toolchain,
    folder: &Path,
    stack: u64,
    _out: &Path,
    ui: Ui,
) -> Result<Made> {
    let lock = lock(folder)?;
    let locked = lock.is_file();
    let mut command = toolchain.cargo(folder);
    command
        .args(locked.then_some("--locked"))
        .arg("--target-dir")
        .arg(repo.out().join("wasm"))
        .arg("--config")
        .arg(rustflags(repo, toolchain)?)
        .args(PROFILE.iter().flat_map(|p| ["--config", p]))
        .args(["--crate-type", "cdylib", "--message-format=json-render-diagnostics"])
        .args(ui.quiet.then_some("--quiet"))
        .env("RUSTC_WRAPPER", repo.path("builder/rustc-wrapper.sh"))
        .env("ATOLL_ROOT", &repo.root)
        .env("ATOLL_ATOM", folder)
        // What follows is for the package alone, so that one more atom does not
        // compile the libraries again.
        .arg("--")
        .arg(format!("-Clink-arg=-zstack-size={stack}"))
        // The stack before everything else: who runs out of it traps.
        .arg("-Clink-arg=--stack-first")
        .arg(format!("--remap-path-prefix={}=/atom", folder.display()));
    let made = crate::cargo::run(command, ui)?;
    if !locked {
        ui.step("Wrote", format_args!("{}", repo.show(&lock)));
    }
    let wasm = made.files.iter().rev().find(|p| p.extension().is_some_and(|e| e == "wasm"));
    let Some(path) = wasm else {
        bail!("cargo made no .wasm: the package needs a library (src/lib.rs)");
    };
    let mut inputs = record::depfile(&path.with_extension("d"))?;
    inputs.extend(manifests(&inputs));
    inputs.extend([lock, folder.join("Cargo.toml")]);
    let wasm = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Made { wasm, inputs })
}

/// The lockfile of a package: its own if it is a workspace of its own, else that of the
/// workspace around it.
fn lock(folder: &Path) -> Result<PathBuf> {
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml"))?;
    let own = manifest.lines().any(|l| l.trim_start().starts_with("[workspace"));
    let mut around = folder.ancestors().skip(1).map(|f| f.join("Cargo.lock"));
    let around = if own { None } else { around.find(|l| l.is_file()) };
    Ok(around.unwrap_or_else(|| folder.join("Cargo.lock")))
}

/// The manifests and settings that sources were compiled by: all above them.
fn manifests(sources: &[PathBuf]) -> Vec<PathBuf> {
    let mut folders: Vec<&Path> = sources.iter().flat_map(|s| s.ancestors().skip(1)).collect();
    folders.sort_unstable();
    folders.dedup();
    let names = ["Cargo.toml", ".cargo/config.toml"];
    let all = folders.iter().flat_map(|f| names.map(|n| f.join(n)));
    all.filter(|p| p.is_file()).collect()
}

/// Flags that take this machine's folders out of the result.
fn rustflags(repo: &Repo, toolchain: &Toolchain) -> Result<String> {
    let mut folders: Vec<(PathBuf, &str)> =
        toolchain.folders().into_iter().map(|f| (f, "/rust")).collect();
    folders.push((repo.root.clone(), "/atoll"));
    folders.extend(crate::flavour::crates());
    let mut flags: Vec<String> = folders
        .iter()
        .filter_map(|(from, to)| Some((from.canonicalize().ok()?, to)))
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
        .collect();
    // The compiler's messages are for a person at this machine.
    flags.push("--remap-path-scope=object".to_owned());
    Ok(format!("target.{TARGET}.rustflags={}", serde_json::to_string(&flags)?))
}
