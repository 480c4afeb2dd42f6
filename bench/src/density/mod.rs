//! `density`: how many guests one machine and one supervisor have, alive and answering.
//!
//! All are kept at once: processes and machines, each of which is asked for a file of its own
//! through the supervisor. Then all rest, and what rests must cost nothing. It takes most of a
//! machine, so it is run only when it is asked for by name.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;

use crate::figure::{Figure, GUESTS};
use crate::p9::place::Place;
use crate::processes::{self, Used};
use crate::qemu;
use crate::supervisor::daemon::{self, Daemon};
use crate::supervisor::{Programs, memory};

mod crowd;
pub mod limits;

use crowd::One;
use limits::{Descriptors, Pids};

/// How many guests.
#[derive(Args, Clone, Debug)]
pub struct Crowd {
    /// density: guests as processes.
    #[arg(long, value_name = "N", default_value_t = 5000)]
    pub process: usize,
    /// density: guests on QEMU.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub qemu: usize,
}

/// Processes and threads of a guest with its shim and guard: as a process, and on QEMU.
const TASKS: [usize; 2] = [3, 8];
/// Files that the daemon has open for a guest: a connection and a process.
const FILES: usize = 2;
/// Files and tasks that are not a guest's.
const OTHERS: usize = 1000;
/// Guests of each kind that show how much memory the rest will need.
const SAMPLE: usize = 8;
/// The part of a machine's memory that stays free.
const SPARE: f64 = 0.06;
/// What a crowd is given to come to rest, and how long it is then watched.
const SETTLE: Duration = Duration::from_secs(3);
const WATCH: Duration = Duration::from_secs(5);
/// Percent of one core that all may use at rest.
const GOAL_IDLE: f64 = 3.0;
/// Milliseconds of `ps`.
const GOAL_PS: f64 = 100.0;

/// Measures.
pub fn run(root: &Path, crowd: &Crowd, say: &dyn Fn(&str)) -> Result<Vec<Figure>> {
    let Crowd { process, qemu } = *crowd;
    ensure!(process + qemu > 0, "there is nothing to start: --process 200 --qemu 20");
    if qemu > 0 {
        qemu::find()?;
    }
    say("building atoll, the tender and a guest");
    let programs = Programs::build(root)?;
    let tasks = process * TASKS[0] + qemu * TASKS[1] + OTHERS;
    let _pids = Pids::at_least(tasks as u64, say)?;
    let _files = Descriptors::at_least(((process + qemu) * FILES + OTHERS) as u64, say)?;
    let place = Place::empty()?;
    let mut daemon = Daemon::calm(&place, &programs.atoll, &programs.tender)?;
    let hash = daemon.image(&programs.hello)?;
    let before = daemon.running.memory()?.1;
    let mut guests = Vec::new();
    let mut out = Vec::new();
    let spare = (processes::available()? as f64 * SPARE) as u64;
    for (on, count) in [("process", process), ("qemu", qemu)] {
        let kind = crowd::of(on, count);
        let (sample, rest) = kind.split_at(SAMPLE.min(count));
        start(&daemon, &hash, sample, spare, say)?;
        enough(&place, on, sample, rest.len(), spare)?;
        let begin = Instant::now();
        start(&daemon, &hash, rest, spare, say)?;
        if !rest.is_empty() {
            let each = begin.elapsed().as_secs_f64() * 1e3 / rest.len() as f64;
            let case = format!("{count} guests, {on}");
            out.push(Figure::new("density", &case, "one more is started in", "ms", each));
        }
        guests.extend(kind);
    }
    let case = format!("{process} guests as processes, {qemu} on QEMU");
    let begin = Instant::now();
    answer(&daemon, &guests, say)?;
    let seconds = begin.elapsed().as_secs_f64();
    let all = guests.len() as f64;
    let figure = |metric: &str, unit, value| Figure::new("density", &case, metric, unit, value);
    out.push(figure("alive and answering", GUESTS, all).at_least(all));
    out.push(figure("all have answered in", "s", seconds));

    let ids = processes::of(place.sockets())?;
    let each = daemon.running.memory()?.1.saturating_sub(before) as f64 / all;
    out.push(figure("memory of one, daemon", "KiB", each).at_most(memory::GOAL));
    say("looking at the memory of all, and at what all use while they rest");
    for (role, memory) in memory::by_role(&ids) {
        if role != "atoll" {
            out.push(figure(&format!("memory of one, {role}"), "KiB", memory));
        }
    }
    out.push(figure("cpu of all at rest", "% of a core", rest(&ids)).at_most(GOAL_IDLE));
    say("listing all");
    let ps = memory::list(&daemon)?;
    out.extend(figure("ps", "ms", ps.median).at_most(GOAL_PS).with(ps));

    say("ending the supervisor, and starting the next");
    drop(daemon);
    let begin = Instant::now();
    daemon = Daemon::calm(&place, &programs.atoll, &programs.tender)?;
    answer(&daemon, &guests, say)?;
    let seconds = begin.elapsed().as_secs_f64();
    out.push(figure("taken over, and all have answered in", "s", seconds));
    say("ending all");
    let begin = Instant::now();
    crowd::each(&daemon, &guests, 1000, &|_| {}, &|client, guest| {
        daemon::forget(client, &guest.name)
    })?;
    out.push(figure("all are ended in", "s", begin.elapsed().as_secs_f64()));
    drop(daemon);
    let left = processes::of(place.sockets())?;
    if !left.is_empty() {
        bail!("{} processes are left of what was ended", left.len());
    }
    Ok(out)
}

