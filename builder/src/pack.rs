//! A kernel, packed: what an image carries.
//!
//! Machine code compresses by two fifths and more, and a small image is quicker to store,
//! send and check than a large one. The first bytes of a flavour stay as they are
//! (`.text.boot`, with the entry `pvh_unpack`); in what follows them, up to the end of
//! the data, calls and jumps are made to hold where they lead, and it becomes one LZ4
//! block. It is loaded to the end of the memory that the
//! kernel wants zeroed, where it is in nobody's way and takes no memory of its own;
//! the entry unpacks it and leaves zeroes (`unikernel/src/arch/boot.rs`).
//!
//! The result is an ELF like the flavour, so nothing else here knows of it.

use anyhow::{Context, Result, bail, ensure};
use atoll_config::image::{Elf, Segment, SegmentKind};
use lz4::block::CompressionMode;
use object::elf;
use object::read::elf::ElfFile64;
use object::{Object, ObjectSymbol};

use crate::assemble::{Piece, write};

/// The most that LZ4's format can be squeezed.
pub(crate) const LEVEL: i32 = 12;

/// The ELF note type of a PVH entry (Xen, `elfnote.h`, `XEN_ELFNOTE_PHYS32_ENTRY`).
const PHYS32_ENTRY: u32 = 18;

/// Bytes that unpacking may write, and clears, behind the end of the data.
const OVERRUN: u64 = 64;

/// Packs a flavour.
pub fn pack(flavour: &[u8]) -> Result<Vec<u8>> {
    let file = ElfFile64::<object::LittleEndian>::parse(flavour).context("not an ELF")?;
    let symbol = |name: &str| {
        file.symbols()
            .find(|s| s.name() == Ok(name))
            .map(|s| s.address())
            .with_context(|| format!("the kernel has no symbol {name}"))
    };
    let (start, packed) = (symbol("__text")?, symbol("__packed")?);
    let (zero, end, rodata) = (symbol("__zero")?, symbol("_end")?, symbol("__rodata")?);
    let entry = symbol("pvh_unpack")?;
    let elf = Elf::parse(flavour)?;
    let memory = memory(&elf, start, zero)?;
    let (boot, rest) = memory.split_at((packed - start) as usize);
    let boot = boot
        .get(..(symbol("__boot_end")? - start) as usize)
        .context("the kernel's entry does not lie before the packed part")?;
    let mut led = rest.to_vec();
    let code = (rodata - packed) as usize;
    lead(&mut led, code, packed as u32, Lead::To);
    let mode = Some(CompressionMode::HIGHCOMPRESSION(LEVEL));
    let mut block = lz4::block::compress(&led, mode, false)?;
    let mut back = lz4::block::decompress(&block, Some(led.len() as i32))?;
    lead(&mut back, code, packed as u32, Lead::Far);
    ensure!(back == rest, "packing does not give back what it took");
    // No match lies 0 bytes before: that is how the entry sees the end.
    block.extend_from_slice(&[0; 2]);
    let len = block.len() as u64;
    let at = (end - 4 - len) & !3;
    if at < zero + OVERRUN {
        bail!("the packed kernel of {len} bytes does not fit into the memory that it clears");
    }
    let mut tail = block;
    tail.resize((end - 4 - at) as usize, 0);
    tail.extend_from_slice(&(len as u32).to_le_bytes());

    let load = |vaddr, bytes: &[u8], until: u64, flags| Segment {
        kind: SegmentKind::Load,
        offset: 0,
        vaddr,
        paddr: vaddr,
        filesz: bytes.len() as u64,
        memsz: until - vaddr,
        flags,
        align: 4,
    };
    let notes: Vec<(Segment, Vec<u8>)> = elf
        .segments
        .iter()
        .filter(|s| s.kind == SegmentKind::Note)
        .map(|s| Ok((*s, enter_at(elf.data(s), entry as u32)?)))
        .collect::<Result<_>>()?;
    let mut pieces = vec![
        Piece::new(load(start, boot, at, elf::PF_R.0 | elf::PF_X.0), boot),
        Piece::new(load(at, &tail, end, elf::PF_R.0 | elf::PF_W.0), &tail),
    ];
    pieces.extend(
        notes.iter().map(|(s, bytes)| Piece::new(Segment { vaddr: 0, paddr: 0, ..*s }, bytes)),
    );
    Ok(write(entry, &mut pieces, &[]))
}

/// What calls and jumps hold.
enum Lead {
    /// How far it is, as the machine wants it.
    Far,
    /// Where they lead.
    To,
}

