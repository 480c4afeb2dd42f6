//! A checkpoint comes in, a piece after the other, and becomes a guest beside the one that
//! is there. Nothing of it is kept packed: a chunk goes into its memory as it comes.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use atoll_9p::fault::{Errno, Fault};
use atoll_config::checkpoint::{Header, Reader, Sink};

use super::state::{State, VERSION, bad};
use super::swap::Fresh;
use crate::component::CHUNK;
use crate::core::Core;

/// What has come of a checkpoint.
pub struct Incoming<'a> {
    reader: Reader,
    got: Got<'a>,
    /// Bytes so far.
    len: u64,
}

/// What was read.
#[derive(Default)]
struct Got<'a> {
    state: Vec<u8>,
    /// The guest, once its state was read.
    fresh: Option<Fresh<'a>>,
    /// The component whose memory comes now.
    component: u32,
    /// Why this is refused, where the reader's own words are fewer.
    why: Option<Fault>,
}

/// What was read, and what it is for.
struct For<'s, 'a> {
    core: &'s Core<'a>,
    got: &'s mut Got<'a>,
}

/// What the reader is told of a refusal; its reason is kept.
const REFUSED: &str = "refused";

impl Default for Incoming<'_> {
    fn default() -> Self {
        Incoming { reader: Reader::new(), got: Got::default(), len: 0 }
    }
}

impl<'a> Incoming<'a> {
    /// Bytes that have come.
    #[allow(clippy::len_without_is_empty)] // nobody asks
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Takes the next bytes of a checkpoint that `core` is to become; `core` does not
    /// change. True when all of it is there, and is good. EINVAL with a reason for what is
    /// not; that stays.
    pub fn feed(&mut self, core: &Core<'a>, bytes: &[u8]) -> Result<bool, Fault> {
        let fed = self.reader.feed(bytes, &mut For { core, got: &mut self.got });
        if let Err(wrong) = fed {
            let why = self.got.why.clone();
            self.got = Got { why: why.clone(), ..Got::default() };
            return Err(why.unwrap_or_else(|| Fault::new(Errno::EINVAL, wrong.to_string())));
        }
        self.len += bytes.len() as u64;
        if self.reader.whole().is_none() {
            return Ok(false);
        }
        let checked = For { core, got: &mut self.got }.complete();
        checked.map(|()| true).inspect_err(|_| self.got.fresh = None)
    }

    /// The guest, if it is complete.
    pub fn take(&mut self) -> Option<Fresh<'a>> {
        self.reader.whole()?;
        self.got.fresh.take()
    }
}

impl<'a> For<'_, 'a> {
    fn fresh(&mut self) -> Result<&mut Fresh<'a>, Fault> {
        let got = &mut *self.got;
        if got.fresh.is_none() {
            let state = State::from_bytes(&core::mem::take(&mut got.state))?;
            got.fresh = Some(Fresh::new(self.core, state)?);
        }
        got.fresh.as_mut().ok_or(Errno::EINVAL.into())
    }

    fn complete(&mut self) -> Result<(), Fault> {
        let fresh = self.fresh()?;
        fresh.complete()
    }

    fn note(&mut self, done: Result<(), Fault>) -> Result<(), &'static str> {
        done.map_err(|why| {
            self.got.why = Some(why);
            REFUSED
        })
    }
}

impl Sink for For<'_, '_> {
    fn header(&mut self, header: &Header) -> Result<(), &'static str> {
        if header.payload != self.core.hash {
            return Err("it is a checkpoint of another payload");
        }
        if header.base.is_some() {
            return Err("it holds only what changed since another checkpoint: join them first");
        }
        Ok(())
    }

    fn state(&mut self, version: u32, len: u64) -> Result<(), &'static str> {
        if version != VERSION {
            let text: String = alloc::format!("its state has version {version}, not {VERSION}");
            return self.note(Err(bad(text)));
        }
        // What it holds is charged, or saved by a component of so much.
        let budget = self.core.payload.budget.memory.saturating_mul(2);
        let most = budget.saturating_add(self.core.payload.memory / 4);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let fits = len as u64 <= most && (len as u64).saturating_mul(3) <= self.core.spare();
        if !fits || self.got.state.try_reserve_exact(len).is_err() {
            return Err("its state is larger than this guest's may be");
        }
        Ok(())
    }

    fn state_bytes(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        self.got.state.extend_from_slice(bytes);
        Ok(())
    }

    fn component(&mut self, number: u32, name: &str, memory: u64) -> Result<(), &'static str> {
        self.got.component = number;
        let done = self.fresh().and_then(|fresh| fresh.memory(number, name, memory));
        self.note(done)
    }

    fn chunk(&mut self, number: u32, data: &[u8; CHUNK]) -> Result<(), &'static str> {
        let component = self.got.component;
        let done = self.fresh().and_then(|fresh| fresh.chunk(component, number, data));
        self.note(done)
    }
}
