//! The functions that compiled code expects to find.
//!
//! Without a C library somebody must provide them. They use the processor's
//! string instructions on words: few instructions to translate for an emulator,
//! and what real processors do best. They must not be written as loops in Rust,
//! which the compiler would turn into calls of themselves. The last two are named
//! by precompiled code that was made for unwinding, and never called.

use core::arch::global_asm;

global_asm!(
    r#"
    .section .text.mem, "ax"
    .globl memcpy, memmove, memset, memcmp, bcmp
    .balign 16
memmove:
    mov %rdi, %rax
    sub %rsi, %rax
    cmp %rdx, %rax
    jb 2f
memcpy:
    mov %rdi, %rax
    mov %rdx, %rcx
    shr $3, %rcx
    rep movsq
    mov %edx, %ecx
    and $7, %ecx
    rep movsb
    ret
2:  mov %rdi, %rax              # they overlap: from the end
    lea -1(%rdi, %rdx), %rdi
    lea -1(%rsi, %rdx), %rsi
    mov %edx, %ecx
    and $7, %ecx
    std
    rep movsb
    sub $7, %rdi
    sub $7, %rsi
    mov %rdx, %rcx
    shr $3, %rcx
    rep movsq
    cld
    ret
    .balign 16
memset:
    mov %rdi, %r8
    movzbl %sil, %eax
    movabs $0x0101010101010101, %rcx
    imul %rcx, %rax
    mov %rdx, %rcx
    shr $3, %rcx
    rep stosq
    mov %edx, %ecx
    and $7, %ecx
    rep stosb
    mov %r8, %rax
    ret
    .balign 16
memcmp:
bcmp:
    xor %ecx, %ecx
3:  lea 8(%rcx), %rax
    cmp %rdx, %rax
    ja 4f
    mov (%rdi, %rcx), %r8
    cmp (%rsi, %rcx), %r8
    jne 4f
    mov %rax, %rcx
    jmp 3b
4:  xor %eax, %eax
5:  cmp %rdx, %rcx
    jae 6f
    movzbl (%rdi, %rcx), %eax
    movzbl (%rsi, %rcx), %r8d
    inc %rcx
    sub %r8d, %eax
    je 5b
6:  ret
    .globl strlen
strlen:
    xor %eax, %eax
7:  cmpb $0, (%rdi, %rax)
    je 8f
    inc %rax
    jmp 7b
8:  ret
    .globl _Unwind_Resume, rust_eh_personality
_Unwind_Resume:
rust_eh_personality:
    ud2
    .text
    "#,
    options(att_syntax)
);
