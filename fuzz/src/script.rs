//! What happens in a session, as bytes that a fuzzer can cut and join.
//!
//! An input is two bytes of settings and then records: kind\[1\] length\[2\] and so many
//! bytes. Every sequence of bytes is a script (a last record that ends early is as
//! long as it is), so blind mutations work; those here keep the records whole and
//! reach deep states in far fewer tries.

use crate::rng::Rng;

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What: each target has its own list.
    pub kind: u8,
    /// With what.
    pub payload: Vec<u8>,
}

/// Settings and what happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The settings.
    pub head: [u8; 2],
    /// In order.
    pub records: Vec<Record>,
}

impl Script {
    /// Reads any bytes as a script.
    pub fn parse(bytes: &[u8]) -> Script {
        let mut script = Script::default();
        let Some((head, mut rest)) = bytes.split_first_chunk() else { return script };
        script.head = *head;
        while let Some(([kind, a, b], tail)) = rest.split_first_chunk() {
            let n = usize::from(u16::from_le_bytes([*a, *b])).min(tail.len());
            let (payload, tail) = tail.split_at(n);
            script.records.push(Record { kind: *kind, payload: payload.to_vec() });
            rest = tail;
        }
        script
    }

    /// The bytes that [`Script::parse`] makes it of; later records are left out when
    /// there is no room for them in `max` bytes.
    pub fn bytes(&self, max: usize) -> Vec<u8> {
        let mut out = self.head.to_vec();
        for r in &self.records {
            let payload = &r.payload[..r.payload.len().min(u16::MAX.into())];
            if out.len() + 3 + payload.len() > max {
                break;
            }
            out.push(r.kind);
            out.extend((payload.len() as u16).to_le_bytes());
            out.extend(payload);
        }
        out.truncate(max);
        out
    }

    /// One small change. `fresh` makes a record of a target's own, `blind` changes
    /// bytes as the fuzzer likes.
    pub fn mutate(
        &mut self,
        rng: &mut Rng,
        fresh: fn(&mut Rng) -> Record,
        blind: &mut dyn FnMut(&mut Vec<u8>),
    ) {
        let n = self.records.len();
        let at = rng.below(n);
        match rng.below(16) {
            0..5 => self.records.insert(rng.below(n + 1), fresh(rng)),
            _ if n == 0 => self.records.push(fresh(rng)),
            5..10 => blind(&mut self.records[at].payload),
            10 => drop(self.records.remove(at)),
            11 => {
                let to = rng.below(n + 1);
                let again = self.records[at].clone();
                self.records.insert(to, again);
            }
            12 => self.records.swap(at, rng.below(n)),
            13 => self.records.truncate(at + 1),
            14 => self.records[at].kind = fresh(rng).kind,
            _ => {
                let mut head = self.head.to_vec();
                blind(&mut head);
                head.resize(2, 0);
                self.head = [head[0], head[1]];
            }
        }
    }

    /// The beginning of one script and the end of another.
    pub fn cross(mut self, other: &Script, rng: &mut Rng) -> Script {
        self.records.truncate(rng.below(self.records.len() + 1));
        let from = rng.below(other.records.len() + 1);
        self.records.extend_from_slice(&other.records[from..]);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_a_script_and_a_script_is_its_bytes() {
        let mut rng = Rng::new(1);
        for n in 0..200 {
            let bytes: Vec<u8> = (0..n).map(|_| rng.next() as u8 % 4).collect();
            let script = Script::parse(&bytes);
            assert_eq!(Script::parse(&script.bytes(usize::MAX)), script);
            assert!(script.bytes(n).len() <= n.max(2));
        }
    }

    #[test]
    fn mutations_keep_within_the_room_that_there_is() {
        let mut rng = Rng::new(2);
        let fresh = |rng: &mut Rng| Record { kind: rng.below(9) as u8, payload: vec![7; 20] };
        let (mut script, mut longest) = (Script::default(), 0);
        for _ in 0..2000 {
            script.mutate(&mut rng, fresh, &mut |bytes| bytes.push(1));
            longest = longest.max(script.records.len());
            let bytes = script.bytes(400);
            assert!(bytes.len() <= 400);
            script = Script::parse(&bytes);
            let crossed = script.clone().cross(&script, &mut rng);
            assert!(crossed.records.len() <= 2 * script.records.len());
        }
        assert!(longest > 10);
    }
}
