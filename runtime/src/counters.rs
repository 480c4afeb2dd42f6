//! What a guest counts.

/// Counters of a guest, for its `stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Dispatches that were committed.
    pub dispatches: u64,
    /// Dispatches that were refused by their component.
    pub refused: u64,
    /// Dispatches that were abandoned.
    pub abandoned: u64,
    /// 9P requests; one that waited counts each time that it was asked again.
    pub requests: u64,
}
