//! The way in: 32-bit PVH entry to Rust in long mode.
//!
//! The host has loaded the image, cleared what follows its data, and jumps to
//! `pvh_start` without paging, with `ebx` at the start info. The first 2 MiB
//! are mapped by one page, writable and executable; [`super::paging`] replaces
//! it as soon as the memory map is known. SSE must be on before any Rust runs,
//! because precompiled `core` uses it.
//!
//! An image carries the kernel packed, and enters at `pvh_unpack`, which puts the
//! rest of it where it belongs (`builder/src/pack.rs` is the other half).

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
    mov %eax, boot_tsc
    mov %edx, boot_tsc + 4
unpacked:
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
    mov boot_tsc, %rsi
    mov %ebx, %edi
    xor %ebp, %ebp
    call {main}
    ud2
    .balign 8
2:  .word {gdt_limit}
    .quad {gdt}
    .balign 8
boot_tsc:
    .quad 0

    # The entry of a packed kernel. What follows this section, up to the end of
    # the data, lies as one LZ4 block near the end of the zeroed memory: the
    # block, up to 3 bytes, and its length at `_end` - 4. (LZ4 block format: a
    # token; literals; an offset and a match; the last one has no match.) There
    # is no stack, so `esp` holds what a register more would. Words are copied, not
    # bytes, and up to three bytes too many: emulators take a while for each step
    # of a `rep`, and what follows overwrites them.
    .code32
    .globl pvh_unpack
pvh_unpack:
    cli
    cld
    rdtsc
    mov %eax, boot_tsc
    mov %edx, boot_tsc + 4
    mov _end - 4, %eax
    mov $_end - 4, %esi
    sub %eax, %esi
    and $-4, %esi               # the block
    lea (%esi, %eax), %ebp      # its end
    mov $__packed, %edi
1:  movzbl (%esi), %edx         # token
    inc %esi
    mov %edx, %ecx
    shr $4, %ecx
    cmp $15, %ecx
    jne 3f
2:  movzbl (%esi), %eax
    inc %esi
    add %eax, %ecx
    cmp $255, %eax
    je 2b
3:  lea (%esi, %ecx), %eax
    cmp %ebp, %eax
    jae 6f
    mov %ecx, %eax              # literals
    neg %eax
    and $3, %eax
    add $3, %ecx
    shr $2, %ecx
    rep movsl
    sub %eax, %esi
    sub %eax, %edi
    movzwl (%esi), %eax
    add $2, %esi
    mov %edi, %esp
    sub %eax, %esp              # where the match is
    mov %edx, %ecx
    and $15, %ecx
    cmp $15, %ecx
    jne 5f
4:  movzbl (%esi), %edx
    inc %esi
    add %edx, %ecx
    cmp $255, %edx
    je 4b
5:  add $4, %ecx
    xchg %esp, %esi
    cmp $4, %eax
    jb 7f
    mov %ecx, %edx
    neg %edx
    and $3, %edx
    add $3, %ecx
    shr $2, %ecx
    rep movsl
    mov %esp, %esi
    sub %edx, %edi
    jmp 1b
7:  rep movsb                   # a match that overlaps itself
    mov %esp, %esi
    jmp 1b
6:  rep movsb                   # the last literals
    mov _end - 4, %eax          # leave zeroes, as a loader would
    mov $_end - 4, %edi
    sub %eax, %edi
    and $-4, %edi
    mov $_end, %ecx
    sub %edi, %ecx
    shr $2, %ecx
    xor %eax, %eax
    rep stosl
    jmp unpacked
    .code64
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
