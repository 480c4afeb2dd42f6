//! The floor: the least kernel that can show that it runs.
//!
//! An ELF of 200 bytes with a PVH entry (an ELF note of owner `Xen`, type 18, that
//! holds the 32-bit entry's address). Its code writes one byte to the debug port
//! and halts. What a virtual machine costs before that byte, it costs for everyone.

/// The byte that it writes.
pub const SIGN: u8 = b'.';

/// Where it is loaded.
const BASE: u64 = 0x10_0000;
const HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;
const NOTE: u64 = HEADER + 2 * PROGRAM_HEADER;
const NOTE_LEN: u64 = 20;
const CODE: u64 = NOTE + NOTE_LEN;

/// 32-bit code: `mov al, SIGN; out 0xe9, al; cli; 1: hlt; jmp 1b`.
const TEXT: [u8; 8] = [0xb0, SIGN, 0xe6, 0xe9, 0xfa, 0xf4, 0xeb, 0xfd];

/// The kernel's ELF.
pub fn elf() -> Vec<u8> {
    let size = CODE + TEXT.len() as u64;
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    half(&mut out, &[2, 62]); // ET_EXEC, EM_X86_64
    word(&mut out, &[1]);
    long(&mut out, &[BASE + CODE, HEADER, 0]);
    word(&mut out, &[0]);
    half(&mut out, &[HEADER as u16, PROGRAM_HEADER as u16, 2, 64, 0, 0]);
    word(&mut out, &[1, 5]); // PT_LOAD, readable and executable
    long(&mut out, &[0, BASE, BASE, size, size, 4096]);
    word(&mut out, &[4, 4]); // PT_NOTE, readable
    long(&mut out, &[NOTE, BASE + NOTE, BASE + NOTE, NOTE_LEN, NOTE_LEN, 4]);
    word(&mut out, &[4, 4, 18]); // lengths of name and value, XEN_ELFNOTE_PHYS32_ENTRY
    out.extend_from_slice(b"Xen\0");
    word(&mut out, &[(BASE + CODE) as u32]);
    out.extend_from_slice(&TEXT);
    out
}

fn half(out: &mut Vec<u8>, values: &[u16]) {
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
}

fn word(out: &mut Vec<u8>, values: &[u32]) {
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
}

fn long(out: &mut Vec<u8>, values: &[u64]) {
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_lead_to_the_code() {
        let elf = elf();
        assert_eq!(elf.len() as u64, CODE + TEXT.len() as u64);
        let entry = u64::from_le_bytes(elf[24..32].try_into().unwrap());
        assert_eq!(&elf[(entry - BASE) as usize..], TEXT);
        let note = &elf[NOTE as usize..CODE as usize];
        assert_eq!(&note[12..16], b"Xen\0");
        assert_eq!(u32::from_le_bytes(note[16..].try_into().unwrap()), entry as u32);
    }
}
