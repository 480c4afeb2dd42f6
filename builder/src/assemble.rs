//! Kernel flavour + payload + native code → image, a pure function of bytes.
//!
//! The layout is [`atoll_config::image`]'s. Segments keep their addresses and
//! lose their page alignment in the *file*: nobody maps an image, loaders copy
//! it, and four times half a page is a tenth of a small image.

use atoll_config::code::{BadCode, Code};
use atoll_config::image::{
    self, BadImage, Elf, Image, Manifest, NOTE_MANIFEST, NOTE_OWNER, Platform, Segment, SegmentKind,
};
use atoll_config::packed::{self, Lengths};
use atoll_config::payload::{Payload, Sealed};
use atoll_config::text::show_size;
use lz4::block::CompressionMode;
use object::elf;

use crate::{atoms, pack};

/// What a guest's machine needs beside kernel, payload and budget, in bytes: the
/// heap of components and runtime.
pub const LEAST_HEAP: u64 = 128 << 10;

/// Alignment of segments in the file.
const FILE_ALIGN: u64 = 16;
const HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;

/// Why a kernel and a payload do not become an image.
#[derive(Debug, thiserror::Error)]
pub enum BadKernel {
    /// The flavour is no ELF that we can use.
    #[error("the kernel cannot be used: {0}")]
    Elf(#[from] BadImage),
    /// The guest is larger than its machine.
    #[error(
        "too little memory: kernel, payload and native code end at {end:#x}, and the guest needs {need} bytes \
         behind them, but has {memory} in all; raise [guest] memory to \"{least}\" or more"
    )]
    Memory {
        /// Where the last of them ends.
        end: u64,
        /// Bytes of budget and heap.
        need: u64,
        /// Bytes of the guest's machine.
        memory: u64,
        /// The least that would do, rounded up, as a configuration says it.
        least: String,
    },
    /// Its atoms begin with more than it may use.
    #[error(
        "too small a budget: the memories of its atoms begin with {atoms} bytes, and its sponsor pays {memory}; \
         raise [sponsor] memory, or [guest] memory"
    )]
    Budget {
        /// Bytes of the atoms' memories.
        atoms: u64,
        /// Bytes that the sponsor pays.
        memory: u64,
    },
}

/// One piece of the file: a program header and its bytes, or just a header
/// whose bytes lie in another piece.
pub(crate) struct Piece<'a> {
    segment: Segment,
    bytes: &'a [u8],
    inside: Option<usize>,
}

