//! The event, time, chance.

use atoll_9p::fault::Errno;
use wasmtime::{Caller, Linker};

use super::{import, text};
use crate::state::{No, State, run, run_mut, serve};

/// The most bytes in a line of an event file.
const MAX_LINE: usize = 4096;
/// The greatest status of a guest.
const MAX_STATUS: u32 = 63;
/// The most bytes in a line of the log.
const MAX_LOG: usize = 1024;

pub(super) fn link(l: &mut Linker<State>) -> wasmtime::Result<()> {
    import!(l, "recv", |m, s, ptr: i32, cap: i32, from: i32| -> i32 {
        let out = run_mut(m, ptr, cap)?;
        let rest = s.body().get(from.cast_unsigned() as usize..).unwrap_or_default();
        let n = rest.len().min(out.len());
        out[..n].copy_from_slice(&rest[..n]);
        Ok(n as i32)
    });
    import!(l, "answer", |m, s, ptr: i32, len: i32| -> i32 {
        s.answer(run(m, ptr, len)?)?;
        Ok(0)
    });
    import!(l, "now", |_, s| -> i64 { Ok(s.cx()?.now().0.cast_signed()) });
    import!(l, "wall", |_, s| -> i64 { Ok(s.cx()?.wall().cast_signed().max(0)) });
    import!(l, "random", |_, s| -> i64 { Ok(s.cx()?.random().cast_signed()) });
    import!(l, "log", |m, s, ptr: i32, len: i32| -> i32 {
        let line = run(m, ptr, len)?;
        s.cx()?.log(text(line.get(..MAX_LOG).unwrap_or(line)));
        paid(s)
    });
    import!(l, "emit", |m, s, file: i32, ptr: i32, len: i32| -> i32 {
        let line = run(m, ptr, len)?;
        if line.len() > MAX_LINE {
            return Err(No(Errno::EMSGSIZE));
        }
        if line.contains(&b'\n') || !s.takes_lines(file) {
            return Err(No(Errno::EINVAL));
        }
        s.cx()?.emit(file.cast_unsigned() as usize, text(line));
        paid(s)
    });
    l.func_wrap(super::MODULE, "exit", |mut c: Caller<'_, State>, status: i32| {
        serve(&mut c, |_, s| {
            s.cx()?.exit(status.cast_unsigned().min(MAX_STATUS) as u8);
            Ok(0)
        })
        .map(|_: i32| ())
    })?;
    Ok(())
}

/// 0, or -EDQUOT where the sponsor could not pay.
fn paid(s: &mut State) -> Result<i32, No> {
    if s.cx()?.is_over_budget() { Err(No(Errno::EDQUOT)) } else { Ok(0) }
}
