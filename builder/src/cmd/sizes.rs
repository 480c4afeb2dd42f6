//! `sizes`: where an image's bytes are.

use std::process::ExitCode;

use anyhow::Result;
use atoll_builder::{assemble, plan, sizes};
use atoll_config::image::{Image, Segment, SegmentKind};
use serde_json::json;

use super::Context;

/// Show where the bytes of an image are: by segment, by crate, by symbol.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask sizes hello
  cargo xtask sizes hello --top 50
  cargo xtask sizes hello --json | jq .crates")]
pub(crate) struct Sizes {
    /// A guest.toml, its folder, or a name in images/.
    #[arg(default_value = "hello")]
    guest: String,
    /// How many symbols to show.
    #[arg(long, default_value_t = 20)]
    top: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Sizes {
    pub(crate) fn run(self, cx: &Context) -> Result<ExitCode> {
        let plan = plan::Plan::of(&cx.repo, &cx.repo.guest(&self.guest)?, cx.ui)?;
        let code = plan.code(&cx.repo, cx.ui)?;
        let (kernel, _) = plan.flavour.get(&cx.repo, cx.ui)?;
        let image =
            assemble::assemble(&kernel, &plan.value(), code.as_deref(), &plan.guest.platforms)?;
        let elf = std::fs::read(plan.flavour.symbols(&cx.repo))?;
        let symbols = sizes::symbols(&elf)?;
        let crates = sizes::crates(&symbols);
        let top = &symbols[..self.top.min(symbols.len())];
        if self.json {
            let segments: Vec<_> = named(&image)
                .map(|(name, s)| {
                    json!({ "segment": name, "mode": s.mode(), "bytes": s.filesz, "memory": s.memsz })
                })
                .collect();
            let crates: Vec<_> =
                crates.iter().map(|(n, b)| json!({ "crate": n, "bytes": b })).collect();
            let all = json!({
                "image": plan.guest.name, "bytes": image.bytes().len(),
                "segments": segments, "modules": image.manifest().modules,
                "crates": crates, "symbols": top,
            });
            println!("{all}");
            return Ok(ExitCode::SUCCESS);
        }
        println!("image {}  {} bytes", plan.guest.name, image.bytes().len());
        println!("\n{:>9} {:>9}  segment", "bytes", "memory");
        for (name, s) in named(&image) {
            println!("{:>9} {:>9}  {name} {}", s.filesz, s.memsz, s.mode());
        }
        for m in &image.manifest().modules {
            println!("{:>9} {:>9}  of these: Wasm and code of module {}", m.wasm, m.code, m.name);
        }
        println!("\n{:>9}  crate (its code and data in the kernel)", "bytes");
        for (name, bytes) in &crates {
            println!("{bytes:>9}  {name}");
        }
        println!("\n{:>9}  largest symbols (zero: memory only, no bytes of the image)", "bytes");
        for s in top {
            println!("{:>9}  {} {}", s.bytes, s.kind, s.name);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Segments with the names that people know them by.
pub(super) fn named(image: &Image) -> impl Iterator<Item = (&'static str, &Segment)> {
    let segments = image.segments();
    let code = image.code().is_some();
    let notes = segments.iter().filter(|s| s.kind == SegmentKind::Note).count();
    let (mut note, mut load) = (0, 0);
    let loads = segments.len() - notes;
    segments.iter().map(move |s| {
        let name = match s.kind {
            SegmentKind::Note => {
                note += 1;
                if note == notes { "manifest" } else { "notes" }
            }
            SegmentKind::Load => {
                load += 1;
                match loads - load {
                    0 if code => "code",
                    0 => "payload",
                    1 if code => "payload",
                    _ => "kernel",
                }
            }
        };
        (name, s)
    })
}
