//! What a guest costs in memory beside its machine: in the daemon, and in the two processes
//! that it has of its own.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::Programs;
use super::daemon::{self, Daemon};
use crate::figure::Figure;
use crate::p9::place::Place;
use crate::processes;

/// KiB of the daemon's for each guest.
pub(crate) const GOAL: f64 = 64.0;
/// Guests, behind the first, which has the daemon take what it takes once.
const GUESTS: usize = 100;
/// Lists of them.
const LISTS: usize = 5;

pub(super) fn run(place: &Place, programs: &Programs, say: &dyn Fn(&str)) -> Result<Vec<Figure>> {
    say(&format!("memory of {GUESTS} guests"));
    let daemon = Daemon::urgent(place, &programs.atoll, &programs.tender)?;
    let (client, hash) = (daemon.client()?, daemon.image(&programs.hello)?);
    let names: Vec<String> = (0..=GUESTS).map(|n| format!("{}-{n:03}", super::GUEST)).collect();
    let mut before = 0;
    for (n, name) in names.iter().enumerate() {
        daemon::define(&client, name, &hash, "process")?;
        daemon::tell(&client, name, "start")?;
        daemon::ask(&client, name)?;
        if n == 0 {
            before = daemon.running.memory()?.1;
        }
    }
    let each = daemon.running.memory()?.1.saturating_sub(before) as f64 / GUESTS as f64;
    let case = format!("{GUESTS} guests as processes");
    let supervisor = Figure::new("supervisor", &case, "memory of one, daemon", "KiB", each);
    let mut out = vec![supervisor.at_most(GOAL)];
    for (role, memory) in by_role(&processes::of(place.sockets())?) {
        if role != "atoll" {
            let metric = format!("memory of one, {role}");
            out.push(Figure::new("supervisor", &case, &metric, "KiB", memory));
        }
    }
    let spread = list(&daemon)?;
    let ps = Figure::new("supervisor", &case, "ps", "ms", spread.median);
    out.extend(ps.with(spread));
    for name in &names {
        daemon::forget(&client, name)?;
    }
    Ok(out)
}

/// What one process of each role has written, in KiB: the mean.
pub(crate) fn by_role(ids: &[u32]) -> BTreeMap<String, f64> {
    let mut all: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for id in ids {
        if let Some((role, memory)) = processes::role(*id).zip(processes::memory(*id)) {
            all.entry(role).or_default().push(memory.private);
        }
    }
    let mean = |of: Vec<u64>| of.iter().sum::<u64>() as f64 / of.len() as f64;
    all.into_iter().map(|(role, of)| (role, mean(of))).collect()
}

/// How long `atoll ps` takes, from its start to its end.
pub(crate) fn list(daemon: &Daemon<'_>) -> Result<crate::samples::Spread> {
    let mut times = crate::samples::Samples::default();
    for _ in 0..LISTS {
        let begin = std::time::Instant::now();
        daemon.atoll(&["ps"])?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    times.spread().context("no runs")
}
