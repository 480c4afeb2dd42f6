//! `build`: from a configuration to an image.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use atoll_builder::build::{self, Options};
use atoll_config::image::{Image, Platform};
use atoll_config::xl::Domain;

use super::Context;

/// Build the image of a guest.
///
/// A kernel is compiled only when its sources, the compiler or the set of
/// component kinds change; a changed value just makes another image.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask build hello
  cargo xtask build images/hello/guest.toml -o /tmp/hello.img
  cargo xtask build hello --xl             also hello.cfg, for `xl create`
  cargo xtask build hello --json | tail -1 | jq -r .image")]
pub(crate) struct Build {
    /// A guest.toml, its folder, or a name in images/.
    #[arg(default_value = ".")]
    guest: String,
    /// Write the image here, instead of target/atoll/images/NAME.img.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Use this ELF as the kernel, instead of building one.
    #[arg(long, value_name = "ELF")]
    kernel: Option<PathBuf>,
    /// Write a configuration for Xen's `xl` beside the image too, as NAME.cfg.
    #[arg(long)]
    xl: bool,
    /// Print a line of JSON: image, hashes, bytes, milliseconds of each phase.
    #[arg(long)]
    json: bool,
}

impl Build {
    pub(crate) fn run(self, cx: &Context) -> Result<ExitCode> {
        let file = cx.repo.guest(&self.guest)?;
        let options = Options { out: self.out, kernel: self.kernel };
        let built = build::build(&cx.repo, &file, &options, cx.ui)?;
        cx.ui.step(
            "Built",
            format_args!(
                "{} ({} bytes, kernel {}, {})",
                cx.repo.show(&built.image),
                built.bytes,
                built.kernel,
                took(built.ms.total)
            ),
        );
        if self.xl {
            let config = config(&built.image)?;
            cx.ui.step("Wrote", format_args!("{}: xl create -c {0}", cx.repo.show(&config)));
        }
        if self.json {
            println!("{}", serde_json::to_string(&built)?);
        } else {
            println!("{}", built.image.display());
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes what `xl` makes a domain of: its path.
fn config(image: &Path) -> Result<PathBuf> {
    let path = image.with_extension("cfg");
    let read = Image::open(image).with_context(|| image.display().to_string())?;
    let guest = read.manifest();
    if !guest.platforms.contains(&Platform::Xen) {
        bail!(
            "{} is not to run on Xen: its guest.toml has `platforms` without \"xen\"",
            guest.name
        );
    }
    let kernel = std::path::absolute(image)?;
    let domain = Domain {
        name: &guest.name,
        kernel: &kernel.to_string_lossy(),
        memory: guest.memory,
        ..Domain::default()
    };
    std::fs::write(&path, domain.config()).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// Milliseconds as people say them: a kernel that is compiled takes seconds.
fn took(ms: f64) -> String {
    if ms < 1000.0 { format!("{ms:.1} ms") } else { format!("{:.1} s", ms / 1000.0) }
}
