//! The private namespace of a fake guest: plain files by their path. Directories are
//! there while something is in them.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::abi::{self, flags};
use crate::files::Stat;
use crate::{Errno, Error};

/// An open file.
#[derive(Clone)]
pub(super) struct Fd {
    path: String,
    flags: u32,
}

#[derive(Clone, Default)]
pub(super) struct Namespace {
    files: BTreeMap<String, Rc<Vec<u8>>>,
    failing: BTreeMap<String, Errno>,
}

type Result<T> = core::result::Result<T, Errno>;

fn count(n: usize) -> Vec<u8> {
    u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes().to_vec()
}

impl Namespace {
    pub(super) fn put(&mut self, path: &str, data: &[u8]) {
        self.files.insert(path.to_string(), Rc::new(data.to_vec()));
    }

    pub(super) fn get(&self, path: &str) -> Option<Vec<u8>> {
        self.files.get(path).map(|data| data.to_vec())
    }

    pub(super) fn fail(&mut self, path: &str, errno: Errno) {
        self.failing.insert(path.to_string(), errno);
    }

    fn is_dir(&self, path: &str) -> bool {
        let below = alloc::format!("{}/", path.trim_end_matches('/'));
        self.files.range(below.clone()..).next().is_some_and(|(p, _)| p.starts_with(&below))
    }

    fn file(&self, path: &str) -> Result<&Rc<Vec<u8>>> {
        if let Some(errno) = self.failing.get(path) {
            return Err(*errno);
        }
        match self.files.get(path) {
            Some(data) => Ok(data),
            None if self.is_dir(path) => Err(Errno::EISDIR),
            None => Err(Errno::ENOENT),
        }
    }

    pub(super) fn read(&self, path: &str, from: u64, most: u32) -> Result<Vec<u8>> {
        let data = self.file(path)?;
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(data.len());
        let end = from.saturating_add(most as usize).min(data.len());
        Ok(data.get(from..end).unwrap_or_default().to_vec())
    }

    /// Nothing for `from` is: in the place of what is there.
    pub(super) fn write(&mut self, path: &str, from: Option<u64>, data: &[u8]) -> Result<()> {
        let mut whole = self.file(path)?.to_vec();
        match from {
            None => whole = data.to_vec(),
            Some(from) => {
                let from = usize::try_from(from).map_err(|_| Errno::EFBIG)?;
                let end = from.checked_add(data.len()).ok_or(Errno::EFBIG)?;
                if end > abi::MAX_ANSWER {
                    return Err(Errno::EFBIG);
                }
                whole.resize(whole.len().max(end), 0);
                if let Some(place) = whole.get_mut(from..end) {
                    place.copy_from_slice(data);
                }
            }
        }
        self.put(path, &whole);
        Ok(())
    }

    pub(super) fn list(&self, path: &str) -> Result<Vec<u8>> {
        if let Some(errno) = self.failing.get(path) {
            return Err(*errno);
        }
        if self.files.contains_key(path) {
            return Err(Errno::ENOTDIR);
        }
        if !self.is_dir(path) && path != "/" {
            return Err(Errno::ENOENT);
        }
        let below = alloc::format!("{}/", path.trim_end_matches('/'));
        let entry = |p: &String| {
            let rest = p.strip_prefix(&below)?;
            Some(match rest.split_once('/') {
                Some((dir, _)) => alloc::format!("{dir}/\n"),
                None => alloc::format!("{rest}\n"),
            })
        };
        let names: BTreeSet<String> = self.files.keys().filter_map(entry).collect();
        let text: String = names.into_iter().collect();
        if text.len() > abi::MAX_BODY { Err(Errno::EFBIG) } else { Ok(text.into_bytes()) }
    }

    pub(super) fn stat(&self, path: &str) -> Result<Vec<u8>> {
        let at = self.files.keys().position(|p| p == path).map_or(0, |at| at as u64 + 1);
        let stat = match self.file(path) {
            Ok(data) => {
                Stat { length: data.len() as u64, mtime: 0, mode: 0o100_644, qid: (0, 0, at) }
            }
            Err(Errno::EISDIR) => Stat { length: 0, mtime: 0, mode: 0o40_755, qid: (0x80, 0, 0) },
            Err(errno) => return Err(errno),
        };
        Ok(stat.bytes())
    }

    /// Opens a file for one who has these open.
    pub(super) fn open(
        &mut self,
        fds: &mut BTreeMap<u32, Fd>,
        path: &str,
        flags: u32,
    ) -> Result<Vec<u8>> {
        match self.file(path) {
            Ok(_) if flags & flags::EXCL != 0 => return Err(Errno::EEXIST),
            Ok(_) if flags & flags::TRUNC != 0 => self.put(path, &[]),
            Ok(_) => {}
            Err(Errno::ENOENT) if flags & flags::CREAT != 0 => self.put(path, &[]),
            Err(Errno::EISDIR) if flags & 3 == 0 => {}
            Err(errno) => return Err(errno),
        }
        let fd = (0..).find(|n| !fds.contains_key(n)).ok_or(Errno::EBADF)?;
        fds.insert(fd, Fd { path: path.to_string(), flags });
        Ok(fd.to_le_bytes().to_vec())
    }

    pub(super) fn fd_read(&self, fd: &Fd, from: u64, most: u32) -> Result<Vec<u8>> {
        if fd.flags & flags::PATH != 0 || fd.flags & 3 == flags::WRONLY {
            return Err(Errno::EBADF);
        }
        self.read(&fd.path, from, most)
    }

    pub(super) fn fd_write(&mut self, fd: &Fd, from: u64, data: &[u8]) -> Result<Vec<u8>> {
        if fd.flags & flags::PATH != 0 || fd.flags & 3 == flags::RDONLY {
            return Err(Errno::EBADF);
        }
        self.write(&fd.path, Some(from), data)?;
        Ok(count(data.len()))
    }

    pub(super) fn fd_stat(&self, fd: &Fd) -> Result<Vec<u8>> {
        self.stat(&fd.path)
    }
}

impl Fd {
    /// The path of something below this directory.
    pub(super) fn below(&self, path: &str) -> String {
        alloc::format!("{}/{path}", self.path.trim_end_matches('/'))
    }
}

/// A path as the ABI takes it.
pub(super) fn path(bytes: &[u8], absolute: bool) -> Result<&str> {
    if bytes.len() > abi::MAX_PATH {
        return Err(Errno::ENAMETOOLONG);
    }
    let path = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
    let good = path.starts_with('/') == absolute && !path.is_empty();
    if good && !path.split('/').any(|name| name == "..") { Ok(path) } else { Err(Errno::EINVAL) }
}

/// Flags as the ABI takes them.
pub(super) fn check_flags(flags: u32) -> Result<()> {
    let known = 3 | flags::CREAT | flags::EXCL | flags::TRUNC | flags::PATH;
    if flags & !known != 0 || flags & 3 == 3 { Err(Errno::EINVAL) } else { Ok(()) }
}

/// What a future has of it.
pub(super) fn result(result: Result<Vec<u8>>) -> core::result::Result<Vec<u8>, Error> {
    result.map_err(Error::from)
}
