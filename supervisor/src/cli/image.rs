//! `atoll image`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap::Subcommand;

use super::progress::{Progress, Size};
use crate::backend::find_program;

#[derive(Debug, Subcommand)]
pub(super) enum Image {
    /// Check an image: every hash, that it says of itself what is in it, and that the
    /// native code of its atoms is what their Wasm gives
    ///
    /// Native code is made again and compared, by the program atoll-aot, which is
    /// looked for beside this one and on the PATH ($ATOLL_AOT names another).
    #[command(verbatim_doc_comment)]
    Verify {
        /// The image
        image: PathBuf,
        /// Print JSON: the manifest, with the image's own hash
        #[arg(long)]
        json: bool,
        /// Do not make native code again: only the hashes are checked
        #[arg(long)]
        hashes: bool,
    },
}

pub(super) fn run(args: &Image) -> anyhow::Result<bool> {
    let Image::Verify { image: path, json, hashes } = args;
    let begin = |what| (!json).then(|| Progress::begin(what, Size::Whole));
    let progress = begin("checks the hashes");
    let image =
        atoll_config::image::Image::open(path).with_context(|| format!("{}", path.display()))?;
    drop(progress);
    if image.code().is_some() && !hashes {
        let _progress = begin("makes the native code again");
        native(path)?;
    }
    let m = image.manifest();
    let mut out = std::io::stdout().lock();
    if *json {
        let mut value: serde_json::Value = serde_json::from_slice(&m.to_json())?;
        value["image_hash"] = image.hash().to_string().into();
        value["bytes"] = image.bytes().len().into();
        writeln!(out, "{value}")?;
        return Ok(true);
    }
    writeln!(out, "name {}\nversion {}", m.name, m.version)?;
    writeln!(out, "image_hash {}", image.hash())?;
    writeln!(out, "payload_hash {}\nkernel_hash {}", m.payload_hash, m.kernel_hash)?;
    writeln!(out, "bytes {}\nmemory {}", image.bytes().len(), m.memory)?;
    for module in &m.modules {
        writeln!(out, "module {} {}", module.name, module.hash)?;
    }
    if let Some(native) = &m.native {
        let judged = if *hashes { "not compared" } else { "verified" };
        writeln!(out, "native {} {} {} {judged}", native.hash, native.compiler, native.cpu)?;
    }
    for import in &m.imports {
        writeln!(out, "import {} {}", import.name, import.at)?;
    }
    let platforms: Vec<&str> = m.platforms.iter().map(|p| p.name()).collect();
    writeln!(out, "platforms {}", platforms.join(" "))?;
    writeln!(out, "can {}", m.can.join(" "))?;
    Ok(true)
}

/// Has the native code of an image made again and compared.
fn native(image: &Path) -> anyhow::Result<()> {
    let atoll = std::env::current_exe().context("which program is this?")?;
    let program = find_program("atoll-aot", "ATOLL_AOT", &atoll).context(
        "atoll-aot, which makes native code, is neither beside atoll nor on the PATH: build it \
         (cargo build --release -p atoll-aot), or check no more than hashes (--hashes)",
    )?;
    let out = Command::new(&program)
        .arg("verify")
        .arg(image)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    if !out.status.success() {
        let why = String::from_utf8_lossy(&out.stderr);
        bail!("{}", why.trim().trim_start_matches("atoll-aot: "));
    }
    Ok(())
}
