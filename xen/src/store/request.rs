//! What can be asked, and what is checked before it is sent.

use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::client::Refused;
use super::path::check_path;
use super::perms::{MAX_PERMS, Perm};
use super::wire::{Kind, PAYLOAD_MAX};

/// A request. A path begins with `/`, or is one below the asking domain's own,
/// `/local/domain/<domid>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// The names of a node's children.
    Directory(&'a str),
    /// Some of them, from a byte of the whole list on: for those that are too many.
    DirectoryPart(&'a str, u32),
    /// A node's value.
    Read(&'a str),
    /// Its permissions.
    GetPerms(&'a str),
    /// Events for a node and all below it from now on, under a token; the first comes at
    /// once.
    Watch(&'a str, &'a str),
    /// No more of them.
    Unwatch(&'a str, &'a str),
    /// A new transaction.
    TransactionStart,
    /// The end of one: whether it is to be done.
    TransactionEnd(bool),
    /// Where a domain's own nodes are.
    GetDomainPath(u16),
    /// Gives a node a value, and makes it and those above it where they are not.
    Write(&'a str, &'a [u8]),
    /// Makes a node without a value, if it is not there.
    Mkdir(&'a str),
    /// Removes a node with all below it.
    Rm(&'a str),
    /// Gives it these permissions.
    SetPerms(&'a str, &'a [Perm]),
    /// Whether a domain is known.
    IsDomainIntroduced(u16),
    /// Forgets all watches and transactions of the asking domain.
    ResetWatches,
}

impl Request<'_> {
    /// The message's type.
    pub fn kind(&self) -> Kind {
        match self {
            Request::Directory(_) => Kind::Directory,
            Request::DirectoryPart(..) => Kind::DirectoryPart,
            Request::Read(_) => Kind::Read,
            Request::GetPerms(_) => Kind::GetPerms,
            Request::Watch(..) => Kind::Watch,
            Request::Unwatch(..) => Kind::Unwatch,
            Request::TransactionStart => Kind::TransactionStart,
            Request::TransactionEnd(_) => Kind::TransactionEnd,
            Request::GetDomainPath(_) => Kind::GetDomainPath,
            Request::Write(..) => Kind::Write,
            Request::Mkdir(_) => Kind::Mkdir,
            Request::Rm(_) => Kind::Rm,
            Request::SetPerms(..) => Kind::SetPerms,
            Request::IsDomainIntroduced(_) => Kind::IsDomainIntroduced,
            Request::ResetWatches => Kind::ResetWatches,
        }
    }

    fn check(&self) -> Result<(), Refused> {
        match *self {
            Request::Watch(path, token) | Request::Unwatch(path, token) => {
                if token.is_empty() || token.contains('\0') {
                    return Err(Refused::Token);
                }
                check_path(path)?;
            }
            Request::Directory(path)
            | Request::DirectoryPart(path, _)
            | Request::Read(path)
            | Request::GetPerms(path)
            | Request::Write(path, _)
            | Request::Mkdir(path)
            | Request::Rm(path) => check_path(path)?,
            Request::SetPerms(path, perms) => {
                check_path(path)?;
                if perms.is_empty() || perms.len() > MAX_PERMS {
                    return Err(Refused::Perms);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Appends the payload. After a refusal nothing is said about what was appended.
    pub(super) fn payload(&self, out: &mut Vec<u8>) -> Result<(), Refused> {
        self.check()?;
        let begin = out.len();
        let fits = match *self {
            Request::Write(path, value) => path.len() + 1 + value.len() <= PAYLOAD_MAX,
            _ => true,
        };
        if !fits {
            return Err(Refused::TooLong);
        }
        match *self {
            Request::Directory(path)
            | Request::Read(path)
            | Request::GetPerms(path)
            | Request::Mkdir(path)
            | Request::Rm(path) => text(out, path),
            Request::DirectoryPart(path, offset) => {
                text(out, path);
                number(out, offset);
            }
            Request::Watch(path, token) | Request::Unwatch(path, token) => {
                text(out, path);
                text(out, token);
            }
            Request::TransactionEnd(commit) => text(out, if commit { "T" } else { "F" }),
            Request::GetDomainPath(domid) | Request::IsDomainIntroduced(domid) => {
                number(out, domid);
            }
            Request::Write(path, value) => {
                text(out, path);
                out.extend_from_slice(value);
            }
            Request::SetPerms(path, perms) => {
                text(out, path);
                perms.iter().for_each(|perm| number(out, perm));
            }
            // A message without any payload is refused by some servers.
            Request::TransactionStart | Request::ResetWatches => text(out, ""),
        }
        if out.len() - begin > PAYLOAD_MAX { Err(Refused::TooLong) } else { Ok(()) }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

/// What is shown as text, a number most often, with its NUL.
fn number(out: &mut Vec<u8>, n: impl fmt::Display) {
    struct Bytes<'a>(&'a mut Vec<u8>);
    impl Write for Bytes<'_> {
        fn write_str(&mut self, s: &str) -> fmt::Result {
            self.0.extend_from_slice(s.as_bytes());
            Ok(())
        }
    }
    let _ = write!(Bytes(out), "{n}\0");
}
