//! Who may do what with a node.
//!
//! The first entry names the owner, who may do everything, and what everybody may whom no
//! other entry names. As text that is `n0 r5`: a letter (`n` nothing, `r` read, `w` write,
//! `b` both) with a domain's number, which is what xenstored sends and `xenstore-ls -p`
//! shows.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

/// Entries that a node may have here. xenstored's own limit is 5 for what a domain sets.
pub const MAX_PERMS: usize = 64;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `n`: nothing.
    None,
    /// `r`: read it and list its children.
    Read,
    /// `w`: write it and make children.
    Write,
    /// `b`: both.
    Both,
}

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Perm {
    /// The domain.
    pub domid: u16,
    /// What it may do; in the first entry, what all others may.
    pub access: Access,
}

/// Text that is no permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPerms;

impl fmt::Display for BadPerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "permissions are n, r, w or b with a domain's number each, the owner first: n0 r5",
        )
    }
}

impl core::error::Error for BadPerms {}

impl fmt::Display for Perm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.access {
            Access::None => 'n',
            Access::Read => 'r',
            Access::Write => 'w',
            Access::Both => 'b',
        };
        write!(f, "{letter}{}", self.domid)
    }
}

impl core::str::FromStr for Perm {
    type Err = BadPerms;

    fn from_str(s: &str) -> Result<Perm, BadPerms> {
        let mut rest = s.chars();
        let access = match rest.next() {
            Some('n') => Access::None,
            Some('r') => Access::Read,
            Some('w') => Access::Write,
            Some('b') => Access::Both,
            _ => return Err(BadPerms),
        };
        let digits = rest.as_str();
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BadPerms); // `parse` takes a sign
        }
        Ok(Perm { domid: digits.parse().map_err(|_| BadPerms)?, access })
    }
}

/// As text, with a space between each two.
pub fn format_perms(perms: &[Perm]) -> String {
    let mut out = String::new();
    for (i, perm) in perms.iter().enumerate() {
        let _ = write!(out, "{}{perm}", if i == 0 { "" } else { " " });
    }
    out
}

/// From text: entries with white space between them, at least one.
pub fn parse_perms(text: &str) -> Result<Vec<Perm>, BadPerms> {
    collect(text.split_whitespace())
}

/// From an answer, where every entry ends with a NUL.
pub(super) fn from_wire(payload: &[u8]) -> Result<Vec<Perm>, BadPerms> {
    let text = core::str::from_utf8(payload).map_err(|_| BadPerms)?;
    collect(text.strip_suffix('\0').unwrap_or(text).split('\0'))
}

fn collect<'a>(entries: impl Iterator<Item = &'a str>) -> Result<Vec<Perm>, BadPerms> {
    let mut out = Vec::new();
    for entry in entries {
        if out.len() == MAX_PERMS {
            return Err(BadPerms);
        }
        out.push(entry.parse()?);
    }
    if out.is_empty() { Err(BadPerms) } else { Ok(out) }
}
