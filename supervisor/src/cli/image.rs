//! `atoll image`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Image {
    /// Check an image: every hash, and that it says of itself what is in it
    Verify {
        /// The image
        image: PathBuf,
        /// Print JSON: the manifest, with the image's own hash
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: &Image) -> anyhow::Result<bool> {
    let Image::Verify { image: path, json } = args;
    let image =
        atoll_config::image::Image::open(path).with_context(|| format!("{}", path.display()))?;
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
    for import in &m.imports {
        writeln!(out, "import {} {}", import.name, import.at)?;
    }
    let platforms: Vec<&str> = m.platforms.iter().map(|p| p.name()).collect();
    writeln!(out, "platforms {}", platforms.join(" "))?;
    Ok(true)
}
