//! What a component may ask for beside messages, timers, lines and calls.
//!
//! These are the wishes that atoms need. The ones that this runtime does not know yet
//! are refused with EOPNOTSUPP; `runtime/MODEL.md` lists them.

use atoll_9p::fault::{Errno, Fault};
use atoll_9p::types::OpenFlags;

use crate::component::{CallId, ComponentId, Fd, Token};
use crate::effects::Cx;

fn absent<T>() -> Result<T, Fault> {
    Err(Errno::EOPNOTSUPP.into())
}

impl Cx<'_> {
    /// Asks another component; the reply, or why there is none, is the result of the
    /// call.
    pub fn ask(&mut self, to: ComponentId, body: &[u8]) -> Result<CallId, Fault> {
        let _ = (to, body);
        absent()
    }

    /// Answers an ask that was put to this component, once: ESTALE afterwards, or when
    /// nobody waits any more.
    pub fn reply(&mut self, token: Token, result: Result<&[u8], Fault>) -> Result<(), Fault> {
        let _ = (token, result);
        absent()
    }

    /// A call that returns in `ns` nanoseconds.
    pub fn sleep(&mut self, ns: u64) -> Result<CallId, Fault> {
        let _ = ns;
        absent()
    }

    /// Gives up a call of this component's: it will not return.
    pub fn drop_future(&mut self, call: CallId) -> Result<(), Fault> {
        let _ = call;
        absent()
    }

    /// Interrupts a component, this one too. A code of 0 to 63.
    pub fn signal(&mut self, to: ComponentId, code: u8, arg: i64) -> Result<(), Fault> {
        let _ = (to, code, arg);
        absent()
    }

    /// Holds interrupts back: those of the codes whose bits are set, beside those that
    /// are held back already. The bits as they were.
    pub fn mask(&mut self, bits: u64) -> Result<u64, Fault> {
        let _ = bits;
        absent()
    }

    /// Lets interrupts come again: those of the codes whose bits are set. The bits as
    /// they were.
    pub fn unmask(&mut self, bits: u64) -> Result<u64, Fault> {
        let _ = bits;
        absent()
    }

    /// Takes a name in `/srv`, under which others find this component.
    pub fn register(&mut self, name: &str) -> Result<(), Fault> {
        let _ = name;
        absent()
    }

    /// A new instance of this component's own module, under a name that no other
    /// component has. Its parameters are lines `key value`.
    pub fn spawn(&mut self, name: &str, params: &str) -> Result<ComponentId, Fault> {
        let _ = (name, params);
        absent()
    }

    /// What attributes a file of the namespace has; the result is 33 bytes, numbers
    /// little endian: size in bytes (8), last change in nanoseconds since 1970 UTC (8),
    /// mode (4), qid: type (1), version (4), path (8).
    pub fn file_stat(&mut self, path: &str) -> Result<CallId, Fault> {
        let _ = path;
        absent()
    }

    /// Opens a file of the namespace. The result is its [`Fd`]: four bytes, little endian.
    pub fn open(&mut self, path: &str, flags: OpenFlags) -> Result<CallId, Fault> {
        let _ = (path, flags);
        absent()
    }

    /// Reads from an open file: at most `count` bytes from `from` on, none at its end.
    pub fn read(&mut self, fd: Fd, from: u64, count: u32) -> Result<CallId, Fault> {
        let _ = (fd, from, count);
        absent()
    }

    /// Writes to an open file. The result is how many bytes were taken: four bytes,
    /// little endian.
    pub fn write(&mut self, fd: Fd, from: u64, data: &[u8]) -> Result<CallId, Fault> {
        let _ = (fd, from, data);
        absent()
    }

    /// What attributes an open file has, as [`Cx::file_stat`] says.
    pub fn stat(&mut self, fd: Fd) -> Result<CallId, Fault> {
        let _ = fd;
        absent()
    }

    /// Closes a file. Calls on it that have not returned still do.
    pub fn close(&mut self, fd: Fd) -> Result<(), Fault> {
        let _ = fd;
        absent()
    }

    /// What the component's store has under a key: ENOENT for nothing.
    pub fn kv_get(&self, key: &[u8]) -> Result<&[u8], Fault> {
        let _ = key;
        absent()
    }

    /// Stores something under a key, in the place of what was there.
    pub fn kv_put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let _ = (key, value);
        absent()
    }

    /// Takes a key out of the store: ENOENT where it is not there.
    pub fn kv_del(&mut self, key: &[u8]) -> Result<(), Fault> {
        let _ = key;
        absent()
    }

    /// The first key of the store behind this one, in the order of their bytes; the
    /// first of all for an empty one. ENOENT for none.
    pub fn kv_next(&self, key: &[u8]) -> Result<&[u8], Fault> {
        let _ = key;
        absent()
    }

    /// Adds a record to the component's log, and says its number. The first is 0.
    pub fn log_append(&mut self, record: &[u8]) -> Result<u64, Fault> {
        let _ = record;
        absent()
    }

    /// A record of the component's log: ENOENT for a number that it does not have.
    pub fn log_read(&self, n: u64) -> Result<&[u8], Fault> {
        let _ = n;
        absent()
    }

    /// A call that returns when what was stored so far lasts, on the host.
    pub fn sync(&mut self) -> Result<CallId, Fault> {
        absent()
    }

    /// Copies bytes of the guest's scratch memory; what nobody wrote is 0.
    pub fn scratch_read(&self, at: u64, out: &mut [u8]) -> Result<(), Fault> {
        let _ = (at, out);
        absent()
    }

    /// Writes bytes of the guest's scratch memory.
    pub fn scratch_write(&mut self, at: u64, data: &[u8]) -> Result<(), Fault> {
        let _ = (at, data);
        absent()
    }

    /// Adds to a number of eight bytes in scratch memory, little endian, and says
    /// what it was.
    pub fn scratch_add(&mut self, at: u64, add: i64) -> Result<i64, Fault> {
        let _ = (at, add);
        absent()
    }

    /// Puts `new` in the place of such a number, if it is `old`, and says what it was.
    pub fn scratch_cas(&mut self, at: u64, old: i64, new: i64) -> Result<i64, Fault> {
        let _ = (at, old, new);
        absent()
    }

    /// A call that returns when this component has a lock of the guest's: alone, or
    /// together with others that share it.
    pub fn lock(&mut self, n: u32, shared: bool) -> Result<CallId, Fault> {
        let _ = (n, shared);
        absent()
    }

    /// Gives a lock back: EPERM where this component does not have it.
    pub fn unlock(&mut self, n: u32) -> Result<(), Fault> {
        let _ = n;
        absent()
    }
}
