//! `test`: every test that this machine can run.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Result, bail};
use atoll_builder::build::{self, Options};
use atoll_builder::{cargo, tidy};

use super::steps::Steps;
use super::{Context, setup};

/// Run every test: of the workspace, of the kernel, and the rules of `tidy`.
///
/// Installs what is missing first (scripts/setup.sh), and builds the images that
/// tests boot.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask test
  cargo xtask test flip          only tests with `flip` in their name")]
pub(crate) struct Test {
    /// Run only tests whose name holds this.
    filter: Option<String>,
    /// Print the summary as lines of JSON.
    #[arg(long)]
    json: bool,
}

impl Test {
    pub(crate) fn run(self, cx: &Context) -> Result<ExitCode> {
        let mut steps = Steps::new(cx);
        tests(cx, &mut steps, self.filter.as_deref());
        Ok(steps.finish(self.json))
    }
}

/// Adds the test steps.
pub(super) fn tests(cx: &Context, steps: &mut Steps<'_>, filter: Option<&str>) {
    // Asked now: building the programs may replace this one.
    let me = std::env::current_exe().unwrap_or_default();
    steps.step("set-up", || setup::ensure(cx, "test").map(|()| String::new()));
    steps.step("images", || images(cx));
    // Tests of one program start others, which `cargo test` alone does not build.
    steps.program("programs", cargo::host(&cx.repo).args(["build", "--workspace", "--bins"]));
    let nextest = cargo::host(&cx.repo)
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|o| o.status.success());
    if nextest {
        let mut command = cargo::host(&cx.repo);
        command.args(["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests=pass"]);
        steps.program("workspace tests", command.args(filter));
        if filter.is_none() {
            let mut docs = cargo::host(&cx.repo);
            steps.program("documentation tests", docs.args(["test", "--workspace", "--doc"]));
        }
    } else {
        let mut command = cargo::host(&cx.repo);
        command.args(["test", "--workspace", "--no-fail-fast", "--"]);
        steps.program("workspace tests", command.args(filter));
    }
    let mut kernel = cargo::command(cx.repo.path("unikernel"));
    kernel
        .args(["test", "--locked", "--lib", "--target-dir"])
        .arg(cx.repo.out().join("kernel-tests"))
        .arg("--");
    steps.program("kernel tests", kernel.args(filter));
    if filter.is_none() {
        for place in ["qemu", "process"] {
            steps.step(&format!("demo on {place}"), || demo(&me, place));
        }
        steps.step("tidy", || rules(cx));
    }
}

/// Builds the image of every guest in images/.
fn images(cx: &Context) -> Result<String> {
    let mut guests: Vec<_> = std::fs::read_dir(cx.repo.path("images"))?
        .flatten()
        .map(|e| e.path().join("guest.toml"))
        .filter(|p| p.is_file())
        .collect();
    guests.sort();
    for guest in &guests {
        let built = build::build(&cx.repo, guest, &Options::default(), cx.ui)?;
        cx.ui.step("Built", cx.repo.show(&built.image));
    }
    Ok(format!("{} built", guests.len()))
}

/// What a newcomer types first must always work.
fn demo(me: &Path, place: &str) -> Result<String> {
    let args = ["demo", "--fast", "--quiet", "--on", place];
    let out = Command::new(me).args(args).stdin(Stdio::null()).output()?;
    if !out.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&out.stdout));
        bail!("{}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::new())
}

fn rules(cx: &Context) -> Result<String> {
    let findings = tidy::check(&cx.repo)?;
    for f in &findings {
        eprintln!("{}:{}: {} ({})\n    why: {}", f.file, f.line, f.what, f.rule, f.reason);
    }
    match findings.len() {
        0 => Ok(String::new()),
        n => bail!("{n} places are untidy"),
    }
}
