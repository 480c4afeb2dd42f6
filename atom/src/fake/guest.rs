//! What a guest is between two dispatches, as one value: to take a dispatch back is to
//! put the old value in its place.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::Runs;
use super::files::{Fd, Namespace};
use super::waits::{Lock, Waits};
use crate::{Errno, Error, abi};

type Make = fn() -> Box<dyn Runs>;

/// What kind a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Ctl,
    Events,
    Next,
    Names,
}

#[derive(Clone)]
struct File {
    name: String,
    kind: Kind,
    keep: usize,
    lines: Rc<Vec<String>>,
    watched: bool,
    /// What the atom was told last.
    told: bool,
}

/// What an atom has stored.
#[derive(Clone, Default)]
pub(super) struct Store {
    pub(super) map: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) log: Vec<Vec<u8>>,
}

#[derive(Clone)]
pub(super) struct Comp {
    name: String,
    pub(super) params: String,
    pub(super) make: Make,
    files: Vec<File>,
    pub(super) started: bool,
    gone: bool,
    spawner: Option<i32>,
    pub(super) mask: u64,
    /// Codes that wait, masked or in the queue.
    waiting: u64,
    masked: Vec<(u32, i64, Option<i32>)>,
    owes: BTreeSet<i64>,
    pub(super) fds: BTreeMap<u32, Fd>,
    pub(super) store: Rc<Store>,
    failures: u32,
    /// The next dispatch runs too long.
    pub(super) slow: bool,
}

impl Comp {
    pub(super) fn file(&self, name: &str, kinds: &[Kind]) -> Option<u32> {
        let at = self.files.iter().position(|f| f.name == name && kinds.contains(&f.kind))?;
        u32::try_from(at).ok()
    }
}

/// An event that waits.
#[derive(Clone)]
pub(super) enum Queued {
    Start,
    Message { from: i32, body: Vec<u8> },
    Ask { from: i32, token: i64, body: Vec<u8> },
    Watched { file: u32, on: bool },
    Interrupt { code: u32, arg: i64, from: Option<i32> },
    Future { id: i64, result: Result<Vec<u8>, Error> },
}

#[derive(Clone)]
pub(super) struct Guest {
    pub(super) now: u64,
    pub(super) wall: u64,
    seed: u64,
    pub(super) next: i64,
    comps: Vec<Comp>,
    srv: BTreeMap<String, i32>,
    pub(super) queue: VecDeque<(i32, Queued)>,
    pub(super) futures: BTreeMap<i64, (i32, Waits)>,
    pub(super) timers: BTreeSet<(u64, i64)>,
    pub(super) locks: BTreeMap<u32, Lock>,
    pub(super) scratch: Rc<Vec<u8>>,
    pub(super) namespace: Namespace,
    pub(super) replies: BTreeMap<i64, Result<Vec<u8>, Error>>,
    pub(super) inbox: Vec<(crate::Component, Vec<u8>)>,
    pub(super) log: Vec<String>,
    pub(super) exit: Option<i32>,
    pub(super) storage: usize,
    pub(super) most_futures: usize,
}

fn never() -> Box<dyn Runs> {
    unreachable!("the test is no atom")
}

impl Guest {
    pub(super) fn new(seed: u64) -> Guest {
        let mut guest = Guest {
            now: 0,
            wall: 1_000_000_000_000_000_000,
            seed,
            next: 1,
            comps: Vec::new(),
            srv: BTreeMap::new(),
            queue: VecDeque::new(),
            futures: BTreeMap::new(),
            timers: BTreeSet::new(),
            locks: BTreeMap::new(),
            scratch: Rc::new(alloc::vec![0; abi::SCRATCH as usize]),
            namespace: Namespace::default(),
            replies: BTreeMap::new(),
            inbox: Vec::new(),
            log: Vec::new(),
            exit: None,
            storage: usize::MAX,
            most_futures: usize::MAX,
        };
        // The test: component 0, and it has started.
        if guest.add("test", "", never, "", None).is_ok() {
            guest.comps[0].started = true;
        }
        guest
    }

