//! `ci`: all that must hold before a change goes in.

use std::process::ExitCode;

use anyhow::Result;
use atoll_builder::cargo;
use atoll_config::kinds::KINDS;

use super::steps::Steps;
use super::{Context, fuzz, test};

/// Check formatting, lints and dependencies, and run every test.
///
/// The same as `.ci/run` on a machine that is set up.
#[derive(clap::Args)]
pub(crate) struct Ci {
    /// Print the summary as lines of JSON.
    #[arg(long)]
    json: bool,
}

impl Ci {
    pub(crate) fn run(self, cx: &Context) -> Result<ExitCode> {
        let mut steps = Steps::new(cx);
        let kernel = || cargo::command(cx.repo.path("unikernel"));
        let host = || cargo::host(&cx.repo);
        steps.program("format", host().args(["fmt", "--all", "--check"]));
        steps.program("format of the kernel", kernel().args(["fmt", "--check"]));
        let deny = ["--", "--deny", "warnings"];
        steps.program(
            "lints",
            host().args(["clippy", "--locked", "--workspace", "--all-targets"]).args(deny),
        );
        let kinds: Vec<_> = KINDS.iter().map(|k| k.name).collect();
        // Some of the kernel is there only with atoms, some only without.
        for (name, more) in
            [("lints of the kernel", ""), ("lints of the kernel with atoms", ",atoms")]
        {
            let features = kinds.join(",") + more;
            steps.program(
                name,
                kernel()
                    .args(["clippy", "--locked", "--features", &features, "--target-dir"])
                    .arg(cx.repo.out().join("kernel-tests"))
                    .args(deny),
            );
        }
        if host().args(["deny", "--version"]).output().is_ok_and(|o| o.status.success()) {
            let check = ["bans", "licenses", "sources"];
            steps.program("dependencies", host().args(["deny", "check"]).args(check));
            let kernel = ["deny", "--manifest-path", "unikernel/Cargo.toml", "check"];
            steps.program("dependencies of the kernel", host().args(kernel).args(check));
        } else {
            let why = "cargo-deny is not installed (cargo install cargo-deny --locked)";
            steps.skip("dependencies", why);
        }
        test::tests(cx, &mut steps, None, true);
        // After the tests, which install what is missing.
        steps.step("fuzzing", || fuzz::short(cx, 8));
        Ok(steps.finish(self.json))
    }
}
