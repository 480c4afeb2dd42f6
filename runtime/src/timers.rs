//! Timers in the order in which they come: a heap whose entries know where they
//! stand, so that setting and cancelling one takes steps by the logarithm of their
//! number. Those of one instant come in the order in which they were set.

use alloc::vec::Vec;

use crate::platform::Time;

/// A timer that is set: good until it comes or is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(u32);

#[derive(Clone, Debug)]
struct Entry<T> {
    at: Time,
    /// Grows with every timer: the order among those of one instant.
    turn: u64,
    /// Its place in the heap.
    place: u32,
    what: T,
}

/// Timers.
#[derive(Clone, Debug)]
pub(crate) struct Timers<T> {
    entries: Vec<Entry<T>>,
    /// Entries that are not in use.
    free: Vec<u32>,
    /// Places of entries: none comes before the one at half its place.
    heap: Vec<u32>,
    turn: u64,
}

impl<T: Copy> Timers<T> {
    pub(crate) fn new() -> Timers<T> {
        Timers { entries: Vec::new(), free: Vec::new(), heap: Vec::new(), turn: 0 }
    }

    /// Sets a timer.
    pub(crate) fn set(&mut self, at: Time, what: T) -> Key {
        self.turn += 1;
        let place = self.heap.len() as u32;
        let entry = Entry { at, turn: self.turn, place, what };
        let key = match self.free.pop() {
            Some(key) => {
                if let Some(e) = self.entries.get_mut(key as usize) {
                    *e = entry;
                }
                key
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        self.heap.push(key);
        self.up(place);
        Key(key)
    }

    /// When a timer that is set comes, and its turn.
    #[cfg(feature = "atoms")]
    pub(crate) fn get(&self, key: Key) -> Option<(Time, u64)> {
        self.entries.get(key.0 as usize).map(|e| (e.at, e.turn))
    }

    /// The turn of the last timer.
    #[cfg(feature = "atoms")]
    pub(crate) fn turn(&self) -> u64 {
        self.turn
    }

    /// Timers of which the last one had this turn.
    #[cfg(feature = "atoms")]
    pub(crate) fn after_turn(turn: u64) -> Timers<T> {
        Timers { turn, ..Timers::new() }
    }

    /// Sets a timer that had this turn when it was set first.
    #[cfg(feature = "atoms")]
    pub(crate) fn set_again(&mut self, at: Time, turn: u64, what: T) -> Key {
        let last = core::mem::replace(&mut self.turn, turn.saturating_sub(1));
        let key = self.set(at, what);
        self.turn = last;
        key
    }

    /// Cancels a timer that is set.
    pub(crate) fn cancel(&mut self, key: Key) {
        let Some(place) = self.entries.get(key.0 as usize).map(|e| e.place) else { return };
        let last = self.heap.len() as u32 - 1;
        self.swap(place, last);
        self.heap.pop();
        self.free.push(key.0);
        if place < last {
            self.up(place);
            self.down(place);
        }
    }

    /// When the first one comes.
    pub(crate) fn first(&self) -> Option<Time> {
        self.order(0).map(|o| o.0)
    }

    /// Takes the first one, if it has come.
    pub(crate) fn due(&mut self, now: Time) -> Option<(u64, T)> {
        let key = *self.heap.first()?;
        let e = self.entries.get(key as usize).filter(|e| e.at <= now)?;
        let due = (e.turn, e.what);
        self.cancel(Key(key));
        Some(due)
    }

    fn order(&self, place: u32) -> Option<(Time, u64)> {
        let key = *self.heap.get(place as usize)?;
        self.entries.get(key as usize).map(|e| (e.at, e.turn))
    }

    fn swap(&mut self, a: u32, b: u32) {
        self.heap.swap(a as usize, b as usize);
        for place in [a, b] {
            if let Some(key) = self.heap.get(place as usize)
                && let Some(e) = self.entries.get_mut(*key as usize)
            {
                e.place = place;
            }
        }
    }

    fn up(&mut self, mut place: u32) {
        while place > 0 {
            let above = (place - 1) / 2;
            if self.order(above) <= self.order(place) {
                break;
            }
            self.swap(above, place);
            place = above;
        }
    }

    fn down(&mut self, mut place: u32) {
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            let Some(mut least) = self.order(left) else { return };
            let mut below = left;
            if let Some(other) = self.order(right)
                && other < least
            {
                (least, below) = (other, right);
            }
            if self.order(place) <= Some(least) {
                return;
            }
            self.swap(place, below);
            place = below;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a list that is sorted each time.
        #[test]
        fn they_come_in_order_and_those_that_are_cancelled_do_not(
            acts in prop::collection::vec((0u8..4, 0u64..20), 0..200),
        ) {
            let mut timers = Timers::new();
            let mut list: Vec<(u64, u32, Key)> = Vec::new();
            let mut now = 0;
            for (n, (act, by)) in acts.into_iter().enumerate() {
                match act {
                    0 | 1 => {
                        let n = n as u32;
                        list.push((now + by, n, timers.set(Time(now + by), n)));
                    }
                    2 if !list.is_empty() => {
                        let (_, _, key) = list.remove(by as usize % list.len());
                        timers.cancel(key);
                    }
                    _ => {
                        now += by;
                        list.sort_by_key(|l| (l.0, l.1));
                        let due = list.iter().take_while(|l| l.0 <= now).count();
                        for (_, what, _) in list.drain(..due) {
                            prop_assert_eq!(timers.due(Time(now)).map(|d| d.1), Some(what));
                        }
                        prop_assert_eq!(timers.due(Time(now)), None);
                    }
                }
                prop_assert_eq!(timers.first(), list.iter().map(|l| Time(l.0)).min());
            }
        }
    }
}
