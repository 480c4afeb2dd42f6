//! `test`: every test that this machine can run.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use atoll_builder::build::{self, Options};
use atoll_builder::{cargo, tidy};

use super::steps::{self, Steps};
use super::{Context, setup};

/// The status with which nextest says that there was nothing to run
/// (`NextestExitCode::NO_TESTS_RUN`).
const NO_TESTS: i32 = 4;
/// How long what a killed program leaves may take to be cleared away.
const GOES_WITHIN: Duration = Duration::from_secs(20);
const NONE: &str = "none of that name here";

/// Run every test: of the workspace, of the kernel, and the rules of `tidy`.
///
/// Installs what is missing first (scripts/setup.sh), and builds the images that
/// tests boot.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask test
  cargo xtask test flip          only tests with `flip` in their name
  cargo xtask test lab           only those that need a Xen host, in the lab
  cargo xtask test lab --here    those on the Xen host that this is the dom0 of")]
pub(crate) struct Test {
    /// Run only tests whose name holds this; `lab`: only those that need a Xen host.
    filter: Option<String>,
    /// With `lab`: in place of the lab take this host, which is the dom0 of a Xen and has no
    /// other domains. Builds as you and runs the tests by sudo, one after another.
    #[arg(long, requires = "filter")]
    here: bool,
    /// Print the summary as lines of JSON.
    #[arg(long)]
    json: bool,
}

impl Test {
    pub(crate) fn run(self, cx: &Context) -> Result<ExitCode> {
        let mut steps = Steps::new(cx);
        if self.here {
            if self.filter.as_deref() != Some("lab") {
                bail!("--here goes with `lab`: cargo xtask test lab --here");
            }
            steps.step("images", || images(cx));
            on_this_host(cx, &mut steps);
        } else if self.filter.as_deref() == Some("lab") {
            steps.step("set-up", || setup::ensure(cx, "test").map(|()| String::new()));
            steps.step("images", || images(cx));
            on_xen(cx, &mut steps);
        } else {
            tests(cx, &mut steps, self.filter.as_deref(), false);
        }
        Ok(steps.finish(self.json))
    }
}

/// What tells tests against Xen whether there must be a lab: see `Lab::for_test`.
const LAB: &str = "ATOLL_LAB";

/// What tells every test that it may not be left out: see `atoll_lab::left_out`.
const CI: &str = "CI";

/// Adds the step of all tests that need a Xen host, which is never left out: they are the
/// test targets `lab` of any package.
fn on_xen(cx: &Context, steps: &mut Steps<'_>) {
    let mut command = cargo::host(&cx.repo);
    command.args(["test", "--workspace", "--test", "lab", "--no-fail-fast"]);
    // Each lab takes a processor and a gigabyte.
    command.args(["--", "--test-threads", "2"]).env(LAB, "must");
    steps.program("tests on Xen", &mut command);
}

/// Adds the step of these tests on this host. What is left out there says so.
fn on_this_host(cx: &Context, steps: &mut Steps<'_>) {
    let root = rustix::process::geteuid().is_root();
    let sudo: &[&str] = if root { &[] } else { &["sudo"] };
    let mut words: Vec<_> = sudo.to_vec();
    let word = format!("{LAB}=here");
    words.extend(["env", &word]);
    let runner = format!("target.'cfg(all())'.runner={words:?}");
    let mut command = cargo::host(&cx.repo);
    command.args(["test", "--config", &runner]);
    command.args(["--workspace", "--test", "lab", "--no-fail-fast"]);
    command.args(["--", "--test-threads", "1", "--show-output"]);
    steps.program("tests on this Xen host", &mut command);
}

