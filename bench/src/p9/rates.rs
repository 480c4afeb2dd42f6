//! Rates: each server, each case, in rounds.
//!
//! A round asks every server for a short while to do every case, so that a machine
//! that is busy for some seconds is so for all of them. A figure is the median over
//! the rounds. Each time is a connection of its own, warmed up before the clock
//! starts.
//!
//! Everything is done twice: with client and server on one processor, and wherever
//! the kernel puts them. What is better for a server depends on it and on what else
//! the machine does; the figure is that of the better. The same holds for the
//! numbers of threads that the peer is run with, and for the two ways in which a
//! client can wait for the answer to a small request.
//!
//! What has a goal is compared round by round: the median of what the rates of one
//! round are to each other. The better way of either is chosen by every second round
//! and compared in the others, and the other way about: the best of many that are equal
//! is one that was lucky, in the rounds by which it was chosen.

use std::time::Duration;

use anyhow::{Context, Result};

use super::cases::{Case, Goal, Unit};
use super::one_core::OneCore;
use super::servers::{DIOD, FLOOR, GUEST, Server};
use crate::figure::{Figure, TIMES};
use crate::load::link::Wait;
use crate::load::work;
use crate::samples::{Samples, Spread};
use crate::urgent::Urgent;

/// How long a server is asked before it counts, and then.
const WARM: Duration = Duration::from_millis(5);
const SLICE: Duration = Duration::from_millis(50);

/// What one server did in one case.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// The server's name.
    pub server: String,
    /// Whether on one processor with the client.
    pub one_core: bool,
    /// How the client waited for its answers.
    pub wait: Wait,
    /// Operations, or millions of bytes, a second.
    pub rate: Samples,
    /// Microseconds on a processor for each of them: the server's own threads.
    pub cpu: Samples,
}

/// All that was seen in one case.
#[derive(Clone, Debug)]
pub struct Table {
    /// The case.
    pub case: Case,
    /// Each server, in each place.
    pub rows: Vec<Row>,
}

/// What to measure with.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// How many.
    pub runs: usize,
    /// On one processor only.
    pub one_core: bool,
}

/// Measures. The floor does what it can.
pub fn measure(
    servers: &[Server],
    cases: &[Case],
    rounds: Rounds,
    say: &dyn Fn(&str),
) -> Result<Vec<Table>> {
    let places: &[bool] = if rounds.one_core { &[true] } else { &[true, false] };
    let can = |s: &Server, c: &Case| c.floor || s.name != FLOOR;
    let table = |case: &Case| {
        let ways = || places.iter().flat_map(|p| case.waits().iter().map(move |w| (*p, *w)));
        let mut rows = Vec::new();
        for server in servers.iter().filter(|s| can(s, case)) {
            rows.extend(ways().map(|(one_core, wait)| {
                let server = server.name.clone();
                Row { server, one_core, wait, ..Row::default() }
            }));
        }
        Table { case: *case, rows }
    };
    let mut tables: Vec<Table> = cases.iter().map(table).collect();
    let _urgent = Urgent::new();
    for round in 0..=rounds.runs {
        say(&format!("9P rates: round {round} of {}", rounds.runs));
        for table in &mut tables {
            // Nobody is always the first.
            let shift = round % table.rows.len().max(1);
            table.rows.rotate_left(shift);
            for row in &mut table.rows {
                let server = servers.iter().find(|s| s.name == row.server).context("no server")?;
                let (rate, cpu) = once(server, &table.case, row)
                    .with_context(|| format!("{}: {}", server.name, table.case.name()))?;
                // The first round fills caches and is not counted.
                if round > 0 {
                    row.rate.push(rate);
                    row.cpu.push(cpu);
                }
            }
            table.rows.rotate_right(shift);
        }
    }
    Ok(tables)
}

/// The rate, and the server's processor time for one unit of it.
fn once(server: &Server, case: &Case, row: &Row) -> Result<(f64, f64)> {
    let mut link = server.link(case.msize())?;
    let mut work = case.work();
    work.begin(&mut link, case.depth)?;
    link.waits(row.wait);
    let _pinned = row.one_core.then(|| OneCore::pin(&server.running)).transpose()?;
    work::run(&mut link, &mut *work, case.depth, WARM)?;
    let before = server.running.used_by_all();
    let done = work::run(&mut link, &mut *work, case.depth, SLICE)?;
    let used = server.running.used_by_all().since(&before);
    let units = match case.unit {
        Unit::Ops => done.units as f64,
        Unit::Bytes => done.units as f64 / 1e6,
    };
    Ok((units / done.seconds, used * 1e3 / units))
}

/// The better of a server's rows.
#[derive(Clone, Copy)]
struct Best<'a> {
    row: &'a Row,
    rate: Spread,
    cpu: Spread,
}

impl Best<'_> {
    fn name(&self) -> String {
        let place = if self.row.one_core { "one core" } else { "all cores" };
        let wait = if self.row.wait == Wait::Poll { ", polled" } else { "" };
        format!("{}, {place}{wait}", self.row.server)
    }
}

fn is_peer(name: &str) -> bool {
    name.starts_with(DIOD)
}

/// What the best of `ours` is to the best of `theirs`, round by round.
fn compared(ours: &[&Row], theirs: &[&Row]) -> Samples {
    let best = |rows: &[&Row], by: bool| {
        let rates = rows.iter().map(|r| (r.rate.half(by).spread(), r.rate.half(!by)));
        let known = rates.filter_map(|(chosen_by, rest)| Some((chosen_by?.median, rest)));
        known.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, rest)| rest)
    };
    let half = |by| Some(best(ours, by)?.over(&best(theirs, by)?));
    [false, true].into_iter().filter_map(half).fold(Samples::default(), Samples::and)
}

