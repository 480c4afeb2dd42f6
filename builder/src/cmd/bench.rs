//! `bench`: the measurements, which are a program of their own.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use atoll_builder::cargo;

use super::{Context, setup};

/// Measure: boot, size, build and what else the program in bench/ knows.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask bench
  cargo xtask bench boot --json")]
pub(crate) struct Bench {
    /// What the program in bench/ is given.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

impl Bench {
    pub(crate) fn run(self, cx: &Context) -> Result<ExitCode> {
        setup::ensure(cx, "bench")?;
        let e = cargo::host(&cx.repo)
            .args(["run", "--quiet", "--release", "--package", "atoll-bench", "--"])
            .args(self.args)
            .exec();
        Err(e).context("cannot run cargo")
    }
}
