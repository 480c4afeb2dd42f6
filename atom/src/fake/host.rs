//! The imports of module `atoll`, for atoms in a fake guest.
//!
//! They reach their guest through a variable of the thread, which is set while a dispatch
//! runs. Outside a dispatch, where only what is being dropped calls, each gives EINVAL.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;

use super::files::{self, Fd};
use super::guest::{Guest, Store};
use crate::{Errno, Error, abi};

/// A dispatch that runs.
pub(super) struct Context {
    guest: Rc<RefCell<Guest>>,
    me: i32,
    body: Vec<u8>,
    sender: Option<i32>,
    pub(super) answer: Vec<u8>,
    /// It has asked for more than there is.
    pub(super) over: bool,
}

impl Context {
    pub(super) fn new(
        guest: Rc<RefCell<Guest>>,
        me: i32,
        body: &[u8],
        sender: Option<i32>,
    ) -> Context {
        Context { guest, me, body: body.to_vec(), sender, answer: Vec::new(), over: false }
    }
}

std::thread_local! {
    static CONTEXT: RefCell<Option<Context>> = const { RefCell::new(None) };
}

/// Runs a dispatch in its context.
pub(super) fn run<R>(context: Context, f: impl FnOnce() -> R) -> (Context, R) {
    let outer = CONTEXT.with(|c| c.replace(Some(context)));
    assert!(outer.is_none(), "a dispatch inside a dispatch");
    let result = f();
    let context = CONTEXT.with(|c| c.replace(None));
    (context.unwrap_or_else(|| unreachable!("it was put there")), result)
}

type Result<T> = core::result::Result<T, Errno>;

fn context<T>(f: impl FnOnce(&mut Context) -> Result<T>) -> Result<T> {
    // No thread-local is left when a thread ends.
    let result = CONTEXT.try_with(|c| match c.borrow_mut().as_mut() {
        Some(context) => {
            let result = f(context);
            context.over |= matches!(result, Err(Errno::EDQUOT));
            result
        }
        None => Err(Errno::EINVAL),
    });
    result.unwrap_or(Err(Errno::EINVAL))
}

fn guest<T>(f: impl FnOnce(&mut Guest, i32) -> Result<T>) -> Result<T> {
    context(|c| f(&mut c.guest.borrow_mut(), c.me))
}

fn int(result: Result<i32>) -> i32 {
    result.unwrap_or_else(|errno| -errno.0)
}

fn long(result: Result<i64>) -> i64 {
    result.unwrap_or_else(|errno| i64::from(-errno.0))
}

fn done(result: Result<()>) -> i32 {
    int(result.map(|()| 0))
}

/// Copies what fits, and gives the whole length.
fn whole(out: &mut [u8], from: &[u8]) -> i32 {
    let n = out.len().min(from.len());
    out[..n].copy_from_slice(&from[..n]);
    i32::try_from(from.len()).unwrap_or(i32::MAX)
}

fn name(bytes: &[u8]) -> Result<&str> {
    core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)
}

// The event, time, chance

pub(crate) fn recv(out: &mut [u8], from: u32) -> i32 {
    int(context(|c| {
        let rest = c.body.get(from as usize..).unwrap_or_default();
        let n = out.len().min(rest.len());
        Ok(whole(&mut out[..n], &rest[..n]))
    }))
}

pub(crate) fn answer(bytes: &[u8]) -> i32 {
    done(context(|c| {
        if c.answer.len() + bytes.len() > abi::MAX_ANSWER {
            return Err(Errno::EMSGSIZE);
        }
        c.answer.extend_from_slice(bytes);
        Ok(())
    }))
}

pub(crate) fn now() -> i64 {
    long(guest(|g, _| Ok(g.now.cast_signed())))
}

pub(crate) fn wall() -> i64 {
    long(guest(|g, _| Ok(g.wall.cast_signed())))
}

pub(crate) fn random() -> i64 {
    guest(|g, _| Ok(g.random().cast_signed())).unwrap_or(0)
}

