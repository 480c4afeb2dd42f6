//! Why a module is not taken: which, where in it, and what to do.

use std::fmt;

/// Why a module is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// The module.
    pub module: String,
    /// The function in it, by name where it has one.
    pub function: Option<String>,
    /// The byte in it.
    pub offset: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub help: String,
}

impl Refusal {
    pub(crate) fn new(what: impl Into<String>, help: impl Into<String>) -> Refusal {
        Refusal {
            module: String::new(),
            function: None,
            offset: None,
            what: what.into(),
            help: help.into(),
        }
    }

    pub(crate) fn at(mut self, offset: usize) -> Refusal {
        self.offset = Some(offset);
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "module `{}`", self.module)?;
        if let Some(function) = &self.function {
            write!(f, ", function {function}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, ", byte {offset:#x}")?;
        }
        write!(f, ": {}\nhelp: {}", self.what, self.help)
    }
}
