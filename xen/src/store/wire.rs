//! A message: a header of four little-endian words, and up to 4096 bytes.

use alloc::vec::Vec;

/// The largest payload: `XENSTORE_PAYLOAD_MAX`.
pub const PAYLOAD_MAX: usize = 4096;
/// The largest that is passed over. oxenstored sends long lists of children as they are,
/// which is no reason to lose the connection: the next message begins behind them.
const PASSED_MAX: u32 = 1 << 20;
/// The size of a header: `struct xsd_sockmsg`.
pub const HEADER: usize = 16;

/// What a message is: `enum xsd_sockmsg_type`, with the names there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names are the header's")]
pub enum Kind {
    Control = 0,
    Directory = 1,
    Read = 2,
    GetPerms = 3,
    Watch = 4,
    Unwatch = 5,
    TransactionStart = 6,
    TransactionEnd = 7,
    Introduce = 8,
    Release = 9,
    GetDomainPath = 10,
    Write = 11,
    Mkdir = 12,
    Rm = 13,
    SetPerms = 14,
    WatchEvent = 15,
    Error = 16,
    IsDomainIntroduced = 17,
    Resume = 18,
    SetTarget = 19,
    ResetWatches = 21,
    DirectoryPart = 22,
}

impl Kind {
    /// What that number means.
    pub fn from_number(n: u32) -> Option<Kind> {
        Some(match n {
            0 => Kind::Control,
            1 => Kind::Directory,
            2 => Kind::Read,
            3 => Kind::GetPerms,
            4 => Kind::Watch,
            5 => Kind::Unwatch,
            6 => Kind::TransactionStart,
            7 => Kind::TransactionEnd,
            8 => Kind::Introduce,
            9 => Kind::Release,
            10 => Kind::GetDomainPath,
            11 => Kind::Write,
            12 => Kind::Mkdir,
            13 => Kind::Rm,
            14 => Kind::SetPerms,
            15 => Kind::WatchEvent,
            16 => Kind::Error,
            17 => Kind::IsDomainIntroduced,
            18 => Kind::Resume,
            19 => Kind::SetTarget,
            21 => Kind::ResetWatches,
            22 => Kind::DirectoryPart,
            _ => return None,
        })
    }
}

/// `struct xsd_sockmsg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is: a [`Kind`]'s number, or what no kind has.
    pub kind: u32,
    /// The request's number, which its answer has again.
    pub req_id: u32,
    /// The transaction, or 0.
    pub tx_id: u32,
    /// Bytes that follow.
    pub len: u32,
}

impl Header {
    /// As bytes.
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        let words = [self.kind, self.req_id, self.tx_id, self.len];
        for (to, word) in out.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// From bytes: any sixteen are a header.
    pub fn from_bytes(bytes: &[u8; HEADER]) -> Header {
        let (words, _) = bytes.as_chunks::<4>();
        let mut words = words.iter().map(|w| u32::from_le_bytes(*w));
        let mut word = || words.next().unwrap_or_default();
        Header { kind: word(), req_id: word(), tx_id: word(), len: word() }
    }
}

/// Puts a stream's bytes together to messages. Holds one message at most.
#[derive(Debug, Default)]
pub(super) struct Frames {
    held: Vec<u8>,
    /// What is held was given already.
    given: bool,
    /// How much is left of a payload that is passed over.
    left: Option<usize>,
}

/// A message that says it is longer than any that is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong(pub(super) u32);

impl Frames {
    /// Takes bytes from the front of `bytes` until a message is whole, and gives that.
    /// Nothing when they were all taken and more are needed. One that is longer than it may be
    /// has no payload.
    #[expect(clippy::type_complexity, reason = "a message, or none, or no message")]
    pub(super) fn next(
        &mut self,
        bytes: &mut &[u8],
    ) -> Result<Option<(Header, Option<&[u8]>)>, TooLong> {
        if core::mem::take(&mut self.given) {
            self.held.clear();
            self.left = None;
        }
        self.fill(bytes, HEADER);
        let Some(first) = self.held.first_chunk::<HEADER>() else { return Ok(None) };
        let header = Header::from_bytes(first);
        let len = header.len as usize;
        if header.len > PASSED_MAX {
            return Err(TooLong(header.len));
        }
        if len > PAYLOAD_MAX {
            let left = self.left.get_or_insert(len);
            let n = (*left).min(bytes.len());
            *left -= n;
            *bytes = bytes.get(n..).unwrap_or_default();
            if *left != 0 {
                return Ok(None);
            }
            self.given = true;
            return Ok(Some((header, None)));
        }
        self.fill(bytes, HEADER + len);
        if self.held.len() < HEADER + len {
            return Ok(None);
        }
        self.given = true;
        Ok(Some((header, Some(self.held.get(HEADER..).unwrap_or_default()))))
    }

    fn fill(&mut self, bytes: &mut &[u8], to: usize) {
        let n = to.saturating_sub(self.held.len()).min(bytes.len());
        if let Some((now, later)) = bytes.split_at_checked(n) {
            self.held.extend_from_slice(now);
            *bytes = later;
        }
    }

    /// Whether a message has begun and is not whole.
    pub(super) fn is_amid(&self) -> bool {
        !self.held.is_empty() && !self.given
    }

    pub(super) fn clear(&mut self) {
        self.held.clear();
        self.given = false;
        self.left = None;
    }
}
