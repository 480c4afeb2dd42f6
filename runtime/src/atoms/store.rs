//! What a component has stored: a map and a log.
//!
//! Reads and writes are immediate. The store is part of the guest's state, and belongs
//! to the component: it is there again after an abandonment. What it holds is charged;
//! where the sponsor cannot pay, the store is full, which is an error like any other.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

use atoll_9p::fault::{Errno, Fault};
use atoll_config::kept::Op;

use super::Undo;
use crate::component::ComponentId;
use crate::core::Core;
use crate::effects::{Cx, MESSAGE_OVERHEAD};
use crate::sponsor::Amount;

/// The most bytes of a key.
pub(crate) const KEY: usize = 255;
/// The most bytes of a value or a record.
pub(crate) const VALUE: usize = 65_536;

/// A key-value map and an append-only log.
pub trait Store {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Option<&[u8]>;

    /// Gives a key another value, or none, and says what it had.
    fn set(&mut self, key: &[u8], value: Option<Vec<u8>>) -> Option<Vec<u8>>;

    /// The first key behind this one, in the order of their bytes; an empty one is
    /// before all.
    fn next(&self, key: &[u8]) -> Option<&[u8]>;

    /// Adds a record to the log, and says its number: 0, 1, 2 ...
    fn append(&mut self, record: Vec<u8>) -> u64;

    /// A record of the log.
    fn record(&self, n: u64) -> Option<&[u8]>;
}

/// A store in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ram {
    pub(crate) map: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) log: Vec<Vec<u8>>,
}

impl Store for Ram {
    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.map.get(key).map(Vec::as_slice)
    }

    fn set(&mut self, key: &[u8], value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        match value {
            None => self.map.remove(key),
            Some(value) => match self.map.get_mut(key) {
                Some(old) => Some(core::mem::replace(old, value)),
                None => self.map.insert(key.to_owned(), value),
            },
        }
    }

    fn next(&self, key: &[u8]) -> Option<&[u8]> {
        let behind = (Bound::Excluded(key), Bound::Unbounded);
        self.map.range::<[u8], _>(behind).next().map(|(key, _)| key.as_slice())
    }

    fn append(&mut self, record: Vec<u8>) -> u64 {
        self.log.push(record);
        self.log.len() as u64 - 1
    }

    fn record(&self, n: u64) -> Option<&[u8]> {
        self.log.get(usize::try_from(n).ok()?).map(Vec::as_slice)
    }
}

impl Ram {
    /// Gives a key back what it had.
    pub(super) fn put_back(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        self.set(&key, value)
    }

    /// Takes the last record away.
    pub(super) fn pop(&mut self) {
        self.log.pop();
    }

    /// What it costs.
    pub(crate) fn price(&self) -> Amount {
        let mut sum = Amount::default();
        self.map.iter().for_each(|(key, value)| sum.add(price(key.len() + value.len())));
        self.log.iter().for_each(|record| sum.add(price(record.len())));
        sum
    }
}

impl Core<'_> {
    /// What a component has stored, for who looks at a guest from outside: its values by key,
    /// and its records.
    #[expect(clippy::type_complexity, reason = "said once, in words")]
    pub fn stored(&self, id: ComponentId) -> Option<(BTreeMap<Vec<u8>, Vec<u8>>, Vec<Vec<u8>>)> {
        let Ram { map, log } = &self.slots.get(id)?.own.as_ref()?.store;
        Some((map.clone(), log.clone()))
    }
}

/// What an entry of so many bytes costs. While its host is to keep it, and has not got it yet,
/// it costs that once more.
pub(super) fn price(bytes: usize) -> Amount {
    Amount { memory: MESSAGE_OVERHEAD + bytes as u64, messages: 0 }
}

fn check(key: &[u8]) -> Result<(), Fault> {
    if (1..=KEY).contains(&key.len()) { Ok(()) } else { Err(Errno::EINVAL.into()) }
}

fn size(value: &[u8]) -> Result<(), Fault> {
    if value.len() <= VALUE { Ok(()) } else { Err(Errno::EMSGSIZE.into()) }
}

/// Whether a change is one that a component could have made.
pub(super) fn check_sizes(op: &Op<'_>) -> Result<(), Fault> {
    match op {
        Op::Clear => Ok(()),
        Op::Put { key, value, .. } => check(key).and_then(|()| size(value)),
        Op::Del { key, .. } => check(key),
        Op::Append { record, .. } => size(record),
    }
}

impl Cx<'_> {
    /// What this component has stored under a key of 1 to 255 bytes: ENOENT for nothing.
    pub fn kv_get(&self, key: &[u8]) -> Result<&[u8], Fault> {
        check(key)?;
        self.own.store.get(key).ok_or(Errno::ENOENT.into())
    }

    /// Stores at most 65,536 bytes under a key, in the place of what was there. ENOSPC
    /// where the sponsor cannot pay.
    pub fn kv_put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        check(key)?;
        size(value)?;
        let cost = price(key.len() + value.len());
        self.store(cost)?;
        if self.is_kept() {
            self.note(&Op::Put { of: self.name(), key, value }, cost);
        }
        self.replace(key, Some(value.to_vec()));
        Ok(())
    }

    /// Takes a key out of the store: ENOENT where it is not there.
    pub fn kv_del(&mut self, key: &[u8]) -> Result<(), Fault> {
        self.kv_get(key)?;
        self.replace(key, None);
        Ok(())
    }

    /// The first key of the store behind this one, in the order of their bytes; the
    /// first of all for an empty one. ENOENT for none.
    pub fn kv_next(&self, key: &[u8]) -> Result<&[u8], Fault> {
        self.own.store.next(key).ok_or(Errno::ENOENT.into())
    }

    /// Adds a record of at most 65,536 bytes to the component's log, and says its
    /// number. The first is 0. ENOSPC where the sponsor cannot pay.
    pub fn log_append(&mut self, record: &[u8]) -> Result<u64, Fault> {
        size(record)?;
        let cost = price(record.len());
        self.store(cost)?;
        self.effects.undo.push(Undo::Log);
        let n = self.own.store.append(record.to_vec());
        if self.is_kept() {
            self.note(&Op::Append { of: self.name(), n, record }, cost);
        }
        Ok(n)
    }

    /// A record of the component's log: ENOENT for a number that it does not have.
    pub fn log_read(&self, n: u64) -> Result<&[u8], Fault> {
        self.own.store.record(n).ok_or(Errno::ENOENT.into())
    }

    /// Charges what is stored; a sponsor who cannot pay is no reason to give up.
    fn store(&mut self, amount: Amount) -> Result<(), Fault> {
        let mut amount = amount;
        if self.is_kept() {
            amount.add(amount);
        }
        if self.effects.why.is_some() || !self.sponsor.charge(amount) {
            return Err(Errno::ENOSPC.into());
        }
        self.effects.charged.add(amount);
        Ok(())
    }

    fn replace(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        let gone = value.is_none();
        let old = self.own.store.set(key, value);
        if let Some(old) = &old {
            let mut freed = price(key.len() + old.len());
            if gone && self.is_kept() {
                // That it is gone is paid for with what that frees: it is never refused.
                let cost = price(key.len());
                self.note(&Op::Del { of: self.name(), key }, cost);
                freed.memory -= cost.memory;
            }
            self.effects.freed.add(freed);
        }
        self.effects.undo.push(Undo::Kv(key.to_vec(), old));
    }
}
