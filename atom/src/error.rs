//! Errors as they cross the ABI: a number of Linux, and a text for people.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

use crate::abi;

/// What a handler or a call gives.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// An error number of Linux (ABI.md, section 9), above zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident = $n:literal, $text:literal;)*) => {
        impl Errno {
            $(#[doc = $text] pub const $name: Errno = Errno($n);)*

            /// What it means, for people.
            pub fn text(self) -> &'static str {
                match self.0 { $($n => $text,)* _ => "unknown error" }
            }
        }

        impl fmt::Debug for Errno {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 { $($n => f.write_str(stringify!($name)),)* n => write!(f, "Errno({n})") }
            }
        }
    };
}

errnos! {
    EPERM = 1, "operation not permitted";
    ENOENT = 2, "there is no such thing";
    EIO = 5, "input/output error";
    EBADF = 9, "no such open file";
    EAGAIN = 11, "try again";
    EACCES = 13, "permission denied";
    EFAULT = 14, "bad address";
    EBUSY = 16, "busy";
    EEXIST = 17, "it exists already";
    ENOTDIR = 20, "not a directory";
    EISDIR = 21, "is a directory";
    EINVAL = 22, "invalid argument";
    EFBIG = 27, "too large";
    ENOSPC = 28, "no space left";
    EROFS = 30, "read-only";
    EPIPE = 32, "the other end is gone";
    ENAMETOOLONG = 36, "name too long";
    ENOTEMPTY = 39, "directory not empty";
    EPROTO = 71, "protocol error";
    EMSGSIZE = 90, "message too long";
    EOPNOTSUPP = 95, "not supported";
    ETIMEDOUT = 110, "timed out";
    ESTALE = 116, "it is not there any more";
    EDQUOT = 122, "budget exceeded";
    ECANCELED = 125, "cancelled";
}

impl Errno {
    /// The errno of a result below zero.
    pub fn of(result: i32) -> Option<Errno> {
        (result < 0).then(|| Errno(result.checked_neg().unwrap_or(abi::MAX_ERRNO)))
    }
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The number.
    pub errno: Errno,
    text: Cow<'static, str>,
}

impl Error {
    /// An error with a text that says what to do.
    pub fn new(errno: Errno, text: impl Into<Cow<'static, str>>) -> Error {
        Error { errno, text: text.into() }
    }

    /// What a caller did wrong: EINVAL.
    pub fn invalid(text: impl Into<Cow<'static, str>>) -> Error {
        Error::new(Errno::EINVAL, text)
    }

    /// What went wrong, in words.
    pub fn text(&self) -> &str {
        match &*self.text {
            "" => self.errno.text(),
            text => text,
        }
    }

    /// The text that it was made with, if any.
    pub(crate) fn own_text(&self) -> &str {
        &self.text
    }

    /// From a status below zero and its body.
    pub(crate) fn received(status: i32, body: &[u8]) -> Error {
        let errno = Errno::of(status).unwrap_or(Errno::EIO);
        let text = core::str::from_utf8(body).unwrap_or_default();
        Error { errno, text: Cow::Owned(String::from(text)) }
    }

    /// The status that says so.
    pub(crate) fn status(&self) -> i32 {
        -self.errno.0.clamp(1, abi::MAX_ERRNO)
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Error {
        Error { errno, text: Cow::Borrowed("") }
    }
}

impl From<postcard::Error> for Error {
    fn from(_: postcard::Error) -> Error {
        Error::new(Errno::EPROTO, "this is not the message that was expected")
    }
}

impl From<fmt::Error> for Error {
    fn from(_: fmt::Error) -> Error {
        Errno::EIO.into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Error {}

/// A result of the ABI as one of Rust.
pub(crate) fn check(result: i32) -> Result<i32> {
    match Errno::of(result) {
        None => Ok(result),
        Some(errno) => Err(errno.into()),
    }
}
