//! `plan`: everything that is generated, before or without building it.

use std::process::ExitCode;

use anyhow::Result;
use atoll_builder::{assemble, inputs, plan, show};
use atoll_config::image::{Elf, Image};
use atoll_config::payload;
use atoll_config::text::show_size;
use serde_json::json;

use super::{Context, sizes};

/// Show everything that follows from a configuration; build no image.
///
/// The checked values, the components and the kernel they need, the key that
/// kernel is found by and what goes into it, the payload's bytes; and, when
/// that kernel is there already, the layout of memory and the manifest. Only atoms
/// are compiled, to Wasm, because that is in the payload.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask plan hello
  cargo xtask plan hello -v        all inputs of the kernel, the whole payload
  cargo xtask plan hello --json")]
pub(crate) struct Plan {
    /// A guest.toml, its folder, or a name in images/.
    #[arg(default_value = ".")]
    guest: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Plan {
    pub(crate) fn run(self, cx: &Context) -> Result<ExitCode> {
        let plan = plan::Plan::of(&cx.repo, &cx.repo.guest(&self.guest)?, cx.ui)?;
        let value = plan.value();
        let kernel = plan.flavour.path(&cx.repo);
        // Native code, like the kernel, is shown where it was made already.
        let image = match (std::fs::read(&kernel), plan.kept_code(&cx.repo)) {
            (Ok(elf), Some(code)) => {
                let code = code.as_deref();
                Some(assemble::assemble(&elf, &value, code, &plan.guest.platforms)?)
            }
            _ => None,
        };
        if self.json {
            println!("{}", json(cx, &plan, image.as_ref()));
            return Ok(ExitCode::SUCCESS);
        }
        println!("# configuration: {}\n{}", cx.repo.show(&plan.file), show::payload_text(&value));
        let f = &plan.flavour;
        println!("# kernel: {}", cx.repo.show(&kernel));
        println!("key       {}\nfeatures  {}\nrustc     {}", f.key, f.features.join(" "), f.rustc);
        println!("sources   {} in {} files", f.sources, f.files);
        if cx.ui.verbose {
            for input in inputs::kernel(&cx.repo, f.has_atoms())? {
                println!("source    {} {}", &input.hash.to_hex()[..16], input.path);
            }
        }
        println!("\n# payload: {} bytes, hash {}", plan.payload.len(), plan.payload_hash);
        println!(
            "header    {} bytes: magic, format {}, length {}, BLAKE3 of the body\n{}",
            payload::HEADER,
            payload::FORMAT,
            plan.payload.len() - payload::HEADER,
            show::hexdump(&plan.payload, cx.ui.verbose)
        );
        let Some(image) = image else {
            println!(
                "# memory and manifest: after `cargo xtask build` has made kernel and native code"
            );
            return Ok(ExitCode::SUCCESS);
        };
        print!("# memory\n{}", show::segments_text(sizes::named(&image)));
        let (end, memory) = (end(&image), value.memory);
        println!("heap      rw-  {end:>#10x} {memory:>#10x} {:>9}\n", memory - end);
        println!("# image: {} bytes, of {}", image.bytes().len(), show_size(memory));
        println!("\n# manifest\n{}", serde_json::to_string_pretty(image.manifest())?);
        Ok(ExitCode::SUCCESS)
    }
}

/// Where the heap begins.
fn end(image: &Image) -> u64 {
    Elf::end(image.segments().iter()).unwrap_or_default()
}

fn json(cx: &Context, plan: &plan::Plan, image: Option<&Image>) -> serde_json::Value {
    json!({
        "file": cx.repo.show(&plan.file).to_string(),
        "guest": show::payload_json(&plan.value()),
        "platforms": plan.guest.platforms,
        "flavour": plan.flavour,
        "payload": { "hash": plan.payload_hash.to_string(), "bytes": plan.payload.len() },
        "memory": image.map(|i| show::segments_json(sizes::named(i))),
        "heap": image.map(end),
        "manifest": image.map(Image::manifest),
    })
}
