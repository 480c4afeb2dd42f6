//! A guest's tree through the supervisor, and without it: the same guest, asked by the same
//! client in the same rounds, by its own socket and as `/guests/NAME/fs`.
//!
//! All of it is done twice, with everything on one processor and wherever the kernel puts
//! it; the figure is that of the place where asking directly is quicker.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::GUEST;
use super::daemon::Daemon;
use crate::figure::{AS_LONG, Figure};
use crate::load::link::{Link, Wait};
use crate::load::work;
use crate::p9::cases::{Case, GETATTR, READ, Unit};
use crate::p9::place::Place;
use crate::samples::Samples;
use crate::urgent::Urgent;

/// How much longer a request may take through the supervisor.
const GOAL: f64 = 1.5;
/// How long each is asked before it counts, and then.
const WARM: Duration = Duration::from_millis(5);
const SLICE: Duration = Duration::from_millis(50);

/// A way to the guest's files.
struct Way {
    socket: PathBuf,
    dir: &'static [&'static str],
}

/// What was seen in one case, in one place.
#[derive(Default)]
struct Row {
    one_core: bool,
    wait: Wait,
    direct: Samples,
    through: Samples,
}

pub(super) fn run(
    place: &Place,
    atoll: &Path,
    tender: &Path,
    image: &Path,
    runs: usize,
    say: &dyn Fn(&str),
) -> Result<Vec<Figure>> {
    let cases: Vec<Case> = crate::p9::cases::guests()
        .into_iter()
        .filter(|c| c.kind == GETATTR || c.kind == READ)
        .collect();
    let mut seen: Vec<Vec<Row>> = cases.iter().map(|_| Vec::new()).collect();
    for one_core in [true, false] {
        let _there = one_core.then(OneCore::new).transpose()?;
        let mut daemon = Daemon::urgent(place, atoll, tender)?;
        daemon.guest(GUEST, image)?;
        let direct = Way { socket: daemon.socket_of(GUEST), dir: &["export"] };
        let through = Way { socket: daemon.socket(), dir: &["guests", GUEST, "fs", "export"] };
        let mut rows: Vec<Vec<Row>> = cases
            .iter()
            .map(|c| c.waits().iter().map(|w| Row { one_core, wait: *w, ..Row::default() }))
            .map(Iterator::collect)
            .collect();
        let _urgent = Urgent::new();
        for round in 0..=runs {
            say(&format!("9P through the supervisor: round {round} of {runs}"));
            for (case, rows) in cases.iter().zip(&mut rows) {
                for row in rows {
                    // Neither is always the first.
                    let mut rates = [0.0; 2];
                    for i in [round % 2, 1 - round % 2] {
                        rates[i] = once([&direct, &through][i], case, row.wait)?;
                    }
                    // The first round fills caches and is not counted.
                    if round > 0 {
                        row.direct.push(rates[0]);
                        row.through.push(rates[1]);
                    }
                }
            }
        }
        for (all, rows) in seen.iter_mut().zip(rows) {
            all.extend(rows);
        }
    }
    Ok(cases.iter().zip(&seen).flat_map(|(case, rows)| figures(case, rows)).collect())
}

/// The rate of one slice.
fn once(way: &Way, case: &Case, wait: Wait) -> Result<f64> {
    let socket = UnixStream::connect(&way.socket)
        .with_context(|| format!("cannot connect to {}", way.socket.display()))?;
    let mut link = Link::open(socket, case.msize(), "", way.dir)?;
    let mut work = case.work();
    work.begin(&mut link, case.depth)?;
    link.waits(wait);
    work::run(&mut link, &mut *work, case.depth, WARM)?;
    let done = work::run(&mut link, &mut *work, case.depth, SLICE)?;
    Ok(match case.unit {
        Unit::Ops => done.units as f64,
        Unit::Bytes => done.units as f64 / 1e6,
    } / done.seconds)
}

fn figures(case: &Case, rows: &[Row]) -> Vec<Figure> {
    let best = rows
        .iter()
        .filter_map(|row| Some((row, row.direct.spread()?, row.through.spread()?)))
        .max_by(|a, b| a.1.median.total_cmp(&b.1.median));
    let Some((row, direct, through)) = best else { return Vec::new() };
    let Some(times) = row.direct.over(&row.through).spread() else { return Vec::new() };
    let place = if row.one_core { "one core" } else { "all cores" };
    let (per, _) = case.unit.names();
    let name = format!("9P, {}, {place}", case.name());
    let rate = Figure::new("supervisor", &name, "rate", per, through.median);
    let over = Figure::new("supervisor", &name, "a request, of direct", AS_LONG, times.median);
    [rate.beside("direct", direct.median).with(through), over.at_most(GOAL).with(times)].concat()
}

/// This program, and what it starts meanwhile, on one processor.
struct OneCore(CpuSet);

impl OneCore {
    fn new() -> Result<OneCore> {
        let before = sched_getaffinity(None)?;
        let last =
            (0..CpuSet::MAX_CPU).rev().find(|n| before.is_set(*n)).context("no processor")?;
        let mut one = CpuSet::new();
        one.set(last);
        sched_setaffinity(None, &one)?;
        Ok(OneCore(before))
    }
}

impl Drop for OneCore {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.0);
    }
}