impl Table {
    fn rows(&self, is: impl Fn(&str) -> bool) -> Vec<&Row> {
        self.rows.iter().filter(|r| is(&r.server)).collect()
    }

    fn best(&self, is: impl Fn(&str) -> bool) -> Option<Best<'_>> {
        let rows = self.rows(is).into_iter();
        rows.filter_map(|row| Some(Best { row, rate: row.rate.spread()?, cpu: row.cpu.spread()? }))
            .max_by(|a, b| a.rate.median.total_cmp(&b.rate.median))
    }

    fn peer(&self) -> Option<Best<'_>> {
        self.best(is_peer)
    }

    fn floor(&self) -> Option<Best<'_>> {
        self.best(|name| name == FLOOR)
    }
}

/// The figures of all cases; `ours` is the server that has goals.
pub fn figures(tables: &[Table], ours: &str) -> Vec<Figure> {
    let same = |kind: &'static str| tables.iter().filter(move |t| t.case.kind == kind);
    let best = |kind: &'static str| {
        same(kind).filter_map(Table::peer).max_by(|a, b| a.rate.median.total_cmp(&b.rate.median))
    };
    let mut out = Vec::new();
    for table in tables {
        let case = table.case.name();
        // With whom to compare, and what is good enough.
        let (peer, goal) = match (table.case.goal, table.peer()) {
            (Goal::Times(n), peer) => (peer, Some((n, table.rows(is_peer)))),
            (Goal::BestOfPeer, Some(_)) => {
                let rows = same(table.case.kind).flat_map(|t| t.rows(is_peer)).collect();
                (best(table.case.kind), Some((1.0, rows)))
            }
            (_, peer) => (peer, None),
        };
        if let Some(row) = table.best(|name| name == ours) {
            out.extend(of_one(table, &case, row, "", peer));
            if let (Some(peer), Some((goal, theirs))) = (peer, goal) {
                let times = compared(&table.rows(|name| name == ours), &theirs);
                out.extend(beside(&case, &times, peer, goal));
            }
            out.extend(table.floor().map(|floor| {
                let share = 100.0 * row.rate.median / floor.rate.median;
                Figure::new("9p", &case, "rate beside the bare echo", "%", share)
            }));
        }
        for row in [table.peer(), table.floor()].into_iter().flatten() {
            out.extend(of_one(table, &case, row, &format!(" of {}", row.name()), None));
        }
    }
    out
}

/// What the rates are to those of the best of a peer's ways, and the least that is good enough.
fn beside(case: &str, times: &Samples, peer: Best<'_>, goal: f64) -> Vec<Figure> {
    let Some(times) = times.spread() else { return Vec::new() };
    let of = format!("rate beside {}", peer.name());
    Figure::new("9p", case, &of, TIMES, times.median).at_least(goal).with(times)
}

/// The same of guests, beside the floor.
pub fn figures_of_guests(tables: &[Table]) -> Vec<Figure> {
    let mut out = Vec::new();
    for table in tables {
        let mut names: Vec<&str> = table.rows.iter().map(|r| r.server.as_str()).collect();
        names.retain(|n| n.starts_with(GUEST));
        names.dedup();
        for row in names.iter().filter_map(|name| table.best(|n| n == *name)) {
            let case = format!("{}, {}", table.case.name(), row.row.server);
            out.extend(of_one(table, &case, row, "", table.floor()));
        }
    }
    out
}

/// A rate and what it costs, of a row, beside another.
fn of_one(
    table: &Table,
    case: &str,
    row: Best<'_>,
    of: &str,
    beside: Option<Best<'_>>,
) -> Vec<Figure> {
    let (per, each) = table.case.unit.names();
    let mut rate = Figure::new("9p", case, &format!("rate{of}"), per, row.rate.median);
    let mut cpu = Figure::new("9p", case, &format!("cpu{of}"), each, row.cpu.median);
    if let Some(other) = beside {
        rate = rate.beside(&other.name(), other.rate.median);
        cpu = cpu.beside(&other.name(), other.cpu.median);
    }
    [rate.with(row.rate), cpu.with(row.cpu)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(rates: [f64; 4]) -> Row {
        let mut row = Row::default();
        rates.into_iter().for_each(|r| row.rate.push(r));
        row
    }

    #[test]
    fn who_was_chosen_by_luck_is_compared_without_it() {
        let ours = row([10.0; 4]);
        // Lucky in the first and third round, and for nothing else the better one.
        let (lucky, steady) = (row([9.0, 4.0, 9.0, 4.0]), row([5.0; 4]));
        let times = compared(&[&ours], &[&lucky, &steady]).spread().map(|s| (s.p10, s.p90));
        // Chosen by the first and third, it is seen in the others; and so is the other.
        let seen = [10.0 / 4.0, 10.0 / 4.0, 10.0 / 5.0, 10.0 / 5.0];
        let mut expected = Samples::default();
        seen.into_iter().for_each(|v| expected.push(v));
        assert_eq!(times, expected.spread().map(|s| (s.p10, s.p90)));
    }

    #[test]
    fn one_round_compares_nothing() {
        let mut one = Row::default();
        one.rate.push(1.0);
        assert_eq!(compared(&[&one], &[&one]).spread(), None);
    }
}
