//! Not a verb: the set-up script, run when something is missing.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::Context;

/// Makes sure that what a `level` (demo, test, bench) needs is on this machine.
pub(super) fn ensure(cx: &Context, level: &str) -> Result<()> {
    let script = cx.repo.path("scripts/setup.sh");
    let run = |args: &[&str]| {
        Command::new(&script)
            .args(args)
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .status()
            .context("cannot run scripts/setup.sh")
    };
    if run(&["--check", level])?.success() {
        return Ok(());
    }
    cx.ui.step("Installing", "what is missing (scripts/setup.sh)");
    if !run(&[level])?.success() {
        bail!("the set-up did not succeed; the lines above say what to do");
    }
    Ok(())
}
