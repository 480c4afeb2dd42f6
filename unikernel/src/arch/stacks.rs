//! The stacks, each above a page that is not mapped.
//!
//! Precompiled `core` keeps data below the stack pointer (the red zone), so
//! nothing may push onto a stack that is in use: every exception and interrupt
//! has one of its own. Sizes: the kernel gets 64 KiB; a fault record needs
//! about 3 KiB; the interrupt stub pushes five words.

use core::cell::UnsafeCell;

const GUARD: usize = 4096;

#[repr(C, align(4096))]
pub(crate) struct Stack<const N: usize> {
    guard: UnsafeCell<[u8; GUARD]>,
    space: UnsafeCell<[u8; N]>,
}

#[repr(C)]
pub(crate) struct Stacks {
    /// First, so that its top is at a fixed distance for the boot code.
    main: Stack<MAIN>,
    fault: Stack<8192>,
    double: Stack<8192>,
    nmi: Stack<8192>,
    interrupt: Stack<4096>,
}

#[cfg(not(feature = "atoms"))]
const MAIN: usize = 64 << 10;
/// Atoms run on it too, each with its own limit.
#[cfg(feature = "atoms")]
const MAIN: usize = (64 << 10) + atoll_engine::MAX_STACK + (64 << 10);

// SAFETY: only the processor uses the bytes; Rust takes addresses.
unsafe impl Sync for Stacks {}

/// Distance from the beginning of [`STACKS`] to the top of the main stack.
pub(crate) const MAIN_TOP: usize = GUARD + MAIN;

pub(crate) static STACKS: Stacks = Stacks {
    main: Stack::new(),
    fault: Stack::new(),
    double: Stack::new(),
    nmi: Stack::new(),
    interrupt: Stack::new(),
};

impl<const N: usize> Stack<N> {
    const fn new() -> Stack<N> {
        Stack { guard: UnsafeCell::new([0; GUARD]), space: UnsafeCell::new([0; N]) }
    }

    fn guard(&self) -> u64 {
        self.guard.get() as u64
    }

    fn top(&self) -> u64 {
        self.space.get() as u64 + N as u64
    }
}

/// The guard page of each stack, with the stack's name.
pub(crate) fn guards() -> [(u64, &'static str); 5] {
    let s = &STACKS;
    [
        (s.main.guard(), "main"),
        (s.fault.guard(), "fault"),
        (s.double.guard(), "double fault"),
        (s.nmi.guard(), "non-maskable interrupt"),
        (s.interrupt.guard(), "interrupt"),
    ]
}

/// The stack whose guard page holds an address.
pub(crate) fn overflowed(address: u64) -> Option<&'static str> {
    guards()
        .into_iter()
        .find(|(g, _)| (*g..*g + GUARD as u64).contains(&address))
        .map(|(_, name)| name)
}

/// Entries of the task state's interrupt stack table.
#[derive(Clone, Copy)]
pub(crate) enum Ist {
    Fault = 1,
    Double = 2,
    Nmi = 3,
    Interrupt = 4,
}

/// The tops of the interrupt stacks, in the order of [`Ist`].
pub(crate) fn tops() -> [u64; 4] {
    let s = &STACKS;
    [s.fault.top(), s.double.top(), s.nmi.top(), s.interrupt.top()]
}