/// Adds the test steps. Where nothing may be left out, what cannot be run has failed.
pub(super) fn tests(cx: &Context, steps: &mut Steps<'_>, filter: Option<&str>, all: bool) {
    // Asked now: building the programs may replace this one.
    let me = std::env::current_exe().unwrap_or_default();
    steps.step("set-up", || setup::ensure(cx, "test").map(|()| String::new()));
    steps.step("images", || images(cx));
    // Tests of one program start others, which `cargo test` alone does not build.
    steps.program("programs", cargo::host(&cx.repo).args(["build", "--workspace", "--bins"]));
    let mut found = false;
    // Tests that need a Xen host have a step of their own.
    let lab = if filter.is_none() { "elsewhere" } else { "" };
    let ci = all.then_some((CI, "true"));
    let nextest = cargo::host(&cx.repo)
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|o| o.status.success());
    if nextest {
        let mut command = cargo::host(&cx.repo);
        command.args(["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests=fail"]);
        command.args(filter).env(LAB, lab).envs(ci);
        steps.step("workspace tests", || {
            let status = steps::visibly(cx.ui, &mut command)?;
            found |= status.code() != Some(NO_TESTS);
            passed(status, found, filter)
        });
        if filter.is_none() {
            let mut docs = cargo::host(&cx.repo);
            steps.program("documentation tests", docs.args(["test", "--workspace", "--doc"]));
        }
    } else {
        let command = || {
            let mut command = cargo::host(&cx.repo);
            command.args(["test", "--workspace", "--no-fail-fast", "--"]).env(LAB, lab).envs(ci);
            command
        };
        steps.step("workspace tests", || libtest(cx, command, filter, &mut found));
    }
    if filter.is_none() {
        if all || cx.repo.out().join("debian/xen-4.17").is_dir() {
            on_xen(cx, steps);
            steps.step("demo on xen", || demo(&me, "xen"));
        } else {
            steps.skip("tests on Xen", "scripts/setup.sh found no packages of Xen 4.17");
        }
    }
    let command = || {
        let mut kernel = cargo::command(cx.repo.path("unikernel"));
        kernel
            .args(["test", "--locked", "--lib", "--target-dir"])
            .arg(cx.repo.out().join("kernel-tests"))
            .arg("--");
        kernel
    };
    steps.step("kernel tests", || libtest(cx, command, filter, &mut found));
    if let Some(filter) = filter {
        // A name that was mistyped would otherwise pass for a test that passes. What
        // failed to build has said so already, and may have it.
        if !found && !steps.failed() {
            steps.step("filter", || bail!("no test has `{filter}` in its name: none was run"));
        }
    }
    if filter.is_none() {
        for place in ["qemu", "process"] {
            steps.step(&format!("demo on {place}"), || demo(&me, place));
        }
        steps.step("demo, killed", || killed_demo(&me));
        steps.step("tidy", || rules(cx));
    }
}

/// Runs tests by `cargo test`, which has no word for "there was none".
fn libtest(
    cx: &Context,
    command: impl Fn() -> Command,
    filter: Option<&str>,
    found: &mut bool,
) -> Result<String> {
    let mut here = true;
    if filter.is_some() {
        let out = command().arg("--list").args(filter).stderr(Stdio::inherit()).output()?;
        if !out.status.success() {
            bail!("{}", out.status);
        }
        here = lists_any(&String::from_utf8_lossy(&out.stdout));
    }
    *found |= here;
    if !here {
        return Ok(NONE.to_owned());
    }
    let status = steps::visibly(cx.ui, command().args(filter))?;
    passed(status, true, filter)
}

/// What a run of tests comes to.
fn passed(status: ExitStatus, found: bool, filter: Option<&str>) -> Result<String> {
    match status.success() {
        true => Ok(String::new()),
        false if !found && filter.is_some() => Ok(NONE.to_owned()),
        false => bail!("{status}"),
    }
}

/// Whether a list that a test program prints (`--list`) names any test.
fn lists_any(list: &str) -> bool {
    list.lines().any(|line| line.ends_with(": test"))
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

/// One that is killed as soon as its guest runs leaves nothing behind.
fn killed_demo(me: &Path) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let mut demo = Command::new(me)
        .args(["demo", "--fast", "--quiet", "--on", "process"])
        .env("TMPDIR", dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let said = BufReader::new(demo.stdout.take().context("no output")?);
    let runs = said.lines().map_while(Result::ok).any(|l| l.contains("it answered after"));
    let left = || -> Result<Vec<_>> {
        Ok(std::fs::read_dir(dir.path())?.flatten().map(|e| e.file_name()).collect())
    };
    let had = left()?;
    demo.kill()?;
    demo.wait()?;
    if !runs || had.is_empty() {
        bail!("the demo does not get to where it would be killed");
    }
    let end = Instant::now() + GOES_WITHIN;
    while !left()?.is_empty() {
        if Instant::now() > end {
            bail!("it has left {:?}", left()?);
        }
        std::thread::sleep(Duration::from_millis(10));
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

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_list_without_a_test_is_known() {
        assert!(!lists_any("0 tests, 0 benchmarks\n"));
        assert!(!lists_any("\n0 tests, 0 benchmarks\n\n0 tests, 0 benchmarks\n"));
        assert!(lists_any("0 tests, 0 benchmarks\n\nlogic::a: test\n\n1 test, 0 benchmarks\n"));
    }

    #[test]
    fn nothing_found_is_a_failure_unless_a_filter_is_to_blame() {
        let none = ExitStatus::from_raw(NO_TESTS << 8);
        assert_eq!(none.code(), Some(NO_TESTS));
        assert_eq!(passed(none, false, Some("nosuch")).unwrap(), NONE);
        assert!(passed(none, false, None).is_err());
        let bad = ExitStatus::from_raw(100 << 8);
        assert!(passed(bad, true, Some("flip")).is_err());
        assert_eq!(passed(ExitStatus::from_raw(0), true, Some("flip")).unwrap(), "");
    }
}