    pub(super) fn add(
        &mut self,
        name: &str,
        params: &str,
        make: Make,
        files: &str,
        spawner: Option<i32>,
    ) -> Result<i32, Errno> {
        let label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let starts = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if !starts || name.len() > abi::MAX_NAME || !name.bytes().all(label) {
            return Err(Errno::EINVAL);
        }
        if self.find(name).is_some() {
            return Err(Errno::EEXIST);
        }
        let file = |line: &str| {
            let mut words = line.split(' ');
            let kind = match words.next() {
                Some("text") => Kind::Text,
                Some("ctl") => Kind::Ctl,
                Some("events") => Kind::Events,
                Some("next") => Kind::Next,
                _ => Kind::Names,
            };
            let name = words.next().unwrap_or_default().to_string();
            let keep = words.next().and_then(|w| w.parse().ok()).unwrap_or(0);
            File { name, kind, keep, lines: Rc::default(), watched: false, told: false }
        };
        self.comps.push(Comp {
            name: name.to_string(),
            params: params.to_string(),
            make,
            files: files.lines().map(file).collect(),
            started: false,
            gone: false,
            spawner,
            mask: 0,
            waiting: 0,
            masked: Vec::new(),
            owes: BTreeSet::new(),
            fds: BTreeMap::new(),
            store: Rc::default(),
            failures: 0,
            slow: false,
        });
        i32::try_from(self.comps.len() - 1).map_err(|_| Errno::EDQUOT)
    }

    /// A new instance of what `me` is.
    pub(super) fn spawn(&mut self, me: i32, name: &str, params: &str) -> Result<i32, Errno> {
        let make = self.comp(me)?.make;
        // Its event files exist, so that it may emit; nobody sees them.
        let files = self.comp(me)?.files.clone();
        let id = self.add(name, params, make, "", Some(me))?;
        self.comp(id)?.files = files
            .into_iter()
            .map(|f| File { lines: Rc::default(), watched: false, told: false, ..f })
            .collect();
        self.queue.push_back((id, Queued::Start));
        Ok(id)
    }

    pub(super) fn kill(&mut self, me: i32, id: i32) -> Result<(), Errno> {
        let spawner = self.comp(id)?.spawner;
        if id != me && spawner != Some(me) {
            return Err(Errno::EPERM);
        }
        self.comp(id)?.gone = true;
        self.queue.retain(|(to, _)| *to != id);
        self.release(id);
        let asks: Vec<i64> = self.asked_of(id);
        for token in asks {
            self.fire(token, Err(Errno::EPIPE.into()));
        }
        Ok(())
    }

    /// Asks of a component that wait for their replies.
    fn asked_of(&self, id: i32) -> Vec<i64> {
        let of = |(n, (_, w)): (&i64, &(i32, Waits))| (*w == Waits::Reply(id)).then_some(*n);
        self.futures.iter().filter_map(of).collect()
    }

    pub(super) fn comp(&mut self, id: i32) -> Result<&mut Comp, Errno> {
        let at = usize::try_from(id).map_err(|_| Errno::ENOENT)?;
        self.comps.get_mut(at).filter(|c| !c.gone).ok_or(Errno::ENOENT)
    }

    pub(super) fn alive(&self) -> Vec<i32> {
        let id = |(at, c): (usize, &Comp)| (!c.gone && at > 0).then(|| i32::try_from(at).ok());
        self.comps.iter().enumerate().filter_map(id).flatten().collect()
    }

    pub(super) fn find(&self, name: &str) -> Option<i32> {
        let at = self.comps.iter().position(|c| !c.gone && c.name == name);
        at.and_then(|at| i32::try_from(at).ok()).or_else(|| self.srv.get(name).copied())
    }

    pub(super) fn register(&mut self, me: i32, name: &str) -> Result<(), Errno> {
        match self.srv.get(name) {
            Some(owner) if *owner != me => Err(Errno::EEXIST),
            _ => {
                self.srv.insert(name.to_string(), me);
                Ok(())
            }
        }
    }

