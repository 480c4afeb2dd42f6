//! `boot`: from `exec` to the first 9P reply, on QEMU and as a process.
//!
//! On QEMU the floor is the least kernel there is, in the same shell with the same
//! devices: what is above it is ours. A shell without devices is shown as well,
//! and Linux, which is what one would run otherwise.

use std::path::Path;

use anyhow::{Context, Result};

use crate::figure::Figure;
use crate::floor;
use crate::linux::{self, Linux};
use crate::nine::Nine;
use crate::proc::Spent;
use crate::qemu::{Kernel, PATIENCE, Shell};
use crate::samples::Samples;
use crate::{product, tender};

/// CPU milliseconds above the floor that a guest may take.
const GOAL_ABOVE: f64 = 10.0;
/// Milliseconds on the wall that a guest in a process may take.
const GOAL_PROCESS: f64 = 3.0;

const FLOOR: &str = "floor (8 bytes of code, same shell)";
const BARE: &str = "floor without devices";

/// CPU and wall time over all runs.
#[derive(Debug, Default)]
struct Times {
    cpu: Samples,
    wall: Samples,
}

impl Times {
    fn push(&mut self, spent: Spent) {
        self.cpu.push(spent.cpu);
        self.wall.push(spent.wall);
    }

    /// The figures, beside another's of the same run; `wall` is the most that the
    /// time on the wall may be.
    fn figures(
        &self,
        case: &str,
        beside: Option<(&str, &Times)>,
        wall: Option<f64>,
    ) -> Vec<Figure> {
        let one = |metric: &str, of: fn(&Times) -> &Samples, goal: Option<f64>| {
            let spread = of(self).spread()?;
            let mut figure = Figure::new("boot", case, metric, "ms", spread.median);
            if let Some((name, other)) = beside {
                figure = figure.beside(name, of(other).spread()?.median);
            }
            if let Some(goal) = goal {
                figure = figure.at_most(goal);
            }
            Some(figure.with(spread))
        };
        let cpu = one("cpu", |t| &t.cpu, None);
        let wall = one("wall", |t| &t.wall, wall);
        [cpu, wall].into_iter().flatten().flatten().collect()
    }
}

/// Measures with that many runs of each.
pub fn run(root: &Path, runs: usize, say: &dyn Fn(&str)) -> Result<Vec<Figure>> {
    crate::qemu::find()?;
    say("building hello and the tender");
    let builder = product::Builder::find(root)?;
    let built = builder.build(Path::new("hello"), None)?;
    let memory = product::image(&built.image)?.manifest().memory.div_ceil(1 << 20);
    let tender = product::cargo(
        root,
        &["--release", "--package", "atoll-tender", "--bin", "atoll-tender"],
        "atoll-tender",
    )?;
    let mut figures = on_qemu(root, &built.image, memory, runs, say)?;
    figures.extend(counted(&built.image, memory, say)?);
    figures.extend(as_process(&tender, &built.image, runs, say)?);
    Ok(figures)
}