/// Starts guests, as long as the machine has memory.
fn start(
    daemon: &Daemon<'_>,
    hash: &str,
    guests: &[One],
    spare: u64,
    say: &dyn Fn(&str),
) -> Result<()> {
    tell(say, "started", guests.len(), |told| {
        crowd::each(daemon, guests, 500, told, &|client, guest| {
            if processes::available()? < spare {
                bail!("this machine has no memory for more: ask for fewer guests");
            }
            daemon::define(client, &guest.name, hash, guest.on)?;
            daemon::tell(client, &guest.name, "start")
        })
    })
}

/// Asks each guest for a file.
fn answer(daemon: &Daemon<'_>, guests: &[One], say: &dyn Fn(&str)) -> Result<()> {
    tell(say, "answered", guests.len(), |told| {
        crowd::each(daemon, guests, 1000, told, &|client, guest| daemon::ask(client, &guest.name))
    })
}

/// Says how far others have come who run at one time.
fn tell(
    say: &dyn Fn(&str),
    what: &str,
    all: usize,
    f: impl FnOnce(&(dyn Fn(usize) + Sync)) -> Result<()> + Send,
) -> Result<()> {
    let (to, from) = std::sync::mpsc::channel();
    let to = std::sync::Mutex::new(to);
    std::thread::scope(|scope| {
        let work = scope.spawn(move || {
            f(&|n| {
                let _ = to.lock().map(|to| to.send(n));
            })
        });
        from.iter().for_each(|n| say(&format!("{n} of {all} {what}")));
        work.join().unwrap_or_else(|_| bail!("a client has failed"))
    })
}

/// Whether what is there of a kind says that there is memory for the rest.
fn enough(place: &Place, on: &str, sample: &[One], rest: usize, spare: u64) -> Result<()> {
    if rest == 0 || sample.is_empty() {
        return Ok(());
    }
    // Of this kind is what has its name on the command line, and what that has started; a
    // machine is known by its program.
    let machine = if on == "qemu" { "QEMU" } else { "tender" };
    let of = memory_by_role(place)?;
    let one: u64 = [machine, "shim", "guard"].iter().filter_map(|r| of.get(*r)).sum();
    let (need, there) = (one * rest as u64, processes::available()?);
    if need + spare > there {
        bail!(
            "{rest} more guests ({on}) would need {:.1} GiB, {} KiB each, and this machine has \
             {:.1} GiB left: ask for fewer with --process and --qemu",
            need as f64 / f64::from(1 << 20),
            one,
            there as f64 / f64::from(1 << 20),
        );
    }
    Ok(())
}

/// What one process of each role takes of the machine's memory, in KiB: the mean.
fn memory_by_role(place: &Place) -> Result<std::collections::BTreeMap<String, u64>> {
    let mut all = std::collections::BTreeMap::<String, (u64, u64)>::new();
    for id in processes::of(place.sockets())? {
        if let Some((role, memory)) = processes::role(id).zip(processes::memory(id)) {
            let (sum, count) = all.entry(role).or_default();
            (*sum, *count) = (*sum + memory.all, *count + 1);
        }
    }
    Ok(all.into_iter().map(|(role, (sum, count))| (role, sum / count)).collect())
}

/// Percent of a core that these use while nothing is asked of them.
fn rest(ids: &[u32]) -> f64 {
    std::thread::sleep(SETTLE);
    // Reading all of them takes a while, and each is read as long after the first time.
    let (begin, before) = (Instant::now(), Used::by(ids));
    std::thread::sleep(WATCH);
    let seconds = begin.elapsed().as_secs_f64();
    Used::by(ids).since(&before) / 10.0 / seconds
}
