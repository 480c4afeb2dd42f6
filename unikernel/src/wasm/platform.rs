//! The symbols by which wasmtime reaches its machine.
//!
//! Their types and what they promise are in wasmtime 48's
//! `src/runtime/vm/sys/custom/capi.rs`. Numbers of errors are for people only.

use alloc::sync::Arc;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::rooms::{self, Image};
use crate::logic::ram::PAGE;

const ENOMEM: i32 = 12;
const EINVAL: i32 = 22;

const READ: u32 = 1;
const WRITE: u32 = 2;

/// What may be done: nothing, or also written.
fn access(prot: u32) -> Option<bool> {
    (prot & (READ | WRITE) != 0).then_some(prot & WRITE != 0)
}

fn done(worked: Option<()>, else_error: i32) -> i32 {
    if worked.is_some() { 0 } else { else_error }
}

/// wasmtime's own state of a thread, of which there is one.
static SLOTS: [AtomicPtr<u8>; 2] = [const { AtomicPtr::new(null_mut()) }; 2];

/// What handles an exception in atoms' code: a [`Handler`], or 0.
static HANDLER: AtomicUsize = AtomicUsize::new(0);

/// `ip`, `fp`, whether there is an address, the address. Returns where the exception
/// is none of wasmtime's.
type Handler = extern "C" fn(usize, usize, bool, usize);

/// Hands an exception in atoms' code to wasmtime, which goes on elsewhere, or returns.
pub(super) fn trap(ip: u64, fp: u64, address: Option<u64>) {
    let handler = HANDLER.load(Ordering::Relaxed);
    if handler != 0 {
        // SAFETY: `wasmtime_init_traps` stored a function of this type.
        let handler: Handler = unsafe { core::mem::transmute::<usize, Handler>(handler) };
        handler(ip as usize, fp as usize, address.is_some(), address.unwrap_or(0) as usize);
    }
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_tls_get(slot: usize) -> *mut u8 {
    SLOTS.get(slot).map_or(null_mut(), |s| s.load(Ordering::Relaxed))
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_tls_set(slot: usize, value: *mut u8) {
    if let Some(s) = SLOTS.get(slot) {
        s.store(value, Ordering::Relaxed);
    }
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_init_traps(handler: Handler) -> i32 {
    HANDLER.store(handler as usize, Ordering::Relaxed);
    0
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_page_size() -> usize {
    PAGE as usize
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_mmap_new(size: usize, prot: u32, out: &mut *mut u8) -> i32 {
    let Some(at) = rooms::open(size as u64) else { return ENOMEM };
    if access(prot).is_some() && rooms::protect(at, size as u64, access(prot)).is_none() {
        rooms::close(at);
        return ENOMEM;
    }
    *out = at as *mut u8;
    0
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_mmap_remap(at: *mut u8, size: usize, prot: u32) -> i32 {
    done(rooms::renew(at as u64, size as u64, access(prot)), ENOMEM)
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_munmap(at: *mut u8, _size: usize) -> i32 {
    done(rooms::close(at as u64), EINVAL)
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_mprotect(at: *mut u8, size: usize, prot: u32) -> i32 {
    done(rooms::protect(at as u64, size as u64, access(prot)), ENOMEM)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn wasmtime_memory_image_new(
    bytes: *const u8,
    size: usize,
    out: &mut *mut Image,
) -> i32 {
    // SAFETY: wasmtime gives bytes that are there for this call.
    let bytes = unsafe { core::slice::from_raw_parts(bytes, size) };
    let Some(image) = Image::new(bytes) else { return ENOMEM };
    *out = Arc::into_raw(Arc::new(image)).cast_mut();
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn wasmtime_memory_image_map_at(
    image: *mut Image,
    at: *mut u8,
    size: usize,
) -> i32 {
    // SAFETY: wasmtime gives what it was given by `wasmtime_memory_image_new` and has
    // not given back; the count is that of a second owner.
    let image = unsafe {
        Arc::increment_strong_count(image);
        Arc::from_raw(image)
    };
    done(rooms::show(&image, at as u64, size as u64), ENOMEM)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn wasmtime_memory_image_free(image: *mut Image) {
    // SAFETY: as above; this is its last use by wasmtime. Rooms that show it own it too.
    drop(unsafe { Arc::from_raw(image) });
}
