//! Adds the tripwire to a module before it is compiled: a function that only traps.
//!
//! A watchdog that finds an atom's code running too long lets the machine go on at
//! the tripwire, so that the code traps where the runtime knows that it can. The
//! function is the module's last; nothing calls it, and it moves no index. What is
//! compiled differs by it from the canonical Wasm, which stays as it is.

use alloc::vec::Vec;

const TYPE: u8 = 1;
const FUNCTION: u8 = 3;
const CODE: u8 = 10;
/// `() -> ()`.
const NOTHING: [u8; 3] = [0x60, 0, 0];
/// No locals; `unreachable`; `end`.
const BODY: [u8; 4] = [3, 0, 0, 0x0b];

/// The module with one more function. None where it has no functions at all, or is
/// no module.
pub(crate) fn with_tripwire(wasm: &[u8]) -> Option<Vec<u8>> {
    let (header, mut rest) = wasm.split_at_checked(8)?;
    let mut out = Vec::with_capacity(wasm.len() + 16);
    out.extend_from_slice(header);
    let mut types = None;
    let mut done = 0;
    while let Some((&id, tail)) = rest.split_first() {
        let (size, tail) = number(tail)?;
        let (body, tail) = tail.split_at_checked(size as usize)?;
        rest = tail;
        let new: &[u8] = match id {
            TYPE => {
                types = Some(number(body)?.0);
                &NOTHING
            }
            FUNCTION => &leb(types?),
            CODE => &BODY,
            _ => {
                section(&mut out, id, &[body]);
                continue;
            }
        };
        let (count, entries) = number(body)?;
        section(&mut out, id, &[&leb(count.checked_add(1)?), entries, new]);
        done += 1;
    }
    (done == 3).then_some(out)
}

fn section(out: &mut Vec<u8>, id: u8, parts: &[&[u8]]) {
    let size: usize = parts.iter().map(|p| p.len()).sum();
    out.push(id);
    out.extend(leb(size as u32));
    parts.iter().for_each(|p| out.extend_from_slice(p));
}

/// A number in LEB128, and what follows.
fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some((u32::try_from(value).ok()?, bytes.get(i + 1..)?));
        }
    }
    None
}

fn leb(mut value: u32) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for n in [0, 1, 127, 128, 16_383, 16_384, u32::MAX] {
            let mut bytes = leb(n);
            bytes.push(9);
            assert_eq!(number(&bytes), Some((n, &[9][..])));
            bytes.truncate(bytes.len() - 2);
            assert_eq!(number(&bytes), None);
        }
    }

    #[test]
    fn a_module_cut_anywhere_gives_nothing_or_a_shorter_module() {
        let wasm = wat::parse_str("(module (memory 1) (func) (func unreachable))").unwrap();
        let more = with_tripwire(&wasm).unwrap();
        assert!(more.ends_with(&BODY));
        for cut in 0..wasm.len() {
            assert_eq!(with_tripwire(&wasm[..cut]), None);
        }
    }
}
