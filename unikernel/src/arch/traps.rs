//! What the processor runs when something happens.
//!
//! An exception saves every register and never returns: it ends in a record.
//! An interrupt does next to nothing. It is taken only while the guest sleeps,
//! counts itself, and returns with interrupts off, so that exactly one is taken
//! a sleep and the code that woke can look at its devices in peace; that code
//! also says "end of interrupt".

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::registers::control::{Cr2, Cr3};

use crate::logic::record::{self, Kind};

unsafe extern "C" {
    static exception_stubs: [[u8; STUB]; 32];
    fn device_stub();
    fn timer_stub();
    fn spurious_stub();
}

/// Distance between two exception stubs.
const STUB: usize = 16;

/// Interrupts of devices, and of the timer, so far.
pub(crate) static DEVICE_COUNT: AtomicU64 = AtomicU64::new(0);
pub(crate) static TIMER_COUNT: AtomicU64 = AtomicU64::new(0);

/// All interrupts so far.
pub(crate) fn interrupts() -> u64 {
    DEVICE_COUNT.load(Ordering::Relaxed) + TIMER_COUNT.load(Ordering::Relaxed)
}

pub(crate) fn exception(vector: usize) -> u64 {
    (&raw const exception_stubs) as u64 + (vector * STUB) as u64
}

pub(crate) fn device() -> u64 {
    device_stub as *const () as u64
}

pub(crate) fn timer() -> u64 {
    timer_stub as *const () as u64
}

#[cfg(feature = "atoms")]
pub(crate) fn watchdog() -> u64 {
    unsafe extern "C" {
        fn watchdog_stub();
    }
    watchdog_stub as *const () as u64
}

pub(crate) fn spurious() -> u64 {
    spurious_stub as *const () as u64
}

/// What follows when all registers were saved: nothing is gone on with.
#[cfg(not(feature = "atoms"))]
macro_rules! saved {
    () => {
        r#"
    cld
    mov %rsp, %rdi
    and $-16, %rsp
    call {died}
    ud2
    "#
    };
}

/// The same where an atom may have caused it, and the machine goes on.
#[cfg(feature = "atoms")]
macro_rules! saved {
    () => {
        r#"
    cld
    mov %rsp, %rbx
    mov %rsp, %rdi
    sub $512, %rsp
    and $-16, %rsp
    fxsave (%rsp)
    call {died}
    fxrstor (%rsp)
    mov %rbx, %rsp
    popq %rax
    popq %rbx
    popq %rcx
    popq %rdx
    popq %rsi
    popq %rdi
    popq %rbp
    popq %r8
    popq %r9
    popq %r10
    popq %r11
    popq %r12
    popq %r13
    popq %r14
    popq %r15
    add $16, %rsp
    iretq
    .globl watchdog_stub
watchdog_stub:
    pushq $0
    pushq $48
    jmp 1b
    "#
    };
}

global_asm!(
    r#"
    .text
    .balign 16
exception_stubs:
    .set vector, 0
    .rept 32
    .balign 16
    .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    pushq $0
    .endif
    pushq $vector
    jmp 1f
    .set vector, vector + 1
    .endr
    .balign 16
1:  pushq %r15
    pushq %r14
    pushq %r13
    pushq %r12
    pushq %r11
    pushq %r10
    pushq %r9
    pushq %r8
    pushq %rbp
    pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %rcx
    pushq %rbx
    pushq %rax
    "#,
    saved!(),
    r#"
device_stub:
    incq {devices}(%rip)
    andl $~0x200, 16(%rsp)
    iretq
timer_stub:
    incq {timers}(%rip)
spurious_stub:
    andl $~0x200, 16(%rsp)
    iretq
    "#,
    died = sym came,
    devices = sym DEVICE_COUNT,
    timers = sym TIMER_COUNT,
    options(att_syntax)
);

/// What the stubs and the processor have pushed, from the top of the stack.
#[repr(C)]
pub(crate) struct Frame {
    /// rax, rbx, rcx, rdx, rsi, rdi, rbp, r8 to r15.
    general: [u64; 15],
    pub(crate) vector: u64,
    pub(crate) error: u64,
    pub(crate) rip: u64,
    cs: u64,
    rflags: u64,
    pub(crate) rsp: u64,
    ss: u64,
}

#[cfg(not(feature = "atoms"))]
use died as came;

#[cfg(feature = "atoms")]
impl Frame {
    /// The frame pointer.
    pub(crate) fn rbp(&self) -> u64 {
        let [_, _, _, _, _, _, rbp, ..] = self.general;
        rbp
    }

    /// What was interrupted goes on without interrupts.
    pub(crate) fn disable_interrupts(&mut self) {
        self.rflags &= !0x200;
    }
}

/// What an atom has caused is dealt with; all else ends the machine.
#[cfg(feature = "atoms")]
extern "C" fn came(frame: &mut Frame) {
    if !crate::wasm::traps::take(frame) {
        died(frame);
    }
}

extern "C" fn died(frame: &Frame) -> ! {
    let cr2 = Cr2::read_raw();
    let [rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15] = frame.general;
    let registers = [
        ("rip", frame.rip),
        ("rsp", frame.rsp),
        ("rbp", rbp),
        ("rflags", frame.rflags),
        ("cr2", cr2),
        ("cr3", Cr3::read_raw().0.start_address().as_u64()),
        ("error", frame.error),
        ("rax", rax),
        ("rbx", rbx),
        ("rcx", rcx),
        ("rdx", rdx),
        ("rsi", rsi),
        ("rdi", rdi),
        ("r8", r8),
        ("r9", r9),
        ("r10", r10),
        ("r11", r11),
        ("r12", r12),
        ("r13", r13),
        ("r14", r14),
        ("r15", r15),
    ];
    let die = |kind, reason| crate::record::end(kind, reason, None, &registers);
    let overflow = super::stacks::overflowed(cr2);
    match (frame.vector, overflow) {
        (8, None) => {
            die(Kind::DoubleFault, format_args!("{}, at {:#x}", record::exception(8), frame.rip))
        }
        (8 | 14, Some(stack)) => {
            die(Kind::StackOverflow, format_args!("the {stack} stack is full"))
        }
        (14, None) => {
            let what = record::attempt(frame.error);
            die(Kind::Fault, format_args!("{what}, address {cr2:#x}, at {:#x}", frame.rip))
        }
        (vector, _) => {
            let what = record::exception(vector);
            die(Kind::Fault, format_args!("{what}, error {:#x}, at {:#x}", frame.error, frame.rip))
        }
    }
}
