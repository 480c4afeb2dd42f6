//! The imports of an atom (ABI, section 6), as thin glue: pointers are checked here,
//! everything else is the runtime's.
//!
//! An import that is not here cannot be linked: a module that wants it is refused
//! with its name.

use alloc::string::ToString;

use atoll_9p::fault::Errno;
use atoll_runtime::component::{CallId, ComponentId};
use wasmtime::Linker;

use crate::state::{No, State};

mod event;
mod files;
mod scratch;
mod store;
mod talk;

/// The module that all imports are of.
pub(crate) const MODULE: &str = "atoll";

/// The most bytes of a message, of a value, of data read or written at once.
const MAX_BODY: usize = 65_536;

/// Defines one import: `import!(linker, "name", |memory, state, ARGS| -> TYPE { .. })`.
macro_rules! import {
    ($linker:expr, $name:literal, |$m:pat_param, $s:pat_param $(, $a:ident: $t:ty)*| -> $r:ty $body:block) => {
        $linker.func_wrap(
            $crate::calls::MODULE,
            $name,
            |mut caller: wasmtime::Caller<'_, $crate::state::State> $(, $a: $t)*| {
                $crate::state::serve(&mut caller, |$m, $s| -> Result<$r, $crate::state::No> { $body })
            },
        )?
    };
}
use import;

/// Defines all imports.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    event::link(linker)?;
    talk::link(linker)?;
    files::link(linker)?;
    store::link(linker)?;
    scratch::link(linker)
}

/// A component's number, as an atom says it.
fn component(n: i32) -> Result<ComponentId, No> {
    u32::try_from(n).map(ComponentId).map_err(|_| No(Errno::ENOENT))
}

/// A call's number, as an atom gets it.
fn future(call: CallId) -> Result<i64, No> {
    i64::try_from(call.0).map_err(|_| No(Errno::EIO))
}

/// A body of a bearable size.
fn bearable(body: &[u8]) -> Result<&[u8], No> {
    if body.len() > MAX_BODY { Err(No(Errno::EMSGSIZE)) } else { Ok(body) }
}

/// Text for people: what is no UTF-8 is shown as such.
fn text(bytes: &[u8]) -> alloc::string::String {
    alloc::string::String::from_utf8_lossy(bytes).to_string()
}
