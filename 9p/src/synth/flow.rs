//! Files of bytes on their way: consoles, and the data of connections.

use alloc::boxed::Box;

use super::kinds::Special;
use crate::bytes::Bytes;
use crate::fault::{Errno, Fault};
use crate::tree::Reply;

type Pick<'a, S> = Box<dyn for<'s> Fn(&'s mut S, u64) -> Option<&'s mut Bytes> + 'a>;
type Written<'a, S> = Box<dyn Fn(&mut S, u64, &[u8]) -> Result<Reply, Fault> + 'a>;

/// What a file of bytes is read from, and where what is written goes. Functions get the
/// state and the number of the entry that the file belongs to, 0 where it has none;
/// no bytes where there are none any more makes ESTALE.
pub struct Flow<'a, S> {
    out: Option<Pick<'a, S>>,
    into: Option<Pick<'a, S>>,
    written: Option<Written<'a, S>>,
}

impl<S> Default for Flow<'_, S> {
    fn default() -> Self {
        Flow { out: None, into: None, written: None }
    }
}

impl<'a, S> Flow<'a, S> {
    /// A file that can neither be read nor written.
    pub fn new() -> Flow<'a, S> {
        Flow::default()
    }

    /// Reads follow these bytes, each reader at its own pace.
    #[must_use]
    pub fn out(self, pick: impl for<'s> Fn(&'s mut S, u64) -> Option<&'s mut Bytes> + 'a) -> Self {
        Flow { out: Some(Box::new(pick)), ..self }
    }

    /// Writes go into these bytes, and wait while those are full.
    #[must_use]
    pub fn into(self, pick: impl for<'s> Fn(&'s mut S, u64) -> Option<&'s mut Bytes> + 'a) -> Self {
        Flow { into: Some(Box::new(pick)), ..self }
    }

    /// Writes are done by a function. One that lets a write wait has to see to it that
    /// it is asked again: [`super::Synth::wake`].
    #[must_use]
    pub fn written(self, f: impl Fn(&mut S, u64, &[u8]) -> Result<Reply, Fault> + 'a) -> Self {
        Flow { written: Some(Box::new(f)), ..self }
    }
}

fn pick<'s, S>(pick: Option<&Pick<'_, S>>, s: &'s mut S, id: u64) -> Result<&'s mut Bytes, Fault> {
    pick.ok_or(Errno::EACCES)?(s, id).ok_or(Errno::ESTALE.into())
}

impl<S> Special<S> for Flow<'_, S> {
    fn perm(&self) -> u16 {
        let reads = if self.out.is_some() { 0o444 } else { 0 };
        let writes = if self.into.is_some() || self.written.is_some() { 0o200 } else { 0 };
        reads | writes
    }

    fn open(&self, s: &mut S, id: u64) -> Result<u64, Fault> {
        match &self.out {
            Some(out) => pick(Some(out), s, id).map(|b| b.oldest()),
            None => Ok(0),
        }
    }

    fn read(
        &self,
        s: &mut S,
        id: u64,
        at: &mut u64,
        _: u64,
        buf: &mut [u8],
    ) -> Result<Reply, Fault> {
        Ok(pick(self.out.as_ref(), s, id)?.read(at, buf))
    }

    fn write(&self, s: &mut S, id: u64, _: &mut u64, _: u64, data: &[u8]) -> Result<Reply, Fault> {
        match &self.written {
            Some(written) => written(s, id, data),
            None => pick(self.into.as_ref(), s, id)?.offer(data),
        }
    }

    fn seek(&self, s: &mut S, id: u64, at: &mut u64, to: u64) -> Result<(), Fault> {
        pick(self.out.as_ref(), s, id)?.seek(at, to)
    }

    fn can_seek(&self) -> bool {
        self.out.is_some()
    }

    fn news(&self, s: &mut S, id: u64, take: bool) -> bool {
        let mut news = false;
        for bytes in [&self.out, &self.into].into_iter().flatten() {
            let Some(bytes) = bytes(s, id) else { continue };
            news |= if take { bytes.take_news() } else { bytes.has_news() };
        }
        news
    }
}
