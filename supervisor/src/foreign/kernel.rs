//! What a kernel is, as far as it has to be known before a machine is made for it.
//!
//! - Linux: "The Linux/x86 Boot Protocol": 0x55aa at 0x1fe, `HdrS` at 0x202.
//! - PVH: an ELF program with a note `XEN_ELFNOTE_PHYS32_ENTRY` (18) of the owner `Xen`
//!   (Xen, docs/misc/pvh.pandoc and public/elfnote.h).

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

/// The segment type of notes.
const PT_NOTE: u32 = 4;
/// The note that has the PVH entry.
const PHYS32_ENTRY: u32 = 18;
/// Segments that are looked at.
const MAX_SEGMENTS: usize = 256;

/// Finds out what a kernel is.
pub(super) fn kind(kernel: &[u8]) -> Result<Kind, &'static str> {
    if kernel.get(0x1fe..0x200) == Some(&[0x55, 0xaa]) && kernel.get(0x202..0x206) == Some(b"HdrS")
    {
        return Ok(Kind::Linux);
    }
    match kernel.get(..4) {
        Some(b"\x7fELF") if has_entry(kernel) == Some(true) => Ok(Kind::Pvh),
        Some(b"\x7fELF") => Err("an ELF program without a PVH entry: no machine here starts it"),
        _ => Err("neither a Linux kernel (bzImage) nor an ELF program with a PVH entry"),
    }
}

fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(b.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(b.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// An offset or a size: eight bytes, or four in a program of 32 bits.
fn word_at(b: &[u8], at: usize, wide: bool) -> Option<usize> {
    if wide {
        let bytes = b.get(at..at.checked_add(8)?)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    } else {
        usize::try_from(u32_at(b, at)?).ok()
    }
}

/// Whether an ELF program has the note; nothing where it is none.
fn has_entry(elf: &[u8]) -> Option<bool> {
    let (wide, little) = (*elf.get(4)? == 2, *elf.get(5)? == 1);
    if !little {
        return None;
    }
    // ELF64: e_phoff 32, e_phentsize 54, e_phnum 56; p_offset 8, p_filesz 32.
    // ELF32: e_phoff 28, e_phentsize 42, e_phnum 44; p_offset 4, p_filesz 16.
    let (table, sizes) = if wide { (32, 54) } else { (28, 42) };
    let (offset_at, len_at) = if wide { (8, 32) } else { (4, 16) };
    let table = word_at(elf, table, wide)?;
    let (size, count) = (u16_at(elf, sizes)?, u16_at(elf, sizes + 2)?);
    for i in 0..usize::from(count).min(MAX_SEGMENTS) {
        let at = table.checked_add(i.checked_mul(usize::from(size))?)?;
        if u32_at(elf, at)? != PT_NOTE {
            continue;
        }
        let offset = word_at(elf, at.checked_add(offset_at)?, wide)?;
        let len = word_at(elf, at.checked_add(len_at)?, wide)?;
        if in_notes(elf.get(offset..offset.checked_add(len)?)?) {
            return Some(true);
        }
    }
    Some(false)
}

/// Whether the note is among these.
fn in_notes(mut notes: &[u8]) -> bool {
    while let (Some(name_len), Some(len), Some(ty)) =
        (u32_at(notes, 0), u32_at(notes, 4), u32_at(notes, 8))
    {
        if ty == PHYS32_ENTRY && notes.get(12..16) == Some(b"Xen\0") && name_len == 4 {
            return true;
        }
        let padded = |n: u32| (n as usize).checked_next_multiple_of(4);
        let next = padded(name_len)
            .zip(padded(len))
            .and_then(|(name, len)| 12usize.checked_add(name)?.checked_add(len));
        match next.and_then(|at| notes.get(at..)) {
            Some(rest) => notes = rest,
            None => return false,
        }
    }
    false
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

    #[test]
    fn a_note_is_found_behind_others() {
        let note = |owner: &[u8], ty: u32, what: &[u8]| {
            let mut out = Vec::new();
            for n in [owner.len() as u32, what.len() as u32, ty] {
                out.extend_from_slice(&n.to_le_bytes());
            }
            for part in [owner, what] {
                out.extend_from_slice(part);
                out.resize(out.len().next_multiple_of(4), 0);
            }
            out
        };
        let other = note(b"GNU\0", PHYS32_ENTRY, &[1; 21]);
        let entry = note(b"Xen\0", PHYS32_ENTRY, &[0; 8]);
        assert!(in_notes(&[other.clone(), entry.clone()].concat()));
        assert!(!in_notes(&other) && !in_notes(&[]) && !in_notes(&entry[..11]));
        assert!(!in_notes(&note(b"Xen\0", 1, &[0; 4])));
        assert!(!in_notes(&[0xff; 64]));
    }
}
