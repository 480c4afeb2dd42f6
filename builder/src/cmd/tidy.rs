//! `tidy`: the habits that no linter knows.

use std::process::ExitCode;

use anyhow::Result;
use atoll_builder::tidy;

use super::Context;

/// Check the habits of this project that no compiler or linter knows.
#[derive(clap::Args)]
#[command(after_help = "Example:
  cargo xtask tidy --json | jq -r .file")]
pub(crate) struct Tidy {
    /// Print each finding as a line of JSON.
    #[arg(long)]
    json: bool,
}

impl Tidy {
    pub(crate) fn run(self, cx: &Context) -> Result<ExitCode> {
        let findings = tidy::check(&cx.repo)?;
        for f in &findings {
            if self.json {
                println!("{}", serde_json::to_string(f)?);
            } else {
                println!("{}:{}: {} ({})\n    why: {}", f.file, f.line, f.what, f.rule, f.reason);
            }
        }
        if findings.is_empty() {
            cx.ui.step("Tidy", "all rules are kept");
            return Ok(ExitCode::SUCCESS);
        }
        cx.ui.step("Untidy", format_args!("{} places", findings.len()));
        Ok(ExitCode::FAILURE)
    }
}
