//! What changes do to what is stored: the meaning that every store has.

use super::{EVENTS, Error, Loaded, Owner};
use crate::core::{Change, Name};

impl Loaded {
    /// Nothing at all.
    pub fn empty() -> Loaded {
        Loaded { next_id: 1, next_seq: 1, ..Loaded::default() }
    }

    /// Makes changes, or none of them.
    pub fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
        self.check(changes)?;
        for change in changes {
            match change.clone() {
                Change::Put(name, record) => drop(self.guests.insert(name, *record)),
                Change::Drop(name) => drop(self.guests.remove(&name)),
                Change::PutImage(hash, image) => drop(self.images.insert(hash, image)),
                Change::DropImage(hash) => drop(self.images.remove(&hash)),
                Change::Claim { guest, next, .. } => {
                    self.owners.insert(guest, Owner { epoch: next });
                    self.epoch = self.epoch.max(next);
                }
                Change::Own { guest, epoch } => {
                    self.owners.insert(guest, Owner { epoch });
                    self.epoch = self.epoch.max(epoch);
                }
                Change::Release(name) => drop(self.owners.remove(&name)),
                Change::NextId(next) => self.next_id = self.next_id.max(next),
                Change::Event(event) => {
                    self.next_seq = event.seq + 1;
                    self.events.push(event);
                }
            }
        }
        let extra = self.events.len().saturating_sub(EVENTS as usize);
        self.events.drain(..extra);
        Ok(())
    }

    /// Compare, before anything is set; the claims of one list follow each other.
    fn check(&self, changes: &[Change]) -> Result<(), Error> {
        let mut epoch = self.epoch;
        let mut seen: Vec<(&Name, u64)> = Vec::new();
        for change in changes {
            if let Change::Own { guest, epoch: own } = change {
                seen.push((guest, *own));
                epoch = epoch.max(*own);
            }
            let Change::Claim { guest, held, next } = change else { continue };
            let stored = self.owners.get(guest).map_or(0, |o| o.epoch);
            let found = seen.iter().rev().find(|(n, _)| *n == guest).map_or(stored, |(_, e)| *e);
            check_claim(guest, found, epoch, *held, *next)?;
            seen.push((guest, *next));
            epoch = *next;
        }
        Ok(())
    }
}

/// Whether a guest whose stored epoch is `found` can be claimed.
pub(super) fn check_claim(
    guest: &Name,
    found: u64,
    greatest: u64,
    held: u64,
    next: u64,
) -> Result<(), Error> {
    if found == held && next > greatest {
        return Ok(());
    }
    Err(Error::Stale { guest: guest.clone(), epoch: found })
}
