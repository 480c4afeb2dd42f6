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

/// The first eight bytes of a payload.
pub const MAGIC: [u8; 8] = *b"ATOLLPLD";
/// The format that this crate writes, and the only one it reads.
pub const FORMAT: u32 = 1;
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
}

/// What follows an abandoned dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum OnFault {
    /// The component is made anew from its configuration.
    Restart,
    /// The guest stops, and says which component failed and why.
    Stop,
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

/// One native component.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Component<'a> {
    /// Its name, unique in the guest; its files are at `export/NAME/`.
    pub name: &'a str,
    /// Its kind, a name in [`crate::kinds::KINDS`].
    pub kind: &'a str,
    /// [`crate::kinds::Kind::state_version`] of the kind it was built against.
    pub state_version: u16,
    /// One value for each of the kind's parameters, in the kind's order.
    pub params: Vec<Value<'a>>,
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

mod wire {
    //! Reading a payload: postcard's wire format, by hand.
    //!
    //! A guest reads its payload before it does anything else, on a machine that may
    //! be emulated, where every instruction met for the first time is dear. What a
    //! derived reader spreads over two hundred places is some twenty here. Hosts
    //! write with postcard itself, and a test compares the two.

    use alloc::vec::Vec;

    use super::{Budget, Component, File, Import, OnFault, Payload, Value};

    struct Reader<'a>(&'a [u8]);

    /// Reads a whole body; nothing may follow.
    pub(super) fn payload(body: &[u8]) -> Option<Payload<'_>> {
        let mut r = Reader(body);
        let payload = Payload {
            name: r.str()?,
            version: r.str()?,
            memory: r.int()?,
            on_fault: match r.int()? {
                0 => OnFault::Restart,
                1 => OnFault::Stop,
                _ => return None,
            },
            budget: Budget {
                memory: r.int()?,
                messages: r.int()?.try_into().ok()?,
                sessions: r.int()?.try_into().ok()?,
                fids: r.int()?.try_into().ok()?,
            },
            files: r.list(|r| Some(File { path: r.str()?, data: r.bytes()? }))?,
            components: r.list(|r| {
                Some(Component {
                    name: r.str()?,
                    kind: r.str()?,
                    state_version: r.int()?.try_into().ok()?,
                    params: r.list(Reader::value)?,
                })
            })?,
            imports: r.list(|r| Some(Import { name: r.str()?, at: r.str()? }))?,
            writable: r.list(Reader::str)?,
        };
        r.0.is_empty().then_some(payload)
    }

    impl<'a> Reader<'a> {
        /// A number: seven bits a byte, the lowest first, the top bit set on all but
        /// the last.
        #[inline(never)]
        fn int(&mut self) -> Option<u64> {
            let mut value = 0u64;
            for shift in (0..64).step_by(7) {
                let (&byte, rest) = self.0.split_first()?;
                self.0 = rest;
                let bits = u64::from(byte & 0x7f);
                value |= bits << shift;
                if byte < 0x80 {
                    // The tenth byte has room for one bit.
                    return (shift < 63 || bits < 2).then_some(value);
                }
            }
            None
        }

        #[inline(never)]
        fn bytes(&mut self) -> Option<&'a [u8]> {
            let len = self.int()?.try_into().ok()?;
            let (bytes, rest) = self.0.split_at_checked(len)?;
            self.0 = rest;
            Some(bytes)
        }

        #[inline(never)]
        fn str(&mut self) -> Option<&'a str> {
            core::str::from_utf8(self.bytes()?).ok()
        }

        fn value(&mut self) -> Option<Value<'a>> {
            Some(match self.int()? {
                0 => {
                    let zigzag = self.int()?;
                    Value::Int((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
                }
                1 => Value::Text(self.str()?),
                2 => Value::Bool(match self.int()? {
                    0 => false,
                    1 => true,
                    _ => return None,
                }),
                3 => Value::Span(self.int()?),
                _ => return None,
            })
        }

        /// How many items follow, each of which takes at least one byte.
        #[inline(never)]
        fn count(&mut self) -> Option<usize> {
            let count = self.int()?.try_into().ok()?;
            (count <= self.0.len()).then_some(count)
        }

        /// As many items as are said.
        fn list<T>(&mut self, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
            let count = self.count()?;
            let mut items = Vec::with_capacity(count);
            for _ in 0..count {
                items.push(item(self)?);
            }
            Some(items)
        }
    }
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
