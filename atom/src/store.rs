//! What an atom keeps beside its memory: the store, and memory shared with others.

use alloc::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::abi;
use crate::error::{Errno, Error, Result, check};
use crate::future::{Call, Typed};

/// Calls again with a buffer that is large enough.
fn whole(mut get: impl FnMut(&mut [u8]) -> i32) -> Result<Option<Vec<u8>>> {
    let mut out = alloc::vec![0; 64];
    loop {
        let len = match check(get(&mut out)) {
            Ok(len) => usize::try_from(len)?,
            Err(e) if e.errno == Errno::ENOENT => return Ok(None),
            Err(e) => return Err(e),
        };
        let fits = len <= out.len();
        out.resize(len, 0);
        if fits {
            return Ok(Some(out));
        }
    }
}

/// The atom's map: there is one, and it is there again after an abandonment.
pub mod kv {
    use super::*;

    /// What is under a key.
    pub fn get(key: &[u8]) -> Result<Option<Vec<u8>>> {
        whole(|out| abi::kv_get(key, out))
    }

    /// Whether there is something, and of how many bytes.
    pub fn len(key: &[u8]) -> Result<Option<usize>> {
        match check(abi::kv_get(key, &mut [])) {
            Ok(len) => Ok(Some(usize::try_from(len)?)),
            Err(e) if e.errno == Errno::ENOENT => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Puts something there. ENOSPC when the storage is used up.
    pub fn put(key: &[u8], value: &[u8]) -> Result<()> {
        check(abi::kv_put(key, value)).map(drop)
    }

    /// Takes it away. ENOENT.
    pub fn remove(key: &[u8]) -> Result<()> {
        check(abi::kv_del(key)).map(drop)
    }

    /// The least key that is greater; the least of all for an empty one.
    pub fn next(key: &[u8]) -> Result<Option<Vec<u8>>> {
        whole(|out| abi::kv_next(key, out))
    }

    /// The keys behind this one, in order.
    pub fn keys(from: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        // A key that is too long has none behind it that it could name.
        core::iter::successors(next(from).ok().flatten(), |key| next(key).ok().flatten())
    }

    /// What is under a key, as a value.
    pub fn load<T: DeserializeOwned>(key: &[u8]) -> Result<Option<T>> {
        Ok(match get(key)? {
            Some(bytes) => Some(postcard::from_bytes(&bytes)?),
            None => None,
        })
    }

    /// Puts a value there.
    pub fn save(key: &[u8], value: &impl Serialize) -> Result<()> {
        put(key, &crate::message::encode(value)?)
    }
}

/// The atom's log of records, numbered from 0.
pub mod log {
    use super::*;

    /// Adds a record, and gives its number.
    pub fn append(record: &[u8]) -> Result<u64> {
        let number = abi::log_append(record);
        match u64::try_from(number) {
            Ok(number) => Ok(number),
            Err(_) => Err(Error::received(i32::try_from(number).unwrap_or(0), &[])),
        }
    }

    /// A record.
    pub fn read(number: u64) -> Result<Option<Vec<u8>>> {
        let number = i64::try_from(number)?;
        whole(|out| abi::log_read(number, out))
    }
}

/// Comes when all that was stored is in the host's files. EOPNOTSUPP where the host
/// keeps none.
pub fn sync() -> Typed<()> {
    Typed::new(Call::new(abi::sync()), |_| Ok(()))
}

/// Memory that all atoms of a guest share: [`abi::SCRATCH`] bytes.
pub mod scratch {
    use super::*;

    /// Reads from `at` on.
    pub fn read(at: u32, out: &mut [u8]) -> Result<()> {
        check(abi::scratch_read(at, out)).map(drop)
    }

    /// Writes from `at` on.
    pub fn write(at: u32, data: &[u8]) -> Result<()> {
        check(abi::scratch_write(at, data)).map(drop)
    }

    /// Adds to the word at `at`, wrapping, and gives what it was.
    pub fn add(at: u32, add: i64) -> Result<u64> {
        let mut old = 0;
        check(abi::scratch_add(at, add, &mut old)).map(|_| old)
    }

    /// Sets the word at `at` if it is what is expected. What it was, as an error if it
    /// was something else.
    pub fn swap(at: u32, expected: u64, new: u64) -> Result<core::result::Result<u64, u64>> {
        let mut old = 0;
        let new = new.cast_signed();
        let done = check(abi::scratch_cas(at, expected.cast_signed(), new, &mut old))?;
        Ok(if done == 1 { Ok(old) } else { Err(old) })
    }
}

/// Waits for a lock of the guest's (below [`abi::LOCKS`]): with others if `shared`,
/// else alone. It is given up when what it gives is dropped.
pub async fn lock(number: u32, shared: bool) -> Result<Locked> {
    Call::new(abi::lock(number, u32::from(shared))).await?;
    Ok(Locked(number))
}

/// A lock that is held.
#[derive(Debug)]
pub struct Locked(u32);

impl Drop for Locked {
    fn drop(&mut self) {
        // It was held: there is nothing to be told.
        let _ = abi::unlock(self.0);
    }
}
