//! An image file: one ELF that a hypervisor boots and a tender reads.
//!
//! ```text
//! ELF64 header and program headers (no sections)
//! PT_LOAD …   the kernel flavour's segments, as they were linked
//! PT_NOTE …   its notes: the PVH entry, and "Atoll" type 1, the payload format
//! PT_NOTE     "Atoll" type 2: the manifest, JSON
//! PT_LOAD     the sealed payload, at the first 4 KiB boundary behind the kernel
//! PT_LOAD     the modules' native code, packed, at the first 4 KiB boundary behind the
//!             payload; only where there are atoms. Its memory is what unpacking needs
//! trailer     44 bytes: "ATOLLIMG", image format (u32), BLAKE3 of all before it
//! ```
//!
//! Builder, tender and supervisor read images with this module and only with it.
//! All that it reads is a claim: sizes are checked before they are used, the
//! hashes of the file, the kernel, the payload, its modules and their native code are
//! recomputed, and the manifest must be exactly the one that follows from them. So who holds
//! an [`Image`] holds a whole and consistent one. (Whether it is to be *trusted*
//! is another question: a hash in a file proves no author.)

mod bad;
mod elf;
mod manifest;

use std::ops::Range;
use std::path::Path;

pub use bad::BadImage;
pub use elf::{Elf, Segment, SegmentKind, Split};
pub use manifest::{
    Abi, Import, Kind, Manifest, Module, Native, Platform, VERSION as MANIFEST_VERSION,
};

use crate::code::Code;
use crate::packed::{self, Lengths};
use crate::payload::{self, Hash, Payload, Sealed};
use crate::rules;

/// The image format that this crate reads and the builder writes.
pub const FORMAT: u32 = 3;
/// The first eight bytes of the trailer.
pub const MAGIC: [u8; 8] = *b"ATOLLIMG";
/// Bytes of the trailer.
pub const TRAILER: usize = 44;
/// The owner of our ELF notes.
pub const NOTE_OWNER: &[u8] = b"Atoll";
/// The type of the note with the payload format, in a kernel flavour.
pub const NOTE_FORMAT: u32 = 1;
/// The type of the note with the manifest.
pub const NOTE_MANIFEST: u32 = 2;
/// Alignment of the payload segment, in bytes.
pub const PAGE: u64 = 4096;
/// The largest image that is read, in bytes.
pub const MAX_IMAGE: u64 = 256 << 20;

/// An image, checked.
#[derive(Clone)]
pub struct Image {
    bytes: Vec<u8>,
    segments: Vec<Segment>,
    sealed: Range<usize>,
    /// The native code, unpacked.
    code: Option<Vec<u8>>,
    manifest: Manifest,
    hash: Hash,
}

impl Image {
    /// Reads and checks an image file.
    pub fn open(path: &Path) -> Result<Image, BadImage> {
        let failed =
            |e: std::io::Error| BadImage::Read { path: path.to_owned(), why: e.to_string() };
        let len = std::fs::metadata(path).map_err(failed)?.len();
        if len > MAX_IMAGE {
            return Err(BadImage::Large { bytes: len });
        }
        Image::parse(std::fs::read(path).map_err(failed)?)
    }

    /// Checks the bytes of an image file.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Image, BadImage> {
        let bytes = bytes.into();
        let (body, stated) = trailer(&bytes)?;
        let hash = Hash(*blake3::hash(body).as_bytes());
        if hash != stated {
            return Err(locate(body));
        }
        let elf = Elf::parse(body)?;
        elf.check_format()?;
        let Split { kernel, payload, code } = elf.split()?;
        let (sealed, value) = open_payload(body, payload)?;
        let unpacked = code.map(|c| unpacked(body, c)).transpose()?;
        let native = open_code(code.zip(unpacked.as_deref()), &value)?;
        let found = elf.manifest()?;
        let expected = Manifest::of(
            &value,
            Sealed::parse(&body[sealed.clone()])?.hash,
            native.as_ref(),
            elf.kernel_hash(kernel),
            found.platforms.clone(),
        );
        found.check_against(&expected)?;
        let last = code.unwrap_or(payload);
        let end = last.paddr.saturating_add(last.memsz);
        if end > value.memory {
            return Err(BadImage::Elf(format!(
                "its segments go on to address {end:#x}, beyond the guest's memory of {} bytes",
                value.memory
            )));
        }
        let segments = elf.segments;
        Ok(Image { bytes, segments, sealed, code: unpacked, manifest: found, hash })
    }

    /// What the image says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The payload in its wrapping.
    pub fn sealed(&self) -> Sealed<'_> {
        Sealed::parse(self.sealed_bytes()).expect("checked when the image was read")
    }

    /// The bytes of the sealed payload, header and all.
    pub fn sealed_bytes(&self) -> &[u8] {
        &self.bytes[self.sealed.clone()]
    }

    /// The payload.
    pub fn payload(&self) -> Payload<'_> {
        self.sealed().open().expect("checked when the image was read")
    }

    /// The native code of the payload's modules; None when there are no atoms.
    pub fn code(&self) -> Option<Code<'_>> {
        Some(Code::parse(self.code.as_ref()?).expect("checked when the image was read"))
    }

    /// The image hash: BLAKE3 of all bytes before the trailer.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The segments: the kernel's, the manifest's, the payload's, the code's.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image")
            .field("name", &self.manifest.name)
            .field("hash", &self.hash)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// The trailer of an image whose other bytes are `body`.
