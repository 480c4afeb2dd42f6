//! Numbers that a client chooses, found in a few steps whichever it chooses.
//!
//! Clients number their fids and tags from 0 on, so most are found in a plain table
//! under their own number. That table is never much longer than what is in
//! use; what lies beyond it goes into a crit-bit tree, whose depth is at most the
//! 32 bits of a number, so there are no numbers that collide and none that a client
//! could pick to make its server slow. Neither hashing nor a balanced tree gives both.

use alloc::vec::Vec;

/// No value, no branch.
pub(super) const NONE: u32 = u32::MAX;
/// Marks a child that is a value, not a branch. Values are smaller.
const LEAF: u32 = 1 << 31;
/// Numbers that have a place in the table from the start.
const FIRST: u32 = 16;

/// Finds values, which are places in somebody's table, by number. That table knows
/// the number of each: `key_of` asks it.
#[derive(Debug)]
pub(super) struct Index {
    direct: Vec<u32>,
    root: u32,
    branches: Vec<Branch>,
    free: u32,
    count: u32,
}

/// Asks for the number of a value.
type KeyOf<'a> = &'a dyn Fn(u32) -> u32;

/// Where numbers part that are the same above a bit.
#[derive(Debug, Clone, Copy)]
struct Branch {
    bit: u32,
    zero: u32,
    one: u32,
}

impl Branch {
    fn child(&self, one: bool) -> u32 {
        if one { self.one } else { self.zero }
    }

    fn side(&self, key: u32) -> bool {
        key & self.bit != 0
    }
}

impl Default for Index {
    fn default() -> Index {
        Index { direct: Vec::new(), root: NONE, branches: Vec::new(), free: NONE, count: 0 }
    }
}

impl Index {
    /// The value under a number.
    #[inline]
    pub(super) fn get(&self, key: u32, key_of: impl Fn(u32) -> u32) -> Option<u32> {
        match self.direct.get(key as usize) {
            Some(&value) if value != NONE => Some(value),
            _ if self.root == NONE => None,
            _ => self.seek(key, &key_of),
        }
    }

    #[inline(never)]
    fn seek(&self, key: u32, key_of: KeyOf<'_>) -> Option<u32> {
        let near = self.nearest(key);
        (key_of(near) == key).then_some(near)
    }

    /// Puts a value under a number that has none.
    pub(super) fn insert(&mut self, key: u32, value: u32, key_of: impl Fn(u32) -> u32) {
        self.count += 1;
        if key as usize >= self.direct.len() && key / 2 < self.count.saturating_add(FIRST / 2) {
            self.direct.resize(((key + FIRST) & !(FIRST - 1)) as usize, NONE);
        }
        match self.direct.get_mut(key as usize) {
            Some(place) => *place = value,
            None if self.root == NONE => self.root = LEAF | value,
            None => self.graft(key, value, &key_of),
        }
    }

    #[inline(never)]
    fn graft(&mut self, key: u32, value: u32, key_of: KeyOf<'_>) {
        let differ = key_of(self.nearest(key)) ^ key;
        let bit = 1 << differ.checked_ilog2().unwrap_or(0);
        let (mut link, mut at) = (None, self.root);
        while let Some(b) = self.branch(at).filter(|b| b.bit > bit) {
            link = Some((at, b.side(key)));
            at = b.child(b.side(key));
        }
        let leaf = LEAF | value;
        let (zero, one) = if key & bit == 0 { (leaf, at) } else { (at, leaf) };
        let branch = Branch { bit, zero, one };
        let new = self.free;
        let new = match self.branches.get_mut(new as usize) {
            Some(place) => {
                self.free = place.zero;
                *place = branch;
                new
            }
            None => {
                self.branches.push(branch);
                self.branches.len() as u32 - 1
            }
        };
        self.set(link, new);
    }

    /// Takes away what is under a number. The value's own number must still be known.
    pub(super) fn remove(&mut self, key: u32, key_of: impl Fn(u32) -> u32) -> Option<u32> {
        let value = match self.direct.get_mut(key as usize) {
            Some(place) if *place != NONE => core::mem::replace(place, NONE),
            _ if self.root == NONE => return None,
            _ => self.prune(key, &key_of)?,
        };
        self.count -= 1;
        Some(value)
    }

