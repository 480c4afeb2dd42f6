//! What a client can make a session hold.

/// What a session may hold. A client that wants more is refused or, where it is
/// about bytes on their way, not listened to until it has taken its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest message in bytes, of either direction; at least
    /// [`crate::wire::MIN_MSIZE`].
    pub msize: u32,
    /// Fids in use.
    pub fids: u32,
    /// Requests that wait for their answer.
    pub blocked: u32,
    /// Bytes of data of writes that wait.
    pub writes: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { msize: 64 << 10, fids: 4096, blocked: 256, writes: 256 << 10 }
    }
}
