//! The payload: everything a guest is, in one run of bytes.
//!
//! A payload is read where it lies (strings and files are borrowed from it), by
//! a kernel from its image's last segment and by a tender from the image file.
//! Its hash is the guest's identity: snapshots, journals and relocation bind to
//! it (see the execution model, "Identity"). Native code is not in it.
//!
//! ```text
//! offset  size
//!      0     8   magic "ATOLLPLD"
//!      8     4   format, little endian ([`FORMAT`])
//!     12     4   length of the body in bytes, little endian
//!     16    32   BLAKE3 of the body
//!     48     n   body: [`Payload`] in postcard
//! ```

use alloc::vec::Vec;
use core::fmt;

use serde::Serialize;

use crate::atom::{AtomLimits, ModuleFile};

mod wire;

/// The first eight bytes of a payload.
pub const MAGIC: [u8; 8] = *b"ATOLLPLD";
/// The format that this crate writes, and the only one it reads.
pub const FORMAT: u32 = 2;
/// Bytes before the body.
pub const HEADER: usize = 48;
/// The largest body that is read, in bytes.
pub const MAX_BODY: usize = 64 << 20;

/// A BLAKE3 hash, shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// One guest, checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Payload<'a> {
    /// The guest's name: `[a-z0-9-]`, 1 to 63 characters.
    pub name: &'a str,
    /// The guest's own version, free text of one line.
    pub version: &'a str,
    /// Memory of the machine that runs the guest, in bytes.
    pub memory: u64,
    /// What follows an abandoned dispatch.
    pub on_fault: OnFault,
    /// What the guest may use.
    pub budget: Budget,
    /// Files served as they are, below `export/`.
    pub files: Vec<File<'a>>,
    /// The components, in the order in which they are started.
    pub components: Vec<Component<'a>>,
    /// What the guest mounts into its private namespace.
    pub imports: Vec<Import<'a>>,
    /// Paths below `export/` that clients of the `control` stream may write
    /// to. A path covers everything below it; the empty path covers all.
    pub writable: Vec<&'a str>,
    /// The Wasm modules of its atoms, each once.
    pub modules: Vec<Module<'a>>,
}

/// What follows an abandoned dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum OnFault {
    /// The component is made anew from its configuration.
    Restart,
    /// The guest stops, and says which component failed and why.
    Stop,
    /// The whole guest goes back to its last checkpoint: it is what is consistent, and never
    /// one component. Where nobody keeps checkpoints of it, it stops. Only a guest with atoms.
    Restore,
}

/// The root sponsor of a guest: an account that everything it uses is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// Bytes that queued messages, event streams and answers may hold at one time.
    pub memory: u64,
    /// Messages and timers that may be outstanding at one time.
    pub messages: u32,
    /// Clients' sessions at one time, over all connections of `control`.
    pub sessions: u32,
    /// Fids one session may hold.
    pub fids: u32,
}

/// A file that never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct File<'a> {
    /// Path below `export/`, `/` between names, no `.` or `..`.
    pub path: &'a str,
    /// Its bytes.
    #[serde(serialize_with = "bytes")]
    pub data: &'a [u8],
}

/// A Wasm module, canonical: what the builder validated and rewrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Module<'a> {
    /// What people call it: the name of the first atom that is made of it.
    pub name: &'a str,
    /// BLAKE3 of `wasm`: what its native code is found by.
    pub hash: Hash,
    /// The binary.
    #[serde(serialize_with = "bytes")]
    pub wasm: &'a [u8],
    /// The files of every atom made of it, in `export/ATOM/`.
    pub files: Vec<ModuleFile<'a>>,
}

/// One component: a native one, or an atom.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Component<'a> {
    /// Its name, unique in the guest; its files are at `export/NAME/`.
    pub name: &'a str,
    /// Its kind, a name in [`crate::kinds::KINDS`]; [`crate::atom::KIND`] for an atom.
    pub kind: &'a str,
    /// [`crate::kinds::Kind::state_version`] of the kind it was built against;
    /// [`crate::atom::ABI`] for an atom.
    pub state_version: u16,
    /// One value for each of the kind's parameters, in the kind's order. An atom has
    /// one: text, lines `key value`, as it gets them at its start.
    pub params: Vec<Value<'a>>,
    /// An atom's module, its place in [`Payload::modules`]. None: it is native.
    pub module: Option<u32>,
    /// What an atom may use; zeroes for a native component.
    pub limits: AtomLimits,
}

/// A parameter of a component.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Value<'a> {
    /// A whole number.
    Int(i64),
    /// Text.
    Text(&'a str),
    /// Yes or no.
    Bool(bool),
    /// A span of time in nanoseconds.
    Span(u64),
}

/// A tree of somebody else's, mounted into the guest's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Import<'a> {
    /// The name that the host binds when it launches the guest.
    pub name: &'a str,
    /// Where the guest sees it: an absolute path.
    pub at: &'a str,
}

/// Byte slices as one run, not as a sequence of numbers.
fn bytes<S: serde::Serializer>(data: &&[u8], s: S) -> Result<S::Ok, S::Error> {
    s.serialize_bytes(data)
}

/// Why bytes are not a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPayload {
    /// They do not begin with [`MAGIC`]: there is no payload here.
    Magic,
    /// They are of another format: the number found.
    Format(u32),
    /// They end before the length that the header states, or it is over [`MAX_BODY`].
    Length(u32),
    /// The body does not decode.
    Body,
}

impl fmt::Display for BadPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadPayload::Magic => f.write_str("no payload here: the magic number is missing"),
            BadPayload::Format(n) => {
                write!(f, "payload format {n}, but only format {FORMAT} is read")
            }
            BadPayload::Length(n) => write!(f, "the payload says {n} bytes, which are not there"),
            BadPayload::Body => f.write_str("the payload does not decode"),
        }
    }
}

impl core::error::Error for BadPayload {}

/// A payload in its wrapping: what the header says, and the body's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// The hash that the header states. Hosts compare it with the body's; a
    /// guest trusts the host that loaded it.
    pub hash: Hash,
    /// The encoded [`Payload`].
    pub body: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// Reads the header at the start of `bytes`, which may go on past the payload.
    pub fn parse(bytes: &'a [u8]) -> Result<Sealed<'a>, BadPayload> {
        let (header, rest) = bytes.split_at_checked(HEADER).ok_or(BadPayload::Magic)?;
        if header[..8] != MAGIC {
            return Err(BadPayload::Magic);
        }
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        if word(8) != FORMAT {
            return Err(BadPayload::Format(word(8)));
        }
        let len = word(12) as usize;
        if len > MAX_BODY || len > rest.len() {
            return Err(BadPayload::Length(word(12)));
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(&header[16..HEADER]);
        Ok(Sealed { hash: Hash(hash), body: &rest[..len] })
    }

    /// Decodes the body.
    pub fn open(&self) -> Result<Payload<'a>, BadPayload> {
        wire::payload(self.body).ok_or(BadPayload::Body)
    }
}

#[cfg(feature = "std")]
impl Payload<'_> {
    /// The payload as bytes, header and all. The same value gives the same bytes.
    pub fn seal(&self) -> Vec<u8> {
        let body = postcard::to_allocvec(self).expect("a payload has no unencodable part");
        let mut out = Vec::with_capacity(HEADER + body.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(blake3::hash(&body).as_bytes());
        out.extend_from_slice(&body);
        out
    }
}

#[cfg(feature = "std")]
impl Sealed<'_> {
    /// Whether the body is the one that the header's hash was made of.
    pub fn intact(&self) -> bool {
        blake3::hash(self.body).as_bytes() == &self.hash.0
    }
}