pub(crate) fn log(line: &[u8]) -> i32 {
    done(guest(|g, me| {
        let line = line.get(..abi::MAX_LOG).unwrap_or(line);
        g.say(me, &String::from_utf8_lossy(line).replace(char::is_control, " "));
        Ok(())
    }))
}

pub(crate) fn emit(file: u32, line: &[u8]) -> i32 {
    done(guest(|g, me| g.emit(me, file, &String::from_utf8_lossy(line))))
}

pub(crate) fn exit(status: i32) {
    done(guest(|g, _| {
        g.exit.get_or_insert(status.cast_unsigned().min(63).cast_signed());
        Ok(())
    }));
}

// Components and messages

pub(crate) fn me() -> i32 {
    int(guest(|_, me| Ok(me)))
}

pub(crate) fn sender() -> i32 {
    int(context(|c| c.sender.ok_or(Errno::ENOENT)))
}

pub(crate) fn find(who: &[u8]) -> i32 {
    int(guest(|g, _| g.find(name(who)?).ok_or(Errno::ENOENT)))
}

pub(crate) fn register(who: &[u8]) -> i32 {
    done(guest(|g, me| g.register(me, name(who)?)))
}

pub(crate) fn send(to: i32, body: &[u8]) -> i32 {
    done(guest(|g, me| g.send(me, to, body)))
}

pub(crate) fn call(to: i32, body: &[u8]) -> i64 {
    long(guest(|g, me| g.ask(me, to, body)))
}

pub(crate) fn reply(token: i64, status: i32, body: &[u8]) -> i32 {
    done(guest(|g, me| {
        if body.len() > abi::MAX_BODY {
            return Err(Errno::EMSGSIZE);
        }
        let result = match status {
            0 => Ok(body.to_vec()),
            -4095..0 => Err(Error::received(status, body)),
            _ => return Err(Errno::EINVAL),
        };
        g.reply(me, token, result)
    }))
}

pub(crate) fn signal(to: i32, code: u32, arg: i64) -> i32 {
    done(guest(|g, me| {
        if code >= abi::RESTORED {
            return Err(Errno::EINVAL);
        }
        g.comp(to)?;
        g.interrupt(to, code, arg, Some(me));
        Ok(())
    }))
}

pub(crate) fn mask(bits: u64) -> u64 {
    let set = |g: &mut Guest, me| {
        let mask = &mut g.comp(me)?.mask;
        let before = *mask;
        *mask |= bits;
        Ok(before)
    };
    guest(set).unwrap_or(0)
}

pub(crate) fn unmask(bits: u64) -> u64 {
    guest(|g, me| Ok(g.unmask(me, bits))).unwrap_or(0)
}

pub(crate) fn spawn(who: &[u8], params: &[u8]) -> i32 {
    int(guest(|g, me| {
        if params.len() > abi::MAX_PARAMS {
            return Err(Errno::EMSGSIZE);
        }
        g.spawn(me, name(who)?, name(params)?)
    }))
}

pub(crate) fn kill(to: i32) -> i32 {
    done(guest(|g, me| g.kill(me, to)))
}

// Futures

pub(crate) fn sleep(ns: i64) -> i64 {
    long(guest(|g, me| g.sleep(me, ns)))
}

pub(crate) fn drop_future(id: i64) -> i32 {
    done(guest(|g, me| g.drop_future(me, id)))
}

// Files: the fake knows every result at once.

fn known(f: impl FnOnce(&mut Guest, i32) -> Result<Result<Vec<u8>>>) -> i64 {
    long(guest(|g, me| {
        let result = f(g, me)?;
        g.ready(me, files::result(result))
    }))
}

fn place(from: i64) -> Result<u64> {
    u64::try_from(from).map_err(|_| Errno::EINVAL)
}

fn size(bytes: usize) -> Result<()> {
    if bytes > abi::MAX_BODY { Err(Errno::EMSGSIZE) } else { Ok(()) }
}

