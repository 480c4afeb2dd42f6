//! The way in: 32-bit PVH entry to Rust in long mode.
//!
//! The host has loaded the image, cleared what follows its data, and jumps to
//! `pvh_start` without paging, with `ebx` at the start info. The first 2 MiB
//! are mapped by one page, writable and executable; [`super::paging`] replaces
//! it as soon as the memory map is known. SSE must be on before any Rust runs,
//! because precompiled `core` uses it.

use core::arch::global_asm;

use atoll_config::payload::FORMAT;

use super::paging::TABLES;
use super::stacks::{MAIN_TOP, STACKS};
use super::tables::GDT;

unsafe extern "C" {
    fn pvh_start() -> !;
}

pvh::xen_elfnote_phys32_entry!(pvh_start);

// The payload format that this kernel reads, so that the builder and the
// supervisor can refuse a pair that does not fit before it boots.
global_asm!(
    r#"
    .section .note.Atoll, "a", @note
    .balign 4
    .long 6, 4, 1
    .asciz "Atoll"
    .balign 4
    .long {format}
    "#,
    format = const FORMAT,
    options(att_syntax)
);

global_asm!(
    r#"
    .section .text.boot, "ax"
    .code32
    .globl pvh_start
pvh_start:
    cli
    cld
    rdtsc
    mov %eax, %esi
    mov %edx, %edi
    movl ${tables} + 0x1003, {tables}
    movl ${tables} + 0x2003, {tables} + 0x1000
    movl $0x83, {tables} + 0x2000
    mov ${tables}, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x620, %eax             # PAE, OSFXSR, OSXMMEXCPT
    mov %eax, %cr4
    mov $0xc0000080, %ecx       # EFER: LME, NXE
    rdmsr
    or $0x900, %eax
    wrmsr
    mov %cr0, %eax
    and $0x9ffffff3, %eax       # no EM, TS, CD, NW
    or $0x80010023, %eax        # PG, WP, NE, MP, PE
    mov %eax, %cr0
    lgdt 2f
    ljmp $8, $1f
    .code64
1:  mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov ${stacks} + {top}, %esp
    mov %esi, %esi
    shl $32, %rdi
    or %rdi, %rsi
    mov %ebx, %edi
    xor %ebp, %ebp
    call {main}
    ud2
    .balign 8
2:  .word {gdt_limit}
    .quad {gdt}
    .text
    "#,
    tables = sym TABLES,
    stacks = sym STACKS,
    top = const MAIN_TOP,
    gdt = sym GDT,
    gdt_limit = const super::tables::GDT_LIMIT,
    main = sym crate::start,
    options(att_syntax)
);
