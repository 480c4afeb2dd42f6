//! Where a module's code goes on when the runtime has done what it was called for.
//!
//! A watchdog that comes while the runtime works for an atom cannot stop that in the
//! middle. But it can see to it that the atom does not go on afterwards: it puts the
//! tripwire's address in the place of the address that the atom's code is returned to.
//! wasmtime knows that place, because it walks stacks from there: every way out of
//! compiled code stores the frame and the return address in the store's context.
//! Without this, code that does little but fill large memories would hardly ever be
//! found in its own functions.
//!
//! The layout is the one that wasmtime's compiler and runtime share, and comes from
//! the crate of exactly that version.

use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use wasmtime::{Func, Store};
use wasmtime_environ::{HostPtr, PtrSize, VMCONTEXT_MAGIC, offsets};

use crate::guard::Code;

/// Where a store's context says how its code was left.
#[derive(Clone, Copy, Debug)]
pub struct Exits {
    /// The frame pointer of the trampoline out of the code; 0 while no code runs.
    fp: *const AtomicUsize,
    /// What that trampoline will return to.
    pc: *const AtomicUsize,
}

impl Exits {
    /// Of a store that is not known yet: nothing is ever there.
    pub(crate) const UNKNOWN: Exits = Exits { fp: ptr::null(), pc: ptr::null() };

    /// Of the store in which a module defines this function. Good as long as the store
    /// is.
    pub(crate) fn new<T: 'static>(store: &mut Store<T>, of: &Func) -> Exits {
        let of: *mut u8 = of.to_raw(store).cast();
        let field = offsets::VMStoreContext(HostPtr);
        // SAFETY: wasmtime gives a pointer to a VMFuncRef, which leads to the instance's
        // VMContext for a function that a module defines (which its first word
        // confirms), and that to the VMStoreContext. All of them live as long as the
        // store, and their fields are where the offsets of the same version say.
        unsafe {
            let vmctx = offsets::VMFuncRef(HostPtr).vmctx();
            let vmctx: *mut u8 = of.add(usize::from(vmctx)).cast::<*mut u8>().read();
            if vmctx.cast::<u32>().read() != VMCONTEXT_MAGIC {
                return Exits::UNKNOWN;
            }
            let context = usize::from(HostPtr.vmctx_store_context());
            let context: *mut u8 = vmctx.add(context).cast::<*mut u8>().read();
            Exits {
                fp: context.add(field.last_wasm_exit_trampoline_fp().into()).cast(),
                pc: context.add(field.last_wasm_exit_pc().into()).cast(),
            }
        }
    }

    /// Lets the code that waits for the runtime go on at its tripwire. Whether there is
    /// such code, with the stack pointer of the interrupted runtime at `sp`.
    ///
    /// # Safety
    /// Neither `code` nor the runtime's own must run while this does, and the store must
    /// be there: to be called in a handler of the thread that runs `code`.
    pub unsafe fn trip(&self, sp: usize, code: &Code) -> bool {
        // SAFETY: null, or in a store that is there, says the caller.
        let Some((fp, pc)) = (unsafe { self.fp.as_ref().zip(self.pc.as_ref()) }) else {
            return false;
        };
        let (fp, pc) = (fp.load(Relaxed), pc.load(Relaxed));
        // A frame below the stack pointer is one that was left.
        if fp == 0 || fp < sp || !fp.is_multiple_of(8) || !code.holds(pc) {
            return false;
        }
        let place = ptr::with_exposed_provenance_mut::<usize>(fp + 8);
        // SAFETY: a frame of a compiled trampoline on the stack of this thread: behind the
        // caller's frame pointer lies the return address. Nobody reads it but that
        // trampoline's return.
        unsafe {
            if place.read_volatile() != pc {
                return false;
            }
            place.write_volatile(code.tripwire());
        }
        true
    }
}