/// Makes the calls and jumps (e8, e9) in the first `len` bytes of what will lie at `at`
/// hold one or the other: all calls of a function are then the same bytes. They keep
/// 25 bits with a sign, the lowest three bytes in the order in which they are written
/// where they are targets. Where the highest byte is neither 0 nor 255 they stay.
fn lead(memory: &mut [u8], len: usize, at: u32, hold: Lead) {
    let mut i = 0;
    while i + 5 <= len {
        i += 1;
        if memory[i - 1] & 0xfe != 0xe8 {
            continue;
        }
        i += 4;
        let [a, b, c, high @ (0 | 0xff)] = memory[i - 4..i] else { continue };
        let next = at.wrapping_add(i as u32);
        let bytes = match hold {
            Lead::To => {
                let to = u32::from_le_bytes([a, b, c, high]).wrapping_add(next);
                let [a, b, c, high] = signed(to).to_le_bytes();
                [c, b, a, high]
            }
            Lead::Far => {
                let far = u32::from_le_bytes([c, b, a, high]).wrapping_sub(next);
                signed(far).to_le_bytes()
            }
        };
        memory[i - 4..i].copy_from_slice(&bytes);
    }
}

/// A number of 25 bits, the highest of which is its sign.
fn signed(n: u32) -> u32 {
    ((n << 7) as i32 >> 7) as u32
}

/// A kernel's memory as a loader would leave it, from one address to another.
fn memory(elf: &Elf<'_>, from: u64, to: u64) -> Result<Vec<u8>> {
    let mut memory =
        vec![0; to.checked_sub(from).context("the kernel's symbols are out of order")? as usize];
    for s in elf.loads() {
        let at = s.paddr.checked_sub(from).context("a segment lies before the kernel")? as usize;
        memory
            .get_mut(at..at + s.filesz as usize)
            .context("a segment lies behind the kernel's data")?
            .copy_from_slice(elf.data(s));
    }
    Ok(memory)
}

/// The notes, with another PVH entry. A note is three words (length of the owner,
/// length of the description, type) and both of these, each padded to a word.
fn enter_at(notes: &[u8], entry: u32) -> Result<Vec<u8>> {
    let mut out = notes.to_vec();
    let mut at = 0;
    while at + 12 <= out.len() {
        let word = |i: usize| u32::from_le_bytes([out[i], out[i + 1], out[i + 2], out[i + 3]]);
        let (owner, desc, kind) = (word(at) as usize, word(at + 4) as usize, word(at + 8));
        let desc_at = at + 12 + owner.next_multiple_of(4);
        if kind == PHYS32_ENTRY && (4..=8).contains(&desc) && out.len() >= desc_at + desc {
            // The description may be as wide as an address; its upper half is 0.
            out[desc_at..desc_at + 4].copy_from_slice(&entry.to_le_bytes());
            return Ok(out);
        }
        at = desc_at + desc.next_multiple_of(4);
    }
    bail!("the kernel has no note that says where it is entered")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_one_function_are_the_same_bytes_and_come_back() {
        // call 0x100020, call 0x100020, jmp 0x100000; the last one is cut off.
        let code = b"\xe8\x1b\0\0\0\x90\xe8\x15\0\0\0\xe9\xf0\xff\xff\xff\xe8\0\0\0";
        let mut packed = code.to_vec();
        lead(&mut packed, code.len(), 0x10_0000, Lead::To);
        assert_eq!(packed, b"\xe8\x10\0\x20\0\x90\xe8\x10\0\x20\0\xe9\x10\0\0\0\xe8\0\0\0");
        lead(&mut packed, code.len(), 0x10_0000, Lead::Far);
        assert_eq!(packed, code);
    }

    #[test]
    fn any_bytes_come_back() {
        let mut seed = 1u32;
        for round in 0..2000 {
            let mut next = |most: u32| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 8) % most
            };
            let len = next(64) as usize;
            // Mostly what is looked for.
            let sort = [0xe8, 0xe9, 0, 0xff, 0x10];
            let any = |n: u32| if n < 16 { sort[n as usize % 5] } else { n as u8 };
            let bytes: Vec<u8> = (0..len).map(|_| any(next(24))).collect();
            let code = next(len as u32 + 1) as usize;
            let at = next(1 << 24);
            let mut packed = bytes.clone();
            lead(&mut packed, code, at, Lead::To);
            assert_eq!(packed[code..], bytes[code..]);
            lead(&mut packed, code, at, Lead::Far);
            assert_eq!(packed, bytes, "round {round}");
        }
    }
}
