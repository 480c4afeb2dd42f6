//! What atoms compute: the same C, compiled to Wasm and by the builder to native code, and
//! compiled to native code right away.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::interpreter::WASMI;
use super::worker::Worker;
use super::{Bench, Task, rounds, samples};
use crate::figure::Figure;
use crate::proc::{self, Program};
use crate::product;

/// The kinds of work (`bench/atoms/work.h`).
pub(super) const KINDS: [&str; 4] = ["sha", "sieve", "nbody", "fib"];
/// How much longer than native code an atom may take.
const GOAL: f64 = 1.35;
/// Pieces of each kind in a round.
const PIECES: u32 = 40;
/// Compilers to compare with: the faster one counts, for each kind.
pub(super) const COMPILERS: [&str; 2] = ["gcc", "clang-19"];
/// The unit of that: less of it is better.
const LONGER: &str = "× as long";
const ATOM: &str = "atom in the tender";
const INTERPRETER: &str = "wasmi";

/// Measures.
pub(super) fn run(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let mut workers = vec![Worker::guest(ATOM, &bench.tender, &bench.image)?];
    for compiler in COMPILERS {
        match native(bench, compiler) {
            Ok(worker) => workers.push(worker),
            Err(why) => (bench.say)(&format!("left out: {compiler}: {why:#}")),
        }
    }
    let natives = workers.len();
    if natives == 1 {
        bail!("there is no C compiler to compare with (scripts/setup.sh bench installs them)");
    }
    workers.push(interpreted(bench)?);
    let task = |what: &&'static str| Task { atom: "compute", what, n: PIECES, answer: None };
    let tasks: Vec<Task> = KINDS.iter().map(task).collect();
    let cpu = rounds(&mut workers, &tasks, bench.runs, bench.say)?;
    let mut out = Vec::new();
    for (t, what) in KINDS.iter().enumerate() {
        let spread = |w: usize| samples(cpu[w][t].iter().copied());
        let mut best = 1;
        for w in 2..natives {
            if spread(w)?.median < spread(best)?.median {
                best = w;
            }
        }
        // Of each round by itself: a slow round is slow for both.
        let times = |w: usize| samples(cpu[w][t].iter().zip(&cpu[best][t]).map(|(a, b)| a / b));
        let (ours, theirs) = (times(0)?, times(natives)?);
        let metric = format!("CPU time beside {}", workers[best].name);
        let figure = Figure::new("atoms", &format!("{what}, {ATOM}"), &metric, LONGER, ours.median);
        out.extend(figure.beside(INTERPRETER, theirs.median).at_most(GOAL).with(ours));
        for (w, worker) in workers.iter().enumerate() {
            let (case, spread) = (format!("{what}, {}", worker.name), spread(w)?);
            let us = crate::samples::Spread {
                median: spread.median / 1e3,
                p10: spread.p10 / 1e3,
                p90: spread.p90 / 1e3,
            };
            out.extend(
                Figure::new("atoms", &case, "CPU time of a piece", "µs", us.median).with(us),
            );
        }
    }
    Ok(out)
}

/// The work as a program that waits for lines.
fn native(bench: &Bench<'_>, compiler: &str) -> Result<Worker> {
    let program = Program::new(compiled(bench, compiler)?)?;
    Worker::start(&format!("{compiler} -O2"), program)
}

/// The work as a program.
pub(super) fn compiled(bench: &Bench<'_>, compiler: &str) -> Result<PathBuf> {
    let program = bench.scratch.path().join(format!("work-{compiler}"));
    let output = Command::new(compiler)
        // What libraries say with errno, an atom's square root does not say either.
        .args(["-O2", "-fno-math-errno", "-o"])
        .args([&program, &bench.root.join("bench/atoms/native.c")])
        .stdin(Stdio::null())
        .output()
        .context("it cannot be run (scripts/setup.sh bench installs it)")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(program)
}

/// The image's own Wasm in an interpreter.
fn interpreted(bench: &Bench<'_>) -> Result<Worker> {
    let image = product::image(&bench.image)?;
    let payload = image.payload();
    let module = payload.modules.iter().find(|m| m.name == "compute");
    let wasm = bench.scratch.path().join("compute.wasm");
    std::fs::write(&wasm, module.context("the image has no module `compute`")?.wasm)?;
    let program = Program::new(proc::own()?)?.arg(WASMI).arg(&wasm);
    Worker::start(INTERPRETER, program)
}
