//! Native code for modules: `atoll-aot compile` makes it, `atoll-aot verify` compares an
//! image's with what it should be.
//!
//! A program of its own, for two reasons: a compiler of Wasm takes a minute to build,
//! which nobody shall wait for whose guest has no atoms, and it runs with optimisation
//! whatever `cargo xtask` was built with. It needs no checkout, so that a host can
//! verify the images that it is given.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use atoll_builder::{atoms, files};
use atoll_config::image::Image;
use clap::Parser;

/// Native code of Wasm modules.
#[derive(Parser)]
#[command(version)]
enum Args {
    /// Compile a canonical module.
    Compile {
        /// The Wasm.
        wasm: PathBuf,
        /// Where the code goes.
        out: PathBuf,
    },
    /// Make an image's native code again and compare.
    ///
    /// Exit codes: 0 it is the same, 1 it is not, or the image is none.
    Verify {
        /// The image.
        image: PathBuf,
        /// Print a line of JSON for each module.
        #[arg(long)]
        json: bool,
    },
    /// Print the compiler and the level of processor.
    Which,
}

fn main() -> ExitCode {
    let done = match Args::parse() {
        Args::Compile { wasm, out } => compile(&wasm, &out),
        Args::Verify { image, json } => verify(&image, json),
        Args::Which => {
            println!("compiler {}\ncpu {}", atoll_engine::COMPILER, atoll_engine::CPU);
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("atoll-aot: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn compile(wasm: &Path, out: &Path) -> Result<()> {
    let bytes = std::fs::read(wasm).with_context(|| format!("cannot read {}", wasm.display()))?;
    files::write_atomically(out, &atoll_engine::compile(&bytes)?)
}

/// Whether an image's modules are such as the builder makes, and its code theirs.
fn verify(path: &Path, json: bool) -> Result<()> {
    let image = Image::open(path).with_context(|| format!("{}", path.display()))?;
    let Some(code) = image.code() else {
        if !json {
            println!("{}: no atoms, so no native code", path.display());
        }
        return Ok(());
    };
    let ours = (atoll_engine::COMPILER, atoll_engine::CPU);
    if (code.compiler(), code.level()) != ours {
        bail!(
            "the code is of {} for {}, this is {} for {}: verify it with the builder of its version",
            code.compiler(),
            code.level(),
            ours.0,
            ours.1
        );
    }
    let mut wrong = Vec::new();
    for module in &image.payload().modules {
        let found = judge(module, &code);
        if json {
            let (name, hash) = (module.name, module.hash.to_string());
            let why = found.as_ref().err();
            let line = serde_json::json!({ "module": name, "hash": hash, "ok": why.is_none(), "why": why });
            println!("{line}");
        } else {
            let short = &module.hash.to_string()[..16];
            match &found {
                Ok(bytes) => println!("same      {} {short} {bytes} bytes of code", module.name),
                Err(why) => println!("DIFFERENT {} {short}: {why}", module.name),
            }
        }
        if found.is_err() {
            wrong.push(module.name);
        }
    }
    if !wrong.is_empty() {
        bail!(
            "the native code of {} is not what its Wasm gives: do not run this image; build it again",
            wrong.join(", ")
        );
    }
    Ok(())
}

/// Bytes of a module's code, or why it is not the module's.
fn judge(
    module: &atoll_config::payload::Module<'_>,
    code: &atoll_config::code::Code<'_>,
) -> Result<usize, String> {
    let made = atoms::canonical(module.name, module.wasm).map_err(|e| e.to_string())?;
    if made.wasm != module.wasm {
        return Err("the Wasm is not in its canonical form".into());
    }
    let declared = made.files.iter().map(|(n, k)| (n.as_str(), *k));
    if !declared.eq(module.files.iter().map(|f| (f.name, f.kind))) {
        return Err("the payload says other files than the module declares".into());
    }
    let ours = atoll_engine::compile(module.wasm).map_err(|e| e.to_string())?;
    let theirs = code.find(&module.hash).ok_or("there is no code")?;
    match ours.iter().zip(theirs).position(|(a, b)| a != b) {
        None if ours.len() == theirs.len() => Ok(ours.len()),
        None => Err(format!("{} bytes of code, but it compiles to {}", theirs.len(), ours.len())),
        Some(at) => Err(format!("the code differs from byte {at:#x} on")),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn builder_and_engine_name_the_same_compiler() {
        assert_eq!(atoll_engine::COMPILER, atoll_config::code::COMPILER);
        assert_eq!(atoll_engine::CPU, atoll_config::code::CPU);
    }
}
