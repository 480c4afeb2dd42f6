//! What a node may be called.
//!
//! xenstored checks paths too; they are checked here so that one mistake of ours is a
//! refusal with a reason, and so that a name in an answer, which is a claim, is never more
//! than a name: it holds no slash and no NUL.

use core::fmt;

/// The longest absolute path: `XENSTORE_ABS_PATH_MAX`, without a NUL.
pub const ABS_PATH_MAX: usize = 3072;
/// The longest path below a domain's own: `XENSTORE_REL_PATH_MAX`.
pub const REL_PATH_MAX: usize = 2048;

/// Why a path is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPath {
    /// It is empty, or a name in it is.
    Empty,
    /// It is longer than XenStore's paths are.
    TooLong,
    /// It holds what is no ASCII letter or digit, and none of `-_@`.
    Character,
}

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadPath::Empty => "a name in XenStore is not empty",
            BadPath::TooLong => "longer than a path in XenStore may be",
            BadPath::Character => "a name in XenStore has letters, digits, '-', '_' and '@' alone",
        })
    }
}

impl core::error::Error for BadPath {}

/// Whether it can be the name of a node in its directory.
pub fn check_name(name: &str) -> Result<(), BadPath> {
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'@');
    match name.bytes().all(fits) {
        _ if name.is_empty() => Err(BadPath::Empty),
        false => Err(BadPath::Character),
        true => Ok(()),
    }
}

/// Whether it is a path: an absolute one, or one below a domain's own. Both `/` and, for a
/// watch, `@releaseDomain` are.
pub fn check_path(path: &str) -> Result<(), BadPath> {
    let (names, most) = match path.strip_prefix('/') {
        Some("") => return Ok(()),
        Some(names) => (names, ABS_PATH_MAX),
        None => (path, REL_PATH_MAX),
    };
    if path.len() > most {
        return Err(BadPath::TooLong);
    }
    // `@releaseDomain/<domid>` is a path as well.
    names.split('/').try_for_each(check_name)
}
