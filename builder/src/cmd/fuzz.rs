//! `fuzz`: inputs that grow towards code that no input reached.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Result;
use atoll_builder::fuzzer::{self, Fuzzer, Outcome};
use serde_json::json;

use super::{Context, setup};

/// Grow inputs that try to break what reads strangers' bytes, and stop at the first that does.
///
/// Starts from the inputs in fuzz/corpus/ and from computed ones. What reaches new
/// code goes to target/atoll/fuzz/found/, what breaks something to
/// target/atoll/fuzz/broken/.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask fuzz                          each target for a minute
  cargo xtask fuzz server --seconds 600 --jobs 2
  cargo xtask fuzz --seconds 0 --keep       only take what was found into fuzz/corpus/
  cargo xtask fuzz server target/atoll/fuzz/broken/server/crash-0123

Exit codes: 0 nothing broke, 1 something did, 2 wrong usage.")]
pub(crate) struct Fuzz {
    /// A program in fuzz/targets/; all of them when there is none.
    target: Option<String>,
    /// Show this one input, and try it.
    #[arg(conflicts_with_all = ["seconds", "jobs", "keep", "json"])]
    input: Option<PathBuf>,
    /// How long, for each target. 0 only tries the inputs that there are.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Programs at a time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    jobs: u8,
    /// Take what was found into fuzz/corpus/, as few and small inputs as do.
    #[arg(long)]
    keep: bool,
    /// Print a line of JSON for each target.
    #[arg(long)]
    json: bool,
}

impl Fuzz {
    pub(crate) fn run(self, cx: &Context) -> Result<ExitCode> {
        let known = fuzzer::targets(&cx.repo)?;
        let targets = match &self.target {
            None => known,
            Some(one) if known.contains(one) => vec![one.clone()],
            Some(other) => {
                let known = known.join(", ");
                cx.ui.error(&anyhow::anyhow!("no target `{other}`; there are: {known}"));
                return Ok(ExitCode::from(2));
            }
        };
        if Command::new("c++").arg("--version").output().is_err() {
            setup::ensure(cx, "test")?;
        }
        let fuzzer = Fuzzer::build(&cx.repo, &targets, cx.ui)?;
        if let (Some(target), Some(input)) = (&self.target, &self.input) {
            let well = fuzzer.try_one(target, input)?;
            println!("{}", if well { "nothing broke" } else { "broken; what it printed is above" });
            return Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        let mut well = true;
        for target in &targets {
            cx.ui.step("Fuzzing", format_args!("{target} for {} s", self.seconds));
            let outcome = fuzzer.run(target, self.seconds, self.jobs.into())?;
            self.print(cx, target, &outcome);
            well &= outcome.broken.is_none();
            if self.keep && outcome.broken.is_none() {
                let (inputs, bytes) = fuzzer.keep(target)?;
                let folder = fuzzer.corpus(target);
                let folder = cx.repo.show(&folder);
                cx.ui.step("Kept", format_args!("{inputs} inputs, {bytes} bytes, in {folder}"));
            }
        }
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn print(&self, cx: &Context, target: &str, outcome: &Outcome) {
        let Outcome { stats, broken } = outcome;
        if self.json {
            let line = json!({
                "target": target,
                "result": if broken.is_none() { "ok" } else { "broken" },
                "inputs": stats.inputs, "per_second": stats.per_second,
                "edges": stats.edges, "of_edges": stats.of_edges,
                "what": broken.as_ref().map(|b| &b.what),
                "input": broken.as_ref().map(|b| &b.input),
            });
            println!("{line}");
        } else {
            println!("{}", summary(target, outcome));
        }
        if let Some(broken) = broken {
            cx.ui.error(&anyhow::anyhow!("{target} broke: {}", broken.what));
            let input = cx.repo.show(&broken.input);
            eprintln!("input: {input}\nagain: cargo xtask fuzz {target} {input}");
        }
    }
}

fn summary(target: &str, Outcome { stats, broken }: &Outcome) -> String {
    let how = if broken.is_none() { "ok" } else { "BROKEN" };
    format!(
        "{how:<8} {target}: {} inputs, {}/s, {} of {} edges",
        stats.inputs, stats.per_second, stats.edges, stats.of_edges
    )
}

/// A short run of each target that is quickly compiled, as a step among others. The
/// inputs that are kept of the others are replayed by the tests.
pub(super) fn short(cx: &Context, seconds: u64) -> Result<String> {
    let mut targets = fuzzer::targets(&cx.repo)?;
    targets.retain(|t| !fuzzer::OF_ATOMS.contains(&&**t));
    let fuzzer = Fuzzer::build(&cx.repo, &targets, cx.ui)?;
    let mut all = Vec::new();
    for target in &targets {
        let outcome = fuzzer.run(target, seconds, 1)?;
        if let Some(broken) = outcome.broken {
            let input = cx.repo.show(&broken.input);
            let what = &broken.what;
            anyhow::bail!("{target} broke: {what}\nagain: cargo xtask fuzz {target} {input}");
        }
        all.push(format!("{target} {} inputs", outcome.stats.inputs));
    }
    Ok(all.join(", "))
}
