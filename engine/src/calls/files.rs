//! Files of the private namespace.

use atoll_9p::fault::Errno;
use atoll_9p::types::OpenFlags;
use atoll_runtime::component::Fd;
use wasmtime::Linker;

use super::talk::paid;
use super::{MAX_BODY, bearable, future, import};
use crate::state::{No, State, run};

/// The most bytes of a path.
const MAX_PATH: usize = 1024;
/// The flags that `open` knows: Linux's access modes, O_CREAT, O_EXCL, O_TRUNC, O_PATH.
const FLAGS: i32 = 0o3 | 0o100 | 0o200 | 0o1000 | 0o10_000_000;

pub(super) fn link(l: &mut Linker<State>) -> wasmtime::Result<()> {
    import!(l, "file_read", |m, s, ptr: i32, len: i32, from: i64, count: i32| -> i64 {
        let path = path(run(m, ptr, len)?)?;
        let from = u64::try_from(from).map_err(|_| Errno::EINVAL)?;
        let count = count.cast_unsigned();
        if count as usize > MAX_BODY {
            return Err(No(Errno::EMSGSIZE));
        }
        let call = s.cx()?.file_read(path, from, count)?;
        paid(s, future(call)?)
    });
    import!(l, "file_write", |m, s, ptr: i32, len: i32, from: i64, data: i32, n: i32| -> i64 {
        let path = run(m, ptr, len)?;
        let data = bearable(run(m, data, n)?)?;
        let path = self::path(path)?;
        let from = match from {
            -1 => None,
            from => Some(u64::try_from(from).map_err(|_| Errno::EINVAL)?),
        };
        let call = s.cx()?.file_write(path, from, data)?;
        paid(s, future(call)?)
    });
    import!(l, "file_list", |m, s, ptr: i32, len: i32| -> i64 {
        let path = path(run(m, ptr, len)?)?;
        let call = s.cx()?.file_list(path)?;
        paid(s, future(call)?)
    });
    import!(l, "file_stat", |m, s, ptr: i32, len: i32| -> i64 {
        let path = path(run(m, ptr, len)?)?;
        let call = s.cx()?.file_stat(path)?;
        paid(s, future(call)?)
    });
    import!(l, "open", |m, s, ptr: i32, len: i32, flags: i32| -> i64 {
        let path = path(run(m, ptr, len)?)?;
        if flags & !FLAGS != 0 || flags & 3 == 3 {
            return Err(No(Errno::EINVAL));
        }
        let call = s.cx()?.open(path, OpenFlags(flags.cast_unsigned()))?;
        paid(s, future(call)?)
    });
    import!(l, "walk", |m, s, fd: i32, ptr: i32, len: i32, flags: i32| -> i64 {
        let path = text(run(m, ptr, len)?)?;
        if flags & !FLAGS != 0 || flags & 3 == 3 {
            return Err(No(Errno::EINVAL));
        }
        let call = s.cx()?.walk(open_file(fd)?, path, OpenFlags(flags.cast_unsigned()))?;
        paid(s, future(call)?)
    });
    import!(l, "read", |_, s, fd: i32, from: i64, count: i32| -> i64 {
        let from = u64::try_from(from).map_err(|_| Errno::EINVAL)?;
        let count = count.cast_unsigned();
        if count as usize > MAX_BODY {
            return Err(No(Errno::EMSGSIZE));
        }
        let call = s.cx()?.read(open_file(fd)?, from, count)?;
        paid(s, future(call)?)
    });
    import!(l, "write", |m, s, fd: i32, from: i64, ptr: i32, len: i32| -> i64 {
        let data = bearable(run(m, ptr, len)?)?;
        let from = u64::try_from(from).map_err(|_| Errno::EINVAL)?;
        let call = s.cx()?.write(open_file(fd)?, from, data)?;
        paid(s, future(call)?)
    });
    import!(l, "stat", |_, s, fd: i32| -> i64 {
        let call = s.cx()?.stat(open_file(fd)?)?;
        paid(s, future(call)?)
    });
    import!(l, "close", |_, s, fd: i32| -> i32 {
        s.cx()?.close(open_file(fd)?)?;
        paid(s, 0)
    });
    Ok(())
}

fn text(bytes: &[u8]) -> Result<&str, No> {
    if bytes.len() > MAX_PATH {
        return Err(No(Errno::ENAMETOOLONG));
    }
    core::str::from_utf8(bytes).map_err(|_| No(Errno::EINVAL))
}

/// An absolute path.
fn path(bytes: &[u8]) -> Result<&str, No> {
    let path = text(bytes)?;
    if path.starts_with('/') { Ok(path) } else { Err(No(Errno::EINVAL)) }
}

fn open_file(fd: i32) -> Result<Fd, No> {
    u32::try_from(fd).map(Fd).map_err(|_| No(Errno::EBADF))
}
