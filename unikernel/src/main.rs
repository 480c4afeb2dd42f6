//! The bare-metal guest: one payload on one virtual machine.
//!
//! There is no operating system in here. The kernel makes the machine safe to
//! run in (pages that are never both writable and executable, a guard under
//! each stack, a record of every death), finds its devices, and hands over to
//! `atoll_runtime`, for which it is one more [`plat::Machine`]. [`boot`] is all
//! of it in order. Invariant: Rust runs with interrupts off; they are taken
//! only in [`arch::lapic::wait`], so nothing here is ever interrupted. The one
//! exception is a dispatch of an atom, during which the watchdog's interrupt may
//! come (`wasm/watchdog.rs`), and that uses nothing that anything else does.
#![no_std]
#![no_main]

extern crate alloc;

mod arch;
#[cfg(feature = "echo")]
mod echo;
mod heap;
mod host;
mod payload;
mod plat;
mod record;
mod ring;
#[cfg(feature = "qemu")]
mod virtio;
#[cfg(feature = "atoms")]
mod wasm;
#[cfg(feature = "xen")]
mod xen;

pub(crate) use atoll_unikernel_logic as logic;

use core::convert::Infallible;

use arch::paging;
use payload::Found;
use plat::{Machine, Place};

/// Where the boot code enters: the PVH start info's address, and the TSC then.
extern "C" fn start(info: u32, boot_tsc: u64) -> ! {
    arch::tables::load();
    ring::start();
    match boot(info, boot_tsc) {
        Ok(never) => match never {},
        Err(reason) => record::boot(format_args!("{reason}")),
    }
}

fn boot(info: u32, boot_tsc: u64) -> Result<Infallible, &'static str> {
    // SAFETY: the boot code passed the address on, and its page tables are in use.
    let host = unsafe { host::read(info) }?;
    let found = Found::find(&host.ram)?;
    let heap = paging::map_all(&host.ram, found.image(), &host.outside);
    // SAFETY: what `map_all` leaves is mapped, writable, and used by nothing.
    unsafe { heap::give(heap) };
    let place = Place::start(&host, boot_tsc)?;
    if host.ram.ignored != 0 {
        log::warn!("memory: {} bytes above 4 GiB are not used", host.ram.ignored);
    }
    let mut machine = Machine::new(place, host.launch);
    run(found, &mut machine).map(|status| machine.exit(status))
}

/// Runs the guest in the payload to its end, and gives its status.
#[cfg(not(feature = "echo"))]
fn run(found: Found, machine: &mut Machine) -> Result<u8, &'static str> {
    use atoll_config::payload::BadPayload;

    let sealed = found.sealed().map_err(|bad| match bad {
        BadPayload::Magic => {
            "there is no payload behind this kernel: build an image with `cargo xtask build`"
        }
        BadPayload::Format(_) => {
            "the payload is of another format: build the image again with this kernel's builder"
        }
        BadPayload::Length(_) => "the payload is cut off: build the image again",
        BadPayload::Body => "the payload does not decode: build the image again",
    })?;
    let payload =
        sealed.open().map_err(|_| "the payload does not decode: build the image again")?;
    #[cfg(not(feature = "atoms"))]
    let ended = atoll_runtime::run(payload, sealed.hash, machine);
    #[cfg(feature = "atoms")]
    let ended = {
        let engine = wasm::engine(&payload, found.code())
            .unwrap_or_else(|why| record::boot(format_args!("{why}")));
        atoll_runtime::run_with(payload, sealed.hash, Some(&engine), machine)
    };
    match ended {
        Ok(exit) => Ok(exit.status),
        Err(error) => record::boot(format_args!("{error}")),
    }
}

#[cfg(feature = "echo")]
fn run(_: Found, machine: &mut Machine) -> Result<u8, &'static str> {
    Ok(echo::run(machine))
}