impl<'a> Piece<'a> {
    /// A segment with bytes of its own.
    pub(crate) fn new(segment: Segment, bytes: &'a [u8]) -> Piece<'a> {
        Piece { segment, bytes, inside: None }
    }
}

/// Makes the image, with the sealed code of the payload's modules, and reads it back before anyone else does.
pub fn assemble(
    kernel: &[u8],
    payload: &Payload<'_>,
    code: Option<&[u8]>,
    platforms: &[Platform],
) -> Result<Image, BadKernel> {
    let elf = Elf::parse(kernel)?;
    elf.check_format()?;
    let base = Elf::end(elf.loads()).ok_or_else(|| BadImage::Elf("it has no segments".into()))?;
    let sealed = payload.seal();
    let payload_end = base + sealed.len() as u64;
    let code_at = payload_end.next_multiple_of(image::PAGE);
    let packed = code.map(packed_code).transpose()?;
    fits(payload, packed.as_ref().map_or(payload_end, |(_, memory)| code_at + memory))?;
    let hash = Sealed::parse(&sealed).map_err(BadImage::from)?.hash;
    let kernel_hash = elf.kernel_hash(&elf.segments);
    let native = code.map(Code::parse).transpose().map_err(BadImage::from)?;
    let platforms = platforms.to_vec();
    let manifest = Manifest::of(payload, hash, native.as_ref(), kernel_hash, platforms);
    let note = note(NOTE_MANIFEST, &manifest.to_json());

    let mut pieces: Vec<Piece<'_>> = Vec::new();
    for s in &elf.segments {
        let within = |l: &&Segment| {
            l.kind == SegmentKind::Load
                && l.offset <= s.offset
                && s.offset + s.filesz <= l.offset + l.filesz
        };
        let inside = match s.kind {
            SegmentKind::Note => elf.segments.iter().position(|l| within(&l)),
            SegmentKind::Load => None,
        };
        pieces.push(Piece { segment: *s, bytes: elf.data(s), inside });
    }
    let of = |kind, addr, bytes: &[u8], align| Segment {
        kind,
        offset: 0,
        vaddr: addr,
        paddr: addr,
        filesz: bytes.len() as u64,
        memsz: if kind == SegmentKind::Load { bytes.len() as u64 } else { 0 },
        flags: elf::PF_R.0,
        align,
    };
    pieces.push(Piece::new(of(SegmentKind::Note, 0, &note, 4), &note));
    pieces.push(Piece::new(of(SegmentKind::Load, base, &sealed, image::PAGE), &sealed));

    if let Some((bytes, memory)) = &packed {
        let segment = of(SegmentKind::Load, code_at, bytes, image::PAGE);
        pieces.push(Piece::new(Segment { memsz: *memory, ..segment }, bytes));
    }

    let mut file = write(elf.entry, &mut pieces, &elf.segments);
    let trailer = image::seal(&file);
    file.extend_from_slice(&trailer);
    Ok(Image::parse(file)?)
}

/// The segment of sealed code, and the memory that it needs.
fn packed_code(code: &[u8]) -> Result<(Vec<u8>, u64), BadImage> {
    let mode = Some(CompressionMode::HIGHCOMPRESSION(pack::LEVEL));
    let block = lz4::block::compress(code, mode, false);
    let block = block.map_err(|_| BadCode::Length(code.len() as u32))?;
    let lengths = Lengths { code: code.len(), block: block.len() };
    let bytes = packed::segment(code.len(), &block).ok_or(BadCode::Length(code.len() as u32))?;
    Ok((bytes, lengths.memory() as u64))
}

fn fits(payload: &Payload<'_>, end: u64) -> Result<(), BadKernel> {
    // What atoms grow by is theirs to be refused; what they begin with must be there.
    let atoms = payload.components.iter().filter_map(|c| payload.modules.get(c.module? as usize));
    let atoms: u64 = atoms.map(|m| atoms::memory_at_start(m.wasm)).sum();
    if atoms > payload.budget.memory {
        return Err(BadKernel::Budget { atoms, memory: payload.budget.memory });
    }
    let need = payload.budget.memory + LEAST_HEAP;
    let all = end.saturating_add(need);
    if all <= payload.memory {
        return Ok(());
    }
    // The budget may grow with the memory; so the next quarter of a MiB above.
    let least = show_size((all + (all - end) / 8).next_multiple_of(256 << 10));
    Err(BadKernel::Memory { end, need, memory: payload.memory, least })
}

/// An ELF note.
fn note(kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&(NOTE_OWNER.len() as u32 + 1).to_le_bytes());
    out.extend_from_slice(&(desc.len() as u32).to_le_bytes());
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(NOTE_OWNER);
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(desc);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// Lays the pieces out and writes header, program headers and bytes.
pub(crate) fn write(entry: u64, pieces: &mut [Piece<'_>], original: &[Segment]) -> Vec<u8> {
    let mut at = HEADER + PROGRAM_HEADER * pieces.len() as u64;
    for p in pieces.iter_mut().filter(|p| p.inside.is_none()) {
        let align = p.segment.align.clamp(1, FILE_ALIGN);
        p.segment.align = align;
        // An ELF's offsets and addresses agree modulo the alignment.
        at = at.next_multiple_of(align) + p.segment.vaddr % align;
        p.segment.offset = at;
        at += p.segment.filesz;
    }
    for i in 0..pieces.len() {
        if let Some(load) = pieces[i].inside {
            let shift = original[i].offset - original[load].offset;
            pieces[i].segment.offset = pieces[load].segment.offset + shift;
        }
    }
    let mut out = header(entry, pieces.len() as u16);
    for p in pieces.iter() {
        out.extend_from_slice(&program_header(&p.segment));
    }
    for p in pieces.iter().filter(|p| p.inside.is_none()) {
        out.resize(p.segment.offset as usize, 0);
        out.extend_from_slice(p.bytes);
    }
    out
}

fn header(entry: u64, pieces: u16) -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    out.extend_from_slice(&elf::ET_EXEC.0.to_le_bytes());
    out.extend_from_slice(&elf::EM_X86_64.0.to_le_bytes());
    out.extend_from_slice(&1u32.to_le_bytes());
    for n in [entry, HEADER, 0] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    out.extend_from_slice(&0u32.to_le_bytes());
    for n in [HEADER as u16, PROGRAM_HEADER as u16, pieces, 64, 0, 0] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    out
}

fn program_header(s: &Segment) -> Vec<u8> {
    let kind = match s.kind {
        SegmentKind::Load => elf::PT_LOAD.0,
        SegmentKind::Note => elf::PT_NOTE.0,
    };
    let mut out = kind.to_le_bytes().to_vec();
    out.extend_from_slice(&s.flags.to_le_bytes());
    for n in [s.offset, s.vaddr, s.paddr, s.filesz, s.memsz, s.align] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    out
}
