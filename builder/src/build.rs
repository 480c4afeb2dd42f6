//! From a plan to an image file, with a record of where the time went.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use atoll_config::image::Image;
use serde::Serialize;

use crate::plan::{Plan, ms};
use crate::repo::Repo;
use crate::ui::Ui;
use crate::{assemble, files};

/// What was built, as `build --json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct Built {
    /// The image file.
    pub image: PathBuf,
    /// The guest's name.
    pub name: String,
    /// The guest's identity.
    pub payload_hash: String,
    /// The hash of the whole image.
    pub image_hash: String,
    /// Bytes of the image.
    pub bytes: u64,
    /// Whether the kernel was compiled for it, or `cached`.
    pub kernel: &'static str,
    /// Milliseconds in each phase.
    pub ms: Phases,
}

/// Milliseconds in each phase.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Phases {
    /// Reading and checking the configuration and its files.
    pub check: f64,
    /// Compiling its atoms to Wasm, or finding that nothing of them changed.
    pub atoms: f64,
    /// Finding the kernel's key: hashing its sources.
    pub key: f64,
    /// Reading the kernel from the cache, or compiling it.
    pub kernel: f64,
    /// Compiling the modules to native code, or finding it.
    pub code: f64,
    /// Making the image and reading it back.
    pub assemble: f64,
    /// Writing it.
    pub write: f64,
    /// All of it.
    pub total: f64,
}

/// What may be said beside the configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the image goes; `target/atoll/images/NAME.img` else.
    pub out: Option<PathBuf>,
    /// A kernel to use as it is, instead of a flavour.
    pub kernel: Option<PathBuf>,
}

/// Builds the image of a guest.
pub fn build(repo: &Repo, file: &Path, options: &Options, ui: Ui) -> Result<Built> {
    let all = Instant::now();
    let plan = Plan::of(repo, file, ui)?;
    let start = Instant::now();
    let (kernel, compiled) = match &options.kernel {
        None => plan.flavour.get(repo, ui)?,
        Some(path) => {
            let bytes = std::fs::read(path)
                .with_context(|| format!("cannot read the kernel {}", path.display()))?;
            (bytes, false)
        }
    };
    let kernel_ms = ms(start);
    let start = Instant::now();
    let code = plan.code(repo, ui)?;
    let code_ms = ms(start);
    let start = Instant::now();
    let image = assemble::assemble(&kernel, &plan.value(), code.as_deref(), &plan.guest.platforms)
        .with_context(|| format!("{}", repo.show(file)))?;
    let assemble_ms = ms(start);
    let start = Instant::now();
    let path = options.out.clone().unwrap_or_else(|| repo.image(&plan.guest.name));
    files::write_atomically(&path, image.bytes())?;
    Ok(Built {
        image: path,
        name: plan.guest.name.clone(),
        payload_hash: plan.payload_hash.to_string(),
        image_hash: Image::hash(&image).to_string(),
        bytes: image.bytes().len() as u64,
        kernel: if compiled { "compiled" } else { "cached" },
        ms: Phases {
            check: plan.ms[0],
            atoms: plan.ms[1],
            key: plan.ms[2],
            kernel: kernel_ms,
            code: code_ms,
            assemble: assemble_ms,
            write: ms(start),
            total: ms(all),
        },
    })
}
