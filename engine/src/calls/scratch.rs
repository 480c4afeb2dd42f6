//! Memory and locks that the atoms of a guest share.

use atoll_9p::fault::Errno;
use wasmtime::Linker;

use super::talk::paid;
use super::{future, import};
use crate::state::{No, State, run, run_mut};

/// Bytes of scratch memory.
const SCRATCH: u64 = 65_536;
/// Locks.
const LOCKS: i32 = 256;

pub(super) fn link(l: &mut Linker<State>) -> wasmtime::Result<()> {
    import!(l, "scratch_read", |m, s, at: i32, ptr: i32, len: i32| -> i32 {
        let out = run_mut(m, ptr, len)?;
        let at = range(at, out.len())?;
        s.cx()?.scratch_read(at, out)?;
        Ok(0)
    });
    import!(l, "scratch_write", |m, s, at: i32, ptr: i32, len: i32| -> i32 {
        let data = run(m, ptr, len)?;
        let at = range(at, data.len())?;
        s.cx()?.scratch_write(at, data)?;
        paid(s, 0)
    });
    import!(l, "scratch_add", |m, s, at: i32, add: i64, old: i32| -> i32 {
        let out = run_mut(m, old, 8)?;
        let old = s.cx()?.scratch_add(word(at)?, add)?;
        out.copy_from_slice(&old.to_le_bytes());
        paid(s, 0)
    });
    import!(l, "scratch_cas", |m, s, at: i32, expected: i64, new: i64, old: i32| -> i32 {
        let out = run_mut(m, old, 8)?;
        let old = s.cx()?.scratch_cas(word(at)?, expected, new)?;
        out.copy_from_slice(&old.to_le_bytes());
        paid(s, i32::from(old == expected))
    });
    import!(l, "lock", |_, s, n: i32, shared: i32| -> i64 {
        if !(0..LOCKS).contains(&n) || !(0..=1).contains(&shared) {
            return Err(No(Errno::EINVAL));
        }
        let call = s.cx()?.lock(n.cast_unsigned(), shared == 1)?;
        paid(s, future(call)?)
    });
    import!(l, "unlock", |_, s, n: i32| -> i32 {
        s.cx()?.unlock(n.cast_unsigned())?;
        paid(s, 0)
    });
    Ok(())
}

fn range(at: i32, len: usize) -> Result<u64, No> {
    let at = u64::from(at.cast_unsigned());
    if at + len as u64 <= SCRATCH { Ok(at) } else { Err(No(Errno::EFAULT)) }
}

fn word(at: i32) -> Result<u64, No> {
    let place = range(at, 8)?;
    if place % 8 == 0 { Ok(place) } else { Err(No(Errno::EINVAL)) }
}
