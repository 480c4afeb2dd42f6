//! The store: a map and a log of the atom's own.

use atoll_9p::fault::Errno;
use wasmtime::Linker;

use super::talk::paid;
use super::{bearable, future, import};
use crate::state::{No, State, run, run_mut};

/// The most bytes of a key; it has at least one.
const MAX_KEY: usize = 255;

pub(super) fn link(l: &mut Linker<State>) -> wasmtime::Result<()> {
    import!(l, "kv_get", |m, s, ptr: i32, len: i32, out: i32, cap: i32| -> i32 {
        run(m, ptr, len)?;
        run(m, out, cap)?;
        let key = key(run(m, ptr, len)?)?;
        let value = s.cx()?.kv_get(key)?;
        // Key and value may overlap in the memory: the value was found by now.
        Ok(copy(value, run_mut(m, out, cap)?))
    });
    import!(l, "kv_put", |m, s, ptr: i32, len: i32, value: i32, value_len: i32| -> i32 {
        let key = run(m, ptr, len)?;
        let value = bearable(run(m, value, value_len)?)?;
        s.cx()?.kv_put(self::key(key)?, value)?;
        paid(s, 0)
    });
    import!(l, "kv_del", |m, s, ptr: i32, len: i32| -> i32 {
        s.cx()?.kv_del(key(run(m, ptr, len)?)?)?;
        paid(s, 0)
    });
    import!(l, "kv_next", |m, s, ptr: i32, len: i32, out: i32, cap: i32| -> i32 {
        let before = run(m, ptr, len)?;
        run(m, out, cap)?;
        if before.len() > MAX_KEY {
            return Err(No(Errno::EINVAL));
        }
        let next = s.cx()?.kv_next(before)?;
        Ok(copy(next, run_mut(m, out, cap)?))
    });
    import!(l, "log_append", |m, s, ptr: i32, len: i32| -> i64 {
        let n = s.cx()?.log_append(bearable(run(m, ptr, len)?)?)?;
        paid(s, i64::try_from(n).map_err(|_| Errno::ENOSPC)?)
    });
    import!(l, "log_read", |m, s, n: i64, out: i32, cap: i32| -> i32 {
        let out = run_mut(m, out, cap)?;
        let n = u64::try_from(n).map_err(|_| Errno::ENOENT)?;
        Ok(copy(s.cx()?.log_read(n)?, out))
    });
    import!(l, "sync", |_, s| -> i64 {
        let call = s.cx()?.sync()?;
        paid(s, future(call)?)
    });
    Ok(())
}

fn key(bytes: &[u8]) -> Result<&[u8], No> {
    if (1..=MAX_KEY).contains(&bytes.len()) { Ok(bytes) } else { Err(No(Errno::EINVAL)) }
}

/// Copies what there is room for, and says how long it all is.
fn copy(value: &[u8], out: &mut [u8]) -> i32 {
    let n = value.len().min(out.len());
    out[..n].copy_from_slice(&value[..n]);
    i32::try_from(value.len()).unwrap_or(i32::MAX)
}
