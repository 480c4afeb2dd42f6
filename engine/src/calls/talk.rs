//! Components, messages and futures.

use atoll_9p::fault::{Errno, Fault};
use atoll_runtime::component::{CallId, Token};
use wasmtime::Linker;

use super::{bearable, component, future, import, text};
use crate::state::{No, State, run};

/// The most bytes of parameters of a spawn.
const MAX_PARAMS: usize = 4096;
/// The greatest code that an atom may signal; the next one is the runtime's.
const MAX_CODE: i32 = 62;
/// The greatest errno.
const MAX_ERRNO: i32 = 4095;

pub(super) fn link(l: &mut Linker<State>) -> wasmtime::Result<()> {
    import!(l, "me", |_, s| -> i32 { Ok(s.cx()?.me().0.cast_signed()) });
    import!(l, "sender", |_, s| -> i32 {
        s.sender.map(|c| c.0.cast_signed()).ok_or(No(Errno::ENOENT))
    });
    import!(l, "find", |m, s, ptr: i32, len: i32| -> i32 {
        let name = name(run(m, ptr, len)?, Errno::ENOENT)?;
        s.cx()?.find(name).map(|c| c.0.cast_signed()).ok_or(No(Errno::ENOENT))
    });
    import!(l, "register", |m, s, ptr: i32, len: i32| -> i32 {
        let name = name(run(m, ptr, len)?, Errno::EINVAL)?;
        s.cx()?.register(name)?;
        paid(s, 0)
    });
    import!(l, "send", |m, s, to: i32, ptr: i32, len: i32| -> i32 {
        let body = bearable(run(m, ptr, len)?)?;
        s.cx()?.send(component(to)?, body)?;
        paid(s, 0)
    });
    import!(l, "call", |m, s, to: i32, ptr: i32, len: i32| -> i64 {
        let body = bearable(run(m, ptr, len)?)?;
        let call = s.cx()?.ask(component(to)?, body)?;
        paid(s, future(call)?)
    });
    import!(l, "signal", |_, s, to: i32, code: i32, arg: i64| -> i32 {
        if !(0..=MAX_CODE).contains(&code) {
            return Err(No(Errno::EINVAL));
        }
        s.cx()?.signal(component(to)?, code as u8, arg)?;
        paid(s, 0)
    });
    import!(l, "mask", |_, s, bits: i64| -> i64 {
        Ok(s.cx()?.mask(bits.cast_unsigned()).cast_signed())
    });
    import!(l, "unmask", |_, s, bits: i64| -> i64 {
        Ok(s.cx()?.unmask(bits.cast_unsigned()).cast_signed())
    });
    import!(l, "spawn", |m, s, ptr: i32, len: i32, params: i32, params_len: i32| -> i32 {
        let new = run(m, ptr, len)?;
        let params = run(m, params, params_len)?;
        if params.len() > MAX_PARAMS {
            return Err(No(Errno::EMSGSIZE));
        }
        let new = name(new, Errno::EINVAL)?;
        let params = core::str::from_utf8(params).map_err(|_| Errno::EINVAL)?;
        let made = s.cx()?.spawn(new, params)?;
        paid(s, made.0.cast_signed())
    });
    import!(l, "kill", |_, s, to: i32| -> i32 {
        let to = component(to)?;
        s.cx()?.kill(to)?;
        paid(s, 0)
    });
    import!(l, "sleep", |_, s, ns: i64| -> i64 {
        let call = s.cx()?.sleep(ns.max(0).cast_unsigned())?;
        paid(s, future(call)?)
    });
    import!(l, "drop_future", |_, s, id: i64| -> i32 {
        s.cx()?.drop_future(CallId(u64::try_from(id).map_err(|_| Errno::ESTALE)?))?;
        paid(s, 0)
    });
    reply(l)
}

fn reply(l: &mut Linker<State>) -> wasmtime::Result<()> {
    import!(l, "reply", |m, s, token: i64, status: i32, ptr: i32, len: i32| -> i32 {
        let body = bearable(run(m, ptr, len)?)?;
        if !(-MAX_ERRNO..=0).contains(&status) {
            return Err(No(Errno::EINVAL));
        }
        let token = Token(u64::try_from(token).map_err(|_| Errno::ESTALE)?);
        let result = match Errno(status.unsigned_abs()) {
            Errno(0) => Ok(body),
            errno if body.is_empty() => Err(errno.into()),
            errno => Err(Fault::new(errno, text(body))),
        };
        s.cx()?.reply(token, 0, result)?;
        paid(s, 0)
    });
    Ok(())
}

/// What a call gives, or -EDQUOT where the sponsor could not pay for it.
pub(super) fn paid<T>(s: &mut State, value: T) -> Result<T, No> {
    if s.cx()?.is_over_budget() { Err(No(Errno::EDQUOT)) } else { Ok(value) }
}

/// A name: `[a-z][a-z0-9-]*`, at most 63 bytes.
fn name(bytes: &[u8], or: Errno) -> Result<&str, No> {
    let good = bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.len() <= 63
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
    core::str::from_utf8(bytes).ok().filter(|_| good).ok_or(No(or))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_few_characters() {
        let long = [b'a'; 64];
        for good in [&b"a"[..], b"a-9", &long[..63]] {
            assert!(name(good, Errno::EINVAL).is_ok());
        }
        for bad in [&b""[..], b"9", b"-", b"A", b"a.b", b"a/b", b"\xff", &long] {
            assert_eq!(name(bad, Errno::EINVAL), Err(No(Errno::EINVAL)));
        }
    }
}
