//! A guest becomes another one: its clients stay, and go on with what they have open.

use core::mem;

use alloc::vec::Vec;

use atoll_9p::fault::{Errno, Fault};

use super::state::{State, bad};
use crate::component::{CHUNK, ComponentId};
use crate::core::Core;

/// A guest that is checked but for its atoms' memories, and then complete.
pub struct Fresh<'a> {
    core: Core<'a>,
    /// Components that were told how large their memory is.
    told: usize,
}

impl<'a> Fresh<'a> {
    /// The guest of a state, of the same payload and on the same machine as `core`, which
    /// does not change.
    pub fn new(core: &Core<'a>, state: State) -> Result<Fresh<'a>, Fault> {
        Ok(Fresh { core: core.build(state)?, told: 0 })
    }

    /// Says what a component is called, and how large its memory is: as large as its state
    /// says, and 0 where it has none. Each is told once, in the order of their numbers.
    pub fn memory(&mut self, id: u32, name: &str, size: u64) -> Result<(), Fault> {
        let slot = self.core.slots.all_mut().nth(self.told).filter(|(at, _)| at.0 == id);
        let (_, slot) = slot.ok_or_else(|| bad(format_args!("component {id} is out of order")))?;
        self.told += 1;
        if slot.name != name {
            return Err(bad(format_args!("component {id} has another name than {name}")));
        }
        let is = slot.body.as_mut().and_then(|b| b.memory()).map_or(0, |m| m.size());
        if is != size {
            return Err(bad(format_args!("{name} has {is} bytes of memory, and not {size}")));
        }
        Ok(())
    }

    /// Says that no more comes.
    pub fn complete(&self) -> Result<(), Fault> {
        match self.core.slots.all().nth(self.told) {
            Some(slot) => Err(bad(format_args!("{} is missing", slot.name))),
            None => Ok(()),
        }
    }

    /// Puts a chunk into the memory of an atom.
    pub fn chunk(&mut self, id: u32, chunk: u32, data: &[u8; CHUNK]) -> Result<(), Fault> {
        let body = self.core.slots.get_mut(ComponentId(id)).and_then(|s| s.body.as_mut());
        let memory = body.and_then(|b| b.memory()).ok_or(Errno::EINVAL)?;
        let size = memory.size();
        if u64::from(chunk) * CHUNK as u64 >= size {
            return Err(bad(format_args!("component {id} has no chunk {chunk}")));
        }
        memory.write(size, chunk, data);
        Ok(())
    }
}

impl<'a> Core<'a> {
    /// Becomes another guest. Readers of streams are told of a gap, and what was under way
    /// with the host is nobody's.
    pub fn become_other(&mut self, Fresh { core: mut new, .. }: Fresh<'a>) {
        new.since = (self.machine_time(), new.now);
        // The time of day is the machine's.
        new.wall_at_start = self.wall().saturating_sub(new.now.0);
        for (id, slot) in new.slots.all_mut() {
            let Some(old) = self.slots.get(id) else { continue };
            for (file, was) in slot.streams.iter_mut().zip(&old.streams) {
                file.stream.succeed(&was.stream);
            }
            if let (Some(own), Some(was)) = (&mut slot.own, &old.own) {
                own.log.succeed(&was.log);
            }
        }
        new.log.succeed(&self.log);
        // Who keeps the guest's checkpoints goes on doing so, under new numbers.
        mem::swap(&mut new.snaps.lines, &mut self.snaps.lines);
        new.snaps.wanted = new.snaps.wanted.max(self.snaps.wanted);
        new.snaps.ending = self.snaps.ending;
        new.snaps.back = self.snaps.back.restored();
        let held = self.atoms.files.values().map(|f| f.held);
        new.namespace.inherit(&mut self.namespace, held);
        new.inherit_keep(self);
        new.fresh_log = mem::take(&mut self.fresh_log);
        new.machine = mem::take(&mut self.machine);
        new.pace = self.pace;
        *self = new;
        let mut done = Vec::new();
        self.namespace.go_on(&mut done);
        self.returned(done);
        self.keep_on();
    }
}
