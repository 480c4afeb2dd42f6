//! What a kernel is, as far as it has to be known before a machine is made for it.
//!
//! - Linux: "The Linux/x86 Boot Protocol": 0x55aa at 0x1fe, `HdrS` at 0x202.
//! - PVH: an ELF program with a note `XEN_ELFNOTE_PHYS32_ENTRY` (18) of the owner `Xen`
//!   (Xen, docs/misc/pvh.pandoc and public/elfnote.h).

use object::LittleEndian as LE;
use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use serde::{Deserialize, Serialize};

/// What a kernel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Linux, packed as its boot protocol has it (bzImage).
    Linux,
    /// An ELF program with a PVH entry.
    Pvh,
}

/// The note that has the PVH entry, and whose it is.
const PHYS32_ENTRY: (&[u8], u32) = (b"Xen", 18);

/// Finds out what a kernel is.
pub(super) fn kind(kernel: &[u8]) -> Result<Kind, &'static str> {
    if kernel.get(0x1fe..0x200) == Some(&[0x55, 0xaa]) && kernel.get(0x202..0x206) == Some(b"HdrS")
    {
        return Ok(Kind::Linux);
    }
    match kernel.get(..4) {
        Some(b"\x7fELF") if is_pvh(kernel) => Ok(Kind::Pvh),
        Some(b"\x7fELF") => Err("an ELF program without a PVH entry: no machine here starts it"),
        _ => Err("neither a Linux kernel (bzImage) nor an ELF program with a PVH entry"),
    }
}

fn is_pvh(elf: &[u8]) -> bool {
    let wide = has_entry::<FileHeader64<LE>>(elf);
    wide.or_else(|_| has_entry::<FileHeader32<LE>>(elf)).unwrap_or(false)
}

/// Whether a program has the note. An error where it is no program of this kind.
fn has_entry<E: FileHeader<Endian = LE>>(elf: &[u8]) -> object::read::Result<bool> {
    let header = E::parse(elf)?;
    for segment in header.program_headers(LE, elf)? {
        let Some(notes) = segment.notes(LE, elf)? else { continue };
        for note in notes {
            let note = note?;
            if (note.name(), note.n_type(LE).0) == PHYS32_ENTRY {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_apart() {
        assert!(kind(b"").is_err() && kind(b"#!/bin/sh").is_err());
        assert!(kind(b"\x7fELF").unwrap_err().contains("PVH"));
        // This test is an ELF program, and no kernel.
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(kind(&own).unwrap_err().contains("without a PVH entry"));
        for cut in (0..4096).step_by(7) {
            assert!(kind(&own[..cut]).is_err());
        }
    }

    fn note(owner: &[u8], ty: u32, what: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for n in [owner.len() as u32, what.len() as u32, ty] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        for part in [owner, what] {
            out.extend_from_slice(part);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    /// A program of 64 bits, or of 32, with one segment of notes and nothing else.
    fn program(wide: bool, notes: &[u8]) -> Vec<u8> {
        let (class, size, entry) = if wide { (2, 64u16, 56u16) } else { (1, 52, 32) };
        let mut out = vec![0x7f, b'E', b'L', b'F', class, 1, 1];
        out.resize(16, 0);
        let put = |out: &mut Vec<u8>, n: u64, len: usize| out.extend(&n.to_le_bytes()[..len]);
        let word = if wide { 8 } else { 4 };
        // Type, machine, version; entry, program headers, section headers; flags; sizes.
        let parts = [(2, 2), (62, 2), (1, 4), (0, word), (size.into(), word), (0, word), (0, 4)];
        parts.iter().for_each(|(n, len)| put(&mut out, *n, *len));
        for n in [size, entry, 1, 0, 0, 0] {
            put(&mut out, n.into(), 2);
        }
        let (at, len) = (u64::from(size + entry), notes.len() as u64);
        let segment = if wide {
            vec![(4, 4), (4, 4), (at, 8), (0, 8), (0, 8), (len, 8), (len, 8), (4, 8)]
        } else {
            vec![(4, 4), (at, 4), (0, 4), (0, 4), (len, 4), (len, 4), (4, 4), (4, 4)]
        };
        segment.iter().for_each(|(n, len)| put(&mut out, *n, *len));
        out.extend_from_slice(notes);
        out
    }

    #[test]
    fn a_note_is_found_behind_others() {
        let other = note(b"GNU\0", 18, &[1; 21]);
        let entry = note(b"Xen\0", 18, &[0; 8]);
        for wide in [true, false] {
            let is = |notes: &[u8]| kind(&program(wide, notes)).is_ok();
            assert!(is(&entry) && is(&[other.clone(), entry.clone()].concat()));
            assert!(!is(&other) && !is(&[]) && !is(&entry[..11]));
            assert!(!is(&note(b"Xen\0", 1, &[0; 4])) && !is(&[0xff; 64]));
            let whole = program(wide, &entry);
            for cut in 0..whole.len() {
                assert!(kind(&whole[..cut]).is_err(), "{cut}");
            }
        }
    }
}