fn on_qemu(
    root: &Path,
    image: &Path,
    memory: u64,
    runs: usize,
    say: &dyn Fn(&str),
) -> Result<Vec<Figure>> {
    let (hello, floor) = (Kernel::open(image)?, Kernel::of(&floor::elf())?);
    let (with, without) = (Shell::guest(memory), Shell::bare(memory));
    let [mut bare, mut least, mut ours, mut peer]: [Times; 4] = Default::default();
    // Of each round by itself: a slow round is slow for both.
    let mut above = Samples::default();
    let linux = Linux::find(root);
    if let Err(why) = &linux {
        say(&format!("left out: {}: {why:#}", linux::NAME));
    }
    // The first round fills caches and is not counted.
    for round in 0..=runs {
        say(&format!("boot on QEMU: round {round} of {runs}"));
        let times = [bare_run(&without, &floor)?, bare_run(&with, &floor)?, reply(&with, &hello)?];
        if round > 0 {
            above.push(times[2].cpu - times[1].cpu);
            for (to, spent) in [&mut bare, &mut least, &mut ours].into_iter().zip(times) {
                to.push(spent);
            }
        }
        // Linux is slow; a few runs show where it is.
        if let Ok(linux) = &linux
            && round % 5 == 1
        {
            peer.push(linux.boot()?);
        }
    }
    let mut out = bare.figures(BARE, None, None);
    out.extend(least.figures(FLOOR, None, None));
    out.extend(ours.figures("hello on QEMU", Some((FLOOR, &least)), None));
    let spread = above.spread().context("no runs")?;
    let figure = Figure::new("boot", "hello on QEMU", "cpu above the floor", "ms", spread.median);
    out.extend(figure.at_most(GOAL_ABOVE).with(spread));
    out.extend(peer.figures(linux::NAME, Some(("hello on QEMU", &ours)), None));
    Ok(out)
}

fn bare_run(shell: &Shell, floor: &Kernel) -> Result<Spent> {
    shell.start(floor, None)?.says(&[floor::SIGN], PATIENCE).context("the floor kernel")
}

/// From `exec` to the first 9P reply.
pub fn reply(shell: &Shell, image: &Kernel) -> Result<Spent> {
    let mut machine = shell.start(image, None)?;
    let control = machine.control.take().context("a shell without streams")?;
    let answered = Nine::new(control, PATIENCE).and_then(|mut nine| nine.version());
    let spent = machine.running.spent();
    answered.with_context(|| format!("{} {}", machine.state(), machine.record()))?;
    spent
}

/// The instructions of a boot, which a counting QEMU tells by the guest's TSC.
fn counted(image: &Path, memory: u64, say: &dyn Fn(&str)) -> Result<Vec<Figure>> {
    let image = Kernel::open(image)?;
    let shell = Shell { icount: true, ..Shell::guest(memory) };
    let mut firmware = Samples::default();
    let mut kernel = Samples::default();
    for round in 1..=3 {
        say(&format!("instructions of a boot: round {round} of 3"));
        let mut machine = shell.start(&image, None)?;
        let control = machine.control.take().context("a shell without streams")?;
        let mut nine = Nine::new(control, PATIENCE)?;
        nine.version()?;
        nine.attach()?;
        let stats = String::from_utf8(nine.read("stats")?)?;
        let boot = field(&stats, "boot_tsc")?;
        firmware.push(boot);
        kernel.push(field(&stats, "first_reply_tsc")? - boot);
    }
    let one = |metric: &str, samples: &Samples| {
        let spread = samples.spread()?;
        Some(
            Figure::new("boot", "hello on QEMU", metric, "instructions", spread.median)
                .with(spread),
        )
    };
    let all = [one("firmware", &firmware), one("entry to first reply", &kernel)];
    Ok(all.into_iter().flatten().flatten().collect())
}

/// A number behind its name, on a line of its own.
pub(crate) fn field(text: &str, name: &str) -> Result<f64> {
    let value = text.lines().find_map(|l| l.strip_prefix(name)?.trim().parse().ok());
    value.with_context(|| format!("there is no `{name}` in what was counted"))
}

fn as_process(tender: &Path, image: &Path, runs: usize, say: &dyn Fn(&str)) -> Result<Vec<Figure>> {
    let [mut floor, mut ours]: [Times; 2] = Default::default();
    say("boot as a process");
    for round in 0..=runs.max(100) {
        let times = [tender::floor()?, tender::boot(tender, image)?];
        if round > 0 {
            floor.push(times[0]);
            ours.push(times[1]);
        }
    }
    let mut out = floor.figures(tender::TRUE, None, None);
    let beside = Some((tender::TRUE, &floor));
    out.extend(ours.figures("hello as a process", beside, Some(GOAL_PROCESS)));
    Ok(out)
}
