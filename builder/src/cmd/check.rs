//! `check`: is this configuration right?

use std::process::ExitCode;

use anyhow::Result;
use atoll_builder::plan;
use atoll_config::text::{BadGuest, show_size};

use super::Context;

/// Check a guest's configuration; build nothing.
///
/// Every mistake of the file is shown, with its place and what to do.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask check hello
  cargo xtask check images/sensor/guest.toml --json")]
pub(crate) struct Check {
    /// A guest.toml, its folder, or a name in images/.
    guest: String,
    /// Print each mistake as a line of JSON on stdout.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(crate) fn run(self, cx: &Context) -> Result<ExitCode> {
        let file = cx.repo.guest(&self.guest)?;
        match plan::check(&cx.repo, &file) {
            Ok(guest) => {
                cx.ui.step(
                    "Correct",
                    format_args!(
                        "{}: guest {} with {}, {}, {}",
                        cx.repo.show(&file),
                        guest.name,
                        show_size(guest.memory),
                        count(guest.components.len(), "component"),
                        count(guest.files.len(), "file")
                    ),
                );
                Ok(ExitCode::SUCCESS)
            }
            Err(BadGuest::Report(report)) if self.json => {
                for place in report.places() {
                    println!("{}", serde_json::to_string(&place)?);
                }
                Ok(ExitCode::FAILURE)
            }
            Err(e) => Err(e.into()),
        }
    }
}

/// So many of a thing, in words.
fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
