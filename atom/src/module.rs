//! What a module needs that a program gets from its system: an allocator, and an end
//! for what must not go on.

use core::panic::PanicInfo;

#[cfg(feature = "rt")]
#[global_allocator]
static HEAP: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Says why, and traps: the dispatch is abandoned.
#[cfg(feature = "rt")]
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    crate::error!("{info}");
    core::arch::wasm32::unreachable()
}
