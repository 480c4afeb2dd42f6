//! A table whose entries are named by numbers that are not used twice.
//!
//! An event that epoll reported may be about a session that another event of the
//! same batch has ended, and whose place a new one has taken. A key holds a count
//! beside the place, so that such an event finds nothing.

use std::vec::Vec;

/// Names an entry: its place in the lower half, the count of the place's uses above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u64);

/// Bits of a key's count, so that keys fit beside what else a token says.
const USES: u32 = (1 << 24) - 1;

impl Key {
    /// The lowest 56 bits of its number; the others are never set.
    pub(super) fn number(self) -> u64 {
        self.0
    }

    pub(super) fn from_number(number: u64) -> Key {
        Key(number)
    }

    fn place(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }
}

struct Slot<V> {
    uses: u32,
    value: Option<V>,
}

pub(super) struct Slots<V> {
    slots: Vec<Slot<V>>,
    free: Vec<u32>,
}

impl<V> Slots<V> {
    pub(super) fn new() -> Slots<V> {
        Slots { slots: Vec::new(), free: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, value: V) -> Key {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { uses: 0, value: None });
            (self.slots.len() - 1) as u32
        });
        let mut uses = 0;
        if let Some(slot) = self.slots.get_mut(place as usize) {
            slot.uses = (slot.uses + 1) & USES;
            slot.value = Some(value);
            uses = slot.uses;
        }
        Key(u64::from(uses) << 32 | u64::from(place))
    }

    pub(super) fn get(&mut self, key: Key) -> Option<&mut V> {
        let slot = self.slots.get_mut(key.place())?;
        if u64::from(slot.uses) == key.0 >> 32 { slot.value.as_mut() } else { None }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<V> {
        self.get(key)?;
        let value = self.slots.get_mut(key.place())?.value.take();
        self.free.push(key.place() as u32);
        value
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &V> {
        self.slots.iter().filter_map(|s| s.value.as_ref())
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = V> {
        self.free.clear();
        std::mem::take(&mut self.slots).into_iter().filter_map(|s| s.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_finds_nothing_in_a_place_used_again() {
        let mut slots = Slots::new();
        let (a, b) = (slots.insert('a'), slots.insert('b'));
        assert_eq!((slots.remove(a), slots.remove(a), slots.len()), (Some('a'), None, 1));
        let c = slots.insert('c');
        assert_eq!(c.place(), a.place());
        assert_eq!(slots.get(a), None);
        assert_eq!((slots.get(b).copied(), slots.get(c).copied()), (Some('b'), Some('c')));
        assert_eq!(slots.drain().count(), 2);
        assert_eq!(slots.len(), 0);
    }
}
