//! Who is next: strict priority, then fair by budget, then who waited longest.
//!
//! Among guests of one priority the one that has used the least CPU time for its
//! share goes first. A guest that comes back from rest starts level with those that
//! did not rest, so that nobody can save up time and then hold everybody off.

use alloc::vec::Vec;

/// A guest's place in the order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Higher goes first.
    pub priority: u8,
    /// CPU nanoseconds used, by share: who has the least goes first.
    pub used: u64,
    /// When it last went: a number that grows with every step of the runtime.
    pub since: u64,
}

/// The place that goes next, among those of guests that have something to do.
pub fn next(ready: impl Iterator<Item = (usize, Place)>) -> Option<usize> {
    ready.min_by_key(|(_, p)| (u8::MAX - p.priority, p.used, p.since)).map(|(i, _)| i)
}

/// How far the guests of each priority have come: what the last one that went first
/// had used by then.
#[derive(Clone, Debug, Default)]
pub struct Floors(Vec<(u8, u64)>);

impl Floors {
    fn of(&self, priority: u8) -> u64 {
        self.0.iter().find(|f| f.0 == priority).map_or(0, |f| f.1)
    }

    /// A guest goes next.
    pub fn raise(&mut self, place: Place) {
        match self.0.iter_mut().find(|f| f.0 == place.priority) {
            Some(floor) => floor.1 = floor.1.max(place.used),
            None => self.0.push((place.priority, place.used)),
        }
    }

    /// A guest that rested has something to do: it starts level with the others.
    pub fn level(&self, place: &mut Place) {
        place.used = place.used.max(self.of(place.priority));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn place(priority: u8, used: u64, since: u64) -> Place {
        Place { priority, used, since }
    }

    #[test]
    fn priority_then_budget_then_arrival() {
        let pick = |all: &[Place]| next(all.iter().copied().enumerate());
        assert_eq!(pick(&[]), None);
        assert_eq!(pick(&[place(0, 0, 0), place(1, 9, 9)]), Some(1));
        assert_eq!(pick(&[place(1, 5, 0), place(1, 4, 9)]), Some(1));
        assert_eq!(pick(&[place(1, 4, 7), place(1, 4, 3)]), Some(1));
    }

    #[test]
    fn nobody_saves_up_time() {
        let mut floors = Floors::default();
        floors.raise(place(1, 500, 0));
        floors.raise(place(1, 400, 0));
        floors.raise(place(0, 3, 0));
        let levelled = |mut p: Place| {
            floors.level(&mut p);
            p.used
        };
        assert_eq!(levelled(place(1, 10, 0)), 500);
        assert_eq!(levelled(place(1, 900, 0)), 900);
        assert_eq!(levelled(place(0, 0, 0)), 3);
        assert_eq!(levelled(place(2, 7, 0)), 7);
    }
}