pub fn seal(body: &[u8]) -> [u8; TRAILER] {
    let mut out = [0; TRAILER];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    out[12..].copy_from_slice(blake3::hash(body).as_bytes());
    out
}

/// Splits a file into what is hashed and the hash.
fn trailer(bytes: &[u8]) -> Result<(&[u8], Hash), BadImage> {
    if !bytes.starts_with(b"\x7fELF") {
        return Err(BadImage::NoElf);
    }
    let end = bytes.len();
    // Where the segments go on beyond the end, that is the better news.
    let cut = || match Elf::extent(bytes) {
        // All segments and not a byte more is a kernel, or an image that lost
        // just its trailer.
        Some(n) if n != end as u64 && n.saturating_add(TRAILER as u64) > end as u64 => {
            BadImage::Truncated { at: end as u64, whole: n.saturating_add(TRAILER as u64) }
        }
        _ => BadImage::NoTrailer { at: end as u64 },
    };
    let (body, t) =
        end.checked_sub(TRAILER).and_then(|at| bytes.split_at_checked(at)).ok_or_else(cut)?;
    if t[..8] != MAGIC {
        return Err(cut());
    }
    let format = u32::from_le_bytes([t[8], t[9], t[10], t[11]]);
    if format != FORMAT {
        return Err(BadImage::Format { found: format });
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(&t[12..]);
    Ok((body, Hash(hash)))
}

/// Says as well as possible which part of a damaged file is damaged.
fn locate(body: &[u8]) -> BadImage {
    let damaged = |what, offset| BadImage::Damaged { what, offset };
    let Ok(elf) = Elf::parse(body) else {
        return damaged("the ELF header", 0);
    };
    let Ok(Split { kernel, payload, code }) = elf.split() else {
        return damaged("a program header, or the header of the payload or the code", 64);
    };
    let range = payload.file_range();
    match Sealed::parse(&body[range.clone()]) {
        Ok(sealed) if sealed.intact() => {}
        _ => return damaged("the payload segment", range.start as u64),
    }
    if let Some(code) = code {
        let whole = |bytes: &[u8]| Code::parse(bytes).is_ok_and(|c| c.intact());
        match packed::open(elf.data(code)) {
            Ok(bytes) if whole(&bytes) => {}
            _ => return damaged("the code segment", code.offset),
        }
    }
    match elf.manifest() {
        Ok(m) if m.kernel_hash != elf.kernel_hash(kernel) => {
            damaged("the kernel", kernel.first().map_or(0, |s| s.offset))
        }
        Ok(_) => damaged("the padding, a header or the trailer", body.len() as u64),
        Err(_) => damaged("the manifest", elf.manifest_offset()),
    }
}

/// The sealed payload of a segment, checked, and its value.
fn open_payload<'a>(
    body: &'a [u8],
    segment: &Segment,
) -> Result<(Range<usize>, Payload<'a>), BadImage> {
    let range = segment.file_range();
    let sealed = Sealed::parse(&body[range.clone()])?;
    if payload::HEADER + sealed.body.len() != range.len() {
        return Err(BadImage::Elf("the payload segment is longer than the payload".into()));
    }
    if !sealed.intact() {
        return Err(BadImage::Damaged { what: "the payload segment", offset: segment.offset });
    }
    let value = sealed.open()?;
    rules::payload(&value).map_err(BadImage::Rules)?;
    if let Some(m) = value.modules.iter().find(|m| blake3::hash(m.wasm).as_bytes() != &m.hash.0) {
        return Err(BadImage::Rules(format!("module {:?} is not the one of its hash", m.name)));
    }
    Ok((range, value))
}

/// The native code of a segment, whose memory is what unpacking it needs.
fn unpacked(body: &[u8], segment: &Segment) -> Result<Vec<u8>, BadImage> {
    let bytes = &body[segment.file_range()];
    let code = packed::open(bytes)?;
    let lengths = Lengths { code: code.len(), block: bytes.len() - packed::HEADER };
    if segment.memsz != lengths.memory() as u64 {
        return Err(BadImage::Elf("the code segment has not the memory to be unpacked".into()));
    }
    Ok(code)
}

/// The native code of a segment, checked: that of the payload's modules, in their order.
fn open_code<'a>(
    code: Option<(&Segment, &'a [u8])>,
    payload: &Payload<'_>,
) -> Result<Option<Code<'a>>, BadImage> {
    let other = |why: String| Err(BadImage::OtherCode(why));
    let Some((segment, bytes)) = code else {
        return match payload.modules.first() {
            None => Ok(None),
            Some(m) => other(format!("there is none, but a module {:?}", m.name)),
        };
    };
    let code = Code::parse(bytes)?;
    if code.bytes().len() != bytes.len() {
        return Err(BadImage::Elf("the code segment is longer than the code".into()));
    }
    if !code.intact() {
        return Err(BadImage::Damaged { what: "the code segment", offset: segment.offset });
    }
    if payload.modules.is_empty() {
        return other("the payload has no modules".into());
    }
    if !code.artefacts().map(|a| a.module).eq(payload.modules.iter().map(|m| m.hash)) {
        return other("it was made of other modules".into());
    }
    Ok(Some(code))
}
