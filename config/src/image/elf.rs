//! The ELF in an image: its program headers and notes, nothing else.

use std::ops::Range;

use object::LittleEndian as LE;
use object::elf::{self, FileHeader64, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader};

use super::{BadImage, Manifest, NOTE_FORMAT, NOTE_MANIFEST, NOTE_OWNER, PAGE};
use crate::packed;
use crate::payload::{self, Hash};

/// The most program headers that are read.
const MAX_SEGMENTS: usize = 64;

/// What a segment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// Bytes that are loaded into the guest's memory.
    Load,
    /// Notes, for whoever reads the file.
    Note,
}

/// A program header whose bytes are known to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// What it is for.
    pub kind: SegmentKind,
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// Its virtual address.
    pub vaddr: u64,
    /// Its physical address.
    pub paddr: u64,
    /// Bytes in the file.
    pub filesz: u64,
    /// Bytes in memory: `filesz` or more, the rest is zero.
    pub memsz: u64,
    /// `PF_R`, `PF_W`, `PF_X`.
    pub flags: u32,
    /// Its alignment.
    pub align: u64,
}

impl Segment {
    /// Where its bytes are in the file.
    pub fn file_range(&self) -> Range<usize> {
        self.offset as usize..(self.offset + self.filesz) as usize
    }

    /// Whether it is loaded there, and holds nothing but its bytes.
    fn lies_at(&self, address: u64) -> bool {
        self.begins_at(address) && self.memsz == self.filesz
    }

    /// Whether it is loaded there.
    fn begins_at(&self, address: u64) -> bool {
        self.kind == SegmentKind::Load && self.paddr == address
    }

    /// Its flags as people write them, such as `r-x`.
    pub fn mode(&self) -> String {
        [(elf::PF_R, 'r'), (elf::PF_W, 'w'), (elf::PF_X, 'x')]
            .map(|(bit, c)| if self.flags & bit.0 != 0 { c } else { '-' })
            .iter()
            .collect()
    }
}

/// The segments of an image, by what they are for.
#[derive(Clone, Copy, Debug)]
pub struct Split<'s> {
    /// The kernel's, its notes and the manifest's.
    pub kernel: &'s [Segment],
    /// The payload's.
    pub payload: &'s Segment,
    /// That of the modules' native code.
    pub code: Option<&'s Segment>,
}

/// An ELF with the segments that concern us.
#[derive(Debug)]
pub struct Elf<'a> {
    /// The bytes it was read from.
    pub bytes: &'a [u8],
    /// The entry point in the header.
    pub entry: u64,
    /// Loadable segments and notes, in the order of the program headers.
    pub segments: Vec<Segment>,
}

fn headers(bytes: &[u8]) -> Result<(&FileHeader64<LE>, &[ProgramHeader64<LE>]), String> {
    let header = FileHeader64::<LE>::parse(bytes).map_err(|e| e.to_string())?;
    let endian = header.endian().map_err(|e| e.to_string())?;
    if header.e_machine(endian) != elf::EM_X86_64 {
        return Err("it is an ELF of another machine".into());
    }
    let segments = header.program_headers(endian, bytes).map_err(|e| e.to_string())?;
    Ok((header, segments))
}

impl<'a> Elf<'a> {
    /// Reads an ELF's headers and checks that all its segments are there.
    pub fn parse(bytes: &'a [u8]) -> Result<Elf<'a>, BadImage> {
        let (header, all) = headers(bytes).map_err(BadImage::Elf)?;
        if all.len() > MAX_SEGMENTS {
            return Err(BadImage::Elf(format!("{} program headers are too many", all.len())));
        }
        let mut segments = Vec::new();
        for p in all {
            let kind = match p.p_type(LE) {
                elf::PT_LOAD => SegmentKind::Load,
                elf::PT_NOTE => SegmentKind::Note,
                _ => continue,
            };
            let s = Segment {
                kind,
                offset: p.p_offset(LE),
                vaddr: p.p_vaddr(LE),
                paddr: p.p_paddr(LE),
                filesz: p.p_filesz(LE),
                memsz: p.p_memsz(LE),
                flags: p.p_flags(LE).0,
                align: p.p_align(LE),
            };
            let place = |what| format!("the segment at file offset {:#x} {what}", s.offset);
            let end = s.offset.checked_add(s.filesz);
            if end.is_none_or(|end| end > bytes.len() as u64) {
                return Err(BadImage::Elf(place("goes on beyond the end of the file")));
            }
            if s.kind == SegmentKind::Load && s.memsz < s.filesz {
                return Err(BadImage::Elf(place("has more bytes in the file than in memory")));
            }
            if s.paddr.checked_add(s.memsz).is_none() || s.vaddr.checked_add(s.memsz).is_none() {
                return Err(BadImage::Elf(place("ends beyond the last address")));
            }
            segments.push(s);
        }
        Ok(Elf { bytes, entry: header.e_entry(LE), segments })
    }

    /// Where the last segment of a file ends by its headers, be it there or not.
    pub(super) fn extent(bytes: &[u8]) -> Option<u64> {
        let (_, all) = headers(bytes).ok()?;
        all.iter().filter_map(|p| p.p_offset(LE).checked_add(p.p_filesz(LE))).max()
    }

    /// The bytes of a segment in the file.
    pub fn data(&self, segment: &Segment) -> &'a [u8] {
        &self.bytes[segment.file_range()]
    }

