//! Who is next: strict priority, then fair by budget, then arrival.
//!
//! Among guests of one priority the one that has used the least CPU time for its
//! share goes first. A guest that comes back from rest starts level with those that
//! did not rest, so that nobody can save up time and then hold everybody off.

/// A guest's place in the order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Higher goes first.
    pub priority: u8,
    /// CPU nanoseconds used, by share: who has the least goes first.
    pub used: u64,
    /// When its oldest event came: a number that grows with every event.
    pub since: u64,
}

/// The place that goes next, among those of guests that have something to do.
pub fn next(ready: impl Iterator<Item = (usize, Place)>) -> Option<usize> {
    ready.min_by_key(|(_, p)| (u8::MAX - p.priority, p.used, p.since)).map(|(i, _)| i)
}

/// Where a guest that rested comes in, given those of its priority that did not.
pub fn level(place: &mut Place, busy: impl Iterator<Item = Place>) {
    let floor = busy.filter(|b| b.priority == place.priority).map(|b| b.used).min();
    place.used = place.used.max(floor.unwrap_or(0));
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
        let mut rested = place(1, 10, 0);
        level(&mut rested, [place(1, 500, 0), place(1, 400, 0), place(0, 3, 0)].into_iter());
        assert_eq!(rested.used, 400);
        let mut ahead = place(1, 900, 0);
        level(&mut ahead, [place(1, 500, 0)].into_iter());
        assert_eq!(ahead.used, 900);
    }
}
