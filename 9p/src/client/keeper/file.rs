//! What is kept of a fid, so that it can be made again.

use alloc::string::String;
use alloc::vec::Vec;

use super::join;
use crate::fault::Fault;
use crate::types::{OpenFlags, Qid, qid_type};

/// What was attached to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) uname: String,
    pub(super) aname: String,
    pub(super) n_uname: u32,
}

/// How a file is read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// At the offset that is asked for.
    Offset,
    /// In sequence, as a stream.
    Sequence {
        /// Behind what was delivered.
        next: Option<u64>,
        /// What the next read has to do first.
        resume: Resume,
        /// Whether what was delivered last ended inside a line.
        inside: bool,
        /// What is still to be told of a gap.
        pending: Vec<u8>,
    },
}

/// What the first read of a stream after a reconnect has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resume {
    /// Nothing.
    No,
    /// Go to `next`.
    At,
    /// Tell of a gap of which nobody knows how long it is.
    Gap,
}

impl Reading {
    pub(super) fn sequence(next: u64) -> Reading {
        Reading::Sequence {
            next: Some(next),
            resume: Resume::No,
            inside: false,
            pending: Vec::new(),
        }
    }
}

/// A fid.
#[derive(Debug)]
pub(super) struct File {
    /// Which of the roots it lies below.
    pub(super) root: usize,
    /// Names from there, with slashes between; nothing at the root itself.
    pub(super) path: String,
    pub(super) qid: Qid,
    pub(super) open: Option<OpenFlags>,
    pub(super) reading: Reading,
    /// Whether it holds locks.
    pub(super) locked: bool,
    /// Why it cannot be found again, if it could not.
    pub(super) opaque: Option<&'static str>,
    /// Why it was not found again.
    pub(super) lost: Option<Fault>,
    /// Bytes of the path that were walked, while it is being found again.
    pub(super) walked: usize,
    /// How many names the last step of that has, and whether it began at this fid.
    pub(super) names: usize,
    pub(super) further: bool,
}

impl File {
    pub(super) fn new(root: usize, path: String, qid: Qid) -> File {
        File {
            root,
            path,
            qid,
            open: None,
            reading: Reading::Offset,
            locked: false,
            opaque: None,
            lost: None,
            walked: 0,
            names: 0,
            further: false,
        }
    }

    /// Whether a write goes to the end, and so is not to be done twice.
    pub(super) fn appends(&self) -> bool {
        self.qid.ty & qid_type::APPEND != 0 || self.open.is_some_and(|f| f.has(OpenFlags::APPEND))
    }

    /// Takes part in a rename: what lay at one path lies at another.
    pub(super) fn moved(&mut self, root: usize, from: &str, to: &str) {
        if self.root != root {
            return;
        }
        match self.path.strip_prefix(from) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                self.path = alloc::format!("{to}{rest}");
            }
            _ => {}
        }
    }
}

/// Where a walk over some names leads.
pub(super) fn walk<'a>(path: &str, names: impl Iterator<Item = &'a str>) -> String {
    let mut path = String::from(path);
    for name in names {
        match name {
            "." => {}
            ".." => path.truncate(path.rfind('/').unwrap_or(0)),
            name => path = join(&path, name),
        }
    }
    path
}

/// Where the file lies that opening a clone file led to, by what it says of itself.
pub(super) fn cloned(path: &str, says: &[u8]) -> Option<String> {
    let number = core::str::from_utf8(says).ok()?.split_ascii_whitespace().next()?;
    if number.len() > 20 || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let dir = path.rfind('/').and_then(|at| path.get(..at)).unwrap_or_default();
    Some(join(&join(dir, number), "ctl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_what_was_walked() {
        let go = |path: &str, names: &[&str]| walk(path, names.iter().copied());
        assert_eq!(go("", &["a", "b"]), "a/b");
        assert_eq!(go("a/b", &["..", "c", "."]), "a/c");
        assert_eq!(go("a", &["..", "..", "b", ".."]), "");
    }

    #[test]
    fn a_rename_takes_what_lies_below_along() {
        let moved = |path: &str| {
            let mut f = File::new(0, String::from(path), Qid::default());
            f.moved(0, "a/b", "c");
            f.moved(1, "c", "no");
            f.path
        };
        assert_eq!(moved("a/b"), "c");
        assert_eq!(moved("a/b/d/e"), "c/d/e");
        assert_eq!(moved("a/bc"), "a/bc");
    }

    #[test]
    fn a_clone_is_a_number_beside_its_file() {
        assert_eq!(cloned("moves/clone", b"17\n").as_deref(), Some("moves/17/ctl"));
        assert_eq!(cloned("clone", b"0 rest\n").as_deref(), Some("0/ctl"));
        for bad in [&b""[..], b"x", b"..", b"1/2", b"123456789012345678901"] {
            assert_eq!(cloned("clone", bad), None);
        }
    }
}
