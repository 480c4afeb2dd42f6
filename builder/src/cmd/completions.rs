//! `completions`: what a shell needs to complete our verbs.

use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

/// Print a completion script for a shell.
///
/// Completions work on the name `xtask`; with `alias xtask='cargo xtask'` they
/// are there as you type.
#[derive(clap::Args)]
#[command(after_help = "Example:
  alias xtask='cargo xtask'; source <(cargo xtask completions bash)")]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let mut command = crate::Args::command().bin_name("xtask").name("xtask");
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "xtask", &mut script);
        print!("{}", String::from_utf8_lossy(&script));
        Ok(ExitCode::SUCCESS)
    }
}
