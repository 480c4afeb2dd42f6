//! Why bytes are no checkpoint, and where that shows.

use core::fmt;

use super::{FORMAT, MAGIC};

/// What is wrong, and how many bytes into the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad {
    /// Where: the first byte of the field or frame that is wrong.
    pub at: u64,
    /// What.
    pub why: Why,
}

/// Why bytes are no checkpoint that can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// They do not begin with the magic number.
    Magic,
    /// They are of another format: the number found.
    Format(u32),
    /// Flags that are not known, or a base without its flag: the flags found.
    Flags(u32),
    /// They end before the checkpoint does.
    Cut,
    /// There is more behind its end.
    Behind,
    /// The hash at the end is not that of the bytes.
    Hash,
    /// A frame of a length that none may have.
    Frame,
    /// A frame that does not unpack to the length that it states.
    Packed,
    /// A record of a kind that is not known, or not here: the number found.
    Kind(u8),
    /// The state is missing, is there twice, or comes after a component.
    State,
    /// A component out of order, or with a name or a size that none may have.
    Component,
    /// A chunk out of order, outside its memory, or with bytes behind its end.
    Chunk,
    /// Whoever reads does not take it: the reason.
    Refused(&'static str),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Why::Magic => {
                let magic = core::str::from_utf8(&MAGIC).unwrap_or_default();
                return write!(f, "no checkpoint: it does not begin with {magic}");
            }
            Why::Format(n) => {
                return write!(f, "checkpoint format {n}, but only format {FORMAT} is read");
            }
            Why::Flags(n) => return write!(f, "flags {n:#x}, which are not known"),
            Why::Cut => "it is cut short here",
            Why::Behind => "there are bytes behind its end",
            Why::Hash => "its bytes are not those that were written: the hash differs",
            Why::Frame => "a frame of an impossible length",
            Why::Packed => "a frame that does not unpack",
            Why::Kind(n) => return write!(f, "a record of kind {n}, which cannot be here"),
            Why::State => "the guest's state is not where it must be, once and first",
            Why::Component => "a component that cannot be here",
            Why::Chunk => "a piece of memory that cannot be here",
            Why::Refused(why) => why,
        };
        f.write_str(text)
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            Why::Refused(why) => f.write_str(why),
            why => write!(f, "{why} (at byte {})", self.at),
        }
    }
}

impl core::error::Error for Bad {}
