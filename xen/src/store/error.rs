//! Why xenstored did not do something, by the names that it sends.

use core::fmt;

macro_rules! errors {
    ($($name:ident = $n:literal, $text:literal;)*) => {
        /// An answer that is no success. xenstored sends the names of `xsd_errors` as text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Error {
            $(#[doc = $text] $name,)*
            /// A name that the header does not have.
            Unknown,
            /// The answer was not what the protocol says that such an answer is.
            Garbled,
            /// The connection ended before the answer came: nobody knows whether it was done.
            Lost,
        }

        impl Error {
            /// What a name means.
            pub fn from_name(name: &[u8]) -> Error {
                $(if name == stringify!($name).as_bytes() { return Error::$name; })*
                Error::Unknown
            }

            /// Its name in the header, if it is one of those there.
            pub fn name(self) -> Option<&'static str> {
                match self { $(Error::$name => Some(stringify!($name)),)* _ => None }
            }

            /// Its number on Linux; EIO for what has none.
            pub fn errno(self) -> u32 {
                match self { $(Error::$name => $n,)* _ => 5 }
            }

            /// What it means, for people.
            pub fn text(self) -> &'static str {
                match self {
                    $(Error::$name => $text,)*
                    Error::Unknown => "xenstored refused with an error that is not known",
                    Error::Garbled => "xenstored's answer is not one to what was asked",
                    Error::Lost => "the connection to xenstored ended before it answered",
                }
            }
        }

        #[cfg(test)]
        pub(super) const NAMED: &[Error] = &[$(Error::$name,)*];
    };
}

errors! {
    EINVAL = 22, "xenstored finds the request invalid";
    EACCES = 13, "permission denied by xenstored";
    EEXIST = 17, "it exists in XenStore";
    EISDIR = 21, "it is a directory";
    ENOENT = 2, "no such node in XenStore";
    ENOMEM = 12, "xenstored has no memory left";
    ENOSPC = 28, "a quota of XenStore is used up";
    EIO = 5, "xenstored failed";
    ENOTEMPTY = 39, "the node has children";
    ENOSYS = 38, "xenstored does not know the request";
    EROFS = 30, "XenStore is read-only";
    EBUSY = 16, "xenstored has too much in hand for us";
    EAGAIN = 11, "another changed what the transaction rests on";
    EISCONN = 106, "the domain is connected";
    E2BIG = 7, "too large for XenStore";
    EPERM = 1, "not permitted by xenstored";
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Error {}
