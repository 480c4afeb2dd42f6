//! The latest events, for readers that were not there when they happened.

use std::collections::VecDeque;

use super::event::Event;
use crate::store::EVENTS;

/// The latest events: at most [`EVENTS`].
#[derive(Debug)]
pub struct Log {
    events: VecDeque<Event>,
    next: u64,
}

/// What a reader is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'l> {
    /// So many events from the reader's place on are gone: it goes on behind them.
    Gap(u64),
    /// The event at its place.
    Event(&'l Event),
}

impl Log {
    pub(super) fn new(events: Vec<Event>, next: u64) -> Log {
        let mut log = Log { events: VecDeque::new(), next: next.max(1) };
        for event in events {
            log.next = log.next.max(event.seq.saturating_add(1));
            log.push(event);
        }
        log
    }

    pub(super) fn push(&mut self, event: Event) {
        self.next = self.next.max(event.seq.saturating_add(1));
        self.events.push_back(event);
        while self.events.len() as u64 > EVENTS {
            self.events.pop_front();
        }
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The number of the oldest event that is there, or of the next one.
    pub fn first(&self) -> u64 {
        self.events.front().map_or(self.next, |e| e.seq)
    }

    /// What a reader gets that has everything before the number `at`, and the place that it
    /// has then; nothing at the end of the log.
    pub fn read(&self, at: u64) -> Option<(Piece<'_>, u64)> {
        let first = self.first();
        if at < first {
            // A reader that has seen nothing misses nothing of what was before number 1.
            return Some((Piece::Gap(first - at.max(1)), first))
                .filter(|_| first > at.max(1))
                .or_else(|| self.read(first));
        }
        let event = self.events.get(usize::try_from(at - first).ok()?)?;
        Some((Piece::Event(event), event.seq + 1))
    }

    /// The events that are there, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::What;

    fn event(seq: u64) -> Event {
        Event { seq, time: 0, guest: None, run: 0, what: What::Gap }
    }

    #[test]
    fn a_reader_gets_every_event_or_is_told_how_many_it_missed() {
        let mut log = Log::new(Vec::new(), 1);
        assert_eq!((log.read(0), log.read(1), log.first()), (None, None, 1));
        for seq in 1..=EVENTS + 10 {
            log.push(event(seq));
        }
        assert_eq!(log.first(), 11);
        assert_eq!(log.read(3), Some((Piece::Gap(8), 11)));
        assert_eq!(log.read(0), Some((Piece::Gap(10), 11)));
        let (mut at, mut seen) = (11, 0);
        while let Some((piece, next)) = log.read(at) {
            assert_eq!(piece, Piece::Event(&event(at)));
            (at, seen) = (next, seen + 1);
        }
        assert_eq!((seen, at), (EVENTS, log.next()));
        assert_eq!(log.read(u64::MAX), None);
    }

    #[test]
    fn a_log_goes_on_behind_what_was_stored() {
        let log = Log::new(vec![event(7), event(8)], 9);
        assert_eq!((log.first(), log.next()), (7, 9));
        assert_eq!(log.read(0), Some((Piece::Gap(6), 7)));
        // All of it was trimmed: the numbers go on.
        assert_eq!(Log::new(Vec::new(), 9).next(), 9);
    }
}
