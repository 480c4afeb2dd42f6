//! The guest's generator of random numbers: xoshiro256++ (Blackman and Vigna,
//! "Scrambled linear pseudorandom number generators", 2021).
//!
//! Its state is part of the guest, so that a replay draws the same numbers. It is
//! seeded by the machine's entropy, but it is no source of keys.

/// A generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Random([u64; 4]);

impl Random {
    /// A generator with this state. (All zero is the one state that will not do.)
    pub(crate) fn new(seed: [u8; 32]) -> Random {
        let mut s = [0x9e37_79b9_7f4a_7c15; 4];
        for (word, bytes) in s.iter_mut().zip(seed.as_chunks::<8>().0) {
            *word ^= u64::from_le_bytes(*bytes);
        }
        if s == [0; 4] {
            s = [1; 4];
        }
        Random(s)
    }

    /// Its state.
    #[cfg(feature = "atoms")]
    pub(crate) fn state(&self) -> [u64; 4] {
        self.0
    }

    /// A generator with a state that one had; none has one of zeros alone.
    #[cfg(feature = "atoms")]
    pub(crate) fn from_state(state: [u64; 4]) -> Option<Random> {
        (state != [0; 4]).then_some(Random(state))
    }

    /// The next number.
    #[allow(clippy::should_implement_trait)] // it never ends
    pub(crate) fn next(&mut self) -> u64 {
        let [a, b, c, d] = self.0;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c2, d2) = (c ^ a, d ^ b);
        self.0 = [a ^ d2, b ^ c2, c2 ^ (b << 17), d2.rotate_left(45)];
        result
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn it_is_the_generator_of_the_paper() {
        // The reference code's first outputs for the state 1, 2, 3, 4.
        let mut r = Random([1, 2, 3, 4]);
        assert_eq!([r.next(), r.next(), r.next()], [41_943_041, 58_720_359, 3_588_806_011_781_223]);
    }

    #[test]
    fn every_seed_gives_a_state_that_moves() {
        let bad = 0x9e37_79b9_7f4a_7c15u64.to_le_bytes();
        let seed: [u8; 32] = [bad; 4].concat().try_into().unwrap();
        let mut r = Random::new(seed);
        assert_ne!(r.next(), r.next());
    }
}
