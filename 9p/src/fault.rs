//! The one fault type, with both faces of a 9P error.
//!
//! 9P2000.L carries a number, 9P2000 carries text, and people want both and to
//! know whose fault it was. A [`Fault`] holds all three; what reaches the other end
//! depends on the dialect that was negotiated.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use core::fmt;

use crate::wire::BadFrame;

/// An error number of Linux (`asm-generic/errno-base.h`, `errno.h`), which is what
/// 9P2000.L carries, whatever either end runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub u32);

macro_rules! errnos {
    ($($name:ident = $n:literal, $text:literal;)*) => {
        impl Errno {
            $(#[doc = $text] pub const $name: Errno = Errno($n);)*

            /// Its name in the header, if it is one of those used here.
            pub fn name(self) -> Option<&'static str> {
                match self.0 { $($n => Some(stringify!($name)),)* _ => None }
            }

            /// What it means, for people.
            pub fn text(self) -> &'static str {
                match self.0 { $($n => $text,)* _ => "unknown error" }
            }
        }
    };
}

errnos! {
    EPERM = 1, "operation not permitted";
    ENOENT = 2, "no such file";
    EIO = 5, "input/output error";
    ENXIO = 6, "no such device or address";
    EBADF = 9, "bad fid";
    EAGAIN = 11, "try again";
    ENOMEM = 12, "out of memory";
    EACCES = 13, "permission denied";
    EFAULT = 14, "bad address";
    EBUSY = 16, "busy";
    EEXIST = 17, "file exists";
    EXDEV = 18, "not on one server";
    ENOTDIR = 20, "not a directory";
    EISDIR = 21, "is a directory";
    EINVAL = 22, "invalid argument";
    EMFILE = 24, "too many open fids";
    EFBIG = 27, "too large";
    ENOSPC = 28, "no space left";
    EROFS = 30, "read-only";
    EPIPE = 32, "the other end is gone";
    ENAMETOOLONG = 36, "name too long";
    ENOTEMPTY = 39, "directory not empty";
    ELOOP = 40, "too many links";
    ENODATA = 61, "no data";
    EPROTO = 71, "protocol error";
    EMSGSIZE = 90, "message too long";
    EOPNOTSUPP = 95, "not supported";
    ENOBUFS = 105, "too many requests outstanding";
    ETIMEDOUT = 110, "timed out";
    ESTALE = 116, "the file is not the one that it was";
    EDQUOT = 122, "budget exceeded";
    ECANCELED = 125, "cancelled";
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

/// Who has to act on a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The program in the guest.
    Guest,
    /// The machine below it, or what runs the guest.
    Host,
    /// Whoever sent the request.
    Operator,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The face for 9P2000.L.
    pub errno: Errno,
    /// Who has to act.
    pub blame: Blame,
    /// Boxed, because results are moved about far more often than they fail.
    text: Option<Box<Cow<'static, str>>>,
}

impl Fault {
    /// A fault of whoever asked, with a text that says what to do.
    pub fn new(errno: Errno, text: impl Into<Cow<'static, str>>) -> Fault {
        Fault::with(errno, text.into())
    }

    /// Out of line: there are many faults, and few of them happen.
    #[cold]
    #[inline(never)]
    fn with(errno: Errno, text: Cow<'static, str>) -> Fault {
        Fault { errno, blame: Blame::Operator, text: Some(Box::new(text)) }
    }

    /// The same fault, blamed on somebody else.
    #[must_use]
    pub fn blame(self, blame: Blame) -> Fault {
        Fault { blame, ..self }
    }

    /// The face for 9P2000: what went wrong, in words.
    pub fn text(&self) -> &str {
        self.text.as_ref().map_or(self.errno.text(), |t| t)
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Fault {
        Fault { errno, blame: Blame::Operator, text: None }
    }
}

impl From<BadFrame> for Fault {
    #[cold]
    #[inline(never)]
    fn from(bad: BadFrame) -> Fault {
        let text = match bad {
            BadFrame::Type(_) => return Errno::EOPNOTSUPP.into(),
            BadFrame::Names => "more than 16 names in a walk",
            BadFrame::Text => "a string is not UTF-8",
            BadFrame::Value => "a field holds a number that means nothing",
            BadFrame::Length => "the message's fields do not fill its size",
        };
        Fault::new(Errno::EINVAL, text)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Fault {}
