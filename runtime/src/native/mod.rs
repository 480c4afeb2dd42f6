//! The built-in components.
//!
//! One file a kind, one cargo feature a kind: a kernel flavour holds those that its
//! plan names, the tender holds all. The list's other half, which the builder
//! reads, is [`atoll_config::kinds::KINDS`].

use alloc::string::String;
use alloc::vec::Vec;

use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_config::payload::Value;
use serde::{Deserialize, Serialize};

use crate::component::Entry;

#[cfg(feature = "clock")]
pub mod clock;
#[cfg(feature = "crash")]
pub mod crash;
#[cfg(feature = "greeter")]
pub mod greeter;
#[cfg(feature = "reader")]
pub mod reader;
#[cfg(feature = "sensor")]
pub mod sensor;
#[cfg(feature = "clock")]
mod utc;

/// The kinds that are linked here, by name.
pub const BUILT_IN: &[Entry] = &[
    #[cfg(feature = "clock")]
    clock::ENTRY,
    #[cfg(feature = "crash")]
    crash::ENTRY,
    #[cfg(feature = "greeter")]
    greeter::ENTRY,
    #[cfg(feature = "reader")]
    reader::ENTRY,
    #[cfg(feature = "sensor")]
    sensor::ENTRY,
];

/// The whole number at `i`.
#[allow(dead_code)] // not every flavour has a kind that takes one
fn int(params: &[Value<'_>], i: usize) -> Result<i64, Fault> {
    match params.get(i) {
        Some(Value::Int(n)) => Ok(*n),
        _ => Err(mismatch()),
    }
}

/// The text at `i`.
#[allow(dead_code)] // as above
fn text(params: &[Value<'_>], i: usize) -> Result<String, Fault> {
    match params.get(i) {
        Some(Value::Text(s)) => Ok(String::from(*s)),
        _ => Err(mismatch()),
    }
}

/// The span of time at `i`, in nanoseconds; never 0.
#[allow(dead_code)] // as above
fn span(params: &[Value<'_>], i: usize) -> Result<u64, Fault> {
    match params.get(i) {
        Some(Value::Span(n)) if *n > 0 => Ok(*n),
        _ => Err(mismatch()),
    }
}

fn mismatch() -> Fault {
    Fault::new(Errno::EINVAL, "the payload's parameters are not those of this kind")
        .blame(Blame::Host)
}

/// A component's state as bytes.
#[allow(dead_code)] // as above
fn save<T: Serialize>(state: &T) -> Vec<u8> {
    // Plain numbers and strings always encode.
    postcard::to_allocvec(state).unwrap_or_default()
}

/// A component's state from bytes, all of them.
#[allow(dead_code)] // as above
fn restore<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, Fault> {
    if !cfg!(feature = "restore") {
        return Err(Errno::EOPNOTSUPP.into());
    }
    match postcard::take_from_bytes(bytes) {
        Ok((state, [])) => Ok(state),
        _ => {
            let text = "these bytes are no state of this kind and version";
            Err(Fault::new(Errno::EINVAL, text).blame(Blame::Host))
        }
    }
}
