//! A table of advisory locks on ranges of files.
//!
//! A tree that wants Tlock keeps one of these beside its files: the rules are those of
//! POSIX (`fcntl(2)`, "Advisory record locking"), and they are the same whatever a
//! file is made of. The owner of a lock is a process of a client. A lock of its own
//! is never in an owner's way: taking one replaces what it held there. Nothing here
//! waits; who is refused asks again.
//!
//! Over 9P a lock has one more tie: it ends with the open file that took it.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::fault::{Errno, Fault};
use crate::types::{Lock, LockKind, LockStatus};

/// The longest name of a client that a lock is kept under. Linux sends its host name,
/// which has at most 64 bytes.
const MAX_CLIENT: usize = 255;

/// A range of a file that somebody holds.
#[derive(Clone, Debug)]
struct Held {
    /// The first byte and the last one.
    first: u64,
    last: u64,
    write: bool,
    pid: u32,
    client: Arc<str>,
    /// The open file that took it.
    open: u64,
}

impl Held {
    fn is_of(&self, lock: &Lock<'_>) -> bool {
        self.pid == lock.pid && &*self.client == lock.client
    }

    fn meets(&self, first: u64, last: u64) -> bool {
        self.first <= last && first <= self.last
    }
}

/// Locks on files that `K` names.
#[derive(Debug)]
pub struct Locks<K> {
    files: BTreeMap<K, Vec<Held>>,
    count: usize,
    max: usize,
}

impl<K: Ord + Copy> Locks<K> {
    /// A table of at most `max` ranges in all.
    pub fn new(max: usize) -> Locks<K> {
        Locks { files: BTreeMap::new(), count: 0, max }
    }

    /// Ranges held now.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing is locked.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes or releases a lock for an open file of that number.
    /// [`LockStatus::Error`] when the table is full.
    pub fn lock(&mut self, file: K, open: u64, lock: &Lock<'_>) -> Result<LockStatus, Fault> {
        let (first, last) = range(lock)?;
        if self.in_the_way(file, lock, first, last).is_some() {
            return Ok(LockStatus::Blocked);
        }
        if lock.client.len() > MAX_CLIENT {
            return Ok(LockStatus::Error);
        }
        let old = self.files.get(&file).map_or(&[][..], |held| held);
        let mut next = Vec::with_capacity(old.len() + 2);
        let mut new = Held {
            first,
            last,
            write: lock.kind == LockKind::Write,
            pid: lock.pid,
            client: Arc::from(lock.client),
            open,
        };
        for held in old {
            let near = held.meets(first.saturating_sub(1), last.saturating_add(1));
            if !held.is_of(lock) || !near {
                next.push(held.clone());
            } else if lock.kind != LockKind::Unlock && held.write == new.write && held.open == open
            {
                new.first = new.first.min(held.first);
                new.last = new.last.max(held.last);
            } else {
                // What sticks out on either side stays.
                if held.first < first {
                    let last = held.last.min(first - 1);
                    next.push(Held { last, ..held.clone() });
                }
                if held.last > last {
                    let first = held.first.max(last + 1);
                    next.push(Held { first, ..held.clone() });
                }
            }
        }
        if lock.kind != LockKind::Unlock {
            next.push(new);
        }
        let count = self.count - old.len() + next.len();
        if count > self.max && count > self.count {
            return Ok(LockStatus::Error);
        }
        self.put(file, next);
        Ok(LockStatus::Success)
    }

