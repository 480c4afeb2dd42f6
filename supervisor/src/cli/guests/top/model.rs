//! What `atoll top` knows and shows: samples in, rows out. Nothing here waits, looks at a
//! clock or knows a terminal; keys are in [`super::keys`], the picture in [`super::view`].

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use super::figures::Rate;
use super::sample::{Figures, Host, Sample};

/// Lines of a guest's log that are kept while they are looked at.
const LINES: usize = 200;
/// The longest of those lines, bytes.
const LONGEST: usize = 1000;

/// By what guests are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// Their names.
    Name,
    /// Where they are in their lives.
    State,
    /// What they use of a processor.
    Cpu,
    /// What they have of memory.
    Memory,
    /// What they do.
    Dispatches,
    /// For how long they run.
    Uptime,
}

/// What the keys are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// The guests.
    #[default]
    Table,
    /// What the keys do is shown.
    Help,
    /// Whether to kill this guest is asked.
    Kill(String),
    /// What this guest says is shown.
    Log(String),
}

/// A guest and how it was.
#[derive(Clone, Debug, Default)]
pub(super) struct Guest {
    /// What was said of it last.
    pub(super) figures: Figures,
    /// Microseconds of a processor.
    pub(super) cpu: Rate,
    /// Dispatches that were committed.
    pub(super) dispatches: Rate,
}

impl Guest {
    /// Percent of one processor.
    pub(super) fn percent(&self) -> Option<f64> {
        self.cpu.now().map(|us| us / 10_000.0)
    }

    /// For how long it runs, in milliseconds.
    pub(super) fn uptime(&self, wall: u64) -> Option<u64> {
        self.figures.cpu?;
        self.figures.since.map(|since| wall.saturating_sub(since))
    }
}

/// Everything.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) guests: BTreeMap<String, Guest>,
    pub(super) host: Host,
    /// Microseconds for which the machine worked.
    pub(super) busy: Rate,
    /// When the last sample was taken.
    pub(super) at: u64,
    /// The same, milliseconds since 1970 UTC.
    pub(super) wall: u64,
    /// Whether there was one.
    pub(super) begun: bool,
    /// Why there are no samples now.
    pub(super) away: Option<String>,
    pub(super) mode: Mode,
    pub(super) sort: Sort,
    /// The other way round than is usual.
    pub(super) reverse: bool,
    /// The chosen guest.
    pub(super) chosen: Option<String>,
    /// The first row that is shown.
    top: usize,
    /// Rows that there is room for.
    pub(super) height: usize,
    /// Where the chosen guest was when that was looked at last.
    last: usize,
    /// What came of the last thing that was asked for.
    pub(super) note: Option<String>,
    /// What the guest said whose log is looked at.
    pub(super) log: VecDeque<String>,
    rest: Vec<u8>,
}

impl Model {
    pub(super) fn new() -> Model {
        Model {
            guests: BTreeMap::new(),
            host: Host::default(),
            busy: Rate::default(),
            at: 0,
            wall: 0,
            begun: false,
            away: None,
            mode: Mode::Table,
            sort: Sort::Cpu,
            reverse: false,
            chosen: None,
            top: 0,
            height: 0,
            last: 0,
            note: None,
            log: VecDeque::new(),
            rest: Vec::new(),
        }
    }

    /// The supervisor said how things are.
    pub(super) fn sample(&mut self, sample: Sample) {
        (self.at, self.wall, self.host) = (sample.at, sample.wall, sample.host);
        (self.begun, self.away) = (true, None);
        self.busy.seen(sample.at, sample.host.busy);
        let mut before = std::mem::take(&mut self.guests);
        for figures in sample.guests {
            let mut guest = before.remove(&figures.name).unwrap_or_default();
            if guest.figures.run != figures.run || figures.cpu.is_none() {
                guest.cpu.over();
                guest.dispatches.over();
            }
            if let Some(cpu) = figures.cpu {
                guest.cpu.seen(sample.at, cpu);
            }
            guest.figures = figures;
            self.guests.insert(guest.figures.name.clone(), guest);
        }
        if let Mode::Kill(name) = &self.mode
            && !self.guests.contains_key(name)
        {
            self.mode = Mode::Table;
        }
    }

