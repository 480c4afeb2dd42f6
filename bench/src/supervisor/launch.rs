//! What a launch costs under the supervisor, beside the machine that it is about.
//!
//! Processor time of everything that a launch involves, from the command that asks for it to
//! its answer: the daemon, the guest's shim and guard, and the machine. A bare machine is
//! started in the same round, asked what a supervisor asks of one that is up, and counted from
//! its `exec` until as long after. What is above it is the supervisor's.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Programs;
use super::daemon::{self, Daemon};
use crate::figure::Figure;
use crate::nine::Nine;
use crate::p9::place::Place;
use crate::proc::{Running, Spent};
use crate::processes::{self, Used};
use crate::qemu::{self, Kernel, PATIENCE, Shell};
use crate::samples::Samples;
use crate::{product, tender};

/// Milliseconds of processor time above the bare machine's.
const GOAL: f64 = 2.0;
/// What of a launch goes on behind its answer.
const SETTLE: Duration = Duration::from_millis(30);

/// What was seen on one backend.
#[derive(Default)]
struct Seen {
    all: Samples,
    bare: Samples,
    above: Samples,
    daemon: Samples,
    wall: Samples,
}

pub(super) fn run(
    place: &Place,
    programs: &Programs,
    runs: usize,
    say: &dyn Fn(&str),
) -> Result<Vec<Figure>> {
    let image = product::image(&programs.hello)?;
    let shell = Shell::guest(image.manifest().memory.div_ceil(1 << 20));
    let kernel = Kernel::open(&programs.hello)?;
    let daemon = Daemon::urgent(place, &programs.atoll, &programs.tender)?;
    let (client, hash) = (daemon.client()?, daemon.image(&programs.hello)?);
    let mut backends = vec!["process"];
    match qemu::find() {
        Ok(_) => backends.push("qemu"),
        Err(why) => say(&format!("left out: launches on QEMU: {why:#}")),
    }
    let mut figures = Vec::new();
    for on in backends {
        let mut seen = Seen::default();
        for round in 0..=runs {
            say(&format!("launches, {on}: round {round} of {runs}"));
            let bare = match on {
                "qemu" => {
                    let mut machine = shell.start(&kernel, None)?;
                    let control = machine.control.take().context("a shell without streams")?;
                    followed(Nine::new(control, PATIENCE)?, &machine.running)?
                }
                _ => {
                    let guest = tender::start(&programs.tender, &programs.hello)?;
                    followed(guest.nine, &guest.running)?
                }
            };
            daemon::define(&client, super::GUEST, &hash, on)?;
            let before = Used::by(&processes::of(place.sockets())?);
            let begin = Instant::now();
            daemon::tell(&client, super::GUEST, "start")?;
            let wall = begin.elapsed().as_secs_f64() * 1e3;
            std::thread::sleep(SETTLE);
            let after = Used::by(&processes::of(place.sockets())?);
            daemon::ask(&client, super::GUEST)?;
            daemon::forget(&client, super::GUEST)?;
            // The first round fills caches and is not counted.
            if round > 0 {
                let all = after.since(&before);
                seen.all.push(all);
                seen.bare.push(bare.cpu);
                seen.above.push(all - bare.cpu);
                seen.daemon.push(after.of(daemon.running.id()) - before.of(daemon.running.id()));
                seen.wall.push(wall);
            }
        }
        figures.extend(seen.figures(on)?);
    }
    Ok(figures)
}

/// What a bare guest takes that is asked for its log, and for what it says next.
fn followed(mut nine: Nine, running: &Running) -> Result<Spent> {
    nine.version()?;
    nine.attach()?;
    let log = nine.follow("log")?;
    nine.exhaust(log, SETTLE)?;
    running.spent()
}

impl Seen {
    fn figures(&self, on: &str) -> Result<Vec<Figure>> {
        let (case, peer) = match on {
            "qemu" => ("launch on QEMU", "bare QEMU, asked the same"),
            _ => ("launch as a process", "bare tender, asked the same"),
        };
        let one = |metric: &str, of: &Samples| {
            let spread = of.spread().context("no runs")?;
            Ok::<_, anyhow::Error>((
                Figure::new("supervisor", case, metric, "ms", spread.median),
                spread,
            ))
        };
        let (cpu, spread) = one("cpu of all", &self.all)?;
        let bare = self.bare.spread().context("no runs")?;
        let mut out = cpu.beside(peer, bare.median).with(spread);
        let (above, spread) = one("cpu above that", &self.above)?;
        out.extend(above.at_most(GOAL).with(spread));
        let (daemon, spread) = one("cpu of the daemon", &self.daemon)?;
        out.extend(daemon.with(spread));
        let (wall, spread) = one("answered after", &self.wall)?;
        out.extend(wall.with(spread));
        Ok(out)
    }
}
