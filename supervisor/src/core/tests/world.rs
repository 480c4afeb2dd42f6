//! A whole host in one value: a supervisor that can die at any step, its store, guests'
//! folders with their shims, and people who ask for things. All of it follows from a seed.
//!
//! The rules that must hold are checked where they would be broken: when something is
//! started, stored, told or answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use atoll_9p::fault::Fault;

use super::shims::{Host, Phase, Shim};
use super::story::check_log;
use crate::core::event::Event;
use crate::core::*;
use crate::shim::{End, How, Report};
use crate::store::memory::Memory;
use crate::store::{Error, Loaded, Store};

/// Numbers without a pattern (Steele, Lea and Flood's SplitMix64).
#[derive(Debug)]
pub(in crate::core) struct Rng(pub(in crate::core) u64);

impl Rng {
    pub(in crate::core) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(in crate::core) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// True so many times of a hundred.
    pub(in crate::core) fn percent(&mut self, n: u64) -> bool {
        self.below(100) < n
    }
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// The images that there are: one that keeps checkpoints, one that imports, one plain.
pub(super) fn image(n: u64) -> (ImageHash, Image) {
    let hash = ImageHash::new(&format!("{n:064x}")).unwrap();
    let mut image = Image { name: format!("i{n}"), ..Image::default() };
    match n {
        0 => image.can = vec!["checkpoint".into()],
        1 => image.imports = vec!["x".into()],
        _ => {}
    }
    (hash, image)
}

/// What waits to be given to the core.
#[derive(Debug)]
enum Todo {
    Input(Input),
    /// Look into this guest's folder, and tell what is there.
    Look(Name),
}

/// A question that has no answer yet.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) input: Input,
    step: u64,
    /// The guest's identity when it was asked.
    id: Option<u64>,
    /// The run that was alive then, and the latest that was begun.
    alive: Option<u64>,
    begun: u64,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) store: Memory,
    pub(super) core: Option<Core>,
    pub(super) now: u64,
    todo: VecDeque<Todo>,
    outputs: VecDeque<Output>,
    wake: Option<u64>,
    pub(super) hosts: BTreeMap<Name, Host>,
    pub(super) open: BTreeMap<Ask, Asked>,
    pub(super) answers: BTreeMap<Ask, Result<(), Fault>>,
    /// Questions that were withdrawn, and may have been answered just before.
    withdrawn: BTreeSet<Ask>,
    next_ask: Ask,
    /// What was acknowledged: guests with the text that they were configured with.
    known: BTreeMap<Name, Option<String>>,
    /// Guests of which that is not sure any more.
    foggy: BTreeSet<Name>,
    told: BTreeMap<u64, Event>,
    /// Whether the next event must be a gap.
    gap: bool,
    /// The latest epoch under which a guest of this name was started, here or elsewhere.
    epochs: BTreeMap<Name, u64>,
    /// Who runs elsewhere, and who is to be started all the same.
    moved: BTreeSet<Name>,
    insisted: BTreeSet<Name>,
    pub(super) step: u64,
    /// What is stored was put back, so it may be older than what runs.
    patient: bool,
    /// Shims do what they are told, and nothing by themselves.
    pub(super) calm: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut world = World {
            rng: Rng(seed),
            store: Memory::default(),
            core: None,
            now: 1000,
            todo: VecDeque::new(),
            outputs: VecDeque::new(),
            wake: None,
            hosts: BTreeMap::new(),
            open: BTreeMap::new(),
            answers: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
            next_ask: 1,
            known: BTreeMap::new(),
            foggy: BTreeSet::new(),
            told: BTreeMap::new(),
            gap: false,
            epochs: BTreeMap::new(),
            moved: BTreeSet::new(),
            insisted: BTreeSet::new(),
            step: 0,
            patient: false,
            calm: false,
        };
        world.begin();
        for n in 0..3 {
            let (hash, image) = image(n);
            world.ask(|ask| Input::AddImage { ask, hash, image });
        }
        world
    }

    /// A supervisor starts.
    pub(super) fn begin(&mut self) {
        let loaded = self.store.load().unwrap();
        self.gap = loaded.guests.values().any(Record::is_underway);
        let core = Core::new(loaded);
        let mut folders: BTreeSet<Name> = self.hosts.keys().cloned().collect();
        folders.extend(core.unadopted());
        let mut folders: Vec<Name> = folders.into_iter().collect();
        self.todo.push_back(Todo::Input(Input::Tick));
        while !folders.is_empty() {
            let at = self.rng.below(folders.len() as u64) as usize;
            self.todo.push_back(Todo::Look(folders.swap_remove(at)));
        }
        self.core = Some(core);
    }

    /// The supervisor is killed; perhaps just when a save was done.
    pub(super) fn kill(&mut self) {
        if self.core.take().is_none() {
            return;
        }
        // Outputs are done in their order, so only the first can have been.
        if self.rng.percent(50)
            && let Some(Output::Save { changes, .. }) = self.outputs.front()
        {
            let _ = self.store.clone().apply(changes);
        }
        // What was underway may have been done or not.
        for asked in self.open.values() {
            if let Some(guest) = about(&asked.input) {
                self.known.remove(guest);
            }
        }
        self.todo.clear();
        self.outputs.clear();
        self.wake = None;
        self.open.clear();
        for shim in self.hosts.values_mut().filter_map(|h| h.shim.as_mut()) {
            shim.connected = false;
        }
    }

    /// What is stored is put back to what it was once, and a supervisor starts with that.
    pub(super) fn restore(&mut self, loaded: Loaded) {
        self.kill();
        self.store.restore(loaded);
        self.known.clear();
        self.told.clear();
        self.patient = true;
        self.begin();
    }

    pub(super) fn ask(&mut self, make: impl FnOnce(Ask) -> Input) -> Ask {
        let ask = self.next_ask;
        self.next_ask += 1;
        let input = make(ask);
        let guest = about(&input);
        let host = guest.and_then(|n| self.hosts.get(n));
        let (alive, begun) = (host.and_then(Host::run), host.map_or(0, |h| h.begun));
        let id = guest.and_then(|n| self.store.peek().guests.get(n).map(|r| r.id));
        if let Input::Ask { guest, verb: Verb::Anyway, .. } = &input {
            self.insisted.insert(guest.clone());
        }
        let asked = Asked { input: input.clone(), step: self.step, id, alive, begun };
        self.open.insert(ask, asked);
        self.todo.push_back(Todo::Input(input));
        ask
    }

    /// Nobody waits for this answer any more.
    pub(super) fn withdraw(&mut self, ask: Ask) {
        if let Some(asked) = self.open.remove(&ask) {
            // Whether it is done is not told, so from now on nothing is known for sure.
            self.foggy.extend(about(&asked.input).cloned());
            self.withdrawn.insert(ask);
            self.todo.push_back(Todo::Input(Input::Gone { ask }));
        }
    }

    /// Whether there is something to do but to wait.
    pub(super) fn is_busy(&self) -> bool {
        self.core.is_some() && (!self.outputs.is_empty() || !self.todo.is_empty())
    }

    /// One thing happens in the supervisor, if there is anything for it to do.
    pub(super) fn turn(&mut self) {
        self.step += 1;
        if self.core.is_none() {
            return;
        }
        if let Some(output) = self.outputs.pop_front() {
            return self.perform(output);
        }
        if self.wake.is_some_and(|at| at <= self.now) {
            self.wake = None;
            return self.give(Input::Tick);
        }
        let input = match self.todo.pop_front() {
            Some(Todo::Input(input)) => input,
            Some(Todo::Look(guest)) => {
                let host = self.hosts.get_mut(&guest);
                let found = host.map_or(Seen::Nothing, |h| h.look(&guest));
                Input::Adopted { guest, found }
            }
            None => return,
        };
        self.give(input);
    }

    pub(super) fn give(&mut self, input: Input) {
        let now = Now { mono: self.now, wall: 1_000_000 + self.now };
        let Some(core) = &mut self.core else { return };
        self.outputs.extend(core.handle(now, input));
    }

    fn tell(&mut self, guest: &Name, run: u64, report: Report) {
        let connected = match self.hosts.get(guest).and_then(|h| h.shim.as_ref()) {
            Some(shim) => shim.connected,
            None => true,
        };
        if connected && self.core.is_some() {
            let input = Input::Report { guest: guest.clone(), run, report };
            self.todo.push_back(Todo::Input(input));
        }
    }

    /// Does what the core wants done.
    fn perform(&mut self, output: Output) {
        match output {
            Output::Save { txn, changes } => {
                let input = match self.store.apply(&changes) {
                    Ok(()) => Input::Stored { txn },
                    Err(why) => Input::Unstored { txn, why },
                };
                self.todo.push_back(Todo::Input(input));
                self.check_store();
            }
            Output::Start(start) => self.start(*start),
            Output::Order { guest, run, order } => {
                let now = self.now;
                let shim = self.hosts.get_mut(&guest).and_then(|h| h.shim.as_mut());
                if let Some(shim) = shim.filter(|s| s.run == run) {
                    let before = shim.phase;
                    shim.order(order, now);
                    if before != Phase::Stopping && shim.phase == Phase::Stopping {
                        self.tell(&guest, run, Report::Stopping);
                    }
                }
            }
            Output::Remove { guest } => {
                let host = self.hosts.remove(&guest).unwrap_or_default();
                self.moved.remove(&guest);
                assert!(host.shim.is_none(), "the folder of {guest} went while it ran");
                let stored = self.store.peek();
                assert!(stored.guests.get(&guest).is_none_or(|r| r.gone), "{guest}");
            }
            Output::Answer { ask, result } => {
                if self.withdrawn.remove(&ask) {
                    return;
                }
                let asked = self.open.remove(&ask).expect("a second answer, or one to nobody");
                if result.is_ok() {
                    self.check_answer(&asked);
                }
                self.answers.insert(ask, result);
            }
            Output::Event(event) => self.event(event),
            Output::WakeAt(at) => self.wake = at,
        }
    }

    fn start(&mut self, start: Start) {
        let Start { guest, run, epoch, .. } = start;
        let stored = self.store.peek();
        let record = stored.guests.get(&guest).expect("what is started is stored");
        assert!((record.run, record.epoch) == (run, epoch), "a start rests on what is stored");
        assert_eq!(stored.owners[&guest].epoch, epoch);
        let host = self.hosts.entry(guest.clone()).or_default();
        if let Some(shim) = &mut host.shim {
            assert_eq!(shim.run, run, "{guest} would run twice");
            assert!(!shim.connected, "{guest} was started twice by one supervisor");
            shim.connected = true;
            return;
        }
        assert!(host.begun < run, "run {run} of {guest} was begun before");
        if self.moved.remove(&guest) && !self.patient {
            assert!(self.insisted.remove(&guest), "{guest} may run elsewhere");
        }
        let luck = self.rng.below(100);
        if luck < 5 && !self.calm {
            // It could not even begin; the folder knows nothing of it.
            let end = End { how: How::Unstarted, ..end(&guest, run, epoch) };
            return self.tell(&guest, run, Report::Ended(end));
        }
        let before = self.epochs.insert(guest.clone(), epoch).unwrap_or(0);
        assert!(epoch > before, "epoch {epoch} of {guest} is not greater than {before}");
        host.begun = run;
        host.shim = Some(Shim::new(run, epoch, luck.is_multiple_of(4)));
    }

    /// Something happens in a shim.
    pub(super) fn shim(&mut self) {
        let alive: Vec<Name> = self
            .hosts
            .iter()
            .filter(|(_, h)| h.shim.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        if alive.is_empty() {
            return;
        }
        let guest = alive[self.rng.below(alive.len() as u64) as usize].clone();
        let Some(host) = self.hosts.get_mut(&guest) else { return };
        let Some((run, epoch, connected)) =
            host.shim.as_ref().map(|s| (s.run, s.epoch, s.connected))
        else {
            return;
        };
        let (reports, over) = host.step(&mut self.rng, self.now, self.step, self.calm);
        for report in reports {
            self.tell(&guest, run, report);
        }
        let Some(how) = over else { return };
        let Some(host) = self.hosts.get_mut(&guest) else { return };
        let asked = host.shim.take().is_some_and(|s| s.kill || s.phase == Phase::Stopping);
        let report = match how {
            Some(how) => {
                let end = End { how, asked, ended: self.now, ..end(&guest, run, epoch) };
                host.end = Some(end.clone());
                if how == How::Moved {
                    self.epochs.insert(guest.clone(), epoch + 1);
                    self.moved.insert(guest.clone());
                }
                Report::Ended(end)
            }
            None => Report::Gone("killed".into()),
        };
        if connected {
            self.tell(&guest, run, report);
        }
    }

    /// Time passes; sometimes just to what is waited for.
    pub(super) fn pass(&mut self) {
        let by = 1 + self.rng.below(400);
        let to = self.wake.filter(|at| *at > self.now && self.rng.percent(50));
        self.now = to.unwrap_or(self.now + by);
    }

    fn event(&mut self, event: Event) {
        let stored = self.store.peek();
        assert!(stored.events.contains(&event), "what is told is stored");
        if std::mem::take(&mut self.gap) {
            assert_eq!(event.what, What::Gap, "nobody watched for a while");
        }
        assert!(self.told.insert(event.seq, event.clone()).is_none(), "told twice: {event}");
    }

    fn check_answer(&mut self, asked: &Asked) {
        let stored = self.store.peek();
        let Some(guest) = about(&asked.input) else { return };
        let record = stored.guests.get(guest);
        match &asked.input {
            Input::Make { .. } => {
                assert!(record.is_some(), "mkdir {guest}");
                self.known.insert(guest.clone(), None);
            }
            Input::Draft { text, .. } => assert_eq!(&record.unwrap().draft, text),
            Input::Define { text, .. } => {
                assert_eq!(&record.unwrap().config.as_ref().unwrap().text, text);
                self.known.insert(guest.clone(), Some(text.clone()));
            }
            Input::Ask { verb: Verb::Forget, .. } => {
                assert!(record.is_none_or(|r| r.gone), "rmdir {guest}");
                self.known.remove(guest);
            }
            Input::Ask { verb: Verb::Fork(to), .. } => {
                assert_eq!(stored.guests[to].fork_of.as_ref(), Some(guest));
                let text = stored.guests[to].config.as_ref().map(|c| c.text.clone());
                self.known.insert(to.clone(), text);
            }
            Input::Ask { verb, .. } if record.is_some_and(|r| Some(r.id) == asked.id) => {
                let run = record.map_or(0, |r| r.ended);
                self.check_verb(asked, guest, verb, run);
            }
            _ => {}
        }
    }

    /// What was acknowledged is so; `ended` is the latest run whose end is stored.
    fn check_verb(&self, asked: &Asked, guest: &Name, verb: &Verb, ended: u64) {
        let Some(host) = self.hosts.get(guest) else {
            return assert!(asked.alive.is_none(), "{verb:?} {guest}");
        };
        let since = |at: Option<u64>| at.is_some_and(|at| at >= asked.step);
        let done = match verb {
            Verb::Start if asked.alive.is_some() => host.ran >= asked.begun,
            Verb::Restore(_) if since(host.restored) => true,
            Verb::Start | Verb::Anyway | Verb::Restart(_) | Verb::Restore(_) => {
                host.ran > asked.begun
            }
            Verb::Stop(_) | Verb::Kill => {
                let over = asked.alive.is_none_or(|run| ended >= run);
                over && (asked.alive.is_none() || host.run() != asked.alive)
            }
            Verb::Pause => since(host.paused),
            Verb::Resume => since(host.resumed),
            Verb::Checkpoint => since(host.kept),
            Verb::Commit | Verb::Forget | Verb::Fork(_) | Verb::Relocate(_) => true,
        };
        assert!(done, "{verb:?} {guest}: {asked:?} {host:?}");
    }

    /// What is stored is whole at every moment.
    fn check_store(&self) {
        let stored = self.store.peek();
        if !self.patient {
            check_log(&stored);
        }
        for (guest, host) in &self.hosts {
            if let Some(shim) = host.shim.as_ref().filter(|_| !self.patient) {
                let record = stored.guests.get(guest).expect("what runs is not forgotten");
                assert!(record.run >= shim.run && record.epoch >= shim.epoch);
            }
        }
        for (guest, record) in &stored.guests {
            if self.patient {
                continue;
            }
            let owner = stored.owners.get(guest).map_or(0, |o| o.epoch);
            assert_eq!(owner, record.epoch, "{guest}");
            assert!(record.epoch <= stored.epoch && record.id < stored.next_id);
        }
    }

    /// Until nothing happens any more: shims do as they are told, the store works, and a
    /// supervisor is there.
    pub(super) fn settle(&mut self) {
        self.calm = true;
        self.store.fail(None);
        if self.core.is_none() {
            self.begin();
        }
        for _ in 0..10_000 {
            self.turn();
            if !self.is_busy() {
                let before = self.step;
                for _ in 0..4 {
                    self.shim();
                }
                self.pass();
                let resting = self.wake.is_none() && self.is_still();
                if resting && !self.is_busy() && before == self.step {
                    return self.check_rest();
                }
            }
        }
        panic!("it does not come to rest: {:?}", self.core);
    }

    fn is_still(&self) -> bool {
        self.hosts.values().filter_map(|h| h.shim.as_ref()).all(Shim::is_still)
    }

    /// At rest, what the supervisor believes is so.
    fn check_rest(&self) {
        let core = self.core.as_ref().unwrap();
        let stored = self.store.peek();
        self.check_store();
        assert!(core.unadopted().is_empty());
        assert!(core.trouble().is_none());
        for (name, text) in self.known.iter().filter(|(n, _)| !self.foggy.contains(*n)) {
            let config = &stored.guests[name].config;
            if let Some(text) = text {
                assert_eq!(&config.as_ref().unwrap().text, text, "{name}");
            }
        }
        let names: Vec<&Name> = core.guests().map(|(n, _)| n).collect();
        assert_eq!(names, stored.guests.keys().collect::<Vec<_>>(), "what is known is stored");
        for (name, guest) in core.guests() {
            assert_eq!(guest.record(), &stored.guests[name], "{name}");
            let shim = self.hosts.get(name).and_then(|h| h.shim.as_ref());
            if !matches!(guest.state(), State::Waiting | State::New) {
                assert_eq!(guest.state() == State::Moved, guest.has_moved(), "{name}");
            }
            match (guest.state(), shim.map(|s| s.phase)) {
                (State::Running, Some(Phase::Running)) | (State::Paused, Some(Phase::Paused)) => {
                    assert_eq!(shim.unwrap().run, guest.record().run);
                }
                (State::New | State::Stopped | State::Moved, None) => {
                    assert!(guest.goal() == Goal::Down);
                }
                (State::Waiting, None) => assert!(!core.missing(name).is_empty(), "{name}"),
                (state, phase) => panic!("{name} is {state}, and its shim {phase:?}"),
            }
        }
        for asked in self.open.values() {
            let waits = match &asked.input {
                Input::Wait { .. } => true,
                Input::Ask { guest, verb, .. } => {
                    let state = core.guest(guest).map(Guest::state);
                    let start = |verb: &Verb| {
                        use Verb::*;
                        matches!(verb, Start | Anyway | Restart(_) | Restore(_))
                    };
                    start(verb) && state == Some(State::Waiting)
                }
                _ => false,
            };
            assert!(waits, "never answered: {asked:?}");
        }
    }

    /// A full disk, or a good one again.
    pub(super) fn trouble(&self, full: bool) {
        self.store.fail(full.then(|| Error::Full("/state".into())));
    }
}

fn about(input: &Input) -> Option<&Name> {
    match input {
        Input::Make { guest, .. }
        | Input::Draft { guest, .. }
        | Input::Define { guest, .. }
        | Input::Ask { guest, .. }
        | Input::Wait { guest, .. } => Some(guest),
        _ => None,
    }
}

/// An end without a story.
pub(super) fn end(guest: &Name, run: u64, epoch: u64) -> End {
    End {
        format: crate::shim::FORMAT,
        name: guest.to_string(),
        run,
        epoch,
        how: How::Lost,
        why: String::new(),
        asked: false,
        started: 0,
        ended: 0,
        cpu: 0,
        log: 0,
    }
}
