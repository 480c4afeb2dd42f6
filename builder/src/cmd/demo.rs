//! `demo`.
use super::Context;
use anyhow::Result;
use std::process::ExitCode;
/// x
#[derive(clap::Args)]
pub(crate) struct Demo {}
impl Demo {
    pub(crate) fn run(self, _cx: &Context) -> Result<ExitCode> {
        Ok(ExitCode::SUCCESS)
    }
}
