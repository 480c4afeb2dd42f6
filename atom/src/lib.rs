//! What a user of Atoll writes programs with: atoms, in Rust.
//!
//! An atom is a WebAssembly module that takes one event at a time. `ABI.md`, beside this
//! crate, says what it is to a runtime, and [`abi`] is that for a program. Above it:
//!
//! ```
//! use atoll_atom::prelude::*;
//!
//! pub struct Counter {
//!     count: i64,
//! }
//!
//! #[atom(events(events = 4096))]
//! impl Counter {
//!     #[start]
//!     fn start(params: Params<'_>) -> Result<Counter> {
//!         Ok(Counter { count: params.parse("from", 0)? })
//!     }
//!
//!     /// `export/counter/count`
//!     #[text]
//!     fn count(&self) -> i64 {
//!         self.count
//!     }
//!
//!     /// `add N`, written to `export/counter/ctl`
//!     #[command(ctl)]
//!     fn add(&mut self, n: i64) -> Result<()> {
//!         self.count = self.count.checked_add(n).ok_or(Error::invalid("too large"))?;
//!         Self::EVENTS.emit(self.count)
//!     }
//!
//!     /// `later N`: the same in a second. Other events are handled meanwhile.
//!     #[command(ctl)]
//!     async fn later(this: This<Self>, n: i64) -> Result<()> {
//!         sleep(Duration::from_secs(1)).await;
//!         this.with(|counter| counter.add(n))
//!     }
//! }
//!
//! // A test needs no Wasm and no waiting.
//! let mut world = atoll_atom::fake::World::new(1);
//! world.start::<Counter>("counter", "from 40\n")?;
//! world.command("counter", "ctl", "later 2")?;
//! assert_eq!(world.read("counter", "count")?, "40");
//! world.pass(Duration::from_secs(1));
//! assert_eq!(world.read("counter", "count")?, "42");
//! # Ok::<(), Error>(())
//! ```
//!
//! [`macro@atom`] lists what an atom can be made of.
#![no_std]

extern crate alloc;
// For what `#[atom]` writes, in this crate's own tests.
extern crate self as atoll_atom;
#[cfg(not(target_arch = "wasm32"))]
extern crate std;

pub mod abi;
mod error;
mod exec;
#[cfg(not(target_arch = "wasm32"))]
pub mod fake;
pub mod files;
mod future;
mod instance;
mod message;
#[cfg(target_arch = "wasm32")]
mod module;
mod queue;
mod store;

pub use atoll_atom_macro::atom;
pub use core::time::Duration;
pub use error::{Errno, Error, Result};
pub use files::{Events, Names};
pub use future::{
    Call, Either, Sleep, Typed, join, join_all, select, sleep, task, timeout, yield_now,
};
pub use instance::{Atom, Event, Instance, Params, This, Token};
pub use message::{Component, Masked, decode, encode, mask, register};
pub use queue::Queue;
pub use store::{Locked, kv, lock, log as journal, scratch, sync};

/// What most atoms use.
pub mod prelude {
    pub use crate::{
        Component, Duration, Either, Errno, Error, Events, Names, Params, Queue, Result, This,
        atom, join, select, sleep, task, timeout, yield_now,
    };
}

/// Nanoseconds since the guest's start: the time of the event. The same during all of
/// a dispatch.
pub fn now() -> Duration {
    Duration::from_nanos(abi::now().cast_unsigned())
}

/// The event's time of day: since 1970 UTC.
pub fn wall() -> Duration {
    Duration::from_nanos(abi::wall().cast_unsigned())
}

/// 64 bits from the guest's generator. No source of keys.
pub fn random() -> u64 {
    abi::random().cast_unsigned()
}

/// Ends the guest when the dispatch is done. A status of at most 63.
pub fn exit(status: u8) {
    abi::exit(i32::from(status));
}

/// A line of the guest's log: `info!("{n} rooms")`.
#[macro_export]
macro_rules! info {
    ($($arg:tt)*) => { $crate::private::log("", ::core::format_args!($($arg)*)) };
}

