//! `run`: build when needed, then hand over to `atoll run`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use atoll_builder::build::{self, Options};
use atoll_builder::cargo;

use super::Context;

/// Build a guest when needed and boot it, in the foreground.
///
/// What follows the guest goes to `atoll run`; `cargo xtask run hello -- --help`
/// shows what it takes.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask run hello
  cargo xtask run hello --on process --socket /tmp/hello.sock
  cargo xtask run target/atoll/images/hello.img")]
pub(crate) struct Run {
    /// An image, a guest.toml, its folder, or a name in images/.
    guest: String,
    /// What `atoll run` is given beside the image.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

impl Run {
    pub(crate) fn run(self, cx: &Context) -> Result<ExitCode> {
        let image = image(cx, &self.guest)?;
        let atoll = atoll(cx)?;
        // The image is checked by whoever runs it.
        let e = Command::new(&atoll).arg("run").arg(image).args(self.args).exec();
        Err(e).with_context(|| format!("cannot run {}", atoll.display()))
    }
}

/// The image that a person means; built if it is named by its guest.
pub(super) fn image(cx: &Context, named: &str) -> Result<PathBuf> {
    let path = Path::new(named);
    if path.is_file() && path.extension().is_none_or(|e| e != "toml") {
        return Ok(path.to_owned());
    }
    let file = cx.repo.guest(named)?;
    Ok(build::build(&cx.repo, &file, &Options::default(), cx.ui)?.image)
}

/// The `atoll` program, with the tender beside it.
pub(super) fn atoll(cx: &Context) -> Result<PathBuf> {
    let programs = [("atoll-supervisor", "atoll"), ("atoll-tender", "atoll-tender")];
    let [atoll, _] = cargo::programs(&cx.repo, programs, cx.ui)?;
    Ok(atoll)
}
