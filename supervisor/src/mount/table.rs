//! What is mounted, as `/proc/self/mountinfo` tells (`proc_pid_mountinfo(5)`).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::fuse::device;
use super::v9fs;

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub dir: PathBuf,
    /// Of what type.
    pub fstype: String,
    /// What is mounted: a name.
    pub source: OsString,
}

impl Entry {
    /// Whether `atoll mount` makes such.
    pub fn is_ours(&self) -> bool {
        [device::FSTYPE, v9fs::FSTYPE].contains(&self.fstype.as_str())
    }
}

/// All mounts, the topmost of a place last.
pub fn read() -> std::io::Result<Vec<Entry>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

fn parse(text: &[u8]) -> Vec<Entry> {
    let line = |line: &[u8]| {
        let mut fields = line.split(|&b| b == b' ');
        let dir = fields.nth(4)?;
        let mut rest = fields.skip_while(|f| *f != b"-").skip(1);
        let fstype = String::from_utf8(rest.next()?.to_vec()).ok()?;
        let source = OsString::from_vec(unescape(rest.next()?));
        Some(Entry { dir: PathBuf::from(OsString::from_vec(unescape(dir))), fstype, source })
    };
    text.split(|&b| b == b'\n').filter_map(line).collect()
}

/// Blanks, tabs, newlines and backslashes are three octal digits behind a backslash.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&b, more)) = rest.split_first() {
        let octal = |d: &[u8; 3]| {
            let digits = std::str::from_utf8(d).ok()?;
            u8::from_str_radix(digits, 8).ok()
        };
        match (b, more.split_first_chunk::<3>()) {
            (b'\\', Some((digits, tail))) if octal(digits).is_some() => {
                out.extend(octal(digits));
                rest = tail;
            }
            _ => {
                out.push(b);
                rest = more;
            }
        }
    }
    out
}

/// What is mounted at a place, if something is.
pub fn at(dir: &Path) -> Option<Entry> {
    read().ok()?.into_iter().rfind(|m| m.dir == dir)
}

/// Whether what is mounted at a place is ours.
pub fn is_ours(dir: &Path) -> bool {
    at(dir).is_some_and(|m| m.is_ours())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_with_its_escapes_and_optional_fields() {
        let text = b"36 35 98:0 /m /mnt rw,noatime master:1 shared:2 - ext3 /dev/root rw\n\
            40 36 0:52 / /mnt/a\\040b\\134c rw - fuse.atoll unix:/run/x\\040y rw,user_id=0\n\
            garbage\n";
        let all = parse(text);
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].dir.to_str(), all[0].fstype.as_str()), (Some("/mnt"), "ext3"));
        assert!(!all[0].is_ours() && all[1].is_ours());
        assert_eq!(all[1].dir.to_str(), Some("/mnt/a b\\c"));
        assert_eq!(all[1].source.to_str(), Some("unix:/run/x y"));
    }
}
