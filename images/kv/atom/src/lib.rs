//! A store as files: an entry of the directory `names` is a key of the atom's store.
//!
//! Nothing but two sums lies in the atom's memory. So it can be abandoned at any time and
//! nothing is lost; and what a host keeps of the store in its files is there again
//! when the guest is started anew.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;

use atoll_atom::kv;
use atoll_atom::prelude::*;
use serde::{Deserialize, Serialize};

/// What other atoms of the guest may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The value of a key: [`Reply::Value`].
    Get(String),
    /// Put a value there: [`Reply::Done`].
    Put(String, Vec<u8>),
    /// Take it away: [`Reply::Done`].
    Remove(String),
}

/// What they are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The value, if there is one.
    Value(Option<Vec<u8>>),
    /// It was done.
    Done,
}

/// The state: what would take long to find out.
#[derive(Debug, Default)]
pub struct Kv {
    keys: usize,
    bytes: usize,
}

fn size(key: &str) -> Result<Option<usize>> {
    kv::len(key.as_bytes())
}

#[atom(events(changes = 8192))]
impl Kv {
    /// The store is older than this instance.
    #[start]
    fn start() -> Result<Kv> {
        let mut all = Kv::default();
        for key in kv::keys(b"") {
            all.keys += 1;
            all.bytes += kv::len(&key)?.unwrap_or(0);
        }
        Ok(all)
    }

    #[text]
    fn stats(&self) -> String {
        alloc::format!("keys {}\nbytes {}\n", self.keys, self.bytes)
    }

    #[list(names)]
    fn list(&self, names: &mut Names) {
        for key in kv::keys(b"") {
            // Keys are put by name only, so they are text.
            if !names.push(core::str::from_utf8(&key).unwrap_or_default()) {
                return;
            }
        }
    }

    #[get(names)]
    fn get(&self, name: &str) -> Result<Vec<u8>> {
        kv::get(name.as_bytes())?.ok_or(Errno::ENOENT.into())
    }

    #[put(names)]
    fn put(&mut self, name: &str, data: &[u8]) -> Result<()> {
        let old = size(name)?;
        Self::CHANGES.emit(format_args!("put {name} {}", data.len()))?;
        kv::put(name.as_bytes(), data)?;
        self.keys += usize::from(old.is_none());
        self.bytes = self.bytes - old.unwrap_or(0) + data.len();
        Ok(())
    }

    #[remove(names)]
    fn remove(&mut self, name: &str) -> Result<()> {
        let old = size(name)?.ok_or(Errno::ENOENT)?;
        Self::CHANGES.emit(format_args!("remove {name}"))?;
        kv::remove(name.as_bytes())?;
        self.keys -= 1;
        self.bytes -= old;
        Ok(())
    }

    #[command(ctl)]
    fn clear(&mut self) -> Result<()> {
        Self::CHANGES.emit("clear")?;
        while let Some(key) = kv::next(b"")? {
            kv::remove(&key)?;
        }
        *self = Kv::default();
        Ok(())
    }

    /// Says `durable`, when all that was put before is in the host's files.
    #[command(ctl)]
    async fn sync(_: This<Self>) -> Result<()> {
        atoll_atom::sync().await?;
        Self::CHANGES.emit("durable")
    }

    #[on_ask]
    fn request(&mut self, request: Request) -> Result<Reply> {
        match request {
            Request::Get(key) => Ok(Reply::Value(kv::get(key.as_bytes())?)),
            Request::Put(key, value) => self.put(&key, &value).map(|()| Reply::Done),
            Request::Remove(key) => self.remove(&key).map(|()| Reply::Done),
        }
    }
}

#[cfg(test)]
mod tests;
