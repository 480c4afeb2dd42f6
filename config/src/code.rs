//! Native code of a guest's modules, as it lies in memory beside the payload; in an image's
//! file it is packed ([`crate::packed`]).
//!
//! It is a cache: whoever has the payload's Wasm and the same compiler makes the same
//! bytes. So it is part of no identity, and is trusted only inside its guest's own
//! boundary. One table serves all modules; they were made by one compiler for one
//! level of processor. Each artefact begins at a page, so that a kernel maps it
//! where it lies.
//!
//! ```text
//! offset  size
//!      0     8   magic "ATOLLAOT"
//!      8     4   format, little endian ([`FORMAT`])
//!     12     4   length of what follows the hash, little endian
//!     16    32   BLAKE3 of what follows
//!     48    48   the compiler, text, filled up with zeroes
//!     96    16   the level of processor, text, filled up with zeroes
//!    112     4   number of modules n, little endian
//!    116  40 n   for each: BLAKE3 of its Wasm (32), offset (4) and length (4) of its
//!                code, counted from the magic, little endian
//!      …         code, each at a multiple of 4096, zeroes between
//! ```

#[cfg(feature = "std")]
use alloc::vec::Vec;
use core::fmt;

use crate::payload::Hash;

/// The compiler that an image's code comes from, and its settings. Builder and runtimes
/// of one version agree on it.
pub const COMPILER: &str = "wasmtime-48.0.8-atoll-1";
/// The processors that it makes code for: a level of the x86-64 psABI.
pub const CPU: &str = "x86-64-v2";

/// The first eight bytes.
pub const MAGIC: [u8; 8] = *b"ATOLLAOT";
/// The format that this crate writes, and the only one it reads.
pub const FORMAT: u32 = 1;
/// Bytes before what is hashed.
pub const HEADER: usize = 48;
/// Alignment of the segment and of each artefact in it, in bytes.
pub const PAGE: usize = 4096;
/// The most bytes behind the header.
pub const MAX_BODY: usize = 128 << 20;
/// The most bytes of the compiler's name.
pub const MAX_COMPILER: usize = 48;
/// The most bytes of the level's name.
pub const MAX_LEVEL: usize = 16;

const LEVEL: usize = HEADER + MAX_COMPILER;
const COUNT: usize = LEVEL + MAX_LEVEL;
const TABLE: usize = COUNT + 4;
const ENTRY: usize = 40;

/// Why bytes are no table of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadCode {
    /// They do not begin with [`MAGIC`]: there is no code here.
    Magic,
    /// They are of another format: the number found.
    Format(u32),
    /// They end before the length that the header states, or it is over [`MAX_BODY`].
    Length(u32),
    /// The table, or a name in it, is not as it must be.
    Table,
    /// The code of the module at this place does not lie where code may lie.
    Entry(u32),
    /// It cannot be unpacked to as many bytes as it says.
    Packed,
}

impl fmt::Display for BadCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadCode::Magic => f.write_str("no code here: the magic number is missing"),
            BadCode::Format(n) => write!(f, "code format {n}, but only format {FORMAT} is read"),
            BadCode::Length(n) => write!(f, "the code says {n} bytes, which are not there"),
            BadCode::Table => f.write_str("the table of code does not decode"),
            BadCode::Packed => f.write_str("the code cannot be unpacked"),
            BadCode::Entry(n) => write!(f, "the code of module {n} lies outside the segment"),
        }
    }
}

impl core::error::Error for BadCode {}

/// The native code of a guest's modules, checked but for its hash.
#[derive(Clone, Copy, Debug)]
pub struct Code<'a> {
    /// The hash that the header states. Hosts compare it with the bytes'; a guest
    /// trusts the host that loaded it.
    pub hash: Hash,
    bytes: &'a [u8],
    compiler: &'a str,
    level: &'a str,
    count: usize,
}

/// One module's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Artefact<'a> {
    /// BLAKE3 of the Wasm that it was compiled from.
    pub module: Hash,
    /// Where it lies, counted from the start of the segment; a multiple of [`PAGE`].
    pub offset: usize,
    /// What the compiler made.
    pub code: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Text that is filled up with zeroes.
fn name(bytes: &[u8]) -> Option<&str> {
    let len = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let (text, rest) = bytes.split_at_checked(len)?;
    let sound = !text.is_empty()
        && text.iter().all(|b| b.is_ascii_graphic() || *b == b' ')
        && rest.iter().all(|b| *b == 0);
    core::str::from_utf8(text).ok().filter(|_| sound)
}

