//! A Rust compiler for wasm32, on machines of two kinds.
//!
//! Where rustup is, the target is one command away, and its libraries are used. Where
//! it is not (or reaches no network), a distribution's compiler that has its own
//! source makes them: Debian's packages `rustc-web cargo-web rust-web-src lld-19`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::repo::Repo;
use crate::rustc::Rustc;

/// The target that atoms are compiled for.
pub(super) const TARGET: &str = "wasm32-unknown-unknown";

/// What to do where there is none.
const HELP: &str = "a Rust atom needs a compiler for wasm32; install one of\n  \
    rustup target add wasm32-unknown-unknown\n  \
    apt-get install --no-install-recommends rustc-web cargo-web rust-web-src lld-19   (Debian)\n\
    (scripts/setup.sh does it, too)";

/// A compiler for wasm32.
#[derive(Clone, Debug)]
pub(super) struct Toolchain {
    cargo: PathBuf,
    /// The compiler, and what it is.
    rustc: PathBuf,
    version: String,
    sysroot: PathBuf,
    /// Where it makes the libraries itself: the linker for them.
    linker: Option<PathBuf>,
}

impl Toolchain {
    /// The one to use: the compiler that cargo uses, if it has the target, else
    /// the first that can make the libraries.
    pub(super) fn find(repo: &Repo) -> Result<Toolchain> {
        let ours = Rustc::find(&repo.out().join("rustc.json"))?;
        let cargo = std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from);
        let own = Toolchain {
            cargo,
            rustc: ours.binary.clone(),
            version: ours.version.clone(),
            sysroot: ours.sysroot.clone(),
            linker: None,
        };
        let libraries = own.sysroot.join("lib/rustlib").join(TARGET).join("lib");
        if std::fs::read_dir(libraries).is_ok_and(|mut entries| entries.next().is_some()) {
            return Ok(own);
        }
        let linker = linker(&own.sysroot);
        if let (true, Some(linker)) = (has_source(&own.sysroot), &linker) {
            return Ok(Toolchain { linker: Some(linker.clone()), ..own });
        }
        for rustc in in_path("rustc") {
            let cargo = rustc.with_file_name("cargo");
            if !cargo.is_file() || is_proxy(&rustc) {
                continue;
            }
            let cache = repo.out().join("rustc-wasm.json");
            let Ok(found) = Rustc::of(rustc.clone(), &cache) else { continue };
            let Some(linker) = self::linker(&found.sysroot) else { continue };
            if has_source(&found.sysroot) {
                return Ok(Toolchain {
                    cargo,
                    rustc,
                    version: found.version,
                    sysroot: found.sysroot,
                    linker: Some(linker),
                });
            }
        }
        bail!("{HELP}")
    }

    /// What tells its output from another one's.
    pub(super) fn id(&self) -> String {
        let std =
            if self.linker.is_some() { "its own libraries" } else { "the target's libraries" };
        format!("{}with {std}", self.version)
    }

    /// Where its libraries and their source are: folders that no output may name.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let source = self.sysroot.join("lib/rustlib/src/rust");
        [Some(self.sysroot.clone()), source.canonicalize().ok()].into_iter().flatten().collect()
    }

    /// A `cargo rustc` for the target in a package's folder.
    pub(super) fn cargo(&self, folder: &Path) -> Command {
        let mut command = crate::cargo::command_of(&self.cargo, folder.to_owned());
        command.args(["rustc", "--release", "--lib", "--target", TARGET]).env("RUSTC", &self.rustc);
        if let Some(linker) = &self.linker {
            command
                .arg("-Zbuild-std=core,alloc")
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        command
    }
}

/// Whether a compiler has the source of its libraries, and what they need.
fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file()
}

/// A linker for Wasm: the compiler's own or one of LLVM's.
fn linker(sysroot: &Path) -> Option<PathBuf> {
    let own = sysroot.join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
    let names = ["wasm-ld", "wasm-ld-20", "wasm-ld-19", "wasm-ld-18"];
    [own].into_iter().filter(|p| p.is_file()).chain(names.iter().flat_map(|n| in_path(n))).next()
}

/// rustup's proxies stand for any compiler; that one was asked already.
fn is_proxy(rustc: &Path) -> bool {
    let real = rustc.canonicalize().unwrap_or_default();
    real.file_name().is_some_and(|n| n.to_string_lossy().starts_with("rustup"))
        || rustc.with_file_name("rustup").is_file()
}

/// The programs of that name, in the order of the search path.
pub(super) fn in_path(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|d| d.join(name)).filter(|p| p.is_file()).collect()
}

/// A C compiler that makes Wasm.
pub(super) fn clang() -> Result<PathBuf> {
    let names = ["clang", "clang-20", "clang-19", "clang-18"];
    let found = names.iter().flat_map(|n| in_path(n)).find(|clang| {
        Command::new(clang)
            .args(["--print-targets"])
            .output()
            .is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("wasm32"))
    });
    found.context(
        "a C atom needs clang with Wasm, and wasm-ld; Debian: apt-get install --no-install-recommends clang-19 lld-19",
    )
}