    /// A guest said how many dispatches it has committed.
    pub(super) fn dispatched(&mut self, at: u64, guest: &str, count: u64) {
        if let Some(guest) = self.guests.get_mut(guest) {
            guest.dispatches.seen(at, count);
        }
    }

    /// The supervisor is not there.
    pub(super) fn lost(&mut self, why: String) {
        self.away = Some(why);
    }

    /// The guest whose log is looked at has said more.
    pub(super) fn said(&mut self, guest: &str, bytes: &[u8]) {
        if self.mode != Mode::Log(guest.into()) {
            return;
        }
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.line(line.strip_suffix(b"\n").unwrap_or(&line));
        }
        if self.rest.len() > LONGEST {
            let line = std::mem::take(&mut self.rest);
            self.line(&line);
        }
    }

    fn line(&mut self, line: &[u8]) {
        if self.log.len() == LINES {
            self.log.pop_front();
        }
        let line = line.get(..LONGEST).unwrap_or(line);
        self.log.push_back(crate::record::printable(line.trim_ascii_end()));
    }

    /// Nobody looks at a log any more, or at another.
    pub(super) fn no_log(&mut self) {
        self.log.clear();
        self.rest.clear();
    }

    /// All guests in their order.
    pub(super) fn order(&self) -> Vec<&Guest> {
        let mut all: Vec<&Guest> = self.guests.values().collect();
        let down = |a: Option<f64>, b: Option<f64>| {
            b.unwrap_or(-1.0).partial_cmp(&a.unwrap_or(-1.0)).unwrap_or(Ordering::Equal)
        };
        let lately = |g: &Guest| g.dispatches.fresh(self.at).and(g.dispatches.lately());
        // Of those that are equal here the names decide, in whose order they come.
        all.sort_by(|a, b| {
            let (x, y) = (&a.figures, &b.figures);
            let order = match self.sort {
                Sort::Name => x.name.cmp(&y.name),
                Sort::State => x.state.cmp(&y.state),
                Sort::Cpu => down(a.cpu.lately(), b.cpu.lately()),
                Sort::Memory => y.memory.cmp(&x.memory),
                Sort::Dispatches => down(lately(a), lately(b)),
                Sort::Uptime => b.uptime(self.wall).cmp(&a.uptime(self.wall)),
            };
            if self.reverse { order.reverse() } else { order }
        });
        all
    }

    /// Where the chosen guest is in that order. One is always chosen where there is one.
    pub(super) fn place(&self) -> usize {
        let order = self.order();
        let chosen = self.chosen.as_deref();
        order.iter().position(|g| Some(&*g.figures.name) == chosen).unwrap_or(0)
    }

    /// Chooses the guest at a place in the order.
    pub(super) fn choose(&mut self, place: usize) {
        let order = self.order();
        let found = order.get(place.min(order.len().saturating_sub(1)));
        self.chosen = found.map(|g| g.figures.name.clone());
    }

    /// There is room for so many rows: those that are shown have the chosen guest among
    /// them. For one that is gone the guest is chosen that has its place.
    pub(super) fn fit(&mut self, height: usize) {
        self.height = height;
        if self.chosen.as_ref().is_none_or(|name| !self.guests.contains_key(name)) {
            self.choose(self.last);
        }
        self.last = self.place();
        let lowest = (self.last + 1).saturating_sub(height);
        let most = self.guests.len().saturating_sub(height);
        self.top = self.top.clamp(lowest, self.last.max(lowest)).min(most.max(lowest));
    }

    /// The rows that are shown.
    pub(super) fn rows(&self) -> Vec<&Guest> {
        self.order().into_iter().skip(self.top).take(self.height).collect()
    }

    /// Of those the guests that can be asked how much they do.
    pub(super) fn seen(&self) -> Vec<String> {
        let running = self.rows().into_iter().filter(|g| g.figures.state == "running");
        let mut names: Vec<String> = running.map(|g| g.figures.name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// The chosen guest.
    pub(super) fn current(&self) -> Option<&Guest> {
        self.guests.get(self.chosen.as_ref()?)
    }

    /// Percent of all processors together.
    pub(super) fn percent(&self) -> Option<f64> {
        let us = self.busy.now()?;
        Some((us / 10_000.0 / self.host.processors.max(1) as f64).min(100.0))
    }
}