pub(crate) fn file_read(path: &[u8], from: i64, count: u32) -> i64 {
    known(|g, _| {
        let path = files::path(path, true)?;
        let from = place(from)?;
        size(count as usize)?;
        Ok(g.namespace.read(path, from, count))
    })
}

pub(crate) fn file_write(path: &[u8], from: i64, data: &[u8]) -> i64 {
    known(|g, _| {
        let path = files::path(path, true)?;
        size(data.len())?;
        let from = if from == -1 { None } else { Some(place(from)?) };
        Ok(g.namespace.write(path, from, data).map(|()| Vec::new()))
    })
}

pub(crate) fn file_list(path: &[u8]) -> i64 {
    known(|g, _| Ok(g.namespace.list(files::path(path, true)?)))
}

pub(crate) fn file_stat(path: &[u8]) -> i64 {
    known(|g, _| Ok(g.namespace.stat(files::path(path, true)?)))
}

/// Opens with the files that the atom has open.
fn opened(g: &mut Guest, me: i32, path: &str, flags: u32) -> Result<Result<Vec<u8>>> {
    files::check_flags(flags)?;
    let mut fds = core::mem::take(&mut g.comp(me)?.fds);
    let result = g.namespace.open(&mut fds, path, flags);
    g.comp(me)?.fds = fds;
    Ok(result)
}

pub(crate) fn open(path: &[u8], flags: u32) -> i64 {
    known(|g, me| opened(g, me, files::path(path, true)?, flags))
}

fn fd(g: &mut Guest, me: i32, fd: u32) -> Result<Fd> {
    g.comp(me)?.fds.get(&fd).cloned().ok_or(Errno::EBADF)
}

pub(crate) fn walk(dir: u32, path: &[u8], flags: u32) -> i64 {
    known(|g, me| {
        let path = files::path(path, false)?;
        let path = fd(g, me, dir)?.below(path);
        opened(g, me, &path, flags)
    })
}

pub(crate) fn read(file: u32, from: i64, count: u32) -> i64 {
    known(|g, me| {
        let from = place(from)?;
        size(count as usize)?;
        let fd = fd(g, me, file)?;
        Ok(g.namespace.fd_read(&fd, from, count))
    })
}

pub(crate) fn write(file: u32, from: i64, data: &[u8]) -> i64 {
    known(|g, me| {
        let from = place(from)?;
        size(data.len())?;
        let fd = fd(g, me, file)?;
        Ok(g.namespace.fd_write(&fd, from, data))
    })
}

pub(crate) fn stat(file: u32) -> i64 {
    known(|g, me| {
        let fd = fd(g, me, file)?;
        Ok(g.namespace.fd_stat(&fd))
    })
}

pub(crate) fn close(file: u32) -> i32 {
    done(guest(|g, me| g.comp(me)?.fds.remove(&file).map(drop).ok_or(Errno::EBADF)))
}

// The store

fn key(key: &[u8]) -> Result<&[u8]> {
    if (1..=abi::MAX_KEY).contains(&key.len()) { Ok(key) } else { Err(Errno::EINVAL) }
}

fn store<T>(f: impl FnOnce(&Store) -> Result<T>) -> Result<T> {
    guest(|g, me| f(&g.comp(me)?.store))
}

/// Changes the store, unless it then holds more than it may.
fn change<T>(f: impl FnOnce(&mut Store) -> Result<T>) -> Result<T> {
    guest(|g, me| {
        let mut new = g.comp(me)?.store.clone();
        let result = f(Rc::make_mut(&mut new))?;
        let map: usize = new.map.iter().map(|(k, v)| k.len() + v.len()).sum();
        let log: usize = new.log.iter().map(Vec::len).sum();
        if map + log > g.storage {
            return Err(Errno::ENOSPC);
        }
        g.comp(me)?.store = new;
        Ok(result)
    })
}

pub(crate) fn kv_get(k: &[u8], out: &mut [u8]) -> i32 {
    int(store(|s| Ok(whole(out, s.map.get(key(k)?).ok_or(Errno::ENOENT)?))))
}

