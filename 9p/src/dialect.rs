//! The languages that are spoken here, and which one two ends agree on.

/// The language that a client and a server agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// 9P2000, as section 5 of Plan 9's manual has it.
    Plain,
    /// 9P2000.L, as the Linux client speaks it.
    L,
    /// The same, and an Rlerror carries the fault's text behind its number.
    Atoll,
}

impl Dialect {
    /// Its name in Tversion.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Plain => "9P2000",
            Dialect::L => "9P2000.L",
            Dialect::Atoll => "9P2000.L.atoll",
        }
    }

    /// What a server answers to a version. A suffix that it does not know it leaves
    /// out (version(5)), so 9P2000.u gets the base, and so does 9P2000.L.x.
    pub fn choose(version: &str) -> Option<Dialect> {
        let suffix = version.strip_prefix("9P2000")?;
        match suffix.strip_prefix(".L") {
            Some(".atoll") => Some(Dialect::Atoll),
            Some(more) if more.is_empty() || more.starts_with('.') => Some(Dialect::L),
            _ => (suffix.is_empty() || suffix.starts_with('.')).then_some(Dialect::Plain),
        }
    }

    /// Whether who proposes this knows errors by their numbers, though what is agreed on
    /// is 9P2000: 9P2000.u adds a number to each, which is not done here.
    pub(crate) fn has_numbers(version: &str) -> bool {
        version
            .strip_prefix("9P2000.u")
            .is_some_and(|more| more.is_empty() || more.starts_with('.'))
    }

    /// Whether its errors are numbers and its files have Linux's modes.
    pub fn is_linux(self) -> bool {
        self != Dialect::Plain
    }
}
