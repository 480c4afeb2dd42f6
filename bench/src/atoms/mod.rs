//! `atoms`: what atoms compute, and what they tell each other, beside others that do the
//! same.
//!
//! The atoms run as they do for everybody: an image of the builder's in the tender, with
//! the watchdog on. They are told what to do through their files; all that is counted is
//! the CPU time of whole processes, peers' too, in rounds that take turns. Every result
//! is checked, so that nobody has done less.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::figure::Figure;
use crate::product;
use crate::samples::Samples;
use crate::urgent::Urgent;

pub mod actors;
pub mod compute;
pub mod counted;
pub mod interpreter;
pub mod messages;
pub mod state;
pub mod worker;

use worker::Worker;

/// The guest's memory (`bench/atoms/guest.toml`), in MiB.
const MEMORY: u64 = 256;

/// What is measured with.
pub struct Bench<'a> {
    root: &'a Path,
    runs: usize,
    say: &'a dyn Fn(&str),
    tender: PathBuf,
    image: PathBuf,
    /// Programs and modules that are made for it.
    scratch: tempfile::TempDir,
}

type Part = fn(&Bench<'_>) -> Result<Vec<Figure>>;

/// The parts, by the names that `--only` knows.
const PARTS: [(&str, Part); 4] = [
    ("compute", compute::run),
    ("instructions", counted::run),
    ("messages", messages::run),
    ("checkpoints", state::run),
];

/// Measures; only the named parts, if there are any.
pub fn run(root: &Path, only: &[String], runs: usize, say: &dyn Fn(&str)) -> Result<Vec<Figure>> {
    if let Some(unknown) = only.iter().find(|o| !PARTS.iter().any(|(name, _)| name == o)) {
        let names = PARTS.map(|(name, _)| name).join(", ");
        bail!("there is no part `{unknown}` of `bench atoms`: there are {names}");
    }
    say("building the atoms and the tender");
    let scratch = tempfile::tempdir()?;
    let image = scratch.path().join("atoms.img");
    product::Builder::find(root)?.build(&root.join("bench/atoms"), Some(&image))?;
    let tender = product::cargo(
        root,
        &["--release", "--package", "atoll-tender", "--bin", "atoll-tender"],
        "atoll-tender",
    )?;
    let bench = Bench { root, runs, say, tender, image, scratch };
    let mut out = Vec::new();
    for (name, part) in PARTS {
        if only.is_empty() || only.iter().any(|o| o == name) {
            out.extend(part(&bench)?);
        }
    }
    Ok(out)
}

/// Work that every worker is given in each round.
pub(crate) struct Task {
    /// The atom that is told, in a guest.
    pub(crate) atom: &'static str,
    pub(crate) what: &'static str,
    pub(crate) n: u32,
    /// What comes out of it; None: the same for all.
    pub(crate) answer: Option<u64>,
}

/// Nanoseconds of CPU time for one of each task, by worker and task.
pub(crate) type Rounds = Vec<Vec<Vec<f64>>>;

/// Does all of it in rounds, in which every worker gets its turn.
pub(crate) fn rounds(
    workers: &mut [Worker],
    tasks: &[Task],
    runs: usize,
    say: &dyn Fn(&str),
) -> Result<Rounds> {
    let mut out = vec![vec![Vec::new(); tasks.len()]; workers.len()];
    let _urgent = Urgent::new();
    for round in 0..=runs {
        say(&format!("{}: round {round} of {runs}", tasks.first().map_or("", |t| t.what)));
        for (t, task) in tasks.iter().enumerate() {
            let mut answer = task.answer.map(|a| format!("{a:016x}"));
            for i in 0..workers.len() {
                // Nobody is always the first.
                let w = (i + round) % workers.len();
                let done = workers[w].work(task.atom, task.what, task.n)?;
                let want = answer.get_or_insert_with(|| done.answer.clone());
                if *want != done.answer {
                    let name = &workers[w].name;
                    bail!("{name}: `{} {}` gives {}, not {want}", task.what, task.n, done.answer);
                }
                // The first round fills caches and is not counted.
                if round > 0 {
                    out[w][t].push(done.cpu / f64::from(task.n));
                }
            }
        }
    }
    Ok(out)
}

/// The spread of values.
pub(crate) fn samples(values: impl IntoIterator<Item = f64>) -> Result<crate::samples::Spread> {
    let mut samples = Samples::default();
    values.into_iter().for_each(|v| samples.push(v));
    samples.spread().context("no runs")
}
