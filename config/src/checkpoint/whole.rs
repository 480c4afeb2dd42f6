//! A checkpoint that lies open in memory, and putting an increment onto its base.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Bad, CHUNK, Header, Reader, Sink, Why, Writer};
use crate::payload::Hash;

/// A checkpoint, unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Its header.
    pub header: Header,
    /// Its hash: that of the bytes that were read, or of the last increment that was put
    /// onto it. The next increment names it.
    pub hash: Hash,
    /// The version of the runtime's part.
    pub version: u32,
    /// The runtime's part.
    pub state: Vec<u8>,
    /// The components, by number.
    pub components: BTreeMap<u32, Component>,
}

/// A component of a [`Whole`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// The size of its memory, in bytes.
    pub memory: u64,
    /// The chunks that the checkpoint names.
    pub chunks: BTreeMap<u32, Box<[u8; CHUNK]>>,
}

impl Whole {
    /// Unpacks a checkpoint whose state and chunks together have at most `most` bytes.
    pub fn read(bytes: &[u8], most: u64) -> Result<Whole, Bad> {
        let mut kept = Kept { left: most, ..Kept::default() };
        let (header, hash) = Reader::read(bytes, &mut kept)?;
        let Kept { version, state, components, .. } = kept;
        Ok(Whole { header, hash, version, state, components })
    }

    /// This checkpoint with an increment put onto it: the guest as it was at the
    /// increment's cut. Refused unless the increment names this one as its base.
    pub fn compose(mut self, increment: Whole) -> Result<Whole, Bad> {
        let refuse = |at, why| Err(Bad { at, why: Why::Refused(why) });
        if increment.header.payload != self.header.payload {
            return refuse(16, "the increment is of another payload than its base");
        }
        if increment.header.base != Some(self.hash) {
            return refuse(48, "the increment builds on another checkpoint than this one");
        }
        let mut components = increment.components;
        for (number, component) in &mut components {
            let Some(before) = self.components.remove(number) else { continue };
            let inside = |n: u32| u64::from(n) * (CHUNK as u64) < component.memory;
            let mut chunks = before.chunks;
            chunks.retain(|n, _| inside(*n));
            cut(&mut chunks, component.memory);
            chunks.append(&mut component.chunks);
            component.chunks = chunks;
        }
        // A checkpoint that builds on nothing names no chunk of zeroes.
        if self.header.base.is_none() {
            let named = |data: &[u8; CHUNK]| data.iter().any(|b| *b != 0);
            components.values_mut().for_each(|c| c.chunks.retain(|_, data| named(data)));
        }
        self.header.time = increment.header.time;
        self.hash = increment.hash;
        (self.version, self.state) = (increment.version, increment.state);
        self.components = components;
        Ok(self)
    }

    /// The bytes, and their hash.
    pub fn write(&self) -> (Vec<u8>, Hash) {
        let mut out = Vec::new();
        let mut writer = Writer::new(&self.header, &mut out);
        writer.state(self.version, self.state.len() as u64, &mut out);
        writer.state_bytes(&self.state, &mut out);
        for (number, component) in &self.components {
            writer.component(*number, &component.name, component.memory, &mut out);
            for (chunk, data) in &component.chunks {
                writer.chunk(*chunk, data, &mut out);
            }
        }
        let hash = writer.finish(&mut out);
        (out, hash)
    }
}

/// Makes zero what lies behind the end of a memory that became smaller.
fn cut(chunks: &mut BTreeMap<u32, Box<[u8; CHUNK]>>, memory: u64) {
    let Some((last, data)) = chunks.iter_mut().next_back() else { return };
    let end = memory.saturating_sub(u64::from(*last) * CHUNK as u64);
    if let Some(behind) = usize::try_from(end).ok().and_then(|end| data.get_mut(end..)) {
        behind.fill(0);
    }
}

#[derive(Default)]
struct Kept {
    left: u64,
    version: u32,
    state: Vec<u8>,
    components: BTreeMap<u32, Component>,
}

impl Kept {
    fn charge(&mut self, bytes: usize) -> Result<(), &'static str> {
        let left = self.left.checked_sub(bytes as u64);
        self.left = left.ok_or("it unpacks to more bytes than are read")?;
        Ok(())
    }
}

impl Sink for Kept {
    fn state(&mut self, version: u32, _: u64) -> Result<(), &'static str> {
        self.version = version;
        Ok(())
    }

    fn state_bytes(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        self.charge(bytes.len())?;
        self.state.extend_from_slice(bytes);
        Ok(())
    }

    fn component(&mut self, number: u32, name: &str, memory: u64) -> Result<(), &'static str> {
        let component = Component { name: name.into(), memory, chunks: BTreeMap::new() };
        self.charge(size_of::<Component>() + name.len())?;
        self.components.insert(number, component);
        Ok(())
    }

    fn chunk(&mut self, number: u32, data: &[u8; CHUNK]) -> Result<(), &'static str> {
        self.charge(CHUNK)?;
        if let Some(mut last) = self.components.last_entry() {
            last.get_mut().chunks.insert(number, Box::new(*data));
        }
        Ok(())
    }
}
