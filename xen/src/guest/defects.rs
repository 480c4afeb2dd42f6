//! Why `xen-sys` 0.0.0-pre2 makes no call of ours: a test for each defect, which fails
//! when it is mended. Then its call can take the place of the one here.
//!
//! Its calls go through a hypercall page that it wants to be given. Here that page is a
//! dummy, each entry of which gives back what came in one register.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use xen_sys::hypercall::{SchedOp, sched_op};

static SECOND: AtomicU64 = AtomicU64::new(0);

global_asm!(
    r#"
    .pushsection .text.hypercall, "ax"
    .balign 4096
    .globl HYPERCALL_PAGE
HYPERCALL_PAGE:
    mov %r8, %rax               # 0
    ret
    .balign 32
    mov %r9, %rax               # 1
    ret
    .balign 32
    mov %r10, %rax              # 2
    ret
    .balign 32
    lea -8(%rsp), %rax          # 3: where a call pushes
    ret
    .org HYPERCALL_PAGE + 29 * 32
    mov %rsi, {second}(%rip)    # sched_op
    xor %eax, %eax
    ret
    .balign 4096
    .popsection
    "#,
    second = sym SECOND,
    options(att_syntax)
);

/// The fifth argument belongs into r8 (`public/arch-x86/xen-x86_64.h`).
#[test]
fn the_fifth_argument_goes_astray() {
    // SAFETY: the dummy page gives a register back.
    unsafe {
        assert_eq!(xen_sys::hypercall_5(2, 1, 2, 3, 4, 5), 4, "the fourth is right");
        assert_ne!(xen_sys::hypercall_5(0, 1, 2, 3, 4, 5), 5, "mended: it is in r8 now");
        assert_eq!(xen_sys::hypercall_5(1, 1, 2, 3, 4, 5), 5, "it is not in r9 any more");
    }
}

/// `SCHEDOP_shutdown` wants the address of a `struct sched_shutdown`.
#[test]
fn a_reason_is_passed_in_the_place_of_its_address() {
    // SAFETY: the dummy page keeps a register.
    unsafe { sched_op(SchedOp::shutdown, 3) };
    assert_eq!(SECOND.load(Ordering::Relaxed), 3, "mended: it passes an address now");
}

/// A call pushes its return address, into what may be a caller's red zone: its `asm!` says
/// `nostack`, and does not step over these 128 bytes first.
#[test]
fn a_call_writes_below_the_stack_pointer() {
    let sp: u64;
    // SAFETY: reads the stack pointer; the dummy page gives back where a call pushes.
    let pushed = unsafe {
        core::arch::asm!("mov {}, rsp", out(reg) sp, options(nostack, nomem));
        xen_sys::hypercall_1(3, 0) as u64
    };
    assert!(sp - pushed < 128, "mended: it steps over the red zone now");
}

/// What it has not: a name that it gets makes the one here ambiguous, and this does not
/// compile any more.
mod absent {
    #[allow(non_camel_case_types, non_upper_case_globals, reason = "they are Xen's")]
    mod ours {
        pub(super) const HVM_PARAM_STORE_PFN: u32 = crate::guest::param::Param::StorePfn as u32;
        pub(super) const XENMEM_add_to_physmap: u32 = 7;
        pub(super) const GNTTABOP_setup_table: u32 = 2;
        pub(super) type xenstore_domain_interface = crate::guest::ring::StoreRing;
        pub(super) type xencons_interface = crate::guest::ring::ConsoleRing;
    }
    #[allow(unused_imports, reason = "the names that both have are what this looks for")]
    use {ours::*, xen_sys::*};

    #[test]
    fn some_names_are_missing() {
        let numbers = [HVM_PARAM_STORE_PFN, XENMEM_add_to_physmap, GNTTABOP_setup_table];
        assert_eq!(numbers, [1, 7, 2]);
        assert!(size_of::<xenstore_domain_interface>() <= 4096);
        assert!(size_of::<xencons_interface>() <= 4096);
    }
}