    pub(super) fn say(&mut self, id: i32, line: &str) {
        let name = self.comp(id).map_or_else(|_| String::from("?"), |c| c.name.clone());
        self.log.push(format!("{name}: {line}"));
    }

    /// SplitMix64 (Steele, Lea and Flood 2014).
    pub(super) fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next event, if the guest has not ended.
    pub(super) fn next(&mut self) -> Option<(i32, Queued)> {
        if self.exit.is_some() {
            return None;
        }
        self.advance(self.now);
        loop {
            let (to, event) = self.queue.pop_front()?;
            match &event {
                Queued::Start if self.comp(to).is_ok_and(|c| c.started) => continue,
                Queued::Interrupt { code, arg, from } => {
                    let (bit, held) = (1 << code, (*code, *arg, *from));
                    let Ok(comp) = self.comp(to) else { continue };
                    if comp.mask & bit != 0 {
                        comp.masked.push(held);
                        continue;
                    }
                    comp.waiting &= !bit;
                }
                Queued::Watched { file, on } => {
                    let file = *file as usize;
                    let Ok(comp) = self.comp(to) else { continue };
                    let Some(f) = comp.files.get_mut(file) else { continue };
                    if f.watched != *on || f.told == *on {
                        continue;
                    }
                    f.told = *on;
                }
                Queued::Future { id, .. } => {
                    self.futures.remove(id);
                }
                _ => {}
            }
            if to == 0 {
                self.for_test(event);
                continue;
            }
            return Some((to, event));
        }
    }

    fn for_test(&mut self, event: Queued) {
        match event {
            Queued::Message { from, body } => self.inbox.push((crate::Component(from), body)),
            Queued::Ask { token, .. } => self.fire(token, Err(Errno::EOPNOTSUPP.into())),
            Queued::Future { id, result } => drop(self.replies.insert(id, result)),
            _ => {}
        }
    }

    /// A dispatch was done. Some events say that the atom is well.
    pub(super) fn commit(&mut self, id: i32, proof: bool) {
        if let Ok(comp) = self.comp(id)
            && proof
        {
            comp.failures = 0;
        }
    }

    /// An atom that was abandoned is to be made anew.
    pub(super) fn restart(&mut self, id: i32, hopeless: u32) {
        self.release(id);
        let Ok(comp) = self.comp(id) else { return };
        comp.started = false;
        comp.mask = 0;
        comp.failures += 1;
        let hopeless = comp.failures >= hopeless;
        let mut first = alloc::vec![Queued::Start];
        for (at, file) in comp.files.iter_mut().enumerate() {
            file.told = false;
            if file.watched {
                first.push(Queued::Watched { file: at as u32, on: true });
            }
        }
        let masked = core::mem::take(&mut comp.masked);
        let owed = core::mem::take(&mut comp.owes);
        for (code, arg, from) in masked {
            first.push(Queued::Interrupt { code, arg, from });
        }
        for event in first.into_iter().rev() {
            self.queue.push_front((id, event));
        }
        for token in owed {
            self.fire(token, Err(Errno::EPIPE.into()));
        }
        if hopeless {
            self.exit.get_or_insert(1);
        }
    }

    /// What goes with an instance.
    fn release(&mut self, id: i32) {
        let mine: Vec<i64> =
            self.futures.iter().filter(|(_, (owner, _))| *owner == id).map(|(n, _)| *n).collect();
        for future in mine {
            self.drop_future(id, future).ok();
        }
        let held: Vec<u32> = self.locks.keys().copied().collect();
        for n in held {
            while self.unlock(id, n).is_ok() {}
        }
        self.srv.retain(|_, owner| *owner != id);
        if let Ok(comp) = self.comp(id) {
            comp.fds.clear();
        }
    }

    // Files

