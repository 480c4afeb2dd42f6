//! Files of the private namespace.
//!
//! Those that are read and written in parts, or stay open, are not here: the runtime
//! does not carry them out yet.

use atoll_9p::fault::Errno;
use atoll_9p::ops::What;
use wasmtime::Linker;

use super::talk::paid;
use super::{MAX_BODY, future, import};
use crate::state::{No, State, run};

/// The most bytes of a path.
const MAX_PATH: usize = 1024;

pub(super) fn link(l: &mut Linker<State>) -> wasmtime::Result<()> {
    import!(l, "file_list", |m, s, ptr: i32, len: i32| -> i64 {
        let path = path(run(m, ptr, len)?)?;
        let call = s.cx()?.call(path, What::List { max: MAX_BODY });
        paid(s, future(call)?)
    });
    Ok(())
}

fn path(bytes: &[u8]) -> Result<&str, No> {
    if bytes.len() > MAX_PATH {
        return Err(No(Errno::ENAMETOOLONG));
    }
    let path = core::str::from_utf8(bytes).ok().filter(|p| p.starts_with('/'));
    path.ok_or(No(Errno::EINVAL))
}
