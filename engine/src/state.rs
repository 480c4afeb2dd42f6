//! What an atom's store holds for its host calls: the event that is dispatched, what
//! was answered, and the way to the runtime.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::ptr;

use atoll_9p::fault::{Errno, Fault};
use atoll_runtime::component::{ComponentId, Cx};
use atoll_runtime::engine::AtomLimits;
use wasmtime::{Caller, Memory, ResourceLimiter, Trap};

use crate::guard::Guard;

/// The most bytes in an answer (ABI, section 7).
const MAX_ANSWER: usize = 1 << 20;

/// A store's data.
pub(crate) struct State {
    /// The runtime, as long as a dispatch lasts; null between two.
    cx: *mut Cx<'static>,
    /// The event's body, likewise.
    body: *const [u8],
    pub(crate) sender: Option<ComponentId>,
    pub(crate) answer: Vec<u8>,
    /// The module's memory, from the moment that there is an instance.
    pub(crate) memory: Option<Memory>,
    pub(crate) limits: Limits,
    /// Bytes of memory that are charged.
    paid: usize,
    events: u64,
}

/// What an instance may grow to.
pub(crate) struct Limits {
    pub(crate) memory: usize,
    pub(crate) guard: Arc<dyn Guard>,
}

/// The most elements in a table. A table takes native memory, and is filled when an
/// instance is made.
const MAX_TABLE: usize = 1 << 16;

// SAFETY: its pointers are null between two dispatches, and during one nobody can send it
// anywhere: the atom that has it is borrowed, and is no `Send` itself.
unsafe impl Send for State {}

impl ResourceLimiter for State {
    fn memory_growing(
        &mut self,
        _: usize,
        to: usize,
        most: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Growing is a host call too: code that does nothing else must not run on.
        if self.limits.guard.fired() {
            return Err(Trap::Interrupt.into());
        }
        if to > self.limits.memory || most.is_some_and(|most| to > most) {
            return Ok(false);
        }
        // What was paid for and could not be had after all need not be paid again. What
        // an instance begins with, or is given by a restore, the runtime charges itself.
        let more = to.saturating_sub(self.paid) as u64;
        let paid = more == 0 || self.cx().map_or(true, |cx| cx.grow(more));
        self.paid = if paid { self.paid.max(to) } else { self.paid };
        Ok(paid)
    }

    fn table_growing(&mut self, _: usize, to: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(to <= MAX_TABLE)
    }

    fn instances(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        4
    }
}

impl State {
    /// Of an instance whose files with these bits take lines.
    pub(crate) fn new(limits: Limits, events: u64) -> State {
        State {
            cx: ptr::null_mut(),
            body: ptr::slice_from_raw_parts(ptr::null(), 0),
            sender: None,
            answer: Vec::new(),
            memory: None,
            limits,
            paid: 0,
            events,
        }
    }

    /// Of another instance from now on, whose memory begins with that size.
    pub(crate) fn renew(&mut self, limits: &AtomLimits, size: usize) {
        self.limits.memory = usize::try_from(limits.memory).unwrap_or(usize::MAX);
        self.paid = size;
        self.sender = None;
    }

    /// Takes up an event. It must be taken away with [`State::end`] before `cx` or
    /// `body` are.
    pub(crate) fn begin(&mut self, cx: &mut Cx<'_>, sender: Option<ComponentId>, body: &[u8]) {
        self.cx = ptr::from_mut(cx).cast();
        self.body = body;
        self.sender = sender;
        self.answer.clear();
    }

    /// The event is over. What was answered.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        self.cx = ptr::null_mut();
        self.body = ptr::slice_from_raw_parts(ptr::null(), 0);
        mem::take(&mut self.answer)
    }

    /// The runtime. ECANCELED where no event is dispatched: a start function runs
    /// then, which has nothing to ask for.
    pub(crate) fn cx<'s>(&'s mut self) -> Result<&'s mut Cx<'s>, Errno> {
        // SAFETY: it is null, or what `begin` got, which lives until `end`; nobody
        // else uses it while the atom runs, and this borrows the only way to it.
        let cx: Option<&'s mut Cx<'s>> = unsafe { self.cx.cast::<Cx<'s>>().as_mut() };
        cx.ok_or(Errno::ECANCELED)
    }

    /// The event's body.
    pub(crate) fn body(&self) -> &[u8] {
        if self.body.is_empty() {
            return &[];
        }
        // SAFETY: it is what `begin` got, which lives until `end`.
        unsafe { &*self.body }
    }

    /// Whether the file of this number takes lines.
    pub(crate) fn takes_lines(&self, file: i32) -> bool {
        u32::try_from(file).is_ok_and(|f| self.events.checked_shr(f).is_some_and(|e| e & 1 == 1))
    }

    /// Appends to the answer.
    pub(crate) fn answer(&mut self, more: &[u8]) -> Result<(), Errno> {
        if self.answer.len() + more.len() > MAX_ANSWER {
            return Err(Errno::EMSGSIZE);
        }
        self.answer.extend_from_slice(more);
        Ok(())
    }
}

/// Why a host call does not do what it was asked for: a number for the atom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct No(pub(crate) Errno);

impl From<Errno> for No {
    fn from(errno: Errno) -> No {
        No(errno)
    }
}

impl From<Fault> for No {
    fn from(fault: Fault) -> No {
        No(fault.errno)
    }
}

impl No {
    /// As the atom gets it: below zero, and an errno.
    pub(crate) fn number(self) -> i32 {
        match i32::try_from(self.0.0) {
            Ok(n @ 1..=4095) => -n,
            _ => -(Errno::EIO.0 as i32),
        }
    }
}

/// Does a host call, and asks the watchdog on the way out.
pub(crate) fn serve<T: From<i32>>(
    caller: &mut Caller<'_, State>,
    f: impl FnOnce(&mut [u8], &mut State) -> Result<T, No>,
) -> wasmtime::Result<T> {
    let Some(memory) = caller.data().memory else {
        return Ok(No(Errno::ECANCELED).number().into());
    };
    let (bytes, state) = memory.data_and_store_mut(&mut *caller);
    let done = f(bytes, state);
    if state.limits.guard.fired() {
        return Err(Trap::Interrupt.into());
    }
    Ok(done.unwrap_or_else(|no| no.number().into()))
}

/// A run of bytes of the atom's memory.
pub(crate) fn run(memory: &[u8], ptr: i32, len: i32) -> Result<&[u8], Errno> {
    let (from, len) = (ptr.cast_unsigned() as usize, len.cast_unsigned() as usize);
    memory.get(from..).and_then(|m| m.get(..len)).ok_or(Errno::EFAULT)
}

/// The same, to be written.
pub(crate) fn run_mut(memory: &mut [u8], ptr: i32, len: i32) -> Result<&mut [u8], Errno> {
    let (from, len) = (ptr.cast_unsigned() as usize, len.cast_unsigned() as usize);
    memory.get_mut(from..).and_then(|m| m.get_mut(..len)).ok_or(Errno::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_lies_in_the_memory_or_is_a_fault() {
        let mut memory = [7; 100];
        for (ptr, len, good) in [
            (0, 100, true),
            (100, 0, true),
            (99, 1, true),
            (101, 0, false),
            (0, 101, false),
            (99, 2, false),
            (-1, 0, false),
            (1, -1, false),
            (-1, -1, false),
            (i32::MIN, i32::MIN, false),
        ] {
            assert_eq!(run(&memory, ptr, len).is_ok(), good, "{ptr} {len}");
            assert_eq!(run_mut(&mut memory, ptr, len).is_ok(), good, "{ptr} {len}");
        }
    }
}
