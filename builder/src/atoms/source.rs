//! The source of an atom becomes a module, whatever it is written in.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use atoll_config::text::{AtomSource, Language};

use super::record::{self, Made};
use super::{MAX_WASM, rust, toolchain};
use crate::repo::Repo;
use crate::ui::Ui;

/// What WebAssembly 2.0 has beyond what a C compiler expects everywhere. An atom may use
/// all of it, and what runs it has all of it: vectors as in native code, and memory that
/// is copied by one instruction instead of a library's function.
const WASM2: [&str; 3] = ["-msimd128", "-mbulk-memory", "-mnontrapping-fptoint"];

/// The module, as its compiler made it. `stack` is what a compiler is told of the
/// stack that it keeps in memory, in bytes.
pub(super) fn wasm(repo: &Repo, source: &AtomSource, stack: u64, ui: Ui) -> Result<Vec<u8>> {
    let path = &source.path;
    match source.language {
        Language::Wasm => read(path),
        Language::Wat => {
            let text = String::from_utf8(read(path)?)
                .with_context(|| format!("{} is not UTF-8", path.display()))?;
            wat::parse_str(&text).map_err(|mut e| {
                e.set_path(path);
                anyhow::anyhow!("{e}")
            })
        }
        Language::C => c(repo, path, stack, ui),
        Language::Rust => rust::wasm(repo, path, stack, ui),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let what = || format!("cannot read {}", path.display());
    let len = std::fs::metadata(path).with_context(what)?.len();
    if len > MAX_WASM as u64 {
        bail!("{}: {len} bytes are too many for a module (at most {MAX_WASM})", path.display());
    }
    std::fs::read(path).with_context(what)
}

fn c(repo: &Repo, path: &Path, stack: u64, ui: Ui) -> Result<Vec<u8>> {
    let clang = toolchain::clang()?;
    let version = Command::new(&clang).arg("--version").output()?.stdout;
    let version = String::from_utf8_lossy(&version).into_owned();
    let stack = stack.to_string();
    let what = ["2", &version, &stack, &path.to_string_lossy()];
    record::cached(repo, "c", &what, |scratch| {
        ui.step("Compiling", format_args!("{}", repo.show(path)));
        let (out, deps) = (scratch.join("out.wasm"), scratch.join("out.d"));
        let status = Command::new(&clang)
            .args(["--target=wasm32-unknown-unknown", "-O3", "-nostdlib", "-ffreestanding"])
            .args(WASM2)
            .args(["-Wall", "-Wl,--no-entry", "-Wl,--stack-first"])
            .arg(format!("-Wl,-z,stack-size={stack}"))
            .arg("-I")
            .arg(repo.path("atom/c"))
            .arg(format!("-ffile-prefix-map={}=.", path.parent().unwrap_or(path).display()))
            .args(["-MD", "-MF"])
            .arg(&deps)
            .arg("-o")
            .arg(&out)
            .arg(path)
            .status()
            .with_context(|| format!("cannot run {}", clang.display()))?;
        if !status.success() {
            bail!("cannot compile {}; clang's messages above say why", repo.show(path));
        }
        Ok(Made { wasm: std::fs::read(&out)?, inputs: record::depfile(&deps)? })
    })
}