    /// The loadable segments.
    pub fn loads(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|s| s.kind == SegmentKind::Load)
    }

    /// The first 4 KiB boundary behind these segments in memory: where a payload goes.
    pub fn end<'s>(segments: impl Iterator<Item = &'s Segment>) -> Option<u64> {
        let end = segments.map(|s| s.paddr.saturating_add(s.memsz)).max()?;
        end.checked_next_multiple_of(PAGE)
    }

    /// Splits the kernel's segments from the payload's, behind all of them, and from
    /// the native code's behind that, where there is one.
    pub fn split(&self) -> Result<Split<'_>, BadImage> {
        let bad = |what: &str| BadImage::Elf(what.into());
        let (last, rest) = self.segments.split_last().ok_or_else(|| bad("it has no segments"))?;
        let (code, payload, kernel) = match rest.split_last() {
            Some((payload, kernel)) if self.data(last).starts_with(&packed::MAGIC) => {
                (Some(last), payload, kernel)
            }
            _ => (None, last, rest),
        };
        let loads = kernel.iter().filter(|s| s.kind == SegmentKind::Load);
        let wanted = Elf::end(loads).ok_or_else(|| bad("it has no kernel"))?;
        if !payload.lies_at(wanted) {
            return Err(bad(&format!("no payload segment at {wanted:#x}, behind the kernel")));
        }
        let behind = Elf::end([payload].into_iter());
        if code.is_some_and(|c| !behind.is_some_and(|at| c.begins_at(at))) {
            return Err(bad("the code segment does not lie behind the payload"));
        }
        Ok(Split { kernel, payload, code })
    }

    /// Every note with our name, by type.
    fn notes(&self, wanted: u32) -> Vec<(u64, &'a [u8])> {
        let Ok((_, all)) = headers(self.bytes) else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for p in all {
            let Ok(Some(mut notes)) = p.notes(LE, self.bytes) else {
                continue;
            };
            while let Ok(Some(note)) = notes.next() {
                if note.name() == NOTE_OWNER && note.n_type(LE).0 == wanted {
                    out.push((p.p_offset(LE), note.desc()));
                }
            }
        }
        out
    }

    /// Whether the kernel reads the payload format that this crate writes.
    pub fn check_format(&self) -> Result<(), BadImage> {
        match self.notes(NOTE_FORMAT)[..] {
            [(_, &[a, b, c, d])] => match u32::from_le_bytes([a, b, c, d]) {
                payload::FORMAT => Ok(()),
                kernel => Err(BadImage::PayloadFormat { kernel, ours: payload::FORMAT }),
            },
            _ => Err(BadImage::Elf("its kernel has no note Atoll of type 1 with 4 bytes".into())),
        }
    }

    /// The manifest in the notes.
    pub(super) fn manifest(&self) -> Result<Manifest, BadImage> {
        match self.notes(NOTE_MANIFEST)[..] {
            [(_, json)] => Manifest::from_json(json).map_err(BadImage::Manifest),
            [] => Err(BadImage::Manifest("it is missing".into())),
            _ => Err(BadImage::Manifest("there are several".into())),
        }
    }

    /// Where the manifest's segment begins in the file; 0 when there is none.
    pub(super) fn manifest_offset(&self) -> u64 {
        self.notes(NOTE_MANIFEST).first().map_or(0, |(at, _)| *at)
    }

    /// The hash of a kernel: its entry, and each loadable segment's place and bytes.
    pub fn kernel_hash(&self, kernel: &[Segment]) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.entry.to_le_bytes());
        for s in kernel.iter().filter(|s| s.kind == SegmentKind::Load) {
            for n in [s.vaddr, s.paddr, s.filesz, s.memsz, u64::from(s.flags)] {
                hasher.update(&n.to_le_bytes());
            }
            hasher.update(self.data(s));
        }
        Hash(*hasher.finalize().as_bytes())
    }
}
