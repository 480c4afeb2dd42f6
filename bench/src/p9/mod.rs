//! `9p`: a server of files beside diod and a bare echo, and guests' trees.
//!
//! All servers serve the same folder in memory, are asked by the same client
//! ([`crate::load`]) in the same rounds, and are processes of their own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::figure::Figure;
use crate::product;

pub mod cases;
pub mod guests;
pub mod idle;
pub mod one_core;
pub mod place;
pub mod rates;
pub mod servers;

use cases::Case;
use place::Place;
use rates::Rounds;
use servers::{DIOD, GUEST, Server};

/// Worker threads that diod is tried with; the best in each case counts.
const THREADS: [usize; 3] = [1, 2, 16];

/// What to measure of all this.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Choice {
    /// 9p: only the cases whose name has this in it. A goal that is the peer's best
    /// over all sizes is then that over the sizes that are left. atoms: only these parts:
    /// compute, instructions, messages, checkpoints.
    #[arg(long, value_name = "TEXT")]
    pub only: Vec<String>,
    /// 9p: only these servers: ours, diod, echo, guests.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub servers: Vec<String>,
    /// 9p: only with client and server on one processor: steady on a busy machine.
    #[arg(long)]
    pub one_core: bool,
    /// 9p: a server in place of `atoll export`; {dir} and {socket} are replaced.
    #[arg(long, value_name = "COMMAND")]
    pub with: Option<String>,
}

impl Choice {
    /// Whether nothing is left out.
    pub fn is_all(&self) -> bool {
        let Choice { only, servers, one_core, with } = self;
        only.is_empty() && servers.is_empty() && !one_core && with.is_none()
    }

    fn has(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|o| name.contains(o.as_str()))
    }

    fn wants(&self, server: &str) -> bool {
        self.servers.is_empty() || self.servers.iter().any(|s| s == server)
    }
}

/// Measures.
pub fn run(root: &Path, choice: &Choice, runs: usize, say: &dyn Fn(&str)) -> Result<Vec<Figure>> {
    let place = Place::new()?;
    if !place.in_memory() {
        say("there is no /dev/shm to write to: files are on a disk, and slower for everyone");
    }
    let rounds = Rounds { runs, one_core: choice.one_core };
    let mut bench = Bench { root, place, choice, rounds, say };
    let mut out = bench.of_files()?;
    out.extend(bench.of_guests()?);
    out.extend(bench.of_events()?);
    if out.is_empty() {
        bail!("there is no such case");
    }
    Ok(out)
}

struct Bench<'a> {
    root: &'a Path,
    place: Place,
    choice: &'a Choice,
    rounds: Rounds,
    say: &'a dyn Fn(&str),
}

impl Bench<'_> {
    /// Servers of files, and the idle cost of ours.
    fn of_files(&mut self) -> Result<Vec<Figure>> {
        let mut cases = cases::files();
        cases.retain(|c| self.choice.has(&c.name()));
        let idle = idle::CASES.iter().any(|c| *c != idle::CASE_READS && self.choice.has(c));
        if cases.is_empty() && !idle {
            return Ok(Vec::new());
        }
        let ours = self.ours()?;
        let name = ours.as_ref().map_or(String::new(), |s| s.name.clone());
        let mut servers: Vec<Server> = ours.into_iter().collect();
        if self.choice.wants("diod") {
            servers.extend(self.diods());
        }
        if self.choice.wants("echo") {
            servers.push(servers::echo(&self.place).context("the floor")?);
        }
        let tables = rates::measure(&servers, &cases, self.rounds, self.say)?;
        if cases.iter().any(|c| c.kind == cases::WRITE) {
            self.place.check_written()?;
        }
        let mut out = rates::figures(&tables, &name);
        drop(servers);
        if idle {
            out.extend(self.of_rest()?);
        }
        Ok(out)
    }

    /// What our server takes for nothing, with new servers each time.
    fn of_rest(&self) -> Result<Vec<Figure>> {
        let Some(ours) = self.ours()? else { return Ok(Vec::new()) };
        let (mut out, fid) = idle::fids(&ours, self.say)?;
        drop(ours);
        let Some(ours) = self.ours()? else { return Ok(out) };
        let diod = if self.choice.wants("diod") { self.diods() } else { Vec::new() };
        out.extend(idle::idle(&ours, diod.first(), fid, self.say)?);
        Ok(out)
    }

    /// Guests, with the floor for comparison.
    fn of_guests(&mut self) -> Result<Vec<Figure>> {
        let mut cases = cases::guests();
        let has = |c: &Case| self.choice.has(&format!("{}, {GUEST}", c.name()));
        cases.retain(has);
        if cases.is_empty() || !self.choice.wants("guests") {
            return Ok(Vec::new());
        }
        let mut servers = guests::start(self.root, &self.place, &self.atoll()?, self.say)?;
        servers.push(servers::echo(&self.place).context("the floor")?);
        let tables = rates::measure(&servers, &cases, self.rounds, self.say)?;
        Ok(rates::figures_of_guests(&tables))
    }

    fn of_events(&mut self) -> Result<Vec<Figure>> {
        if !self.choice.has(idle::CASE_READS) || !self.choice.wants("ours") {
            return Ok(Vec::new());
        }
        (self.say)("building the example of events");
        let args =
            ["--release", "--package", "atoll-9p", "--features", "std", "--example", "events"];
        let program = product::cargo(self.root, &args, "events")?;
        idle::events(&servers::events(&self.place, &program)?, self.say)
    }

    fn ours(&self) -> Result<Option<Server>> {
        match &self.choice.with {
            _ if !self.choice.wants("ours") => Ok(None),
            Some(line) => servers::other(&self.place, line).map(Some),
            None => servers::ours(&self.place, &self.atoll()?).map(Some),
        }
    }

    fn diods(&self) -> Vec<Server> {
        let start = |n: &usize| servers::diod(&self.place, *n);
        let all = THREADS.iter().map(start).collect::<Result<Vec<_>>>();
        all.unwrap_or_else(|why| {
            (self.say)(&format!("left out: {DIOD}: {why:#}"));
            Vec::new()
        })
    }

    fn atoll(&self) -> Result<PathBuf> {
        (self.say)("building atoll");
        let args = ["--release", "--package", "atoll-supervisor", "--bin", "atoll"];
        product::cargo(self.root, &args, "atoll")
    }
}
