//! Atoms: wasmtime without a compiler, on page tables and exceptions of ours.
//!
//! A linear memory is a room of 8 GiB of addresses ([`rooms`]), of which a page exists
//! once it was touched; code lies in a window of its own, where it can be executed and
//! never written ([`code`]). An access beyond a memory, a division by zero and the like
//! are exceptions of the processor that [`traps`] hands to wasmtime. What runs too
//! long is found by [`watchdog`]. wasmtime reaches all of it by the symbols of
//! [`platform`].

mod code;
mod platform;
mod rooms;
mod tables;
mod track;
pub(crate) mod traps;
pub(crate) mod watchdog;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use atoll_config::code::Code;
use atoll_config::payload::Payload;
use atoll_engine::{Atoms, Machine};

/// The engine for the payload's atoms, with their modules' code out of these bytes,
/// which begin at a page.
pub(crate) fn engine(payload: &Payload<'_>, code: &'static [u8]) -> Result<Atoms, String> {
    let mut atoms = Atoms::new(Machine {
        guard: Arc::new(watchdog::Watchdog),
        track: Box::new(|| Box::new(track::Bits::default())),
        config: |config| {
            config.with_custom_code_memory(Some(Arc::new(code::Window)));
            // SAFETY: the answers are the processor's own.
            unsafe { config.detect_host_feature(code::has) };
        },
    });
    if payload.modules.is_empty() {
        return Ok(atoms);
    }
    let code = code::bring(code).ok_or("there is no memory for the tables of the atoms' code")?;
    let code = Code::parse(code).map_err(|why| format!("{why}: build the image again"))?;
    // SAFETY: the bytes lie in the window for good, each module's at a page, and nothing
    // can write them there.
    unsafe { atoms.load(payload, &code) }.map_err(|why| format!("{why}"))?;
    Ok(atoms)
}
