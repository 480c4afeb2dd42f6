//! The way in: 32-bit PVH entry to Rust in long mode.
//!
//! The host has loaded the image, cleared what follows its data, and jumps to
//! `pvh_start` without paging, with `ebx` at the start info. The first 2 MiB
//! (4 with atoms) are mapped, writable and executable; [`super::paging`] replaces
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

/// The second 2 MiB, where the kernel may reach into them.
#[cfg(not(feature = "atoms"))]
const SECOND: u32 = 0;
#[cfg(feature = "atoms")]
const SECOND: u32 = 0x20_0083;

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
    .if {second} != 0
    movl ${second}, {tables} + 0x2008
    .endif
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
    # block, an offset of 0, up to 3 bytes, and the length of block and offset at
    # `_end` - 4. (LZ4 block format: a token; literals; an offset and a match; the
    # last one has no match.) Nearly all runs are short, and those are copied as 16
    # bytes whatever their length: what is too many is overwritten by what follows,
    # or cleared at the end. There is no stack.
    .code32
    .globl pvh_unpack
pvh_unpack:
    cli
    cld
    rdtsc
    mov %eax, boot_tsc
    mov %edx, boot_tsc + 4
    mov %cr4, %eax
    or $0x200, %eax             # OSFXSR
    mov %eax, %cr4
    mov $_end - 4, %esi
    sub _end - 4, %esi
    and $-4, %esi               # the block
    mov $__packed, %edi
1:  movzbl (%esi), %edx         # token
    movups 1(%esi), %xmm0
    mov %edx, %ecx
    shr $4, %ecx                # literals
    cmp $15, %ecx
    je 4f
    movups %xmm0, (%edi)
    add %ecx, %edi
    movzwl 1(%esi, %ecx), %eax  # offset
    lea 3(%esi, %ecx), %esi
2:  not %eax                    # to the byte before the match
    and $15, %edx
    cmp $13, %edx
    jae 5f
    cmp $-17, %eax
    ja 6f
    movups 1(%edi, %eax), %xmm0
    movups %xmm0, (%edi)
    lea 4(%edi, %edx), %edi
    jmp 1b

4:  inc %esi
3:  movzbl (%esi), %eax         # many literals
    inc %esi
    add %eax, %ecx
    cmp $255, %eax
    je 3b
    mov %ecx, %eax
    and $3, %eax
    shr $2, %ecx
    rep movsl
    mov %eax, %ecx
    rep movsb
    movzwl (%esi), %eax
    add $2, %esi
    jmp 2b
5:  cmp $15, %edx               # a match of more than 16
    jne 6f
3:  movzbl (%esi), %ecx
    inc %esi
    add %ecx, %edx
    cmp $255, %ecx
    je 3b
6:  inc %eax                    # or one that may overlap itself, or the end
    jz 9f
    mov %esi, %ebp
    lea (%edi, %eax), %esi
    lea 4(%edx), %ecx
    cmp $-4, %eax
    ja 7f
    mov %ecx, %eax
    and $3, %eax
    shr $2, %ecx
    rep movsl
    mov %eax, %ecx
7:  rep movsb
    mov %ebp, %esi
    jmp 1b

9:  xorps %xmm0, %xmm0          # leave zeroes, as a loader would
    movups %xmm0, (%edi)
    mov $_end - 4, %edi
    sub _end - 4, %edi
    and $-64, %edi
1:  movups %xmm0, (%edi)
    movups %xmm0, 16(%edi)
    movups %xmm0, 32(%edi)
    movups %xmm0, 48(%edi)
    add $64, %edi
    cmp $_end, %edi
    jb 1b

    # Calls and jumps (e8, e9) hold where they lead, with the lower three bytes in
    # the order in which they are written, and not how far that is: so all calls of
    # a function are the same bytes. Where the highest is neither 0 nor 255 it was no
    # call, and stayed as it was. Looks at 16 bytes at a time.
    mov $0xfefefefe, %eax
    movd %eax, %xmm1
    pshufd $0, %xmm1, %xmm1
    mov $0xe8e8e8e8, %eax
    movd %eax, %xmm2
    pshufd $0, %xmm2, %xmm2
    mov $__packed, %esi
1:  movups (%esi), %xmm0
    add $16, %esi
    pand %xmm1, %xmm0
    pcmpeqb %xmm2, %xmm0
    pmovmskb %xmm0, %eax
    test %eax, %eax
    jz 2f
    bsf %eax, %eax
    lea -15(%esi, %eax), %esi   # behind the first one
    cmp $__rodata - 4, %esi
    ja 3f
    mov (%esi), %eax
    add $4, %esi
    lea 0x1000000(%eax), %ecx
    cmp $0x2000000, %ecx
    jae 2f
    bswap %eax
    ror $8, %eax
    sub %esi, %eax
    shl $7, %eax                # 25 bits, with a sign
    sar $7, %eax
    mov %eax, -4(%esi)
2:  cmp $__rodata - 4, %esi
    jb 1b
3:
    jmp unpacked
    .code64
    .text
    "#,
    tables = sym TABLES,
    second = const SECOND,
    stacks = sym STACKS,
    top = const MAIN_TOP,
    gdt = sym GDT,
    gdt_limit = const super::tables::GDT_LIMIT,
    main = sym crate::start,
    options(att_syntax)
);