    pub(super) fn emit(&mut self, id: i32, file: u32, line: &str) -> Result<(), Errno> {
        let comp = self.comp(id)?;
        let file = comp.files.get_mut(file as usize).ok_or(Errno::EINVAL)?;
        if !matches!(file.kind, Kind::Events | Kind::Next) || line.contains('\n') {
            return Err(Errno::EINVAL);
        }
        if line.len() > abi::MAX_LINE {
            return Err(Errno::EMSGSIZE);
        }
        let lines = Rc::make_mut(&mut file.lines);
        lines.push(line.to_string());
        while lines.iter().map(|l| l.len() + 1).sum::<usize>() > file.keep {
            lines.remove(0);
        }
        Ok(())
    }

    pub(super) fn lines(&mut self, id: i32, file: u32) -> Vec<String> {
        let Ok(comp) = self.comp(id) else { return Vec::new() };
        comp.files.get(file as usize).map(|f| f.lines.to_vec()).unwrap_or_default()
    }

    pub(super) fn watch(&mut self, id: i32, file: u32, on: bool) {
        let Ok(comp) = self.comp(id) else { return };
        let Some(f) = comp.files.get_mut(file as usize) else { return };
        f.watched = on;
        self.queue.push_back((id, Queued::Watched { file, on }));
    }

    // Messages

    fn payload(body: &[u8]) -> Result<Vec<u8>, Errno> {
        if body.len() > abi::MAX_BODY { Err(Errno::EMSGSIZE) } else { Ok(body.to_vec()) }
    }

    pub(super) fn send(&mut self, from: i32, to: i32, body: &[u8]) -> Result<(), Errno> {
        let body = Guest::payload(body)?;
        self.comp(to)?;
        self.queue.push_back((to, Queued::Message { from, body }));
        Ok(())
    }

    pub(super) fn ask(&mut self, from: i32, to: i32, body: &[u8]) -> Result<i64, Errno> {
        let body = Guest::payload(body)?;
        self.comp(to)?;
        let token = self.future(from, Waits::Reply(to))?;
        self.queue.push_back((to, Queued::Ask { from, token, body }));
        Ok(token)
    }

    /// The atom has this ask now.
    pub(super) fn owe(&mut self, id: i32, token: i64) {
        if let Ok(comp) = self.comp(id) {
            comp.owes.insert(token);
        }
    }

    pub(super) fn reply(
        &mut self,
        id: i32,
        token: i64,
        result: Result<Vec<u8>, Error>,
    ) -> Result<(), Errno> {
        if !self.comp(id)?.owes.remove(&token) {
            return Err(Errno::ESTALE);
        }
        // Whether anybody still waits is not told.
        if self.futures.get(&token).is_some_and(|(_, w)| *w == Waits::Reply(id)) {
            self.fire(token, result);
        }
        Ok(())
    }

    /// The same, where it may be answered already.
    pub(super) fn replied(&mut self, id: i32, token: i64, result: Result<Vec<u8>, Error>) {
        self.reply(id, token, result).ok();
    }

    pub(super) fn interrupt(&mut self, to: i32, code: u32, arg: i64, from: Option<i32>) {
        let Ok(comp) = self.comp(to) else { return };
        let bit = 1 << code;
        if comp.waiting & bit != 0 {
            return;
        }
        comp.waiting |= bit;
        if comp.mask & bit != 0 {
            comp.masked.push((code, arg, from));
        } else {
            self.queue.push_back((to, Queued::Interrupt { code, arg, from }));
        }
    }

    pub(super) fn unmask(&mut self, id: i32, bits: u64) -> u64 {
        let Ok(comp) = self.comp(id) else { return 0 };
        let before = comp.mask;
        comp.mask &= !bits;
        let mask = comp.mask;
        let (stay, come) = comp.masked.drain(..).partition(|(c, ..)| mask & (1 << c) != 0);
        comp.masked = stay;
        let come: Vec<_> = come;
        for (code, arg, from) in come {
            self.queue.push_back((id, Queued::Interrupt { code, arg, from }));
        }
        before
    }
}
