//! `man`: the manual pages of `atoll`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use super::Context;

/// Write the manual pages of `atoll`, one for each of its verbs.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask man
  man target/atoll/man/atoll-run.1
  cargo xtask man ~/.local/share/man/man1   where man looks by itself")]
pub(crate) struct Man {
    /// The folder to write them to; made if it is not there.
    #[arg(default_value = "target/atoll/man")]
    dir: PathBuf,
}

impl Man {
    pub(crate) fn run(self, cx: &Context) -> Result<ExitCode> {
        let dir = std::path::absolute(&self.dir)?;
        let atoll = super::run::atoll(cx)?;
        let done = Command::new(&atoll).arg("__man").arg(&dir).status();
        let done = done.with_context(|| format!("cannot run {}", atoll.display()))?;
        if !done.success() {
            bail!("the pages were not written");
        }
        println!("{}", dir.display());
        Ok(ExitCode::SUCCESS)
    }
}
