//! What stops code that runs too long, as a seam.
//!
//! There is nothing in an atom's code that would ever look at a clock. So the machine
//! has to come in from outside: an interrupt in a kernel, a signal in a process. If
//! it comes while the atom's code runs, it lets the machine go on at the module's
//! tripwire. If it comes while the runtime works for the atom, it takes note, which
//! every host call asks about on its way out, and sees to it that the atom's code is
//! returned to at its tripwire ([`crate::Exits`]). In a trampoline it comes back soon.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::exits::Exits;

/// Where a module's functions are in memory.
#[derive(Debug)]
pub struct Code {
    base: usize,
    len: usize,
    /// Start and end of each function, from `base`, in order. What lies between
    /// are trampolines, which must not be left at any odd moment.
    functions: Box<[(u32, u32)]>,
    tripwire: usize,
}

impl Code {
    /// The text of a module, and where in it the functions are. The last one is the
    /// tripwire. None where there is none.
    pub(crate) fn new(text: &[u8], mut functions: Vec<(u32, u32)>) -> Option<Code> {
        /// `ud2`.
        const TRAP: [u8; 2] = [0x0f, 0x0b];
        let (start, end) = functions.pop()?;
        let last = text.get(start as usize..end as usize)?;
        let mut traps = last.windows(2).enumerate().filter(|(_, w)| *w == TRAP);
        let (at, _) = traps.next()?;
        if traps.next().is_some() {
            return None;
        }
        functions.sort_unstable();
        let base = text.as_ptr().addr();
        Some(Code {
            base,
            len: text.len(),
            functions: functions.into(),
            tripwire: base + start as usize + at,
        })
    }

    /// Whether this is the address of an instruction of a function. May be asked in a
    /// signal handler.
    pub fn holds(&self, pc: usize) -> bool {
        let Some(at) = pc.checked_sub(self.base) else { return false };
        let next = self.functions.partition_point(|&(start, _)| start as usize <= at);
        let function = next.checked_sub(1).and_then(|i| self.functions.get(i));
        function.is_some_and(|&(_, end)| at < end as usize)
    }

    /// Whether this is an address of the module's code, a trampoline's too.
    pub fn covers(&self, pc: usize) -> bool {
        pc.checked_sub(self.base).is_some_and(|at| at < self.len)
    }

    /// Where to go on instead: an instruction that traps, and is known to.
    pub fn tripwire(&self) -> usize {
        self.tripwire
    }
}

/// A watchdog. There is one thing that it watches at a time, on the thread that arms
/// it.
pub trait Guard: Send + Sync {
    /// From now on, the functions of `code` may run for `ns` nanoseconds of the
    /// processor's time; afterwards they are made to trap.
    ///
    /// # Safety
    /// `code` must live, and stay mapped, until [`Guard::disarm`] on this thread, and so
    /// must the store that `exits` is of.
    unsafe fn arm(&self, ns: u64, code: &Code, exits: Exits);

    /// Whether the time is over.
    fn fired(&self) -> bool;

    /// Watches no more, and says whether the time was over.
    fn disarm(&self) -> bool;
}
