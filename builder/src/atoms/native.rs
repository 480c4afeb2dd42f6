//! Native code of modules: a cache, keyed by all that it follows from.
//!
//! The compiler is a program of its own, `atoll-aot` (`builder/aot`), built when the
//! first module needs it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use atoll_config::code::{self, COMPILER, CPU};
use atoll_config::text::OwnedModule;

use crate::repo::Repo;
use crate::ui::Ui;
use crate::{cargo, files};

/// The sealed code of these modules, made where it is not there. None without modules.
pub fn code(repo: &Repo, modules: &[OwnedModule], ui: Ui) -> Result<Option<Vec<u8>>> {
    let missing: Vec<_> = modules.iter().filter(|m| !path(repo, m).is_file()).collect();
    if !missing.is_empty() {
        ui.step("Compiling", "what compiles atoms (the first time: some minutes)");
        let [aot] = cargo::programs(repo, [("atoll-aot", "atoll-aot")], ui)?;
        for module in missing {
            ui.step("Compiling", format_args!("module {} for {CPU}", module.name));
            let wasm = wasm(repo, module);
            files::write_atomically(&wasm, &module.wasm)?;
            let status = Command::new(&aot)
                .arg("compile")
                .args([&wasm, &path(repo, module)])
                .status()
                .with_context(|| format!("cannot run {}", aot.display()))?;
            if !status.success() {
                bail!("module `{}` does not compile; the line above says why", module.name);
            }
        }
    }
    kept(repo, modules).context("the native code is larger than an image can hold")
}

/// The same, if all of it is there.
pub fn kept(repo: &Repo, modules: &[OwnedModule]) -> Option<Option<Vec<u8>>> {
    if modules.is_empty() {
        return Some(None);
    }
    let read = |m: &OwnedModule| Some((m.hash, std::fs::read(path(repo, m)).ok()?));
    let all: Vec<_> = modules.iter().map(read).collect::<Option<_>>()?;
    let all: Vec<_> = all.iter().map(|(hash, code)| (*hash, code.as_slice())).collect();
    code::seal(COMPILER, CPU, &all).map(Some)
}

fn path(repo: &Repo, module: &OwnedModule) -> PathBuf {
    let name = format!("{}-{COMPILER}-{CPU}.code", module.hash);
    repo.out().join("atoms").join(name)
}

fn wasm(repo: &Repo, module: &OwnedModule) -> PathBuf {
    repo.out().join("atoms").join(format!("{}.canonical.wasm", module.hash))
}
