//! Why a file is not an image: where, and what to do.

use std::path::PathBuf;

use super::{FORMAT, MAX_IMAGE};
use crate::code::BadCode;
use crate::payload::BadPayload;

const REBUILD: &str = "rebuild it with `cargo xtask build`";

/// Why a file is not an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadImage {
    /// The file cannot be read.
    #[error("cannot read the image: {why}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// It is larger than any image.
    #[error("{bytes} bytes are too many for an image (at most {MAX_IMAGE}); name another file")]
    Large {
        /// Its bytes.
        bytes: u64,
    },
    /// It is no ELF.
    #[error(
        "not an image: it does not begin with an ELF header (byte 0); name a file that `cargo xtask build` made"
    )]
    NoElf,
    /// It is cut off.
    #[error(
        "truncated at byte {at}: the whole image has {whole} bytes; copy it again, or {REBUILD}"
    )]
    Truncated {
        /// Its bytes.
        at: u64,
        /// The bytes it should have.
        whole: u64,
    },
    /// There is no trailer: it is cut off, or an ELF of another kind.
    #[error(
        "the trailer is missing: no ATOLLIMG in the last 44 of {at} bytes; copy the image again, or {REBUILD}"
    )]
    NoTrailer {
        /// Its bytes.
        at: u64,
    },
    /// It is of another format.
    #[error(
        "image format {found}, but this atoll reads format {FORMAT}; {REBUILD} of the same version"
    )]
    Format {
        /// The format found.
        found: u32,
    },
    /// The payload in it is of another format, or the kernel reads another one.
    #[error(
        "the kernel in the image reads payload format {kernel}, the builder writes {ours}; {REBUILD}"
    )]
    PayloadFormat {
        /// The kernel's format.
        kernel: u32,
        /// Ours.
        ours: u32,
    },
    /// A hash does not match.
    #[error(
        "{what} at offset {offset} does not match its hash: a bit flipped; copy the image again, or {REBUILD}"
    )]
    Damaged {
        /// Which part.
        what: &'static str,
        /// Where it begins in the file.
        offset: u64,
    },
    /// The ELF is none of ours.
    #[error("not an image: {0}; {REBUILD}")]
    Elf(String),
    /// The manifest is missing, does not decode, or is another image's.
    #[error("the manifest (ELF note Atoll, type 2): {0}; {REBUILD}")]
    Manifest(String),
    /// The payload does not decode.
    #[error("the payload segment: {0}; {REBUILD}")]
    Payload(#[from] BadPayload),
    /// The table of native code does not decode.
    #[error("the code segment: {0}; {REBUILD}")]
    Code(#[from] BadCode),
    /// The native code is not that of the payload's modules.
    #[error("the code segment is not the payload's: {0}; {REBUILD}")]
    OtherCode(String),
    /// The payload breaks a rule that checked configurations keep.
    #[error("the payload segment breaks a rule: {0}; {REBUILD}")]
    Rules(String),
}
