//! The verbs, one file each: its arguments, its help, what it does.

use std::process::ExitCode;

use anyhow::Result;
use atoll_builder::repo::Repo;
use atoll_builder::ui::Ui;

mod bench;
mod build;
mod check;
mod ci;
mod completions;
mod demo;
mod folder;
mod fuzz;
mod inspect;
mod lab;
mod man;
mod new;
mod plan;
mod run;
mod setup;
mod sizes;
mod stage;
mod steps;
mod test;
mod tidy;

/// What every verb is given.
pub(crate) struct Context {
    /// The checkout.
    pub(crate) repo: Repo,
    /// The person.
    pub(crate) ui: Ui,
}

/// A verb.
#[derive(clap::Subcommand)]
pub(crate) enum Verb {
    New(new::New),
    Check(check::Check),
    Plan(plan::Plan),
    Build(build::Build),
    Run(run::Run),
    Inspect(inspect::Inspect),
    Sizes(sizes::Sizes),
    Bench(bench::Bench),
    Test(test::Test),
    Lab(lab::Lab),
    Fuzz(fuzz::Fuzz),
    Tidy(tidy::Tidy),
    Ci(ci::Ci),
    Demo(demo::Demo),
    Man(man::Man),
    Completions(completions::Completions),
}

impl Verb {
    pub(crate) fn run(self, cx: &Context) -> Result<ExitCode> {
        match self {
            Verb::New(v) => v.run(cx),
            Verb::Check(v) => v.run(cx),
            Verb::Plan(v) => v.run(cx),
            Verb::Build(v) => v.run(cx),
            Verb::Run(v) => v.run(cx),
            Verb::Inspect(v) => v.run(cx),
            Verb::Sizes(v) => v.run(cx),
            Verb::Bench(v) => v.run(cx),
            Verb::Test(v) => v.run(cx),
            Verb::Lab(v) => v.run(cx),
            Verb::Fuzz(v) => v.run(cx),
            Verb::Tidy(v) => v.run(cx),
            Verb::Ci(v) => v.run(cx),
            Verb::Demo(v) => v.run(cx),
            Verb::Man(v) => v.run(cx),
            Verb::Completions(v) => v.run(),
        }
    }
}
