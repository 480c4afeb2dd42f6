//! The engine of the guest's atoms, loaded before the sandbox.
//!
//! Code becomes executable here, and nowhere afterwards. The signal handlers that turn
//! a fault of an atom into a trap are installed here too.

use std::sync::Arc;

use atoll_config::code::Code;
use atoll_config::payload::Payload;
use atoll_engine::{Atoms, Compare, Key, Machine, Watchdog};
use rustix::rand::{GetRandomFlags, getrandom};

/// Loads the modules of a payload. The watchdog is to rest while the thread sleeps.
pub fn load(payload: &Payload<'_>, code: &Code<'_>) -> Result<(Atoms, Watchdog), String> {
    let watchdog = Watchdog::new().map_err(|e| format!("the watchdog's timer: {e}"))?;
    let mut seed = [0; 32];
    match getrandom(&mut seed, GetRandomFlags::empty()) {
        Ok(32) => {}
        other => return Err(format!("the system gave no random bytes: {other:?}")),
    }
    let key = Key::new(&seed);
    let mut atoms = Atoms::new(Machine {
        guard: Arc::new(watchdog),
        track: Box::new(move || Box::new(Compare::new(key.clone()))),
        config: |_| {},
    });
    // SAFETY: the bytes are copied. That they are what a compiler made of Wasm, the
    // image's builder says; this process is the boundary inside which he is believed.
    unsafe { atoms.load(payload, code) }.map_err(|e| e.to_string())?;
    Ok((atoms, watchdog))
}
