//! `inspect`: what is in an image file.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use atoll_builder::show;
use atoll_config::image::{Elf, Image};
use serde_json::json;

use super::{Context, sizes};

/// Show what is in an image, and verify all its hashes.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask inspect target/atoll/images/hello.img
  cargo xtask inspect hello --json     the image built last of that guest")]
pub(crate) struct Inspect {
    /// An image file, or the name of a guest whose image was built.
    image: PathBuf,
    /// Name the kernel with symbols that the image was made of.
    #[arg(long)]
    symbols: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(crate) fn run(self, cx: &Context) -> Result<ExitCode> {
        let built = cx.repo.image(&self.image.to_string_lossy());
        let path = if !self.image.is_file() && built.is_file() { built } else { self.image };
        if !path.exists() {
            let name = path.display();
            bail!(
                "no image `{name}`: no such file, and no guest of that name was built; `cargo xtask build GUEST` makes one"
            );
        }
        let image = Image::open(&path).with_context(|| format!("{}", path.display()))?;
        let symbols = if self.symbols { Some(self::symbols(cx, &image)?) } else { None };
        if self.json {
            let all = json!({
                "image": path, "bytes": image.bytes().len(),
                "image_hash": image.hash().to_string(),
                "manifest": image.manifest(),
                "segments": show::segments_json(sizes::named(&image)),
                "payload": show::payload_json(&image.payload()),
                "symbols": symbols,
            });
            println!("{all}");
            return Ok(ExitCode::SUCCESS);
        }
        println!("# image: {}, {} bytes", path.display(), image.bytes().len());
        println!("image     {} verified", image.hash());
        println!("kernel    {} verified", image.manifest().kernel_hash);
        println!("payload   {} verified", image.sealed().hash);
        if let Some(code) = image.code() {
            println!("code      {} verified; of {}", code.hash, code.compiler());
        }
        if let Some(symbols) = symbols {
            println!("symbols   {}", cx.repo.show(&symbols));
        }
        println!("\n# segments\n{}", show::segments_text(sizes::named(&image)));
        println!("# payload\n{}", show::payload_text(&image.payload()));
        println!("# manifest\n{}", serde_json::to_string_pretty(image.manifest())?);
        Ok(ExitCode::SUCCESS)
    }
}

/// The kernel flavour in the cache that the image was made of.
fn symbols(cx: &Context, image: &Image) -> Result<PathBuf> {
    let folder = cx.repo.out().join("flavours");
    let kept = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|e| e.path());
    let wanted = image.manifest().kernel_hash;
    kept.filter(|p| p.extension().is_some_and(|e| e == "packed"))
        .find(|p| {
            let bytes = std::fs::read(p).unwrap_or_default();
            Elf::parse(&bytes).is_ok_and(|elf| elf.kernel_hash(&elf.segments) == wanted)
        })
        .map(|p| p.with_extension("elf"))
        .with_context(|| format!("the kernel of this image is not in {}", cx.repo.show(&folder)))
}
