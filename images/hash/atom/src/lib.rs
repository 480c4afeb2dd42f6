//! SHA-256 of what is written: an atom that computes.
//!
//! A dispatch must end within its deadline, and others wait for it. So what takes long
//! is cut into pieces with an await between them: each piece is a dispatch of its own,
//! and whatever else the atom is asked is handled between two of them.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use atoll_atom::prelude::*;
use sha2::{Digest, Sha256};

/// A SHA-256 digest.
pub type Sum = [u8; 32];

/// Blocks of 64 bytes that one dispatch hashes: about a millisecond where the machine is
/// emulated, and less than a tenth of it elsewhere.
const PIECE: u32 = 256;
/// Sums that are kept.
const KEPT: usize = 1024;
/// Rounds of one `stretch`.
const ROUNDS: u32 = 100_000_000;

/// The state.
#[derive(Debug, Default)]
pub struct Hash {
    sums: BTreeMap<String, Sum>,
    /// Stretches under way: rounds to go, by number.
    jobs: BTreeMap<u32, (String, u32)>,
    next: u32,
}

fn sum(data: &[u8]) -> Sum {
    Sha256::digest(data).into()
}

fn hex(sum: &Sum) -> String {
    let mut out = String::new();
    for b in sum {
        // A String takes all that is written.
        let _ = write!(out, "{b:02x}");
    }
    out
}

#[atom(events(done = 4096))]
impl Hash {
    /// How often the rounds of each stretch under way are still to run.
    #[text]
    fn status(&self) -> String {
        let mut out = String::new();
        for (name, rounds) in self.jobs.values() {
            let _ = writeln!(out, "{name} {rounds}");
        }
        out
    }

    #[list(sums)]
    fn list(&self, names: &mut Names) {
        for name in self.sums.keys() {
            if !names.push(name) {
                return;
            }
        }
    }

    #[get(sums)]
    fn get(&self, name: &str) -> Result<String> {
        Ok(hex(self.sums.get(name).ok_or(Errno::ENOENT)?) + "\n")
    }

    #[put(sums)]
    fn put(&mut self, name: &str, data: &[u8]) -> Result<()> {
        self.keep(name, sum(data))
    }

    #[remove(sums)]
    fn remove(&mut self, name: &str) -> Result<()> {
        self.sums.remove(name).map(drop).ok_or(Errno::ENOENT.into())
    }

    fn keep(&mut self, name: &str, sum: Sum) -> Result<()> {
        if self.sums.len() >= KEPT && !self.sums.contains_key(name) {
            return Err(Error::new(Errno::ENOSPC, "there are 1024 sums: remove some"));
        }
        self.sums.insert(name.into(), sum);
        Ok(())
    }

    /// The sum of the sum of the sum ...: so often, and then it stands in its place.
    #[command(ctl)]
    async fn stretch(this: This<Self>, name: String, rounds: u32) -> Result<()> {
        if rounds > ROUNDS {
            return Err(Error::invalid("at most 100000000 rounds"));
        }
        let (job, mut sum) = this.with(|hash| {
            let sum = *hash.sums.get(&name).ok_or(Errno::ENOENT)?;
            hash.next += 1;
            hash.jobs.insert(hash.next, (name.clone(), rounds));
            Ok::<_, Error>((hash.next, sum))
        })?;
        let mut left = rounds;
        while left > 0 {
            let piece = left.min(PIECE);
            for _ in 0..piece {
                sum = self::sum(&sum);
            }
            left -= piece;
            this.with(|hash| hash.jobs.get_mut(&job).map(|j| j.1 = left));
            yield_now().await;
        }
        this.with(|hash| {
            hash.jobs.remove(&job);
            hash.keep(&name, sum)
        })?;
        Self::DONE.emit(format_args!("{name} {}", hex(&sum)))
    }

    /// Other atoms ask for the sum of some bytes.
    #[on_ask]
    fn of(&self, data: &[u8]) -> Vec<u8> {
        sum(data).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_atom::fake::World;

    /// FIPS 180-4's example: "abc".
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn world() -> World {
        let mut world = World::new(1);
        world.start::<Hash>("hash", "").unwrap();
        world.put("hash", "sums", "abc", b"abc").unwrap();
        world
    }

    #[test]
    fn it_is_the_sum_of_what_was_written() {
        let mut world = world();
        let sum = world.get("hash", "sums", "abc").unwrap();
        assert_eq!(String::from_utf8(sum).unwrap(), String::from(ABC) + "\n");
        assert_eq!(world.names("hash", "sums").unwrap(), ["abc"]);
        world.remove("hash", "sums", "abc").unwrap();
        assert_eq!(world.get("hash", "sums", "abc").unwrap_err().errno, Errno::ENOENT);
    }

    #[test]
    fn a_long_computation_lets_others_through() {
        let mut world = world();
        world.command("hash", "ctl", "stretch abc 1000").unwrap();
        assert_eq!(world.read("hash", "status").unwrap(), "abc 744");
        assert!(world.step());
        // Between two pieces.
        assert_eq!(world.read("hash", "status").unwrap(), "abc 488");
        world.put("hash", "sums", "other", b"x").unwrap();
        world.run();
        assert_eq!(world.read("hash", "status").unwrap(), "");
        let mut expected = sum(b"abc");
        for _ in 0..1000 {
            expected = sum(&expected);
        }
        let line = String::from("abc ") + &hex(&expected);
        assert_eq!(world.lines("hash", "done").unwrap(), [line]);
    }

    #[test]
    fn what_cannot_be_stretched_is_refused() {
        let mut world = world();
        for (line, errno) in [
            ("stretch nothing 5", Errno::ENOENT),
            ("stretch abc 100000001", Errno::EINVAL),
            ("stretch abc", Errno::EINVAL),
        ] {
            assert_eq!(world.command("hash", "ctl", line).unwrap_err().errno, errno, "{line}");
        }
        assert_eq!(world.read("hash", "status").unwrap(), "");
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let mut world = world();
        for n in 1..KEPT {
            world.put("hash", "sums", &alloc::format!("{n}"), b"").unwrap();
        }
        let e = world.put("hash", "sums", "one-more", b"").unwrap_err();
        assert_eq!(e.errno, Errno::ENOSPC);
        world.put("hash", "sums", "abc", b"another").unwrap();
    }

    #[test]
    fn other_atoms_ask() {
        let mut world = world();
        let asked = world.ask_bytes(Component(1), b"abc").unwrap();
        world.run();
        assert_eq!(world.reply_bytes(asked).unwrap().unwrap(), sum(b"abc"));
    }
}
