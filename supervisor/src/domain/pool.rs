//! How many prepared shells there are to be, and which: what follows from what, and nothing
//! else. Time is an argument; what is to be done is handed out, and what came of it is told.
//!
//! A shell is memory that no guest has. So all of them together, with what Xen itself needs for
//! each, have no more than whoever started the supervisor pays for, and they are given up when
//! a guest that starts lacks memory.

use std::collections::BTreeMap;

/// What is in a domain before it runs: two shells of one kind are the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Kind {
    /// The file of the image, whose name is its hash.
    pub image: std::path::PathBuf,
    /// Bytes.
    pub memory: u64,
    /// What it is told, but for the time of day, which it has from Xen.
    pub launch: String,
}

impl Kind {
    /// That of a guest that is told this.
    pub fn new(image: &std::path::Path, memory: u64, launch: &str) -> Kind {
        let words = launch.split(' ').filter(|w| !w.is_empty() && !w.starts_with("atoll.wall="));
        Kind { image: image.into(), memory, launch: words.collect::<Vec<_>>().join(" ") }
    }

    /// What it costs its host, as `xl` counts it before it makes a domain
    /// (`libxl_domain_need_memory`): its memory in whole MiB, 2 more, and for the tables of its
    /// pages 1 more for a processor and 8 KiB for each MiB.
    pub fn cost(&self) -> u64 {
        let mib = self.memory.div_ceil(1 << 20).max(1);
        mib.saturating_add(3).saturating_mul(1 << 20).saturating_add(mib.saturating_mul(8 << 10))
    }
}

/// What a shell is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `xl` makes it.
    Making,
    /// It can be taken.
    Ready,
    /// It is given to a guest that starts, which has not taken it yet.
    Given,
    /// It is being destroyed.
    Going,
}

/// One of them, by its UUID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shell {
    /// Of which kind.
    pub kind: Kind,
    /// What it is about.
    pub phase: Phase,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Do {
    /// Make one, and tell of it.
    Make(Kind),
    /// Destroy one, and tell when it is gone.
    Destroy(String),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It can be taken: it was made, or was given and not taken.
    Ready,
    /// It was never made, and there is nothing of it.
    Failed,
    /// It is gone, or is a guest's.
    Gone,
}

/// After a failure none of that kind is made for so long, in ms: longer each time.
const AGAIN: [u64; 4] = [1_000, 5_000, 30_000, 120_000];
/// After memory was short no shell is made for so long.
const SHORT: u64 = 60_000;

#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    failures: usize,
    until: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Pool {
    most: u64,
    shells: BTreeMap<String, Shell>,
    rests: BTreeMap<Kind, Rest>,
    short_until: u64,
}

impl Pool {
    /// One in which all together cost no more than that.
    pub fn new(most: u64) -> Pool {
        Pool { most, ..Pool::default() }
    }

    /// What they may cost.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// All that there are.
    pub fn shells(&self) -> impl Iterator<Item = (&str, &Shell)> {
        self.shells.iter().map(|(uuid, shell)| (uuid.as_str(), shell))
    }

    /// What they cost. One that goes has its memory still, and one that was given may come back:
    /// a guest pays for it when it has it, and then it is none of these.
    pub fn cost(&self) -> u64 {
        self.shells.values().fold(0, |sum, s| sum.saturating_add(s.kind.cost()))
    }

    /// What is to be done so that those that are `wanted` are there. What is not wanted goes; at
    /// most one is made at a time, and none before `may_make`.
    pub fn next(&mut self, now: u64, wanted: &[Kind], may_make: bool) -> Vec<Do> {
        let mut left = wanted.to_vec();
        let mut todo = Vec::new();
        let mut making = false;
        for (uuid, shell) in &mut self.shells {
            making |= shell.phase == Phase::Making;
            if !matches!(shell.phase, Phase::Making | Phase::Ready) {
                continue;
            }
            match left.iter().position(|k| *k == shell.kind) {
                Some(at) => drop(left.swap_remove(at)),
                // One that is being made goes when it is there.
                None if shell.phase == Phase::Making => {}
                None => {
                    shell.phase = Phase::Going;
                    todo.push(Do::Destroy(uuid.clone()));
                }
            }
        }
        self.rests.retain(|kind, _| wanted.contains(kind));
        let cost = self.cost();
        let fits = |k: &Kind| cost.saturating_add(k.cost()) <= self.most;
        let rested = |k: &Kind| self.rests.get(k).is_none_or(|r| now >= r.until);
        if may_make
            && !making
            && now >= self.short_until
            && let Some(kind) = wanted.iter().find(|k| left.contains(k) && fits(k) && rested(k))
        {
            todo.push(Do::Make(kind.clone()));
        }
        todo
    }

    /// One is being made.
    pub fn begin(&mut self, uuid: &str, kind: &Kind) {
        let shell = Shell { kind: kind.clone(), phase: Phase::Making };
        self.shells.insert(uuid.to_owned(), shell);
    }

    /// Gives a ready one of that kind to a guest that starts, if there is one.
    pub fn take(&mut self, kind: &Kind) -> Option<String> {
        let ready = |s: &Shell| s.phase == Phase::Ready && s.kind == *kind;
        let (uuid, shell) = self.shells.iter_mut().find(|(_, s)| ready(s))?;
        shell.phase = Phase::Given;
        Some(uuid.clone())
    }

    /// What came of one.
    pub fn came(&mut self, now: u64, uuid: &str, came: Came) {
        let Some(shell) = self.shells.get_mut(uuid) else { return };
        match came {
            Came::Ready if matches!(shell.phase, Phase::Making | Phase::Given) => {
                shell.phase = Phase::Ready;
                self.rests.remove(&shell.kind);
            }
            Came::Ready => {}
            Came::Failed | Came::Gone => {
                let Some(shell) = self.shells.remove(uuid) else { return };
                if came == Came::Failed {
                    self.failed(now, &shell.kind);
                }
            }
        }
    }

    /// One could not even be begun.
    pub fn failed(&mut self, now: u64, kind: &Kind) {
        let rest = self.rests.entry(kind.clone()).or_default();
        rest.until = now.saturating_add(AGAIN.get(rest.failures).copied().unwrap_or(AGAIN[3]));
        rest.failures = (rest.failures + 1).min(AGAIN.len() - 1);
    }

    /// A guest that starts lacks so many bytes: those that go for it.
    pub fn give_up(&mut self, now: u64, mut lacks: u64) -> Vec<Do> {
        let mut todo = Vec::new();
        self.short_until = now.saturating_add(SHORT);
        for (uuid, shell) in &mut self.shells {
            if lacks > 0 && shell.phase == Phase::Ready {
                lacks = lacks.saturating_sub(shell.kind.cost());
                shell.phase = Phase::Going;
                todo.push(Do::Destroy(uuid.clone()));
            }
        }
        todo
    }

    /// Whether something goes that is not gone yet.
    pub fn is_going(&self) -> bool {
        self.shells.values().any(|s| s.phase == Phase::Going)
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