/// The same, as a warning: something is wrong, and the atom goes on.
#[macro_export]
macro_rules! warn {
    ($($arg:tt)*) => { $crate::private::log("warning: ", ::core::format_args!($($arg)*)) };
}

/// The same, as an error: something was not done.
#[macro_export]
macro_rules! error {
    ($($arg:tt)*) => { $crate::private::log("error: ", ::core::format_args!($($arg)*)) };
}

/// The exports of a module, and its section `atoll.files`.
#[doc(hidden)]
#[macro_export]
macro_rules! exports {
    ($atom:ty, $($section:tt, $len:literal)?) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            static INSTANCE: $crate::abi::Local<::core::option::Option<$crate::Instance<$atom>>> =
                $crate::abi::Local::new(::core::option::Option::None);

            $(
                #[used]
                #[unsafe(link_section = "atoll.files")]
                static FILES: [u8; $len] = *$section;
            )?

            #[unsafe(no_mangle)]
            extern "C" fn atoll_abi() -> i32 {
                $crate::abi::VERSION
            }

            #[unsafe(no_mangle)]
            extern "C" fn invoke(kind: i32, id: i64, len: i32) -> i32 {
                INSTANCE.with(|i| i.get_or_insert_default().invoke(kind, id, len))
            }

            #[unsafe(no_mangle)]
            extern "C" fn interrupt(code: i32, arg: i64, len: i32) -> i32 {
                INSTANCE.with(|i| i.get_or_insert_default().interrupt(code, arg, len))
            }

            #[unsafe(no_mangle)]
            extern "C" fn future(id: i64, status: i32, len: i32) -> i32 {
                INSTANCE.with(|i| i.get_or_insert_default().future(id, status, len))
            }
        };
    };
}

/// For what the macros write.
#[doc(hidden)]
pub mod private {
    use core::fmt;

    pub use crate::instance::{answer, answer_bytes, wait, wait_and_reply};
    pub use alloc::string::String;
    pub use alloc::vec::Vec;

    use crate::{Errno, Error, Names, Result};

    /// A line of the log.
    pub fn log(what: &str, line: fmt::Arguments<'_>) {
        if let Ok(line) = crate::instance::show(format_args!("{what}{line}")) {
            // A log that takes nothing has no better place for the news.
            let _ = crate::abi::log(line.as_bytes());
        }
    }

    /// Lists a directory.
    pub fn names(skip: usize, list: impl FnOnce(&mut Names) -> Result<()>) -> Result<()> {
        let mut names = Names::new(skip);
        list(&mut names)?;
        answer_bytes(names.text().as_bytes())
    }

    /// Verb and the rest of a command.
    pub fn verb(line: &str) -> (&str, &str) {
        let line = line.trim_ascii();
        let end = line.bytes().position(|b| b.is_ascii_whitespace());
        let (verb, rest) = line.split_at_checked(end.unwrap_or(line.len())).unwrap_or((line, ""));
        (verb, rest.trim_ascii_start())
    }

    /// The next word of a command's arguments.
    pub fn word<'l>(rest: &mut &'l str, usage: &'static str) -> Result<&'l str> {
        let (word, behind) = verb(rest);
        *rest = behind;
        match word {
            "" => Err(misused(usage)),
            word => Ok(word),
        }
    }

    /// A word as a value.
    pub fn value<T: core::str::FromStr>(word: &str, usage: &'static str) -> Result<T> {
        word.parse().map_err(|_| misused(usage))
    }

    /// Nothing more may come.
    pub fn end(rest: &str, usage: &'static str) -> Result<()> {
        if rest.is_empty() { Ok(()) } else { Err(misused(usage)) }
    }

    /// How a command is written.
    #[cold]
    pub fn misused(usage: &'static str) -> Error {
        Error::invalid(usage)
    }

    /// No file of this kind.
    #[cold]
    pub fn unknown() -> Error {
        Errno::EOPNOTSUPP.into()
    }
}
