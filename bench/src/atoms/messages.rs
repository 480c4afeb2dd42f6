//! What atoms of a guest tell each other, beside actors of actix and processes of the
//! BEAM: each peer a process with one thread that does what is asked for.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::actors::ACTIX;
use super::worker::Worker;
use super::{Bench, Rounds, Task, rounds, samples};
use crate::figure::Figure;
use crate::proc::{self, Program};
use crate::samples::Spread;

/// Atoms of the ring.
const RING: u32 = 1000;

const ATOM: &str = "atoms in the tender";

/// What is done, and how often in one round.
const ONE: u32 = 100_000;
const ASK: u32 = 30_000;
const STEPS: u32 = 100_000;
const SPAWN: u32 = 1000;

/// CPU nanoseconds, dispatches a second.
const GOAL_ONE: f64 = 100.0;
const GOAL_ASK: f64 = 600.0;
const GOAL_RING: f64 = 3e6;
const GOAL_SPAWN: f64 = 10_000.0;

/// Measures.
pub(super) fn run(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let mut workers = vec![
        Worker::guest(ATOM, &bench.tender, &bench.image)?,
        Worker::start("actix", Program::new(proc::own()?)?.arg(ACTIX))?,
    ];
    match beam(bench) {
        Ok(worker) => workers.push(worker),
        Err(why) => (bench.say)(&format!("left out: BEAM: {why:#}")),
    }
    let task = |what, n, answer| Task { atom: "a", what, n, answer: Some(answer) };
    for worker in &mut workers {
        worker.work("a", "make", RING)?;
    }
    let all = u64::from(ONE) * (u64::from(ONE) + 1) / 2;
    let told = (0..STEPS).fold(0u32, |told, _| told.wrapping_mul(3).wrapping_add(1));
    let tasks = [
        task("one", ONE, all),
        task("ask", ASK, ASK.into()),
        task("ring", STEPS, told.into()),
        task("spawn", SPAWN, SPAWN.into()),
    ];
    let cpu = rounds(&mut workers, &tasks, bench.runs, bench.say)?;
    figures(&workers, &cpu)
}

/// How a task is shown: what it is, and what is good enough.
const CASES: [(&str, &str, f64); 4] = [
    ("message, one way", "CPU time", GOAL_ONE),
    ("ask and reply", "CPU time", GOAL_ASK),
    ("ring of 1,000", "messages of a CPU second", GOAL_RING),
    ("spawn, start and end", "CPU time", GOAL_SPAWN),
];

fn figures(workers: &[Worker], cpu: &Rounds) -> Result<Vec<Figure>> {
    let mut out = Vec::new();
    for (t, (case, metric, goal)) in CASES.iter().enumerate() {
        let is_rate = *metric != "CPU time";
        let of = |w: usize| -> Result<Spread> {
            let ns = cpu[w][t].iter();
            samples(ns.map(|ns| if is_rate { 1e9 / ns } else { *ns }))
        };
        let unit = if is_rate { "/s" } else { "ns" };
        let better = |a: f64, b: f64| if is_rate { a > b } else { a < b };
        let mut best = 1;
        for w in 2..workers.len() {
            if better(of(w)?.median, of(best)?.median) {
                best = w;
            }
        }
        for (w, worker) in workers.iter().enumerate() {
            let (case, spread) = (format!("{case}, {}", worker.name), of(w)?);
            let mut figure = Figure::new("atoms", &case, metric, unit, spread.median);
            if w == 0 {
                figure = figure.beside(&workers[best].name, of(best)?.median);
                figure = if is_rate { figure.at_least(*goal) } else { figure.at_most(*goal) };
            }
            out.extend(figure.with(spread));
        }
    }
    Ok(out)
}

/// Erlang's machine, with one scheduler that sleeps where it has nothing to do.
fn beam(bench: &Bench<'_>) -> Result<Worker> {
    let dir = bench.scratch.path();
    let output = Command::new("erlc")
        .arg("-o")
        .args([dir, &bench.root.join("bench/atoms/mail.erl")])
        .stdin(Stdio::null())
        .output()
        .context("there is no erlc (scripts/setup.sh bench installs erlang-base)")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stdout).trim());
    }
    let program = Program::new("erl")?
        .args(["-noshell", "-noinput", "+S", "1:1", "+SDcpu", "1:1", "+SDio", "1", "+A", "1"])
        .args(["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none", "-pa"])
        .arg(dir)
        .args(["-s", "mail", "main"]);
    Worker::start("BEAM", program)
}