impl<'a> Code<'a> {
    /// Reads the header and the table at the start of `bytes`, which may go on past
    /// the code. Every entry is known to be there afterwards.
    pub fn parse(bytes: &'a [u8]) -> Result<Code<'a>, BadCode> {
        if bytes.len() < HEADER || !bytes.starts_with(&MAGIC) {
            return Err(BadCode::Magic);
        }
        let format = word(bytes, 8).ok_or(BadCode::Magic)?;
        if format != FORMAT {
            return Err(BadCode::Format(format));
        }
        let stated = word(bytes, 12).ok_or(BadCode::Magic)?;
        let bytes = usize::try_from(stated)
            .ok()
            .filter(|len| *len <= MAX_BODY)
            .and_then(|len| bytes.get(..HEADER + len))
            .ok_or(BadCode::Length(stated))?;
        let hash = bytes.get(16..).and_then(<[u8]>::first_chunk).ok_or(BadCode::Magic)?;
        let names = || Some((name(bytes.get(HEADER..LEVEL)?)?, name(bytes.get(LEVEL..COUNT)?)?));
        let (compiler, level) = names().ok_or(BadCode::Table)?;
        let count = word(bytes, COUNT).ok_or(BadCode::Table)?;
        let room = bytes.len().saturating_sub(TABLE) / ENTRY;
        let count = usize::try_from(count).ok().filter(|c| *c <= room).ok_or(BadCode::Table)?;
        let code = Code { hash: Hash(*hash), bytes, compiler, level, count };
        let mut free = TABLE + count * ENTRY;
        for i in 0..count {
            let entry = code.at(i).filter(|e| e.offset >= free && e.offset % PAGE == 0);
            let entry = entry.ok_or(BadCode::Entry(i as u32))?;
            free = entry.offset + entry.code.len();
        }
        Ok(code)
    }

    fn at(&self, i: usize) -> Option<Artefact<'a>> {
        let entry = self.bytes.get(TABLE + i * ENTRY..)?;
        let module = Hash(*entry.first_chunk()?);
        let offset = usize::try_from(word(entry, 32)?).ok()?;
        let len = usize::try_from(word(entry, 36)?).ok()?;
        let code = self.bytes.get(offset..offset.checked_add(len)?)?;
        Some(Artefact { module, offset, code })
    }

    /// The compiler and its version.
    pub fn compiler(&self) -> &'a str {
        self.compiler
    }

    /// The level of processor that it needs.
    pub fn level(&self) -> &'a str {
        self.level
    }

    /// Every module's code, in the order of the payload's modules.
    pub fn artefacts(&self) -> impl Iterator<Item = Artefact<'a>> + '_ {
        (0..self.count).filter_map(|i| self.at(i))
    }

    /// The code of the module with this hash.
    pub fn find(&self, module: &Hash) -> Option<&'a [u8]> {
        self.artefacts().find(|a| a.module == *module).map(|a| a.code)
    }

    /// All bytes, header and all.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

#[cfg(feature = "std")]
impl Code<'_> {
    /// Whether the bytes are those that the header's hash was made of.
    pub fn intact(&self) -> bool {
        blake3::hash(&self.bytes[HEADER..]).as_bytes() == &self.hash.0
    }
}

/// The segment of these modules' code. None when a name is too long or empty, or there
/// is more code than [`MAX_BODY`].
#[cfg(feature = "std")]
pub fn seal(compiler: &str, level: &str, code: &[(Hash, &[u8])]) -> Option<Vec<u8>> {
    let mut out = alloc::vec![0; TABLE];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    out[HEADER..LEVEL].get_mut(..compiler.len())?.copy_from_slice(compiler.as_bytes());
    out[LEVEL..COUNT].get_mut(..level.len())?.copy_from_slice(level.as_bytes());
    out[COUNT..TABLE].copy_from_slice(&u32::try_from(code.len()).ok()?.to_le_bytes());
    let mut at = (TABLE + code.len() * ENTRY).next_multiple_of(PAGE);
    for (module, bytes) in code {
        out.extend_from_slice(&module.0);
        out.extend_from_slice(&u32::try_from(at).ok()?.to_le_bytes());
        out.extend_from_slice(&u32::try_from(bytes.len()).ok()?.to_le_bytes());
        at = (at + bytes.len()).next_multiple_of(PAGE);
    }
    for (_, bytes) in code {
        out.resize(out.len().next_multiple_of(PAGE), 0);
        out.extend_from_slice(bytes);
    }
    let len = out.len() - HEADER;
    out[12..16].copy_from_slice(&u32::try_from(len).ok()?.to_le_bytes());
    let hash = blake3::hash(&out[HEADER..]);
    out[16..HEADER].copy_from_slice(hash.as_bytes());
    Code::parse(&out).ok()?;
    Some(out)
}
