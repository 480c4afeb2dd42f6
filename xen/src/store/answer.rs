//! What an answer means, which depends on what was asked.

use alloc::string::String;
use alloc::vec::Vec;

use super::error::Error;
use super::path::{check_name, check_path};
use super::perms::{self, Perm};
use super::wire::Kind;
use super::{NO_TRANSACTION, TxId};

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// A node's value: any bytes.
    Value(Vec<u8>),
    /// The names of its children, each without a slash, none empty.
    Names(Vec<String>),
    /// Some of them.
    Part(Part),
    /// Its permissions, the owner's first.
    Perms(Vec<Perm>),
    /// A new transaction, never [`NO_TRANSACTION`].
    Transaction(TxId),
    /// A domain's path.
    Path(String),
    /// Whether it is so.
    Is(bool),
}

/// A part of a list of children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Changes when the list does; parts of different ones do not belong together.
    pub generation: String,
    /// The names in it.
    pub names: Vec<String>,
    /// How many bytes of the list these were: what the next part's offset is more.
    pub bytes: u32,
    /// Whether these are the last.
    pub last: bool,
}

/// What xenstored's answer to a request of that kind means.
pub(super) fn parse(kind: Kind, payload: &[u8]) -> Result<Answer, Error> {
    Ok(match kind {
        Kind::Read => Answer::Value(payload.into()),
        Kind::Directory => Answer::Names(names(payload)?),
        Kind::DirectoryPart => Answer::Part(part(payload)?),
        Kind::GetPerms => Answer::Perms(perms::from_wire(payload).map_err(|_| Error::Garbled)?),
        Kind::TransactionStart => {
            let tx = text(payload)?.parse().map(TxId).map_err(|_| Error::Garbled)?;
            if tx == NO_TRANSACTION {
                return Err(Error::Garbled);
            }
            Answer::Transaction(tx)
        }
        Kind::GetDomainPath => {
            let path = text(payload)?;
            check_path(path).map_err(|_| Error::Garbled)?;
            Answer::Path(path.into())
        }
        Kind::IsDomainIntroduced => match text(payload)? {
            "T" => Answer::Is(true),
            "F" => Answer::Is(false),
            _ => return Err(Error::Garbled),
        },
        _ => Answer::Done,
    })
}

/// One text, with or without its NUL.
pub(super) fn text(payload: &[u8]) -> Result<&str, Error> {
    let text = core::str::from_utf8(payload).map_err(|_| Error::Garbled)?;
    let text = text.strip_suffix('\0').unwrap_or(text);
    if text.contains('\0') { Err(Error::Garbled) } else { Ok(text) }
}

fn names(payload: &[u8]) -> Result<Vec<String>, Error> {
    if payload.is_empty() {
        return Ok(Vec::new());
    }
    let text = core::str::from_utf8(payload).map_err(|_| Error::Garbled)?;
    let text = text.strip_suffix('\0').ok_or(Error::Garbled)?;
    let name = |name: &str| check_name(name).map(|()| name.into()).map_err(|_| Error::Garbled);
    text.split('\0').map(name).collect()
}

/// The generation, then names; behind the last of all there is an empty one.
fn part(payload: &[u8]) -> Result<Part, Error> {
    let at = payload.iter().position(|b| *b == 0).ok_or(Error::Garbled)?;
    let (generation, rest) = payload.split_at_checked(at).ok_or(Error::Garbled)?;
    let rest = rest.get(1..).unwrap_or_default();
    let whole = match rest {
        [0] => Some(&[][..]),
        _ => rest.strip_suffix(&[0, 0]).and_then(|_| rest.get(..rest.len() - 1)),
    };
    let list = whole.unwrap_or(rest);
    if list.is_empty() && whole.is_none() {
        return Err(Error::Garbled); // nothing and not the end: asking on would not end
    }
    Ok(Part {
        generation: text(generation)?.into(),
        names: names(list)?,
        bytes: list.len() as u32,
        last: whole.is_some(),
    })
}
