//! Where atoms' code lies: a window of addresses of its own.
//!
//! The image's pages are shown there a second time, read-only; what wasmtime publishes
//! becomes executable. Nothing there can ever be written.

use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::sync::atomic::{AtomicU64, Ordering};

use wasmtime::CustomCodeMemory;

use super::tables::{self, NO_EXECUTE, PRESENT};
use crate::logic::ram::PAGE;

const START: u64 = 8 << 40;
const END: u64 = START + (1 << 39);

/// Where the next module goes.
static NEXT: AtomicU64 = AtomicU64::new(START);

/// Whether this is an address of atoms' code.
pub(super) fn holds(at: u64) -> bool {
    (START..END).contains(&at)
}

/// Shows bytes that begin at a page, and are never changed, in the window, for good.
pub(super) fn bring(bytes: &'static [u8]) -> Option<&'static [u8]> {
    let size = (bytes.len() as u64).next_multiple_of(PAGE);
    // A page between two modules belongs to none.
    let at = NEXT.fetch_add(size + PAGE, Ordering::Relaxed);
    if at + size > END {
        return None;
    }
    for from in (0..size).step_by(PAGE as usize) {
        let entry = tables::entry(at + from, true)?;
        // SAFETY: nothing was there, and nobody else uses the entry.
        unsafe { *entry = (bytes.as_ptr() as u64 + from) | PRESENT | NO_EXECUTE };
    }
    // SAFETY: those pages show the bytes, and stay.
    Some(unsafe { core::slice::from_raw_parts(at as *const u8, bytes.len()) })
}

/// wasmtime's way to make code executable.
pub(super) struct Window;

impl CustomCodeMemory for Window {
    fn required_alignment(&self) -> usize {
        PAGE as usize
    }

    fn publish_executable(&self, at: *const u8, size: usize) -> wasmtime::Result<()> {
        let at = at as u64;
        tables::each(at..at + (size as u64).next_multiple_of(PAGE), |_, entry| {
            *entry &= !NO_EXECUTE;
        });
        tables::flush();
        Ok(())
    }

    fn unpublish_executable(&self, _: *const u8, _: usize) -> wasmtime::Result<()> {
        // Code that was loaded stays: modules are never dropped.
        Ok(())
    }
}

/// What the processor has, by wasmtime's names; none for one that nobody asks for.
pub(super) fn has(feature: &str) -> Option<bool> {
    let one = __cpuid(1).ecx;
    let bit = |word: u32, n: u32| Some(word >> n & 1 != 0);
    match feature {
        "sse3" => bit(one, 0),
        "ssse3" => bit(one, 9),
        "sse4.1" => bit(one, 19),
        "sse4.2" => bit(one, 20),
        "popcnt" => bit(one, 23),
        "lzcnt" => bit(__cpuid(0x8000_0001).ecx, 5),
        "bmi1" => bit(__cpuid_count(7, 0).ebx, 3),
        "bmi2" => bit(__cpuid_count(7, 0).ebx, 8),
        // Their registers are not kept over an interrupt.
        "avx" | "avx2" | "fma" | "avx512bitalg" | "avx512dq" | "avx512f" | "avx512vl"
        | "avx512vbmi" => Some(false),
        _ => None,
    }
}