    /// One lock that is in the way of this one, if there is any. Its client is not
    /// told: the name is empty.
    pub fn test(&self, file: K, lock: &Lock<'_>) -> Result<Option<Lock<'static>>, Fault> {
        let (first, last) = range(lock)?;
        Ok(self.in_the_way(file, lock, first, last).map(|held| Lock {
            kind: if held.write { LockKind::Write } else { LockKind::Read },
            start: held.first,
            length: if held.last == u64::MAX { 0 } else { held.last - held.first + 1 },
            pid: held.pid,
            client: "",
        }))
    }

    /// An open file is closed: what it took is free.
    pub fn close(&mut self, file: K, open: u64) {
        if let Some(held) = self.files.get_mut(&file) {
            let mut next = core::mem::take(held);
            self.count -= next.len();
            next.retain(|h| h.open != open);
            self.count += next.len();
            match next.is_empty() {
                true => drop(self.files.remove(&file)),
                false => *held = next,
            }
        }
    }

    fn put(&mut self, file: K, next: Vec<Held>) {
        let new = next.len();
        let old = match next.is_empty() {
            true => self.files.remove(&file),
            false => self.files.insert(file, next),
        };
        self.count = self.count + new - old.map_or(0, |held| held.len());
    }

    fn in_the_way(&self, file: K, lock: &Lock<'_>, first: u64, last: u64) -> Option<&Held> {
        let write = match lock.kind {
            LockKind::Unlock => return None,
            kind => kind == LockKind::Write,
        };
        self.files
            .get(&file)?
            .iter()
            .find(|h| h.meets(first, last) && (write || h.write) && !h.is_of(lock))
    }
}

/// The first and the last byte of a lock.
fn range(lock: &Lock<'_>) -> Result<(u64, u64), Fault> {
    let last = match lock.length {
        0 => Some(u64::MAX),
        n => lock.start.checked_add(n - 1),
    };
    let last = last.ok_or(Fault::new(Errno::EINVAL, "the range ends behind the last offset"))?;
    Ok((lock.start, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    /// Bytes that the model knows; the last stands for all that follow.
    const BYTES: usize = 17;
    const CLIENTS: [&str; 2] = ["a", "b"];

    type Owner = (usize, u32);
    /// By byte: who holds it, for writing or not, through which open file.
    type Model = Vec<BTreeMap<Owner, (bool, u64)>>;

    fn lock(kind: LockKind, owner: Owner, start: u64, length: u64) -> Lock<'static> {
        Lock { kind, start, length, pid: owner.1, client: CLIENTS[owner.0] }
    }

    fn blocked(model: &Model, owner: Owner, write: bool, start: usize, end: usize) -> bool {
        model[start..end]
            .iter()
            .any(|byte| byte.iter().any(|(o, held)| *o != owner && (write || held.0)))
    }

    /// How few ranges can say what the model says.
    fn ranges(model: &Model) -> usize {
        let mut n = 0;
        for (i, byte) in model.iter().enumerate() {
            for (owner, held) in byte {
                n += usize::from(i == 0 || model[i - 1].get(owner) != Some(held));
            }
        }
        n
    }

    proptest! {
        #[test]
        fn every_byte_is_held_as_if_it_were_alone(
            ops in prop::collection::vec((0..6u8, 0..2usize, 0..2u32, 0..3u64, 0..16usize, 0..9usize), 1..60),
        ) {
            let mut locks = Locks::new(1000);
            let mut model: Model = alloc::vec![BTreeMap::new(); BYTES];
            for (op, client, pid, open, start, length) in ops {
                let owner = (client, pid);
                let length = length.min(BYTES - 1 - start);
                let end = if length == 0 { BYTES } else { start + length };
                let (kind, write) = match op {
                    0..=1 => (LockKind::Read, false),
                    2..=3 => (LockKind::Write, true),
                    4 => (LockKind::Unlock, false),
                    _ => {
                        locks.close(7, open);
                        for byte in &mut model {
                            byte.retain(|_, held| held.1 != open);
                        }
                        prop_assert_eq!(locks.len(), ranges(&model));
                        continue;
                    }
                };
                let l = lock(kind, owner, start as u64, length as u64);
                let blocks = kind != LockKind::Unlock && blocked(&model, owner, write, start, end);
                let found = locks.test(7, &l).unwrap();
                prop_assert_eq!(found.is_some(), blocks);
                if let Some(f) = found {
                    let last = if f.length == 0 { BYTES } else { (f.start + f.length) as usize };
                    let holder = f.pid;
                    for byte in &model[f.start as usize..last] {
                        let holds = byte.iter().any(|(o, held)| {
                            *o != owner && o.1 == holder && held.0 == (f.kind == LockKind::Write)
                        });
                        prop_assert!(holds, "{f:?} is not held");
                    }
                }
                let want = if blocks { LockStatus::Blocked } else { LockStatus::Success };
                prop_assert_eq!(locks.lock(7, open, &l).unwrap(), want);
                if !blocks {
                    for byte in &mut model[start..end] {
                        match kind {
                            LockKind::Unlock => drop(byte.remove(&owner)),
                            _ => drop(byte.insert(owner, (write, open))),
                        }
                    }
                }
                prop_assert_eq!(locks.len(), ranges(&model), "{}", format!("{locks:?}"));
            }
        }
    }

    #[test]
    fn a_full_table_refuses_and_keeps_what_it_has() {
        let mut locks = Locks::new(2);
        let write = |start, n| lock(LockKind::Write, (0, 1), start, n);
        assert_eq!(locks.lock(1, 1, &write(0, 10)).unwrap(), LockStatus::Success);
        assert_eq!(locks.lock(2, 2, &write(0, 1)).unwrap(), LockStatus::Success);
        assert_eq!(locks.lock(2, 2, &write(5, 1)).unwrap(), LockStatus::Error);
        // A release in the middle would make two of one.
        let middle = lock(LockKind::Unlock, (0, 1), 4, 1);
        assert_eq!(locks.lock(1, 1, &middle).unwrap(), LockStatus::Error);
        let other = lock(LockKind::Read, (1, 1), 4, 1);
        assert_eq!(locks.test(1, &other).unwrap().map(|l| (l.start, l.length)), Some((0, 10)));
        locks.close(1, 1);
        assert_eq!((locks.len(), locks.test(1, &other).unwrap()), (1, None));
    }

    #[test]
    fn what_no_lock_can_be_is_refused() {
        let mut locks = Locks::new(9);
        let beyond = lock(LockKind::Read, (0, 1), 2, u64::MAX);
        assert_eq!(locks.lock(1, 1, &beyond).unwrap_err().errno, Errno::EINVAL);
        let long = "x".repeat(300);
        let l = Lock { client: &long, ..lock(LockKind::Read, (0, 1), 0, 0) };
        assert_eq!(locks.lock(1, 1, &l).unwrap(), LockStatus::Error);
        assert!(locks.is_empty());
        let last = lock(LockKind::Write, (0, 1), u64::MAX, 1);
        assert_eq!(locks.lock(1, 1, &last).unwrap(), LockStatus::Success);
        let all = lock(LockKind::Unlock, (0, 1), 0, 0);
        assert_eq!(locks.lock(1, 1, &all).unwrap(), LockStatus::Success);
        assert!(locks.is_empty());
    }
}
