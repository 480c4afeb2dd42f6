//! Where in a log that lies which is stored still.

use std::collections::BTreeMap;

use atoll_config::kept::{Op, ops};

/// The place of a change: where, and how many bytes.
pub(super) type Place = (u64, usize);

/// A change of a group that is not whole yet.
#[derive(Debug)]
enum Change {
    Clear,
    Put(String, Vec<u8>),
    Del(String, Vec<u8>),
    Append(String, u64),
}

/// What is stored, by where it lies.
#[derive(Debug, Default)]
pub(super) struct Index {
    keys: BTreeMap<(String, Vec<u8>), Place>,
    records: BTreeMap<String, Vec<Place>>,
    waits: Vec<(Change, Place)>,
    live: u64,
}

impl Index {
    /// Takes the body of a frame, which begins there.
    pub(super) fn frame(&mut self, mut at: u64, more: bool, body: &[u8]) {
        for op in ops(body).map_while(Result::ok) {
            let place = (at, op.size());
            at += op.size() as u64;
            let change = match op {
                Op::Clear => Change::Clear,
                Op::Put { of, key, .. } => Change::Put(of.into(), key.into()),
                Op::Del { of, key } => Change::Del(of.into(), key.into()),
                Op::Append { of, n, .. } => Change::Append(of.into(), n),
            };
            self.waits.push((change, place));
        }
        if more {
            return;
        }
        for (change, place) in std::mem::take(&mut self.waits) {
            self.change(change, place);
        }
    }

    fn change(&mut self, change: Change, place: Place) {
        let gone = match change {
            Change::Clear => {
                (self.keys, self.records, self.live) = Default::default();
                None
            }
            Change::Put(of, key) => {
                self.live += place.1 as u64;
                self.keys.insert((of, key), place)
            }
            Change::Del(of, key) => self.keys.remove(&(of, key)),
            Change::Append(of, n) => {
                let records = self.records.entry(of).or_default();
                if n == records.len() as u64 {
                    records.push(place);
                    self.live += place.1 as u64;
                }
                None
            }
        };
        self.live -= gone.map_or(0, |(_, size)| size as u64);
    }

    /// How many bytes of the log tell of what is stored still.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// Where they are; records of one component in their order.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.keys.values().copied().chain(self.records.values().flatten().copied())
    }
}