pub(crate) fn kv_put(k: &[u8], value: &[u8]) -> i32 {
    done(change(|s| {
        size(value.len())?;
        s.map.insert(key(k)?.to_vec(), value.to_vec());
        Ok(())
    }))
}

pub(crate) fn kv_del(k: &[u8]) -> i32 {
    done(change(|s| s.map.remove(key(k)?).map(drop).ok_or(Errno::ENOENT)))
}

pub(crate) fn kv_next(k: &[u8], out: &mut [u8]) -> i32 {
    use core::ops::Bound::{Excluded, Unbounded};
    int(store(|s| {
        if k.len() > abi::MAX_KEY {
            return Err(Errno::EINVAL);
        }
        let next = s.map.range::<[u8], _>((Excluded(k), Unbounded)).next();
        Ok(whole(out, next.ok_or(Errno::ENOENT)?.0))
    }))
}

pub(crate) fn log_append(record: &[u8]) -> i64 {
    long(change(|s| {
        size(record.len())?;
        s.log.push(record.to_vec());
        Ok(s.log.len() as i64 - 1)
    }))
}

pub(crate) fn log_read(number: i64, out: &mut [u8]) -> i32 {
    int(store(|s| {
        let at = usize::try_from(number).map_err(|_| Errno::ENOENT)?;
        Ok(whole(out, s.log.get(at).ok_or(Errno::ENOENT)?))
    }))
}

pub(crate) fn sync() -> i64 {
    long(guest(|g, me| g.ready(me, Ok(Vec::new()))))
}

// Scratch

fn bytes(at: u32, len: usize) -> Result<core::ops::Range<usize>> {
    let end = (at as usize).checked_add(len).filter(|end| *end <= abi::SCRATCH as usize);
    Ok(at as usize..end.ok_or(Errno::EFAULT)?)
}

pub(crate) fn scratch_read(at: u32, out: &mut [u8]) -> i32 {
    done(guest(|g, _| {
        out.copy_from_slice(&g.scratch[bytes(at, out.len())?]);
        Ok(())
    }))
}

pub(crate) fn scratch_write(at: u32, data: &[u8]) -> i32 {
    done(guest(|g, _| {
        let range = bytes(at, data.len())?;
        Rc::make_mut(&mut g.scratch)[range].copy_from_slice(data);
        Ok(())
    }))
}

/// A word, and what becomes of it.
fn word(at: u32, old: &mut u64, new: impl FnOnce(u64) -> Option<u64>) -> i32 {
    int(guest(|g, _| {
        let range = bytes(at, 8)?;
        if !at.is_multiple_of(8) {
            return Err(Errno::EINVAL);
        }
        let place = &mut Rc::make_mut(&mut g.scratch)[range];
        let mut is = [0; 8];
        is.copy_from_slice(place);
        *old = u64::from_le_bytes(is);
        Ok(match new(*old) {
            Some(new) => {
                place.copy_from_slice(&new.to_le_bytes());
                1
            }
            None => 0,
        })
    }))
}

pub(crate) fn scratch_add(at: u32, add: i64, old: &mut u64) -> i32 {
    match word(at, old, |is| Some(is.wrapping_add_signed(add))) {
        1 => 0,
        error => error,
    }
}

pub(crate) fn scratch_cas(at: u32, expected: i64, new: i64, old: &mut u64) -> i32 {
    word(at, old, |is| (is.cast_signed() == expected).then_some(new.cast_unsigned()))
}

fn lock_number(n: u32) -> Result<u32> {
    if n < abi::LOCKS { Ok(n) } else { Err(Errno::EINVAL) }
}

pub(crate) fn lock(n: u32, shared: u32) -> i64 {
    long(guest(|g, me| match shared {
        0 | 1 => g.lock(me, lock_number(n)?, shared == 1),
        _ => Err(Errno::EINVAL),
    }))
}

pub(crate) fn unlock(n: u32) -> i32 {
    done(guest(|g, me| g.unlock(me, n)))
}
