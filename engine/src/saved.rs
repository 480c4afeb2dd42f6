//! An atom's state beside its memory, as bytes: little endian, no pointers.
//!
//! `u8` version; `u8` whether `_initialize` has run; `u64` bytes of memory; `u32`
//! globals, each with a `u8` type (0 i32, 1 i64, 2 f32, 3 f64, 4 v128) and its bits.

use alloc::vec::Vec;

use atoll_9p::fault::{Errno, Fault};
use wasmtime::{V128, Val};

const VERSION: u8 = 1;
/// The most globals that are believed.
const MAX_GLOBALS: u32 = 4096;

/// See the module's text.
pub(crate) struct Saved {
    pub(crate) initialized: bool,
    pub(crate) memory: u64,
    pub(crate) globals: Vec<Val>,
}

impl Saved {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = alloc::vec![VERSION, u8::from(self.initialized)];
        out.extend(self.memory.to_le_bytes());
        out.extend((self.globals.len() as u32).to_le_bytes());
        for value in &self.globals {
            match value {
                Val::I32(n) => put(&mut out, 0, &n.to_le_bytes()),
                Val::I64(n) => put(&mut out, 1, &n.to_le_bytes()),
                Val::F32(n) => put(&mut out, 2, &n.to_le_bytes()),
                Val::F64(n) => put(&mut out, 3, &n.to_le_bytes()),
                Val::V128(n) => put(&mut out, 4, &n.as_u128().to_le_bytes()),
                // References are refused when a module is built; one that came
                // through makes a state that no one takes.
                _ => put(&mut out, 255, &[]),
            }
        }
        out
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Saved, Fault> {
        let bad = || Fault::new(Errno::EINVAL, "these bytes are no atom's state");
        let mut rest = bytes;
        let (version, initialized) = (take::<1>(&mut rest)?, take::<1>(&mut rest)?);
        let memory = u64::from_le_bytes(take(&mut rest)?);
        let count = u32::from_le_bytes(take(&mut rest)?);
        if version != [VERSION] || initialized[0] > 1 || count > MAX_GLOBALS {
            return Err(bad());
        }
        let mut globals = Vec::new();
        for _ in 0..count {
            let [kind] = take(&mut rest)?;
            globals.push(match kind {
                0 => Val::I32(i32::from_le_bytes(take(&mut rest)?)),
                1 => Val::I64(i64::from_le_bytes(take(&mut rest)?)),
                2 => Val::F32(u32::from_le_bytes(take(&mut rest)?)),
                3 => Val::F64(u64::from_le_bytes(take(&mut rest)?)),
                4 => Val::V128(V128::from(u128::from_le_bytes(take(&mut rest)?))),
                _ => return Err(bad()),
            });
        }
        if !rest.is_empty() {
            return Err(bad());
        }
        Ok(Saved { initialized: initialized == [1], memory, globals })
    }
}

fn put(out: &mut Vec<u8>, kind: u8, bits: &[u8]) {
    out.push(kind);
    out.extend_from_slice(bits);
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Fault> {
    let bad = || Fault::new(Errno::EINVAL, "an atom's state is cut short");
    let (head, tail) = rest.split_first_chunk().ok_or_else(bad)?;
    *rest = tail;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_parsed_and_nothing_else_is() {
        let globals = alloc::vec![
            Val::I32(-1),
            Val::I64(1 << 40),
            Val::F32(0x7fc0_0001),
            Val::F64(1),
            Val::V128(V128::from(7 << 100)),
        ];
        let bytes = Saved { initialized: true, memory: 65_536, globals }.bytes();
        let again = Saved::parse(&bytes).map_err(drop).unwrap();
        assert_eq!((again.bytes(), again.initialized), (bytes.clone(), true));
        for cut in 0..bytes.len() {
            assert!(Saved::parse(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(Saved::parse(&[&bytes[..], &[0]].concat()).is_err());
        for (at, byte) in [(0, 2), (1, 2), (13, 1), (14, 9)] {
            let mut bad = bytes.clone();
            bad[at] = byte;
            assert!(Saved::parse(&bad).is_err(), "{at}");
        }
    }
}