    #[inline(never)]
    fn prune(&mut self, key: u32, key_of: KeyOf<'_>) -> Option<u32> {
        let (mut above, mut link, mut at) = (None, None, self.root);
        while let Some(b) = self.branch(at) {
            above = link;
            link = Some((at, b.side(key)));
            at = b.child(b.side(key));
        }
        let value = at & !LEAF;
        if key_of(value) != key {
            return None;
        }
        match link {
            None => self.root = NONE,
            Some((parent, side)) => {
                let other = self.branch(parent).map_or(NONE, |b| b.child(!side));
                self.set(above, other);
                let free = self.free;
                if let Some(b) = self.branches.get_mut(parent as usize) {
                    b.zero = free;
                    self.free = parent;
                }
            }
        }
        Some(value)
    }

    /// The one value that a number can be under. There must be any.
    fn nearest(&self, key: u32) -> u32 {
        let mut at = self.root;
        while let Some(b) = self.branch(at) {
            at = b.child(b.side(key));
        }
        at & !LEAF
    }

    fn branch(&self, at: u32) -> Option<Branch> {
        if at & LEAF != 0 {
            return None;
        }
        self.branches.get(at as usize).copied()
    }

    fn set(&mut self, link: Option<(u32, bool)>, to: u32) {
        match link.and_then(|(at, side)| Some((self.branches.get_mut(at as usize)?, side))) {
            Some((b, true)) => b.one = to,
            Some((b, false)) => b.zero = to,
            None => self.root = to,
        }
    }

    /// Bytes of memory behind it.
    pub(super) fn held(&self) -> usize {
        self.direct.capacity() * size_of::<u32>() + self.branches.capacity() * size_of::<Branch>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    /// An index over a table in which each value's number is kept.
    #[derive(Default)]
    struct Table(Index, Vec<u32>);

    impl Table {
        fn put(&mut self, key: u32) -> u32 {
            self.1.push(key);
            let keys = &self.1;
            self.0.insert(key, keys.len() as u32 - 1, |v| keys[v as usize]);
            keys.len() as u32 - 1
        }

        fn get(&self, key: u32) -> Option<u32> {
            self.0.get(key, |v| self.1[v as usize])
        }

        fn take(&mut self, key: u32) -> Option<u32> {
            self.0.remove(key, |v| self.1[v as usize])
        }
    }

    fn key() -> impl Strategy<Value = u32> {
        prop_oneof![0..40u32, 0..4000u32, any::<u32>(), (0..32u32).prop_map(|b| 1 << b)]
    }

    proptest! {
        #[test]
        fn it_does_what_a_map_does(ops in prop::collection::vec((any::<bool>(), key()), 0..300)) {
            let (mut t, mut map) = (Table::default(), BTreeMap::new());
            for (put, key) in ops {
                prop_assert_eq!(t.get(key), map.get(&key).copied());
                if put && !map.contains_key(&key) {
                    map.insert(key, t.put(key));
                } else {
                    prop_assert_eq!(t.take(key), map.remove(&key));
                }
            }
            for (key, value) in map {
                prop_assert_eq!(t.take(key), Some(value));
            }
            prop_assert_eq!((t.0.root, t.0.count), (NONE, 0));
        }
    }

    #[test]
    fn no_choice_of_numbers_takes_much_memory() {
        let far: fn(u32) -> u32 = |i| i.wrapping_mul(0x9e37_79b9);
        for pick in [far, |i| i << 20, |i| u32::MAX - i, |i| i * 2 + 100, |i| i] {
            let mut t = Table::default();
            (0..2000).for_each(|i| {
                t.put(pick(i));
            });
            assert!(t.0.held() <= 2000 * 48, "{}", t.0.held());
            (0..2000).for_each(|i| assert_eq!(t.get(pick(i)), Some(i)));
        }
        let mut t = Table::default();
        t.put(0);
        t.put(33);
        assert!(t.0.held() <= 200, "two numbers, {} bytes", t.0.held());
    }
}
